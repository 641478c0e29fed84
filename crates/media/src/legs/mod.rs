//! All legs of one worker: who gets a datagram, who is bridged with whom, who wants to be called when.

#[cfg(test)]
mod attacks;
mod effort;
mod ending;
mod leg;
mod moving;
mod negotiate;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::browser::Trust;
use crate::demux::{Demux, Path, Route};
use crate::dtmf::Key;
use crate::error::MediaError;
use crate::leg::{Event, Happened, LegId, Settings, Why};
use crate::outbox::{Outbox, Socket, Transmit};
use crate::phone::Epoch;
use crate::seed::Seeds;
use crate::srtp::SrtpSecret;
use crate::stats::Drops;
pub use effort::Effort;
use leg::{Leg, Side};

pub use moving::MovingLeg;

/// Deadlines of one leg served in a row.
const SERVED_AT_ONCE: usize = 4;
/// Entries in the timer heap for each leg before the stale ones are thrown out.
const TIMERS_PER_LEG: usize = 8;

/// The legs of one worker.
///
/// The contract is str0m's, but for one thing: after a mutation (any method that takes `now`) take everything out with
/// [`Self::poll_transmit`] and [`Self::poll_event`] until both are empty, then wait for the next datagram, command
/// or the time of [`Self::poll_timeout`], and call again. Datagrams that wait already may be handled in a row before:
/// what each brought about is kept in order.
///
/// Nothing here reads a clock, a socket or a source of randomness, with one exception that is not ours: str0m draws
/// its ICE credentials, DTLS key and SSRCs itself.
#[derive(Debug)]
pub struct Legs {
    settings: Settings,
    epoch: Epoch,
    seeds: Seeds,
    secret: Option<SrtpSecret>,
    /// Phone legs that got a secret of their own out of it.
    secrets: u64,
    legs: HashMap<LegId, Leg>,
    demux: Demux,
    out: Outbox,
    events: VecDeque<Event>,
    timers: BinaryHeap<Reverse<(Instant, LegId)>>,
    drops: Drops,
}

impl Legs {
    /// `seed` must be random: RTP's SSRCs, first sequence numbers and timestamps are grown from it.
    pub fn new(settings: Settings, epoch: Epoch, seed: u64) -> Self {
        Legs {
            settings,
            epoch,
            seeds: Seeds::new(seed),
            secret: None,
            secrets: 0,
            legs: HashMap::new(),
            demux: Demux::default(),
            out: Outbox::default(),
            events: VecDeque::new(),
            timers: BinaryHeap::new(),
            drops: Drops::default(),
        }
    }

    /// The same with a secret for SRTP towards phones, which trunks that want it need.
    pub fn with_secret(self, secret: SrtpSecret) -> Self {
        Legs {
            secret: Some(secret),
            ..self
        }
    }

    /// The number of legs that are open.
    pub fn len(&self) -> usize {
        self.legs.len()
    }

    /// The legs that are open, in no order.
    pub fn ids(&self) -> impl Iterator<Item = LegId> {
        self.legs.keys().copied()
    }

    /// Whether this leg is open.
    pub fn contains(&self, id: LegId) -> bool {
        self.legs.contains_key(&id)
    }

    /// True if no leg is open.
    pub fn is_empty(&self) -> bool {
        self.legs.is_empty()
    }

    /// The number of legs that are bridged, and so carry sound.
    pub fn bridged(&self) -> usize {
        let bridged = |leg: &&Leg| leg.peer.is_some();
        self.legs.values().filter(bridged).count()
    }

    /// Datagrams that belonged to no leg at all.
    pub fn strangers(&self) -> Drops {
        self.drops
    }

    /// A trickled `candidate:…` line for a browser leg; the empty one means the end and changes nothing.
    pub fn add_candidate(&mut self, now: Instant, id: LegId, line: &str) {
        self.work(id, |leg, out| match &mut leg.side {
            Side::Browser(browser) => browser.add_candidate(now, line, out),
            Side::Phone(_) => Ok(()),
        });
    }

    /// From now on audio and DTMF flow between the two, both ways; earlier bridges of either end. A leg need not be
    /// connected yet.
    pub fn bridge(&mut self, now: Instant, one: LegId, other: LegId) {
        if !self.legs.contains_key(&one) {
            return;
        }
        if one == other || !self.legs.contains_key(&other) {
            return self.fail(one, MediaError::NoSuchPeer);
        }
        self.part(one);
        self.part(other);
        let [Some(first), Some(second)] = self.legs.get_disjoint_mut([&one, &other]) else {
            return;
        };
        first.peer = Some(other);
        second.peer = Some(one);
        first.feed(now, second);
        second.feed(now, first);
        self.rewire(one);
        self.settle(one);
        self.settle(other);
    }

    /// Asks how long ago a leg heard its peer; [`Happened::Heard`] follows.
    pub fn probe(&mut self, now: Instant, id: LegId) {
        let Some(leg) = self.legs.get(&id) else {
            return;
        };
        let ago = leg
            .last_heard()
            .map(|last| now.saturating_duration_since(last));
        self.report(id, Happened::Heard { ago });
    }

    /// A phone pressed a key, as its signalling tells; the leg that it is bridged with hears it.
    pub fn hear_key(&mut self, now: Instant, id: LegId, key: Key) {
        self.work(id, |leg, _| {
            if let Side::Phone(phone) = &mut leg.side {
                let presses = phone.hear_key(key);
                leg.presses.extend(presses.into_iter().flatten());
            }
            Ok(())
        });
        self.carry(now, id);
    }

    /// Asks what has flowed over a leg so far; [`Happened::Report`] follows.
    pub fn ask_report(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get(&id) {
            let stats = leg.stats();
            self.report(id, Happened::Report { stats });
        }
    }

    /// A datagram that came through `socket`.
    pub fn handle(&mut self, now: Instant, socket: Socket, source: SocketAddr, datagram: &[u8]) {
        let epoch = self.epoch;
        match socket {
            Socket::Browsers(_) | Socket::Streams(_) => {
                let path = Path {
                    socket,
                    remote: source,
                };
                self.handle_browser(now, path, datagram);
            }
            Socket::Rtp(id) => {
                self.work(id, |leg, _| {
                    if let Side::Phone(phone) = &mut leg.side {
                        if phone.is_muxed_rtcp(datagram) {
                            phone.receive_rtcp(now, epoch, source, datagram);
                            return Ok(());
                        }
                        let presses = phone.receive_rtp(now, source, datagram);
                        leg.presses.extend(presses.into_iter().flatten());
                        leg.review(now);
                    }
                    Ok(())
                });
                self.follow_turn(id);
                self.carry(now, id);
            }
            Socket::Rtcp(id) => self.work(id, |leg, _| {
                if let Side::Phone(phone) = &mut leg.side {
                    phone.receive_rtcp(now, epoch, source, datagram);
                }
                Ok(())
            }),
        }
    }

    /// True if a browser has shown there that it belongs to a leg: a TCP connection that nobody has done so on within
    /// seconds is worth closing.
    pub fn knows(&self, socket: Socket, remote: SocketAddr) -> bool {
        self.demux.knows(Path { socket, remote })
    }

    /// A TCP connection of a browser is closed.
    pub fn forget(&mut self, socket: Socket, remote: SocketAddr) {
        self.demux.forget(Path { socket, remote });
    }

    fn handle_browser(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let (id, remote) = match self.demux.route(path, datagram) {
            Route::Leg(id) => (id, None),
            Route::Check { leg, remote } => (leg, Some(remote)),
            Route::Stranger => {
                self.drops.wrong_source += 1;
                return;
            }
            Route::Malformed => {
                self.drops.malformed += 1;
                return;
            }
        };
        let mut trust = Trust::Unproven;
        let mut agreed = false;
        self.work(id, |leg, out| {
            if let Side::Browser(browser) = &mut leg.side {
                agreed = browser.is_agreed();
                trust = browser.receive(now, path, datagram, out)?;
                leg.review(now);
            }
            Ok(())
        });
        match (trust, remote) {
            (Trust::Unproven, _) => {}
            (Trust::Proven, Some(remote)) if !agreed => {
                self.demux.remember_early(id, path, remote);
            }
            (Trust::Proven, _) => self.demux.prove(id, path),
        }
        self.carry(now, id);
    }

    /// Brings what `from` heard to the leg that it is bridged with.
    fn carry(&mut self, now: Instant, from: LegId) {
        let Some(peer) = self.legs.get_mut(&from).and_then(Leg::peer_if_it_heard) else {
            return;
        };
        let [Some(source), Some(sink)] = self.legs.get_disjoint_mut([&from, &peer]) else {
            return;
        };
        let out = &mut self.out;
        let carried = catch_unwind(AssertUnwindSafe(|| source.carry_to(sink, now, out)));
        self.conclude(peer, carried);
    }

    /// Calls every leg whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        // Bounded, lest a leg that always has something to do at once keeps the others waiting.
        for _ in 0..self.timers.len() * SERVED_AT_ONCE {
            let Some(Reverse((at, id))) = self.timers.peek().copied() else {
                return;
            };
            if at > now {
                return;
            }
            self.timers.pop();
            let Some(leg) = self.legs.get_mut(&id) else {
                continue;
            };
            if leg.armed != Some(at) {
                continue;
            }
            leg.armed = None;
            if leg.deadline().is_some_and(|(due, _)| due <= now) {
                self.serve(now, id);
            } else {
                self.settle(id);
            }
        }
    }

    fn serve(&mut self, now: Instant, id: LegId) {
        let peer = self.legs.get(&id).and_then(|leg| leg.peer);
        let (leg, mut peer) = match peer {
            Some(peer) => match self.legs.get_disjoint_mut([&id, &peer]) {
                [Some(leg), peer] => (leg, peer),
                _ => return,
            },
            None => match self.legs.get_mut(&id) {
                Some(leg) => (leg, None),
                None => return,
            },
        };
        let (epoch, out) = (self.epoch, &mut self.out);
        let is_early = matches!(&leg.side, Side::Phone(phone) if phone.is_early());
        let served = catch_unwind(AssertUnwindSafe(|| {
            match &mut leg.side {
                Side::Browser(browser) => browser.handle_timeout(now, out)?,
                Side::Phone(phone) => phone.handle_timeout(now, epoch, out, |now| {
                    let peer = peer.as_mut()?;
                    match is_early {
                        true => peer.hush(),
                        false => peer.pull(now),
                    }
                }),
            }
            leg.receiver().give_up(now);
            leg.review(now);
            leg.check_silence(now);
            Ok(())
        }));
        self.conclude(id, served);
        self.carry(now, id);
    }

    /// Lets one leg work. An error or a fault ends that leg and no other.
    fn work(
        &mut self,
        id: LegId,
        task: impl FnOnce(&mut Leg, &mut Outbox) -> Result<(), MediaError>,
    ) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        let out = &mut self.out;
        let done = catch_unwind(AssertUnwindSafe(|| task(leg, out)));
        self.conclude(id, done);
    }

    fn conclude(&mut self, id: LegId, done: std::thread::Result<Result<(), MediaError>>) {
        match done {
            Ok(Ok(())) => self.settle(id),
            Ok(Err(why)) => self.fail(id, why),
            Err(_) => {
                tracing::error!(%id, "a fault ended a media leg");
                self.fail(id, MediaError::Fault);
            }
        }
    }

    /// Takes out what a leg brought to light and arms its next deadline.
    fn settle(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else {
            return;
        };
        if let Side::Browser(browser) = &mut leg.side {
            for check in browser.checks.drain(..) {
                self.demux.sent_check(id, check);
            }
            leg.presses.extend(browser.presses.drain(..));
            let happened = browser.happened.drain(..);
            self.events
                .extend(happened.map(|what| Event { leg: id, what }));
        }
        if let Side::Phone(phone) = &mut leg.side {
            let sounded = phone.has_sounded().then_some(Happened::EarlySound);
            let heard_out = phone.has_been_heard_out().then_some(Happened::HeardOut);
            let keyed = std::iter::from_fn(|| phone.take_key()).map(|key| Happened::Keyed { key });
            let told = sounded.into_iter().chain(heard_out).chain(keyed);
            self.events.extend(told.map(|what| Event { leg: id, what }));
        }
        let told = leg.watch.told.drain(..);
        self.events.extend(told.map(|what| Event { leg: id, what }));
        if let Some((due, _)) = leg.deadline()
            && leg.armed.is_none_or(|armed| due < armed)
        {
            leg.armed = Some(due);
            self.timers.push(Reverse((due, id)));
            self.forget_stale_timers();
        }
    }

    /// An entry that an earlier deadline overtook stays in the heap until its time comes, which may be never.
    fn forget_stale_timers(&mut self) {
        if self.timers.len() > TIMERS_PER_LEG * (self.legs.len() + 8) {
            let legs = &self.legs;
            self.timers
                .retain(|Reverse((at, id))| legs.get(id).is_some_and(|leg| leg.armed == Some(*at)));
        }
    }

    fn report(&mut self, leg: LegId, what: Happened) {
        self.events.push_back(Event { leg, what });
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.out.pop()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called, and why; may be earlier than needed, never later.
    pub fn poll_timeout(&self) -> Option<(Instant, Why)> {
        let Reverse((at, id)) = self.timers.peek()?;
        let why = self.legs.get(id).and_then(Leg::deadline);
        Some((*at, why.map_or(Why::Engine, |(_, why)| why)))
    }
}
