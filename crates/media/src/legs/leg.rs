//! One leg of either kind, and what it does for the one that it is bridged with.

use std::collections::VecDeque;
use std::time::Instant;

use crate::browser::BrowserLeg;
use crate::codec::{Codec, Frame, OPUS_TICKS};
use crate::codec_choice::Speaker;
use crate::direction::{Direction, Hold};
use crate::dtmf::Press;
use crate::error::MediaError;
use crate::leg::{LegId, Why};
use crate::outbox::Outbox;
use crate::phone::PhoneLeg;
use crate::receiver::Receiver;
use crate::relay::Heard;
use crate::stats::LegStats;
use crate::watch::{Expected, LastHeard, MediaTimeouts, Watch};

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) side: Side,
    pub(super) peer: Option<LegId>,
    /// The leg that it is meant to be bridged with.
    pub(super) beside: Option<LegId>,
    pub(super) presses: VecDeque<Press>,
    pub(super) watch: Watch,
    /// It has been bridged: from then on its peer owes it sound.
    bridged: bool,
    /// The entry in `timers` that counts; others of this leg are stale.
    pub(super) armed: Option<Instant>,
    /// Load takes nothing from it.
    pub(super) exempt: bool,
}

#[derive(Debug)]
pub(super) enum Side {
    Browser(Box<BrowserLeg>),
    Phone(Box<PhoneLeg>),
}

impl Leg {
    pub(super) fn new(side: Side, beside: Option<LegId>, timeouts: MediaTimeouts) -> Self {
        let timeouts = match &side {
            Side::Browser(_) => MediaTimeouts::NONE,
            Side::Phone(_) => timeouts,
        };
        Leg {
            side,
            peer: None,
            beside,
            presses: VecDeque::new(),
            watch: Watch::new(timeouts),
            bridged: false,
            armed: None,
            exempt: false,
        }
    }

    pub(super) fn receiver(&mut self) -> &mut Receiver {
        match &mut self.side {
            Side::Browser(browser) => &mut browser.receiver,
            Side::Phone(phone) => &mut phone.receiver,
        }
    }

    fn heard_by(&self) -> &Receiver {
        match &self.side {
            Side::Browser(browser) => &browser.receiver,
            Side::Phone(phone) => &phone.receiver,
        }
    }

    pub(super) fn deadline(&self) -> Option<(Instant, Why)> {
        let own = match &self.side {
            Side::Browser(browser) => Some(browser.deadline()),
            Side::Phone(phone) => phone.deadline(),
        };
        let watch = self.watch.due().map(|at| (at, Why::Silence));
        let overtaken = self.heard_by().due().map(|at| (at, Why::Overtaken));
        let due = own.into_iter().chain(watch).chain(overtaken);
        due.min_by_key(|(at, _)| *at)
    }

    /// What the peer should send may have changed, or it was just heard.
    pub(super) fn review(&mut self, now: Instant) {
        let expected = match &self.side {
            _ if !self.bridged => Expected::Nothing,
            Side::Browser(browser) => browser.expected(),
            Side::Phone(phone) => phone.expected(),
        };
        self.watch.expect(now, expected, self.heard());
    }

    /// Sees whether a silence has lasted too long, if it is time to.
    pub(super) fn check_silence(&mut self, now: Instant) {
        if self.watch.due().is_some_and(|due| due <= now) {
            self.watch.check(now, self.heard());
        }
    }

    fn heard(&self) -> LastHeard {
        LastHeard {
            sound: self.heard_by().last(),
            life: self.last_heard(),
        }
    }

    /// When the peer's last packet came.
    pub(super) fn last_heard(&self) -> Option<Instant> {
        match &self.side {
            Side::Browser(browser) => browser.receiver.last(),
            Side::Phone(phone) => phone.last_heard(),
        }
    }

    pub(super) fn stats(&self) -> LegStats {
        match &self.side {
            Side::Browser(browser) => browser.stats(),
            Side::Phone(phone) => phone.stats(),
        }
    }

    /// Why an offer in the middle of the call cannot be met. `None` if it can be, and before anything is agreed.
    pub(super) fn refusal_of(
        &self,
        now: Instant,
        offer: &str,
        other: Option<&Speaker>,
    ) -> Option<MediaError> {
        match &self.side {
            Side::Browser(browser) => browser.refusal_of(now, offer),
            Side::Phone(phone) => phone.refusal_of(offer, other),
        }
    }

    pub(super) fn hold(&self) -> &Hold {
        match &self.side {
            Side::Browser(browser) => &browser.hold,
            Side::Phone(phone) => &phone.hold,
        }
    }

    /// What this leg may send and receive when `other` wants that of the call. A phone's stream is never broken: one
    /// that a browser does not talk to hears silence.
    pub(super) fn permit(&self, other: Option<Direction>) -> Direction {
        let permit = other.unwrap_or(Direction::BOTH);
        match &self.side {
            Side::Browser(_) => permit,
            Side::Phone(_) => Direction {
                sends: true,
                ..permit
            },
        }
    }

    /// What it speaks, or may come to speak.
    pub(super) fn speaks(&self) -> Speaker {
        match &self.side {
            Side::Browser(browser) => browser.speaks(),
            Side::Phone(phone) => phone.speaks(),
        }
    }

    /// What the peer takes as it is.
    pub(super) fn hears(&self) -> Vec<Codec> {
        match &self.side {
            Side::Browser(browser) => browser.hears().to_vec(),
            Side::Phone(phone) => phone.hears().collect(),
        }
    }

    /// Makes what this leg hears available in the shape that `peer` takes.
    pub(super) fn feed(&mut self, now: Instant, peer: &mut Leg) {
        self.bridged = true;
        self.review(now);
        let ticks = match &self.side {
            Side::Browser(_) => OPUS_TICKS,
            Side::Phone(_) => 1,
        };
        match &mut peer.side {
            Side::Browser(browser) => {
                browser.forget_source();
                self.receiver().feed_directly();
            }
            Side::Phone(phone) => {
                phone.forget_source();
                phone.start_frames(now);
                self.receiver().feed_paced(now, ticks);
            }
        }
    }

    /// Whether its far end could hear something now.
    fn is_up(&self) -> bool {
        match &self.side {
            Side::Browser(browser) => browser.is_up(),
            Side::Phone(_) => true,
        }
    }

    /// The leg to bring to what this one heard; keys pressed while there is none are forgotten.
    pub(super) fn peer_if_it_heard(&mut self) -> Option<LegId> {
        if self.peer.is_none() {
            self.presses.clear();
        }
        self.peer
    }

    /// The frame for the phone that this leg is bridged with. Who has said that nothing comes (hold) is heard as
    /// silence, not as noise made up in the place of what was lost.
    pub(super) fn pull(&mut self, now: Instant) -> Option<Frame> {
        let talks = match &self.side {
            Side::Browser(browser) => browser.talks(),
            Side::Phone(phone) => phone.talks(),
        };
        match talks {
            true => self.receiver().pull(now),
            false => self.hush(),
        }
    }

    /// No frame: nobody is to hear this leg.
    pub(super) fn hush(&mut self) -> Option<Frame> {
        self.receiver().pause();
        None
    }

    /// Gives the other leg what was heard since the last time.
    pub(super) fn carry_to(
        &mut self,
        sink: &mut Leg,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        match &mut sink.side {
            Side::Phone(phone) => {
                if self.is_up() {
                    phone.is_listened_to(now);
                }
                for press in self.presses.drain(..) {
                    phone.press(now, press);
                }
                while let Some(heard) = self.receiver().next_through() {
                    match heard {
                        Heard::Audio(packet) => phone.pass(now, &packet, out),
                        Heard::Event(stamp) => phone.skip(stamp),
                    }
                }
            }
            Side::Browser(browser) => {
                let (changed, rings, ringback) = match &mut self.side {
                    Side::Phone(phone) => phone.take_ringback(),
                    Side::Browser(_) => (false, false, None),
                };
                if let Side::Phone(phone) = &mut self.side
                    && browser.is_up()
                {
                    phone.is_listened_to(now);
                }
                if changed {
                    browser.forget_source();
                }
                for press in self.presses.drain(..) {
                    browser.press(now, press, out)?;
                }
                while let Some(heard) = self.receiver().next_through() {
                    match heard {
                        // Silence of a phone side that leaves the ringback to us.
                        Heard::Audio(_) if rings => {}
                        Heard::Audio(packet) => browser.pass(now, &packet, out)?,
                        Heard::Event(stamp) => browser.skip(stamp),
                    }
                }
                // Bounded by the length of one packet.
                while let Some(frame) = self.receiver().next_direct() {
                    if !rings {
                        browser.send_frame(now, &frame, out)?;
                    }
                }
                if let Some(frame) = ringback {
                    browser.send_frame(now, &frame, out)?;
                }
            }
        }
        Ok(())
    }
}
