//! Who talks to whom: what keeps two from calling each other at once, and makes a person busy.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mxtrunk_call::LegId;
use mxtrunk_matrix::CallRoom;
use mxtrunk_store::Direction;

/// A person and a number.
pub(crate) type Pair = (String, String);

/// The calls there are, as they count for their persons.
#[derive(Debug, Default)]
pub(super) struct Talks(Mutex<Vec<Talk>>);

#[derive(Debug)]
struct Talk {
    /// Those that it began with, which name it.
    legs: [LegId; 2],
    pair: Pair,
    direction: Direction,
    is_answered: bool,
    whereabouts: Whereabouts,
}

#[derive(Debug)]
enum Whereabouts {
    /// With the person, in this room once it is known.
    AtPerson { _room: Option<CallRoom> },
    /// Their line has sent it on, or they have handed it on.
    Elsewhere,
}

impl Talk {
    fn is_at_person(&self) -> bool {
        matches!(self.whereabouts, Whereabouts::AtPerson { .. })
    }
}

impl Talks {
    /// Whether these two are about to have a call with each other, so that one more would cross it: both have dialled, or
    /// the person has from two devices. Once they talk, another may come: a switchboard shows one number for all, and
    /// all who withhold theirs are one. Until then another may come from the telephone side alone.
    pub(super) fn are_calling(&self, direction: Direction, pair: &Pair) -> bool {
        let crosses = |talk: &Talk| {
            let by_person = [talk.direction, direction].contains(&Direction::Outgoing);
            talk.pair == *pair && talk.is_at_person() && !talk.is_answered && by_person
        };
        self.locked().iter().any(crosses)
    }

    pub(super) fn enter(&self, direction: Direction, pair: Pair, legs: [LegId; 2]) {
        self.locked().push(Talk {
            legs,
            pair,
            direction,
            is_answered: false,
            whereabouts: Whereabouts::AtPerson { _room: None },
        });
    }

    pub(super) fn is_in(&self, leg: LegId, room: CallRoom) {
        self.change(leg, |talk| {
            if talk.is_at_person() {
                talk.whereabouts = Whereabouts::AtPerson { _room: Some(room) };
            }
        });
    }

    pub(super) fn answered(&self, leg: LegId) {
        self.change(leg, |talk| talk.is_answered = true);
    }

    pub(super) fn elsewhere(&self, leg: LegId) {
        self.change(leg, |talk| talk.whereabouts = Whereabouts::Elsewhere);
    }

    pub(super) fn over(&self, leg: LegId) {
        self.locked().retain(|talk| !talk.legs.contains(&leg));
    }

    /// How many calls a person has.
    pub(super) fn of_person(&self, user: &str) -> usize {
        let talks = self.locked();
        let theirs = talks.iter().filter(|talk| talk.pair.0 == user);
        theirs.filter(|talk| talk.is_at_person()).count()
    }

    /// Who has a call.
    pub(super) fn people(&self) -> HashSet<String> {
        let talks = self.locked();
        let at_person = talks.iter().filter(|talk| talk.is_at_person());
        at_person.map(|talk| talk.pair.0.clone()).collect()
    }

    /// How many calls of these two go on without the person.
    pub(super) fn count_elsewhere(&self, pair: &Pair) -> usize {
        let talks = self.locked();
        let is_one = |talk: &&Talk| talk.pair == *pair && !talk.is_at_person();
        talks.iter().filter(is_one).count()
    }

    /// How many calls of a person there are with names that begin so.
    pub(super) fn count(&self, user: &str, name: &str) -> usize {
        let talks = self.locked();
        let is_one = |talk: &&Talk| talk.pair.0 == user && talk.pair.1.starts_with(name);
        talks.iter().filter(is_one).count()
    }

    pub(super) fn len(&self) -> usize {
        self.locked().len()
    }

    fn change(&self, leg: LegId, change: impl FnOnce(&mut Talk)) {
        let mut talks = self.locked();
        if let Some(talk) = talks.iter_mut().find(|talk| talk.legs.contains(&leg)) {
            change(talk);
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Talk>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use Direction::{Incoming, Outgoing};

    use super::*;

    fn pair() -> Pair {
        ("@alice:localtest".into(), "600".into())
    }

    #[test]
    fn a_call_crosses_one_that_nobody_has_answered_and_that_the_person_has_placed_or_would_place() {
        for (first, second, crosses) in [
            (Outgoing, Incoming, true),
            (Incoming, Outgoing, true),
            (Outgoing, Outgoing, true),
            (Incoming, Incoming, false),
        ] {
            let talks = Talks::default();
            talks.enter(first, pair(), [LegId(1), LegId(2)]);
            assert_eq!(
                talks.are_calling(second, &pair()),
                crosses,
                "{first:?} {second:?}"
            );
            let other = ("@alice:localtest".into(), "601".into());
            assert!(!talks.are_calling(second, &other));
            talks.answered(LegId(2));
            assert!(!talks.are_calling(second, &pair()), "{first:?} {second:?}");
        }
    }

    #[test]
    fn what_goes_on_elsewhere_is_crossed_by_nothing() {
        let talks = Talks::default();
        talks.enter(Incoming, pair(), [LegId(1), LegId(2)]);
        talks.elsewhere(LegId(1));
        assert!(!talks.are_calling(Outgoing, &pair()));
        assert_eq!((talks.of_person("@alice:localtest"), talks.len()), (0, 1));
        assert_eq!(talks.count_elsewhere(&pair()), 1);
        assert!(talks.people().is_empty());
        talks.over(LegId(1));
        assert_eq!(talks.len(), 0);
    }
}
