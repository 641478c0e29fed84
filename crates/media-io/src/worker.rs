//! One worker thread: waits for datagrams, commands and deadlines, and drives its legs.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use mxtrunk_media::{Event, Happened, LegId, Legs, PhoneProfile, Socket};
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use crate::command::Command;
use crate::directory::Directory;
use crate::handle::Door;
use crate::moving::{Arrival, Waiting};
use crate::sockets::{Sockets, Source, WAKER};
use crate::weigh::Scales;

/// Larger datagrams than any that we negotiate are cut off, and then fail their checks.
const DATAGRAM: usize = 2048;
/// Datagrams of one socket before the others have their turn.
const BATCH: usize = 64;
/// Datagrams taken before what they brought about is sent. Sent one by one, each wakes whoever waits for it; sent in
/// a row, the first one does.
const TAKEN_BEFORE_SENDING: usize = 16;
/// Commands before datagrams have their turn.
const COMMANDS: usize = 64;
/// When the owner is slow to take events, they are offered again after this.
const RETRY: Duration = Duration::from_millis(5);

/// What is to be done, and the leg that it is for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) leg: LegId,
    pub(crate) task: Task,
}

#[derive(Debug)]
pub(crate) enum Task {
    /// A command of the owner.
    Obey(Command),
    /// The leg goes to another worker.
    HandOver { to: usize },
}

pub(crate) struct Worker {
    pub(crate) index: usize,
    pub(crate) poll: Poll,
    pub(crate) legs: Legs,
    pub(crate) sockets: Sockets,
    pub(crate) phone_advertise: IpAddr,
    pub(crate) orders: Receiver<Order>,
    pub(crate) arrivals: Receiver<Arrival>,
    /// Orders for legs that are on their way here.
    pub(crate) waiting: Waiting,
    /// The ways to all workers.
    pub(crate) doors: Arc<[Door]>,
    pub(crate) scales: Scales,
    pub(crate) events: Sender<Event>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) stop: Arc<AtomicBool>,
    /// Sockets that may hold more datagrams.
    pub(crate) readable: Vec<Source>,
    /// Events that the owner had no room for.
    pub(crate) backlog: VecDeque<Event>,
    /// Orders may wait though nobody will wake us for them again.
    pub(crate) more_orders: bool,
}

impl Worker {
    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut ready = Events::with_capacity(256);
        let mut buffer = vec![0; DATAGRAM];
        while !self.stop.load(Ordering::Acquire) {
            if let Err(error) = self.wait(&mut ready) {
                tracing::error!(worker = self.index, %error, "a media worker cannot wait for its sockets");
                break;
            }
            self.scales.meter.works(Instant::now());
            self.note_ready(&ready);
            self.read_sockets(&mut buffer);
            self.obey();
            let now = Instant::now();
            self.note_late(now);
            self.legs.handle_timeout(now);
            self.flush();
            let now = Instant::now();
            while let Some(listener) = self.sockets.poll_unheard(now) {
                self.will_read(listener);
            }
            self.sockets.sweep(now, &mut self.legs);
            self.weigh(now);
            self.scales.meter.waits(now);
        }
        self.close_all();
    }

    fn wait(&mut self, ready: &mut Events) -> io::Result<()> {
        match self.poll.poll(ready, self.patience()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                ready.clear();
                Ok(())
            }
            other => other,
        }
    }

    /// How long nothing needs to be done.
    fn patience(&self) -> Option<Duration> {
        if !self.readable.is_empty() || self.more_orders {
            return Some(Duration::ZERO);
        }
        let due = self.legs.poll_timeout().map(|(at, _why)| at);
        let deadline = due
            .into_iter()
            .chain(self.scales.due())
            .chain(self.sockets.poll_timeout())
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()));
        match deadline {
            _ if self.backlog.is_empty() => deadline,
            Some(deadline) => Some(deadline.min(RETRY)),
            None => Some(RETRY),
        }
    }

    fn note_ready(&mut self, ready: &Events) {
        for event in ready {
            if event.token() == WAKER {
                self.more_orders = true;
            } else if let Some(source) = self.sockets.by_event(event) {
                self.will_read(source);
            }
        }
    }

    /// Each source stands on the list once.
    fn will_read(&mut self, source: Source) {
        if !self.readable.contains(&source) {
            self.readable.push(source);
        }
    }

    /// Takes a batch from each socket that has datagrams. The event queue reports a socket once, so one that is
    /// not exhausted stays on the list.
    fn read_sockets(&mut self, buffer: &mut [u8]) {
        let mut readable = std::mem::take(&mut self.readable);
        let mut taken = 0;
        readable.retain(|source| {
            if let Source::Listener(listener) = source {
                return self.sockets.accept(Instant::now(), *listener);
            }
            for _ in 0..BATCH {
                let now = Instant::now();
                let Some((len, socket, remote)) = self.sockets.receive(now, *source, buffer) else {
                    return false;
                };
                self.legs.handle(now, socket, remote, &buffer[..len]);
                taken += 1;
                if taken % TAKEN_BEFORE_SENDING == 0 {
                    self.flush();
                }
                self.sockets.judge(*source, &self.legs);
            }
            true
        });
        self.flush();
        self.readable = readable;
    }

    /// New datagrams may have come to the sockets of a phone leg.
    pub(crate) fn note_readable(&mut self, leg: LegId) {
        for socket in [Socket::Rtp(leg), Socket::Rtcp(leg)] {
            self.will_read(Source::Datagrams(socket));
        }
    }

    fn obey(&mut self) {
        if !self.more_orders {
            return;
        }
        self.receive_legs();
        for _ in 0..COMMANDS {
            match self.orders.try_recv() {
                Ok(order) => self.take(order),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                    self.more_orders = false;
                    return;
                }
            }
        }
    }

    pub(crate) fn execute(&mut self, order: Order) {
        let now = Instant::now();
        let leg = order.leg;
        let command = match order.task {
            Task::Obey(command) => command,
            Task::HandOver { to } => return self.hand_over(leg, to),
        };
        match command {
            Command::OpenBrowser {
                beside,
                offer,
                priority,
            } => {
                self.open_browser(now, leg, beside, priority, offer.as_deref());
            }
            Command::OpenPhone {
                beside,
                offer,
                profile,
            } => self.open_phone(now, leg, beside, &profile, offer.as_deref()),
            Command::ApplyAnswer { sdp } => self.legs.apply_answer(now, leg, &sdp),
            Command::ApplyEarlyAnswer { sdp } => self.legs.apply_early_answer(now, leg, &sdp),
            Command::Ringback => self.legs.ring_back(leg),
            Command::HearOut => self.legs.hear_out(now, leg),
            Command::Describe => self.legs.describe(leg),
            Command::ApplyOffer { sdp } => self.legs.apply_offer(now, leg, &sdp),
            Command::Reoffer => self.legs.reoffer(now, leg),
            Command::AddCandidate { candidate } => {
                self.legs.add_candidate(now, leg, &candidate);
            }
            Command::Bridge { with } => self.legs.bridge(now, leg, with),
            // The handle made a hand-over of it.
            Command::Move { .. } => {}
            Command::HearKey { key } => self.legs.hear_key(now, leg, key),
            Command::Probe => self.legs.probe(now, leg),
            Command::Report => self.legs.ask_report(leg),
            Command::Close => self.legs.close(leg),
        }
    }

    fn open_phone(
        &mut self,
        now: Instant,
        leg: LegId,
        beside: Option<LegId>,
        profile: &PhoneProfile,
        offer: Option<&str>,
    ) {
        let port = match self.sockets.open_phone(leg) {
            Ok(port) => port,
            Err(why) => {
                let what = Happened::Failed { why, stats: None };
                return self.announce(Event { leg, what });
            }
        };
        let rtp = SocketAddr::new(self.phone_advertise, port);
        self.legs
            .open_phone_beside(now, leg, beside, rtp, profile, offer);
    }

    /// Sends what the legs want sent and tells what happened to them.
    pub(crate) fn flush(&mut self) {
        while let Some(transmit) = self.legs.poll_transmit() {
            self.sockets.send(&transmit);
        }
        while let Some(event) = self.legs.poll_event() {
            self.announce(event);
        }
        while let Some(event) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return;
                }
            }
        }
    }

    /// Keeps the order of events; frees what a leg held before anybody learns that it is gone.
    fn announce(&mut self, event: Event) {
        if matches!(
            event.what,
            Happened::Failed { .. } | Happened::Closed { .. }
        ) {
            tracing::debug!(leg = %event.leg, worker = self.index, "a media leg is gone");
            self.sockets.close_phone(event.leg);
            self.directory.leave(event.leg);
        }
        self.backlog.push_back(event);
    }

    fn close_all(&mut self) {
        self.receive_legs();
        let legs: Vec<LegId> = self.legs.ids().collect();
        for leg in legs {
            self.legs.close(leg);
            self.flush();
        }
    }
}
