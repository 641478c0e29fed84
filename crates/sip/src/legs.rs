//! The register of live legs: by id for commands, by dialog for requests. [`place`] is what a leg's task has of it,
//! [`replaceable`] which of them another telephone may take over.

mod place;
mod replaceable;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rsipstack::sip::{Request, Response};
use rsipstack::transaction::Transaction;
use tokio::sync::mpsc;
use tracing::Span;

use crate::event::{Command, Event, LegId};
use crate::snapshot::DialogSnapshot;
use crate::target::{Hop, Target};
use crate::trunk::Trunk;

pub(crate) use place::Place;
pub(crate) use replaceable::Replaceable;
use replaceable::{Ended, Stage};

/// How many inputs may wait for one leg.
const INBOX: usize = 32;

/// What a leg's task reads.
pub(crate) enum Input {
    /// From our own side.
    Command(Command),
    /// A response to the INVITE with this CSeq number.
    Response(u32, Response),
    /// The transaction of our request with this CSeq number is over.
    RequestOver(u32),
    /// ACK of the peer's INVITE with this CSeq number, and the answer in it
    /// to an offer in our 200.
    Ack(u32, Option<String>),
    /// CANCEL of the peer's INVITE with this CSeq number.
    Cancel(u32, Request),
    /// The transaction of the peer's INVITE with this CSeq number is over;
    /// after a 200 that means that no ACK came.
    Unacknowledged(u32),
    /// A request of the peer inside the dialog.
    Request(Box<Transaction>),
    /// The trunk does not answer any more.
    PeerSilent,
    /// The peer does not know the dialog with this tag of its own, which was
    /// not confirmed yet when it was asked.
    Forgotten { remote_tag: String },
}

/// Sender to a leg's task. Boxes: a queue holds room for 32, were it empty.
pub(crate) type Inbox = mpsc::Sender<Box<Input>>;

/// Call-ID and our tag: what a request in a dialog is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DialogKey {
    pub(crate) call_id: String,
    pub(crate) local_tag: String,
}

/// Call-ID, From tag and CSeq number of an initial INVITE: what tells a
/// merged request (§8.2.2.2) from a new call.
pub(crate) type InviteKey = (String, String, u32);

struct Registered {
    inbox: Inbox,
    stage: Arc<Mutex<Stage>>,
    trunk: Arc<Trunk>,
    dialog: Arc<Mutex<DialogSnapshot>>,
    /// What its lines in the log stand in.
    span: Span,
}

/// How a call is treated (RFC 3261 §20.26 has the words).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// Within the limits.
    Normal,
    /// Over all limits on calls.
    Emergency,
}

/// Why a leg could not be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoEntry {
    /// All places are taken.
    Full,
    /// The id is in use.
    Taken,
}

impl Priority {
    /// Whether one more fits in where there are so many.
    pub(crate) fn fits(self, count: usize, max: usize) -> bool {
        self == Self::Emergency || count < max
    }
}

/// All live legs.
pub(crate) struct Legs {
    by_id: DashMap<LegId, Registered>,
    by_dialog: DashMap<DialogKey, LegId>,
    invites: DashMap<InviteKey, ()>,
    ended: Ended,
    count: AtomicUsize,
    max: AtomicUsize,
}

impl Legs {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            by_id: DashMap::new(),
            by_dialog: DashMap::new(),
            invites: DashMap::new(),
            ended: Ended::default(),
            count: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    /// There may be so many from now on.
    pub(crate) fn limit(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Registers a leg, and gives it its inbox.
    pub(crate) fn enter(
        self: &Arc<Self>,
        id: LegId,
        priority: Priority,
        trunk: &Arc<Trunk>,
        dialog: DialogSnapshot,
        invite: Option<InviteKey>,
        events: &mpsc::Sender<Event>,
    ) -> Result<(Place, mpsc::Receiver<Box<Input>>), NoEntry> {
        if !trunk.load.enter(priority) {
            return Err(NoEntry::Full);
        }
        let max = self.max.load(Ordering::Relaxed);
        let fits = |count: usize| priority.fits(count, max).then_some(count + 1);
        if self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_err()
        {
            trunk.load.leave();
            return Err(NoEntry::Full);
        }
        let (inbox, receiver) = mpsc::channel(INBOX);
        let key = DialogKey {
            call_id: dialog.call_id.clone(),
            local_tag: dialog.local_tag.clone(),
        };
        let dialog = Arc::new(Mutex::new(dialog));
        let Entry::Vacant(vacant) = self.by_id.entry(id) else {
            self.count.fetch_sub(1, Ordering::Relaxed);
            trunk.load.leave();
            return Err(NoEntry::Taken);
        };
        let stage = Arc::new(Mutex::new(Stage::Begun));
        let span = match invite {
            // Whose call it is is known later: `name`.
            Some(_) => tracing::error_span!(parent: None, "call", call = tracing::field::Empty),
            None => Span::current(),
        };
        vacant.insert(Registered {
            inbox: inbox.clone(),
            stage: stage.clone(),
            trunk: trunk.clone(),
            dialog: dialog.clone(),
            span,
        });
        self.by_dialog.insert(key.clone(), id);
        if let Some(invite) = &invite {
            self.invites.insert(invite.clone(), ());
        }
        let place = Place {
            id,
            legs: self.clone(),
            trunk: trunk.clone(),
            key,
            invite,
            inbox,
            dialog,
            events: events.clone(),
            over: AtomicBool::new(false),
            stage,
        };
        Ok((place, receiver))
    }

    pub(crate) fn inbox(&self, id: LegId) -> Option<Inbox> {
        self.by_id.get(&id).map(|leg| leg.inbox.clone())
    }

    /// What a leg's lines in the log stand in.
    pub(crate) fn span(&self, id: LegId) -> Span {
        self.by_id
            .get(&id)
            .map_or_else(Span::none, |leg| leg.span.clone())
    }

    pub(crate) fn dialog(&self, id: LegId) -> Option<DialogSnapshot> {
        let leg = self.by_id.get(&id)?;
        Some(lock(&leg.dialog).clone())
    }

    /// The leg of a dialog, provided its trunk allows the address that asks:
    /// another peer that learnt the tags has no say in it.
    pub(crate) fn of_dialog(&self, key: &DialogKey, source: Hop) -> Option<Inbox> {
        let id = *self.by_dialog.get(key)?;
        let leg = self.by_id.get(&id)?;
        leg.trunk.is_from(source).then(|| leg.inbox.clone())
    }

    pub(crate) fn has_arrived(&self, invite: &InviteKey) -> bool {
        self.invites.contains_key(invite)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max.load(Ordering::Relaxed)
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(crate) fn inboxes(&self) -> Vec<Inbox> {
        self.by_id.iter().map(|leg| leg.inbox.clone()).collect()
    }

    /// The inboxes of all legs of a trunk with a dialog at a target.
    pub(crate) fn at(&self, trunk: &Arc<Trunk>, target: &Arc<Target>) -> Vec<Inbox> {
        let legs = self.by_id.iter();
        let there = legs.filter(|leg| {
            let peer = lock(&leg.dialog).peer;
            let at = trunk.targets.of(peer);
            Arc::ptr_eq(&leg.trunk, trunk) && at.is_none_or(|at| Arc::ptr_eq(&at, target))
        });
        there.map(|leg| leg.inbox.clone()).collect()
    }

    /// Lets all legs of a trunk with a dialog at a target know that it does
    /// not answer. Those at no target know it when none does. One that is
    /// behind with its inbox hears it the next time.
    pub(crate) fn tell_silence(&self, trunk: &Arc<Trunk>, target: &Arc<Target>) {
        for leg in self.by_id.iter() {
            if !Arc::ptr_eq(&leg.trunk, trunk) {
                continue;
            }
            let peer = lock(&leg.dialog).peer;
            let concerned = match trunk.targets.of(peer) {
                Some(there) => Arc::ptr_eq(&there, target),
                None => !trunk.is_up(),
            };
            if concerned {
                let _ = leg.inbox.try_send(Box::new(Input::PeerSilent));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
