//! The register of live legs: by id for commands, by dialog for requests.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rsipstack::sip::{Request, Response};
use rsipstack::transaction::Transaction;
use tokio::sync::mpsc;

use crate::event::{Command, EndCause, Event, Happened, LegId};
use crate::snapshot::DialogSnapshot;
use crate::target::{Hop, Target};
use crate::trunk::Trunk;

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
}

/// Sender to a leg's task.
pub(crate) type Inbox = mpsc::Sender<Input>;

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
    trunk: Arc<Trunk>,
    dialog: Arc<Mutex<DialogSnapshot>>,
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
    count: AtomicUsize,
    max: usize,
}

impl Legs {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            by_id: DashMap::new(),
            by_dialog: DashMap::new(),
            invites: DashMap::new(),
            count: AtomicUsize::new(0),
            max,
        }
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
    ) -> Result<(Place, mpsc::Receiver<Input>), NoEntry> {
        if !trunk.enter(priority) {
            return Err(NoEntry::Full);
        }
        let fits = |count: usize| priority.fits(count, self.max).then_some(count + 1);
        if self
            .count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_err()
        {
            trunk.leave();
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
            trunk.leave();
            return Err(NoEntry::Taken);
        };
        vacant.insert(Registered {
            inbox: inbox.clone(),
            trunk: trunk.clone(),
            dialog: dialog.clone(),
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
        };
        Ok((place, receiver))
    }

    pub(crate) fn inbox(&self, id: LegId) -> Option<Inbox> {
        self.by_id.get(&id).map(|leg| leg.inbox.clone())
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
        self.len() >= self.max
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
                let _ = leg.inbox.try_send(Input::PeerSilent);
            }
        }
    }
}

/// A leg's place in the register, given back when its task ends, however it
/// ends.
pub(crate) struct Place {
    pub(crate) id: LegId,
    legs: Arc<Legs>,
    trunk: Arc<Trunk>,
    key: DialogKey,
    invite: Option<InviteKey>,
    inbox: Inbox,
    dialog: Arc<Mutex<DialogSnapshot>>,
    events: mpsc::Sender<Event>,
    over: AtomicBool,
}

impl Place {
    /// The leg goes on in another dialog, that with the next target.
    pub(crate) fn move_to(&mut self, dialog: &DialogSnapshot) {
        let key = DialogKey {
            call_id: dialog.call_id.clone(),
            local_tag: dialog.local_tag.clone(),
        };
        self.legs.by_dialog.insert(key.clone(), self.id);
        let left = std::mem::replace(&mut self.key, key);
        self.legs.by_dialog.remove(&left);
        self.publish(dialog);
    }

    /// Publishes the dialog's state for [`crate::UserAgent::dialog`].
    pub(crate) fn publish(&self, dialog: &DialogSnapshot) {
        *lock(&self.dialog) = dialog.clone();
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Our side knows, or need not know, that the leg is over.
    pub(crate) fn settle(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.legs.by_id.remove(&self.id);
        self.legs.by_dialog.remove(&self.key);
        if let Some(invite) = &self.invite {
            self.legs.invites.remove(invite);
        }
        self.legs.count.fetch_sub(1, Ordering::Relaxed);
        self.trunk.leave();
        if !self.is_settled() {
            // The task panicked or was stopped: the call must not wait for a
            // leg that is gone. Full means that nobody reads any more.
            let _ = self.events.try_send(Event {
                leg: self.id,
                what: Happened::Ended {
                    reason: None,
                    cause: EndCause::Fault,
                },
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::config::{Transport, TrunkConfig};
    use crate::snapshot::tests::sample;

    const PBX: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn trunk() -> Arc<Trunk> {
        let config = TrunkConfig::new("pbx", (PBX, 5060).into());
        Arc::new(Trunk::new(config))
    }

    fn from(ip: IpAddr) -> Hop {
        Hop {
            transport: Transport::Udp,
            address: (ip, 5060).into(),
        }
    }

    fn key() -> DialogKey {
        DialogKey {
            call_id: sample().call_id,
            local_tag: sample().local_tag,
        }
    }

    #[test]
    fn a_leg_is_found_until_its_place_is_given_back() {
        let (events, _reader) = mpsc::channel(4);
        let (legs, trunk) = (Arc::new(Legs::new(1)), trunk());
        let entered = legs.enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events);
        let (place, _inbox) = entered.expect("the first place");
        assert!(legs.of_dialog(&key(), from(PBX)).is_some());
        assert_eq!(legs.dialog(LegId(1)), Some(sample()));
        let second = legs.enter(LegId(2), Priority::Normal, &trunk, sample(), None, &events);
        assert!(matches!(second, Err(NoEntry::Full)));
        drop(place);
        assert!(legs.of_dialog(&key(), from(PBX)).is_none());
        assert_eq!(legs.len(), 0);
    }

    #[test]
    fn an_emergency_call_finds_a_place_where_all_are_taken() {
        let (events, _reader) = mpsc::channel(4);
        let mut config = TrunkConfig::new("pbx", (PBX, 5060).into());
        config.max_calls = 1;
        let trunk = Arc::new(Trunk::new(config));
        let legs = Arc::new(Legs::new(1));
        let enter = |id, priority| legs.enter(LegId(id), priority, &trunk, sample(), None, &events);
        let first = enter(1, Priority::Normal).expect("the first place");
        assert!(matches!(enter(2, Priority::Normal), Err(NoEntry::Full)));
        let emergency = enter(3, Priority::Emergency).expect("a place for help");
        assert_eq!(legs.len(), 2);
        drop((first, emergency));
        // Both places count as given back.
        assert!(enter(4, Priority::Normal).is_ok());
    }

    #[test]
    fn an_address_of_another_trunk_does_not_reach_the_dialog() {
        let (events, _reader) = mpsc::channel(4);
        let (legs, trunk) = (Arc::new(Legs::new(9)), trunk());
        let _leg = legs.enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events);
        let elsewhere = IpAddr::from([192, 0, 2, 2]);
        assert!(legs.of_dialog(&key(), from(elsewhere)).is_none());
    }

    #[test]
    fn a_dialog_over_tls_is_not_reached_without() {
        let (events, _reader) = mpsc::channel(4);
        let mut config = TrunkConfig::new("pbx", (PBX, 5061).into());
        config.transport = Transport::Tls;
        let (legs, trunk) = (Arc::new(Legs::new(9)), Arc::new(Trunk::new(config)));
        let _leg = legs.enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events);
        assert!(legs.of_dialog(&key(), from(PBX)).is_none());
        let over_tls = Hop {
            transport: Transport::Tls,
            ..from(PBX)
        };
        assert!(legs.of_dialog(&key(), over_tls).is_some());
    }

    #[test]
    fn a_leg_that_dies_in_silence_is_reported() {
        let (events, mut reader) = mpsc::channel(4);
        let (legs, trunk) = (Arc::new(Legs::new(9)), trunk());
        let (place, _inbox) = legs
            .enter(LegId(1), Priority::Normal, &trunk, sample(), None, &events)
            .expect("a place");
        drop(place);
        let event = reader.try_recv().expect("an event");
        assert_eq!(event.leg, LegId(1));
        assert!(matches!(
            event.what,
            Happened::Ended {
                cause: EndCause::Fault,
                ..
            }
        ));
    }
}
