//! The calls there are, and how each is found: by leg, by Matrix call, by who talks to whom.

mod talks;

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use mxtrunk_call::{LegId, Reason};
use mxtrunk_matrix::CallRoom;
use mxtrunk_store::Direction;
use ruma::OwnedUserId;
use tokio::sync::watch;

use crate::inbox::{CallInbox, Told};
use crate::limits::Charge;

pub(crate) use talks::Pair;
use talks::Talks;

/// How many ended calls are remembered, so that an invite which comes after its hang-up does not ring.
const ENDED_CALLS: usize = 512;

/// A Matrix call: room and `call_id`.
pub(crate) type MatrixCall = (String, String);

/// The calls there are.
#[derive(Default)]
pub(crate) struct Calls {
    by_leg: DashMap<LegId, CallInbox>,
    by_matrix: DashMap<MatrixCall, CallInbox>,
    talks: Talks,
    ended: Mutex<VecDeque<MatrixCall>>,
    /// Calls that a person wants to become another one, by the person and that one's id; oldest first.
    awaiting: Mutex<VecDeque<(Awaited, CallInbox)>>,
    /// Marked when somebody's calls may have become more or less.
    changes: watch::Sender<()>,
}

/// A person, and the id that a call of theirs is to have (`await_call`).
pub(crate) type Awaited = (OwnedUserId, String);

/// One more leg of a call in the tables, until it is dropped.
pub(crate) struct LegEntry {
    calls: Arc<Calls>,
    leg: LegId,
    inbox: CallInbox,
    /// What a line pays for it.
    pub(crate) charge: Option<Charge>,
}

impl std::fmt::Debug for LegEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LegEntry({})", self.leg)
    }
}

/// A call's entries in the tables; dropping it takes them out, whatever ended the call.
pub(crate) struct Registration {
    calls: Arc<Calls>,
    legs: [LegId; 2],
    inbox: CallInbox,
    matrix: Option<MatrixCall>,
}

impl Calls {
    /// Enters a call. `None`: these two are about to have one with each other ([`Talks::are_calling`]).
    pub(crate) fn register(
        self: &Arc<Self>,
        direction: Direction,
        pair: Pair,
        legs: [LegId; 2],
        inbox: &CallInbox,
    ) -> Option<Registration> {
        let free = !self.talks.are_calling(direction, &pair);
        free.then(|| self.register_for_help(direction, pair, legs, inbox))
    }

    /// Enters a call, whatever calls there are.
    pub(crate) fn register_for_help(
        self: &Arc<Self>,
        direction: Direction,
        pair: Pair,
        legs: [LegId; 2],
        inbox: &CallInbox,
    ) -> Registration {
        self.talks.enter(direction, pair, legs);
        self.changes.send_replace(());
        for leg in legs {
            self.by_leg.insert(leg, inbox.clone());
        }
        Registration {
            calls: self.clone(),
            legs,
            inbox: inbox.clone(),
            matrix: None,
        }
    }

    /// Enters one more leg of a call that is in the tables.
    pub(crate) fn add(self: &Arc<Self>, leg: LegId, inbox: &CallInbox) -> LegEntry {
        self.by_leg.insert(leg, inbox.clone());
        LegEntry {
            calls: self.clone(),
            leg,
            inbox: inbox.clone(),
            charge: None,
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

    /// How many calls a person has, those that ring included and those that are forwarded not.
    pub(crate) fn of_person(&self, user: &str) -> usize {
        self.talks.of_person(user)
    }

    /// Who has a call, one that rings included.
    pub(crate) fn people(&self) -> HashSet<String> {
        self.talks.people()
    }

    /// Marked when [`Calls::people`] may be others.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The calls in a room.
    pub(crate) fn of_room(&self, room: &str) -> Vec<CallInbox> {
        let there = self.by_matrix.iter().filter(|call| call.key().0 == room);
        there.map(|call| call.value().clone()).collect()
    }

    /// Tells the calls in a room that somebody has said something there which cannot be read.
    pub(crate) fn tell_unreadable(&self, room: &str, sender: &OwnedUserId) {
        for call in self.of_room(room) {
            call.tell(Told::Unreadable(sender.clone()));
        }
    }

    /// How many there are, those that ring included.
    pub(crate) fn len(&self) -> usize {
        self.talks.len()
    }

    /// The call that began with this leg has been answered.
    pub(crate) fn mark_answered(&self, leg: LegId) {
        self.talks.answered(leg);
    }

    /// The call that began with this leg goes on without the person, whose room is free again.
    pub(crate) fn mark_elsewhere(&self, leg: LegId) {
        self.talks.elsewhere(leg);
        self.changes.send_replace(());
    }

    /// How many calls of these two go on without the person.
    pub(crate) fn count_elsewhere(&self, pair: &Pair) -> usize {
        self.talks.count_elsewhere(pair)
    }

    /// How many calls of a person there are under names that begin so.
    pub(crate) fn count(&self, user: &str, name: &str) -> usize {
        self.talks.count(user, name)
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

    /// Keeps other calls out of this call's room.
    pub(crate) fn in_room(self, room: CallRoom) -> Self {
        self.calls.talks.is_in(self.legs[0], room);
        self
    }
}

impl LegEntry {
    /// Which leg.
    pub(crate) fn leg(&self) -> LegId {
        self.leg
    }

    /// The same, and a line pays for it.
    pub(crate) fn paid_by(mut self, charge: Option<Charge>) -> Self {
        self.charge = charge;
        self
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
        self.calls.talks.over(self.legs[0]);
        self.calls.changes.send_replace(());
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
            .register(Direction::Incoming, pair(), LEGS, &inbox)
            .unwrap()
            .with_matrix(key(), &inbox);
        assert!(LEGS.iter().all(|leg| calls.of_leg(*leg).is_some()));
        assert!(calls.of_matrix(&key()).is_some());
        assert_eq!(calls.len(), 1);
        drop(registration);
        assert!(LEGS.iter().all(|leg| calls.of_leg(*leg).is_none()));
        assert!(calls.of_matrix(&key()).is_none());
        assert!(calls.len() == 0);
    }

    #[test]
    fn a_leg_that_comes_later_leads_to_the_same_call_until_it_goes() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let _registration = calls.register(Direction::Incoming, pair(), LEGS, &inbox);
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
        let registration = calls.register(Direction::Incoming, pair(), LEGS, &first);
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
        let another = (user("@alice:x"), "another".to_owned());
        assert!(calls.take_awaiting(&another).is_none());
        assert!(calls.take_awaiting(&alice).is_some());
        assert!(calls.take_awaiting(&alice).is_none());
    }

    /// A client may say as often as it likes that a call of its is to become another.
    #[test]
    fn of_calls_that_await_others_without_end_the_oldest_are_forgotten() {
        let calls = Calls::default();
        let (inbox, _far_end) = CallInbox::new();
        let user = OwnedUserId::try_from("@alice:x").expect("a test user");
        for n in 0..=ENDED_CALLS {
            calls.remember_awaiting((user.clone(), n.to_string()), &inbox);
        }
        let awaited = |n: usize| calls.take_awaiting(&(user.clone(), n.to_string()));
        assert!(awaited(0).is_none());
        assert!(awaited(1).is_some());
        assert!(awaited(ENDED_CALLS).is_some());
    }

    #[test]
    fn who_call_each_other_at_the_same_time_have_one_call_and_calls_for_help_are_entered_all_the_same()
     {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let enter = |direction| calls.register(direction, pair(), [LegId(3), LegId(4)], &inbox);
        let first = calls.register(Direction::Outgoing, pair(), LEGS, &inbox);
        assert!(first.is_some() && enter(Direction::Incoming).is_none());
        drop(calls.register_for_help(Direction::Outgoing, pair(), [LegId(3), LegId(4)], &inbox));
        assert_eq!(calls.of_person("@alice:localtest"), 1);
        drop(first);
        assert!(enter(Direction::Incoming).is_some());
    }

    #[test]
    fn the_calls_of_a_person_and_of_a_room_are_those_and_no_other() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let call = calls.register(Direction::Incoming, pair(), LEGS, &inbox);
        let call = call.unwrap().with_matrix(key(), &inbox);
        assert_eq!(calls.of_person("@alice:localtest"), 1);
        assert_eq!(calls.of_person("@bob:localtest"), 0);
        assert_eq!(calls.of_room("!room").len(), 1);
        assert!(calls.of_room("!other").is_empty());
        drop(call);
        assert_eq!(calls.of_person("@alice:localtest"), 0);
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
    fn a_persons_calls_are_counted_by_the_number_they_are_with() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let _registration = calls.register(Direction::Incoming, pair(), LEGS, &inbox);
        assert_eq!(calls.count("@alice:localtest", "600"), 1);
        assert_eq!(calls.count("@alice:localtest", "601"), 0);
        assert_eq!(calls.count("@bob:localtest", ""), 0);
    }

    #[test]
    fn a_call_that_goes_on_elsewhere_does_not_make_its_person_busy() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let _registration = calls.register(Direction::Incoming, pair(), LEGS, &inbox);
        assert_eq!(calls.of_person("@alice:localtest"), 1);
        assert_eq!(calls.of_person("@bob:localtest"), 0);
        calls.mark_elsewhere(LEGS[1]);
        assert_eq!(calls.of_person("@alice:localtest"), 0);
        assert_eq!(calls.len(), 1);
    }

    #[test]
    fn a_calls_room_is_free_again_once_the_person_is_out_of_it() {
        let calls = Arc::new(Calls::default());
        let (inbox, _far_end) = CallInbox::new();
        let rooms = mxtrunk_matrix::OccupiedRooms::default();
        let room = ruma::RoomId::parse("!room").unwrap();
        let enter = || {
            let registration = calls.register(Direction::Incoming, pair(), LEGS, &inbox);
            registration.unwrap().in_room(rooms.occupy(&room).unwrap())
        };
        let call = enter();
        assert!(rooms.occupy(&room).is_none());
        calls.mark_elsewhere(LEGS[1]);
        assert!(rooms.occupy(&room).is_some());
        drop(call);
        drop(enter());
        assert!(rooms.occupy(&room).is_some());
    }

    /// A hang-up was lost, and the telephone stayed up: nobody told the call.
    #[test]
    fn a_hang_up_in_a_room_that_was_encrypted_in_mid_call_is_told_to_the_call() {
        let calls = Arc::new(Calls::default());
        let (inbox, mut far_end) = CallInbox::new();
        let call = calls.register(Direction::Incoming, pair(), LEGS, &inbox);
        let _call = call.unwrap().with_matrix(key(), &inbox);
        let alice = OwnedUserId::try_from("@alice:localtest").expect("a test user");
        calls.tell_unreadable("!other", &alice);
        assert!(far_end.queue.try_recv().is_err());
        calls.tell_unreadable("!room", &alice);
        assert!(matches!(
            far_end.queue.try_recv(),
            Ok(told) if matches!(&*told, Told::Unreadable(sender) if *sender == alice)
        ));
    }

    #[test]
    fn every_call_is_asked_to_end() {
        let calls = Arc::new(Calls::default());
        let (inbox, mut far_end) = CallInbox::new();
        let _registration = calls.register(Direction::Incoming, pair(), LEGS, &inbox);
        calls.finish_all(Reason::ShuttingDown);
        assert!(matches!(
            far_end.queue.try_recv(),
            Ok(told) if matches!(*told, Told::Finish(Reason::ShuttingDown))
        ));
    }
}
