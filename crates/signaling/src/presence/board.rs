//! What is to be shown of each number, what is shown of it, and what is due next. Pure: time comes in as an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A number is shown otherwise no more often: who sees it rings and is answered within a second sees the last of it.
const GAP: Duration = Duration::from_secs(1);

/// How soon it is looked again for a virtual user that nobody has needed yet; doubled each time. A call, which makes one,
/// changes the number's state too, and then it is looked at once.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOK_AT_LAST: Duration = Duration::from_secs(300);

/// How soon a number is tried again of which the homeserver had trouble; doubled each time.
const TRY_AGAIN: Duration = Duration::from_secs(2);
const TRY_AT_LAST: Duration = Duration::from_secs(60);

/// What is shown of a number. Of two sources the greater is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shown {
    /// Nobody knows.
    Gone,
    Free,
    Rings,
    Busy,
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Show it so.
    Show {
        number: String,
        shown: Shown,
        /// It is again what is shown already, and should have been so much earlier that the homeserver has forgotten it.
        is_late: bool,
    },
    /// Nothing before then.
    Wait(Instant),
    /// Nothing.
    Rest,
}

#[derive(Debug)]
struct Place {
    wanted: Shown,
    /// What was shown last, and when.
    shown: Option<(Shown, Instant)>,
    not_before: Instant,
    /// There was no virtual user, and it is looked again after so long.
    nobody: Option<Duration>,
    /// It could not be shown, and is tried again after so long.
    trouble: Option<Duration>,
}

impl Place {
    /// From now on this is to be shown.
    fn want(&mut self, wanted: Shown, now: Instant) {
        if std::mem::replace(&mut self.wanted, wanted) != wanted && self.nobody.take().is_some() {
            self.not_before = now;
        }
    }

    fn is_changed(&self) -> bool {
        self.shown.map(|(shown, _)| shown) != Some(self.wanted)
    }

    /// When it is to be shown, changed or again.
    fn due(&self, again_every: Duration) -> Option<Instant> {
        match self.shown {
            _ if self.is_changed() => Some(self.not_before),
            Some((Shown::Gone, _)) | None => None,
            Some((_, at)) => Some(self.not_before.max(at + again_every)),
        }
    }
}

/// All numbers.
#[derive(Debug)]
pub(super) struct Board {
    again_every: Duration,
    places: BTreeMap<String, Place>,
}

impl Board {
    /// What is shown is shown again after so long, before the homeserver forgets it.
    pub(super) fn new(again_every: Duration) -> Self {
        Board {
            again_every,
            places: BTreeMap::new(),
        }
    }

    /// From now on this is to be shown; of every other number nothing.
    pub(super) fn want(&mut self, wanted: &BTreeMap<String, Shown>, now: Instant) {
        self.places.retain(|number, place| {
            let is_over = matches!(place.shown, None | Some((Shown::Gone, _)));
            let shown = wanted.get(number).copied();
            place.want(shown.unwrap_or(Shown::Gone), now);
            wanted.contains_key(number) || !is_over
        });
        for (number, wanted) in wanted {
            let place = || Place {
                wanted: *wanted,
                shown: None,
                not_before: now,
                nobody: None,
                trouble: None,
            };
            self.places.entry(number.clone()).or_insert_with(place);
        }
    }

    /// What is due: what has changed goes before what is shown again, and that before looking for somebody.
    pub(super) fn next(&self, now: Instant) -> Next {
        let all = self.places.iter();
        let all = all.filter_map(|(number, place)| {
            let due = place.due(self.again_every)?;
            let again = (place.nobody.is_some(), !place.is_changed());
            Some((due > now, again, due, number, place.wanted))
        });
        match all.min() {
            None => Next::Rest,
            Some((true, ..)) => {
                let dues = self.places.values();
                let first = dues.filter_map(|place| place.due(self.again_every)).min();
                first.map_or(Next::Rest, Next::Wait)
            }
            Some((false, (_, again), due, number, shown)) => Next::Show {
                number: number.clone(),
                shown,
                is_late: again && now.duration_since(due) > self.again_every,
            },
        }
    }

    /// It is shown so.
    pub(super) fn is_shown(&mut self, number: &str, shown: Shown, now: Instant) {
        if let Some(place) = self.places.get_mut(number) {
            place.shown = Some((shown, now));
            place.not_before = now + GAP;
            (place.nobody, place.trouble) = (None, None);
        }
    }

    /// There is nobody yet of whom it could be shown.
    pub(super) fn has_nobody(&mut self, number: &str, now: Instant) {
        if let Some(place) = self.places.get_mut(number) {
            let wait = doubled(place.nobody, LOOK_AGAIN, LOOK_AT_LAST);
            place.nobody = Some(wait);
            place.not_before = now + wait;
        }
    }

    /// The homeserver had trouble with it. It waits longer than all others, who may have none.
    pub(super) fn had_trouble(&mut self, number: &str, now: Instant) {
        if let Some(place) = self.places.get_mut(number) {
            let wait = doubled(place.trouble, TRY_AGAIN, TRY_AT_LAST);
            place.trouble = Some(wait);
            place.not_before = now + wait;
        }
    }

    /// It could not be shown, and is not tried again before then.
    pub(super) fn postpone(&mut self, number: &str, until: Instant) {
        if let Some(place) = self.places.get_mut(number) {
            place.not_before = until;
        }
    }

    /// Numbers that are shown as ringing or in a call.
    pub(super) fn taken(&self) -> Vec<String> {
        let all = self.places.iter();
        let taken = all.filter(|(_, place)| {
            place
                .shown
                .is_some_and(|(shown, _)| matches!(shown, Shown::Rings | Shown::Busy))
        });
        taken.map(|(number, _)| number.clone()).collect()
    }
}

fn doubled(last: Option<Duration>, first: Duration, longest: Duration) -> Duration {
    last.map_or(first, |last| (last * 2).min(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_secs(20);

    fn wanted(all: &[(&str, Shown)]) -> BTreeMap<String, Shown> {
        let all = all.iter();
        all.map(|(number, shown)| ((*number).to_owned(), *shown))
            .collect()
    }

    /// Shows all that is due.
    fn show_all(board: &mut Board, now: Instant) -> Vec<(String, Shown)> {
        let mut seen = Vec::new();
        while let Next::Show { number, shown, .. } = board.next(now) {
            board.is_shown(&number, shown, now);
            seen.push((number, shown));
        }
        seen
    }

    fn one(number: &str, shown: Shown) -> Vec<(String, Shown)> {
        vec![(number.to_owned(), shown)]
    }

    #[test]
    fn what_changes_is_shown_and_what_stays_is_shown_again_before_it_is_forgotten() {
        let (mut board, start) = (Board::new(AGAIN), Instant::now());
        board.want(&wanted(&[("1001", Shown::Free)]), start);
        assert_eq!(show_all(&mut board, start), one("1001", Shown::Free));
        assert_eq!(board.next(start), Next::Wait(start + AGAIN));
        let later = start + AGAIN;
        assert_eq!(show_all(&mut board, later), one("1001", Shown::Free));
        board.want(&wanted(&[("1001", Shown::Busy)]), later + GAP);
        assert_eq!(show_all(&mut board, later + GAP), one("1001", Shown::Busy));
        assert_eq!(board.taken(), ["1001"]);
    }

    #[test]
    fn changes_that_follow_each_other_at_once_are_shown_as_their_last() {
        let (mut board, start) = (Board::new(AGAIN), Instant::now());
        board.want(&wanted(&[("1001", Shown::Rings)]), start);
        show_all(&mut board, start);
        board.want(&wanted(&[("1001", Shown::Busy)]), start);
        board.want(&wanted(&[("1001", Shown::Free)]), start);
        assert_eq!(board.next(start), Next::Wait(start + GAP));
        assert_eq!(show_all(&mut board, start + GAP), one("1001", Shown::Free));
    }

    #[test]
    fn what_nobody_knows_is_shown_once_and_what_is_not_watched_any_more_is_let_go() {
        let (mut board, start) = (Board::new(AGAIN), Instant::now());
        board.want(&wanted(&[("1001", Shown::Gone)]), start);
        // The last run may have left something there.
        assert_eq!(show_all(&mut board, start), one("1001", Shown::Gone));
        assert_eq!(board.next(start + 2 * AGAIN), Next::Rest);
        board.want(&wanted(&[("1001", Shown::Free)]), start + GAP);
        show_all(&mut board, start + GAP);
        board.want(&wanted(&[]), start + GAP);
        let later = start + 2 * GAP;
        assert_eq!(show_all(&mut board, later), one("1001", Shown::Gone));
        board.want(&wanted(&[]), later);
        assert_eq!(board.places.len(), 0);
    }

    #[test]
    fn a_change_goes_before_all_that_is_shown_again_and_who_comes_too_late_says_so() {
        let (mut board, start) = (Board::new(AGAIN), Instant::now());
        board.want(
            &wanted(&[("1001", Shown::Free), ("1002", Shown::Free)]),
            start,
        );
        show_all(&mut board, start);
        let late = start + 2 * AGAIN + GAP;
        board.want(
            &wanted(&[("1001", Shown::Free), ("1002", Shown::Busy)]),
            late,
        );
        let Next::Show {
            number, is_late, ..
        } = board.next(late)
        else {
            panic!("nothing is due");
        };
        assert_eq!((number.as_str(), is_late), ("1002", false));
        board.is_shown("1002", Shown::Busy, late);
        let again = board.next(late);
        assert!(
            matches!(&again, Next::Show { number, is_late: true, .. } if number == "1001"),
            "{again:?}"
        );
    }

    #[test]
    fn a_number_of_which_nothing_can_be_shown_keeps_no_other_waiting() {
        let (mut board, start) = (Board::new(AGAIN), Instant::now());
        board.want(
            &wanted(&[("1001", Shown::Free), ("1002", Shown::Free)]),
            start,
        );
        board.has_nobody("1001", start);
        assert_eq!(show_all(&mut board, start), one("1002", Shown::Free));
        assert_eq!(board.next(start), Next::Wait(start + LOOK_AGAIN));
        let later = start + LOOK_AGAIN;
        assert_eq!(show_all(&mut board, later), one("1001", Shown::Free));
    }

    #[test]
    fn a_hundred_numbers_that_nobody_has_keep_no_telephone_from_being_shown_again() {
        let (mut board, start) = (Board::new(AGAIN), Instant::now());
        let mut all: BTreeMap<_, _> = (1000..1100)
            .map(|number| (number.to_string(), Shown::Free))
            .collect();
        all.insert("2001".into(), Shown::Free);
        board.want(&all, start);
        for number in 1000..1100 {
            board.has_nobody(&number.to_string(), start);
        }
        board.is_shown("2001", Shown::Free, start);
        let later = start + AGAIN;
        let Next::Show { number, .. } = board.next(later) else {
            panic!("nothing is due");
        };
        assert_eq!(number, "2001");
        board.is_shown("2001", Shown::Free, later);
        // They are looked for less and less, and at once when one is in a call.
        board.has_nobody("1000", later);
        assert_eq!(board.places["1000"].not_before, later + 2 * LOOK_AGAIN);
        all.insert("1000".into(), Shown::Busy);
        board.want(&all, later);
        let next = board.next(later);
        assert!(
            matches!(&next, Next::Show { number, .. } if number == "1000"),
            "{next:?}"
        );
    }

    #[test]
    fn a_number_that_always_fails_keeps_no_other_waiting() {
        let (mut board, start) = (Board::new(AGAIN), Instant::now());
        board.want(
            &wanted(&[("1001", Shown::Free), ("1002", Shown::Free)]),
            start,
        );
        let (mut now, mut tried) = (start, 0);
        while now < start + 3 * AGAIN {
            match board.next(now) {
                Next::Show { number, .. } if number == "1001" => {
                    tried += 1;
                    board.had_trouble("1001", now);
                }
                Next::Show { number, shown, .. } => board.is_shown(&number, shown, now),
                Next::Wait(until) => now = until,
                Next::Rest => break,
            }
        }
        let shown = board.places["1002"].shown;
        assert!(shown.is_some_and(|(_, at)| now < at + 2 * AGAIN));
        assert!(tried < 7, "tried {tried} times");
    }
}
