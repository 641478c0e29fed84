//! Packets towards a browser that came before their turn. One that was overtaken is waited for, no longer than this line
//! has shown to be worth it: where packets are lost and never late, hardly at all.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::payload::Coded;
use super::waiting::{Store, Waiting};

/// As many as the store holds of the longest kind.
const ROOM: usize = 7;
/// The first guess, and the bounds. The least lets one packet of 20 ms be overtaken by one; more than the most is heard
/// as a delay, not as a repair.
const PATIENCE: Duration = Duration::from_millis(40);
const LEAST: Duration = Duration::from_millis(20);
const MOST: Duration = Duration::from_millis(120);
/// Added to what was seen.
const MARGIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Early {
    pub(super) number: i64,
    /// Media time, 1/8000 s.
    pub(super) at: i64,
    came: Instant,
    /// `None` for a packet without sound: a key, comfort noise.
    pub(super) sound: Option<Waiting>,
}

/// A gap that was not waited for any longer.
#[derive(Debug)]
struct GivenUp {
    numbers: Range<i64>,
    /// When its first successor came.
    since: Instant,
    /// None of its packets has come after all.
    in_vain: bool,
}

#[derive(Debug)]
pub(super) struct Ahead {
    store: Store,
    /// In the order of their numbers.
    packets: Vec<Early>,
    patience: Duration,
    /// No number below is waited for.
    over: i64,
    given_up: Option<GivenUp>,
}

impl Default for Ahead {
    fn default() -> Self {
        Ahead {
            store: Store::default(),
            packets: Vec::new(),
            patience: PATIENCE,
            over: i64::MIN,
            given_up: None,
        }
    }
}

impl Ahead {
    /// Another stream, or another count. What was learnt of the line stays, and the memory.
    pub(super) fn restart(&mut self) {
        self.packets.clear();
        self.over = i64::MIN;
        self.given_up = None;
    }

    /// Keeps a packet until its turn. False if it is here already, there is no room, or it is too long.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        number: i64,
        at: i64,
        coded: Option<Coded<'_>>,
    ) -> bool {
        let Err(index) = self
            .packets
            .binary_search_by_key(&number, |early| early.number)
        else {
            return false;
        };
        if self.is_full() {
            return false;
        }
        let sound = match coded {
            None => None,
            Some(coded) => match self.store.keep(coded) {
                Some(waiting) => Some(waiting),
                None => return false,
            },
        };
        let early = Early {
            number,
            at,
            came: now,
            sound,
        };
        self.packets.insert(index, early);
        true
    }

    pub(super) fn is_full(&self) -> bool {
        self.packets.len() == ROOM
    }

    pub(super) fn payload(&self, start: usize, len: usize) -> &[u8] {
        self.store.payload(start, len)
    }

    /// When the first gap at or after `next` will have been waited for long enough.
    pub(super) fn due(&self, next: i64) -> Option<Instant> {
        self.gap(next).map(|(since, _)| since + self.patience)
    }

    /// Since when the first gap is known, and its numbers.
    fn gap(&self, next: i64) -> Option<(Instant, Range<i64>)> {
        let mut expected = next;
        for (index, early) in self.packets.iter().enumerate() {
            if early.number > expected.max(self.over) {
                let beyond = self.packets[index..].iter().map(|early| early.came);
                return Some((beyond.min()?, expected..early.number));
            }
            expected = early.number + 1;
        }
        None
    }

    /// Nothing comes of this one: as good as lost.
    pub(super) fn spoilt(&mut self, number: i64) {
        self.over = self.over.max(number + 1);
    }

    /// Does not wait for the first gap any longer.
    pub(super) fn give_up(&mut self, next: i64) {
        let Some((since, numbers)) = self.gap(next) else {
            return;
        };
        // Nobody came late since the last time: those packets are lost, and waiting only delays the others.
        if self.given_up.as_ref().is_some_and(|gap| gap.in_vain) {
            self.patience = (self.patience * 7 / 8).max(LEAST);
        }
        self.over = numbers.end;
        self.given_up = Some(GivenUp {
            numbers,
            since,
            in_vain: true,
        });
    }

    /// The next packet, if its turn has come.
    pub(super) fn take(&mut self, next: i64) -> Option<Early> {
        let first = self.packets.first()?;
        let in_turn = first.number <= next.max(self.over);
        in_turn.then(|| self.packets.remove(0))
    }

    /// One came that others had been waiting for.
    pub(super) fn filled(&mut self, now: Instant) {
        if let Some(since) = self.packets.iter().map(|early| early.came).min() {
            self.learn(now, since);
        }
    }

    /// One came whose turn had passed.
    pub(super) fn missed(&mut self, now: Instant, number: i64) {
        if let Some(gap) = &mut self.given_up
            && gap.numbers.contains(&number)
        {
            gap.in_vain = false;
            let since = gap.since;
            self.learn(now, since);
        }
    }

    fn learn(&mut self, now: Instant, since: Instant) {
        let worth = now.saturating_duration_since(since) + MARGIN;
        // One that comes later than anybody may wait teaches nothing.
        if worth <= MOST {
            self.patience = self.patience.max(worth);
        }
    }
}
