//! The calls there are, and how each is found: by leg, by Matrix call, by who talks to whom.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use mxtrunk_call::{LegId, Reason};

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
}

/// One more leg of a call in the tables, until it is dropped.
pub(crate) struct LegEntry {
    calls: Arc<Calls>,
    leg: LegId,
}

/// A call's entries in the tables; dropping it takes them out, whatever ended the call.
pub(crate) struct Registration {
    calls: Arc<Calls>,
    legs: Vec<LegId>,
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
            matrix: None,
            pair,
        })
    }

    /// Enters one more leg of a call that is in the tables.
    pub(crate) fn add(self: &Arc<Self>, leg: LegId, inbox: &CallInbox) -> LegEntry {
        self.by_leg.insert(leg, inbox.clone());
        let calls = self.clone();
        LegEntry { calls, leg }
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
        self.calls.by_leg.remove(&self.leg);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for leg in &self.legs {
            self.calls.by_leg.remove(leg);
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
