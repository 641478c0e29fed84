//! The calls there are, and how each is found: by leg, by Matrix call, by who talks to whom.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use mxtrunk_call::{LegId, Reason};
use ruma::OwnedUserId;

use crate::inbox::{CallInbox, Told};

/// How many ended calls are remembered, so that an invite which comes after its hang-up does not ring.
const ENDED_CALLS: usize = 512;

/// A Matrix call: room and `call_id`.
pub(crate) type MatrixCall = (String, String);

/// A person and a number: one call at a time, since Element takes one call for each room.
pub(crate) type Pair = (String, String);

/// The calls there are.
#[derive(Default)]
pub(crate) struct Calls {
    by_leg: DashMap<LegId, CallInbox>,
    by_matrix: DashMap<MatrixCall, CallInbox>,
    busy: DashMap<Pair, ()>,
    ended: Mutex<VecDeque<MatrixCall>>,
    /// Calls that a person wants to become another one, by the person and that one's id; oldest first.
    awaiting: Mutex<VecDeque<(Awaited, CallInbox)>>,
}

/// A person, and the id that a call of theirs is to have (`await_call`).
pub(crate) type Awaited = (OwnedUserId, String);

/// One more leg of a call in the tables, until it is dropped.
pub(crate) struct LegEntry {
    calls: Arc<Calls>,
    leg: LegId,
    inbox: CallInbox,
}

impl std::fmt::Debug for LegEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LegEntry({})", self.leg)
    }
}

/// A call's entries in the tables; dropping it takes them out, whatever ended the call.
pub(crate) struct Registration {
    calls: Arc<Calls>,
    legs: Vec<LegId>,
    inbox: CallInbox,
    matrix: Option<MatrixCall>,
    pair: Pair,
}

impl Calls {
    /// Enters a call. `None`: these two are already in a call with each other.
    pub(crate) fn register(
        self: &Arc<Self>,
        pair: Pair,
        legs: [LegId; 2],
        inbox: &CallInbox,
    ) -> Option<Registration> {
        if self.busy.insert(pair.clone(), ()).is_some() {
            return None;
        }
        for leg in legs {
            self.by_leg.insert(leg, inbox.clone());
        }
        Some(Registration {
            calls: self.clone(),
            legs: legs.to_vec(),
            inbox: inbox.clone(),
            matrix: None,
            pair,
        })
    }

    /// Enters one more leg of a call that is in the tables.
    pub(crate) fn add(self: &Arc<Self>, leg: LegId, inbox: &CallInbox) -> LegEntry {
        self.by_leg.insert(leg, inbox.clone());
        LegEntry {
            calls: self.clone(),
            leg,
            inbox: inbox.clone(),
        }
    }

    /// A leg may have gone over to another call.
    fn remove_leg(&self, leg: LegId, of: &CallInbox) {
        self.by_leg.remove_if(&leg, |_, inbox| inbox.is(of));
    }

    /// A person wants this call to become another one.
    pub(crate) fn remember_awaiting(&self, awaited: Awaited, inbox: &CallInbox) {
        let mut awaiting = self.awaiting.lock().unwrap_or_else(PoisonError::into_inner);
        if awaiting.len() == ENDED_CALLS {
            awaiting.pop_front();
        }
        awaiting.push_back((awaited, inbox.clone()));
    }

    /// The call that the person wants to become this one.
    pub(crate) fn take_awaiting(&self, awaited: &Awaited) -> Option<CallInbox> {
        let mut awaiting = self.awaiting.lock().unwrap_or_else(PoisonError::into_inner);
        let at = awaiting.iter().position(|(known, _)| known == awaited)?;
        awaiting.remove(at).map(|(_, inbox)| inbox)
    }

    /// The call of a room's call events.
    pub(crate) fn of_matrix(&self, key: &MatrixCall) -> Option<CallInbox> {
        self.by_matrix.get(key).map(|call| call.clone())
    }

    /// The call that a leg belongs to.
    pub(crate) fn of_leg(&self, leg: LegId) -> Option<CallInbox> {
        self.by_leg.get(&leg).map(|call| call.clone())
    }

    /// Whether there is no call at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.busy.is_empty()
    }

    /// How many there are, those that ring included.
    pub(crate) fn len(&self) -> usize {
        self.busy.len()
    }

    /// Asks every call to end.
    pub(crate) fn finish_all(&self, reason: Reason) {
        // Two legs lead to each call: the second time it is told, it has ended.
        for call in &self.by_leg {
            call.tell(Told::Finish(reason));
        }
    }

    /// Remembers that a Matrix call is over, should its invite still come.
    pub(crate) fn remember_ended(&self, key: MatrixCall) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() == ENDED_CALLS {
            ended.pop_front();
        }
        ended.push_back(key);
    }

    /// Whether a Matrix call is known to be over.
    pub(crate) fn has_ended(&self, key: &MatrixCall) -> bool {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }
}

impl Registration {
    /// Routes the events of a Matrix call to this call as long as it lives.
    pub(crate) fn with_matrix(mut self, key: MatrixCall, inbox: &CallInbox) -> Self {
        self.calls.by_matrix.insert(key.clone(), inbox.clone());
        self.matrix = Some(key);
        self
    }
}

impl LegEntry {
    /// Which leg.
    pub(crate) fn leg(&self) -> LegId {
        self.leg
    }
}

impl Drop for LegEntry {
    fn drop(&mut self) {
        self.calls.remove_leg(self.leg, &self.inbox);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for leg in &self.legs {
            self.calls.remove_leg(*leg, &self.inbox);
        }
        if let Some(key) = self.matrix.take() {
            self.calls.by_matrix.remove(&key);
            self.calls.remember_ended(key);
        }
        self.calls.busy.remove(&self.pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEGS: [LegId; 2] = [LegId(1), LegId(2)];

    fn pair() -> Pair {
        ("@alice:localtest".into(), "600".into())
    }

    fn key() -> MatrixCall {
        ("!room".into(), "call".into())
    }

    #[test]
    fn a_call_is_found_by_its_legs_and_its_room_until_it_is_over() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let registration = calls
            .register(pair(), LEGS, &inbox)
            .unwrap()
            .with_matrix(key(), &inbox);
        assert!(LEGS.iter().all(|leg| calls.of_leg(*leg).is_some()));
        assert!(calls.of_matrix(&key()).is_some());
        assert_eq!(calls.len(), 1);
        drop(registration);
        assert!(LEGS.iter().all(|leg| calls.of_leg(*leg).is_none()));
        assert!(calls.of_matrix(&key()).is_none());
        assert!(calls.is_empty());
    }

    #[test]
    fn a_leg_that_comes_later_leads_to_the_same_call_until_it_goes() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let _registration = calls.register(pair(), LEGS, &inbox);
        let later = calls.add(LegId(3), &inbox);
        assert!(calls.of_leg(LegId(3)).is_some());
        assert_eq!(calls.len(), 1);
        drop(later);
        assert!(calls.of_leg(LegId(3)).is_none());
        assert!(calls.of_leg(LEGS[1]).is_some());
    }

    #[test]
    fn a_leg_that_has_gone_over_to_another_call_stays_there_when_the_first_is_over() {
        let calls = Arc::new(Calls::default());
        let (first, _far_end) = CallInbox::new();
        let (second, _other_far_end) = CallInbox::new();
        let registration = calls.register(pair(), LEGS, &first);
        let entry = calls.add(LEGS[0], &second);
        drop(registration);
        let found = calls.of_leg(LEGS[0]);
        assert!(found.is_some_and(|inbox| inbox.is(&second)));
        assert!(calls.of_leg(LEGS[1]).is_none());
        drop(entry);
        assert!(calls.of_leg(LEGS[0]).is_none());
    }

    #[test]
    fn a_call_that_awaits_another_is_found_once_and_by_its_own_person_only() {
        let calls = Calls::default();
        let (inbox, _far_end) = CallInbox::new();
        let user = |name| OwnedUserId::try_from(name).expect("a test user");
        let alice = (user("@alice:x"), "next".to_owned());
        calls.remember_awaiting(alice.clone(), &inbox);
        let eve = (user("@eve:x"), "next".to_owned());
        assert!(calls.take_awaiting(&eve).is_none());
        assert!(calls.take_awaiting(&alice).is_some());
        assert!(calls.take_awaiting(&alice).is_none());
    }

    #[test]
    fn two_people_have_one_call_with_each_other_at_a_time() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let first = calls.register(pair(), LEGS, &inbox);
        assert!(
            calls
                .register(pair(), [LegId(3), LegId(4)], &inbox)
                .is_none()
        );
        drop(first);
        assert!(
            calls
                .register(pair(), [LegId(3), LegId(4)], &inbox)
                .is_some()
        );
    }

    #[test]
    fn a_call_that_is_over_is_remembered_for_a_late_invite_and_in_the_end_forgotten() {
        let calls = Calls::default();
        calls.remember_ended(key());
        assert!(calls.has_ended(&key()));
        for n in 0..ENDED_CALLS {
            calls.remember_ended(("!room".into(), n.to_string()));
        }
        assert!(!calls.has_ended(&key()));
    }

    #[test]
    fn every_call_is_asked_to_end() {
        let calls = Arc::new(Calls::default());
        let (inbox, mut far_end) = CallInbox::new();
        let _registration = calls.register(pair(), LEGS, &inbox);
        calls.finish_all(Reason::ShuttingDown);
        assert!(matches!(
            far_end.queue.try_recv(),
            Ok(Told::Finish(Reason::ShuttingDown))
        ));
    }
}
