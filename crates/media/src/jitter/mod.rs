//! The jitter buffer: packets go in as they come and out as they are due.
//!
//! It works on media time in units of 1/8000 s. `head` is the media time that is decoded next; it moves on as far as
//! was played or made up. How long a packet waits for its turn is compared with how unevenly packets arrive
//! ([`Arrivals`]), and [`JitterBuffer::change`] says what the delay should do: the caller stretches or squeezes the
//! sound. Clock drift between the peers is the same thing slowly. A packet that comes after its turn though nothing
//! else was there to play is still played, and the delay has grown by what was made up meanwhile.

mod arrivals;
mod review;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::codec::OPUS_TICKS;
use crate::rtp::{SequenceUnwrap, TimestampUnwrap};
use arrivals::Arrivals;
use review::Review;

pub(crate) use review::Change;

/// One frame of 20 ms in media time units.
const FRAME_UNITS: i64 = 160;
/// A packet that comes earlier than the longest delay by this much belongs to a timeline that jumped.
const TOO_EARLY: i64 = 250 * 8;
/// When every packet has been too late for so long, the sender's timeline jumped and the stream starts anew.
const ALWAYS_LATE: Duration = Duration::from_millis(100);
/// A packet that comes by less than this too early, 5 ms, is played at once.
const TOLERANCE: i64 = 40;
/// Packets held at most; a power of two.
const SLOTS: usize = 64;
/// The media time of an event: whenever its number is due.
const ANY_TIME: i64 = i64::MIN / 2;
/// A packet so many numbers old that comes in its media time tells that the sender counts anew.
const MISORDER: i64 = SLOTS as i64;

/// Limits of the delay that the buffer may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterSettings {
    /// Collected before the first frame is played.
    pub initial: Duration,
    /// The delay never grows beyond this; what comes later than that is dropped.
    pub max: Duration,
}

impl Default for JitterSettings {
    fn default() -> Self {
        JitterSettings {
            initial: Duration::from_millis(40),
            max: Duration::from_millis(200),
        }
    }
}

/// What a packet that goes in holds.
#[derive(Debug)]
pub(crate) enum Content<P> {
    Audio(P),
    /// A telephone-event: takes a sequence number but no media time of its own.
    Event,
}

/// What to play next. Call [`JitterBuffer::played`] with the length of what was played or made up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due<'a, P> {
    /// Nothing has come yet, or not enough to begin with.
    Silence,
    /// This packet.
    Packet(P),
    /// So many units are missing before the next packet, which is here and may hold redundancy for the last of them.
    Lost { units: i64, next: &'a P },
    /// The sender left a gap of at least so many units on purpose, or nothing is here.
    Gap { units: i64 },
}

/// The outcome of [`JitterBuffer::insert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    Kept,
    /// Came a second time.
    Repeated,
    /// Came after its turn.
    Late,
}

#[derive(Debug)]
struct Held<P> {
    sequence: i64,
    at: i64,
    content: Content<P>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Empty,
    Filling { since: Instant },
    Playing,
}

#[derive(Debug)]
pub(crate) struct JitterBuffer<P> {
    settings: JitterSettings,
    /// Where the buffer's own clock begins.
    origin: Instant,
    slots: Box<[Option<Held<P>>]>,
    state: State,
    sequence: SequenceUnwrap,
    /// Added to sequence numbers since the sender began to count anew.
    recount: i64,
    timestamp: TimestampUnwrap,
    /// RTP clock ticks per media time unit.
    ticks: i64,
    /// The sequence number that is due next.
    next: i64,
    highest: i64,
    /// Bit `n`: packet `highest - n` has come.
    seen: u64,
    head: i64,
    arrivals: Arrivals,
    review: Review,
    late_since: Option<Instant>,
}

impl<P> JitterBuffer<P> {
    /// `ticks`: RTP clock ticks per 1/8000 s (6 for Opus, 1 for G.711).
    pub(crate) fn new(now: Instant, settings: JitterSettings, ticks: i64) -> Self {
        JitterBuffer {
            settings,
            origin: now,
            slots: (0..SLOTS).map(|_| None).collect(),
            state: State::Empty,
            sequence: SequenceUnwrap::default(),
            recount: 0,
            timestamp: TimestampUnwrap::default(),
            ticks,
            next: 0,
            highest: 0,
            seen: 0,
            head: 0,
            arrivals: Arrivals::default(),
            review: Review::default(),
            late_since: None,
        }
    }

    /// Forgets everything: the stream begins anew (another source, a jump in time).
    pub(crate) fn restart(&mut self) {
        self.slots.fill_with(|| None);
        self.state = State::Empty;
        self.arrivals.forget();
        self.review.begin_anew();
        self.late_since = None;
    }

    /// The source speaks a codec of this many RTP clock ticks per 1/8000 s; where that is new, the stream begins anew.
    pub(crate) fn set_ticks(&mut self, ticks: i64) {
        if self.ticks != ticks {
            self.restart();
            self.ticks = ticks;
        }
    }

    /// RTP clock ticks per 1/8000 s.
    pub(crate) fn ticks(&self) -> i64 {
        self.ticks
    }

    pub(crate) fn insert(
        &mut self,
        now: Instant,
        sequence: u16,
        timestamp: u32,
        content: Content<P>,
    ) -> Inserted {
        let number = self.sequence.extend(sequence) + self.recount;
        match content {
            Content::Audio(_) => {
                let at = self.timestamp.extend(timestamp) / self.ticks;
                self.insert_audio(now, number, at, content)
            }
            // An event carries the time of its start, which says nothing about its own turn.
            Content::Event => self.insert_event(number, content),
        }
    }

    fn insert_event(&mut self, number: i64, content: Content<P>) -> Inserted {
        if self.state != State::Empty && number >= self.next && !self.has_come(number) {
            self.hold(number, ANY_TIME, content);
        }
        Inserted::Kept
    }

    fn insert_audio(
        &mut self,
        now: Instant,
        mut number: i64,
        at: i64,
        content: Content<P>,
    ) -> Inserted {
        match self.state {
            State::Empty => {
                self.state = State::Filling { since: now };
                (self.next, self.highest, self.seen) = (number, number, 0);
                self.head = at;
            }
            State::Filling { .. } if number < self.next => {
                (self.next, self.head) = (number, self.head.min(at));
            }
            State::Filling { .. } => {}
            State::Playing if self.has_jumped(now, at) => {
                self.restart();
                return self.insert_audio(now, number, at, content);
            }
            State::Playing if number <= self.highest - MISORDER && self.is_in_time(at) => {
                self.recount += self.highest + 1 - number;
                number = self.highest + 1;
            }
            State::Playing => {}
        }
        if self.has_come(number) {
            return Inserted::Repeated;
        }
        let late = self.arrivals.note(self.clock(now), at);
        if self.state == State::Playing && !self.make_room_in_time(number, at, late) {
            self.late_since.get_or_insert(now);
            return Inserted::Late;
        }
        self.late_since = None;
        self.hold(number, at, content);
        Inserted::Kept
    }

    fn hold(&mut self, sequence: i64, at: i64, content: Content<P>) {
        self.slots[slot(sequence)] = Some(Held {
            sequence,
            at,
            content,
        });
    }

    /// Tells whether a packet is here for the second time, and remembers it.
    fn has_come(&mut self, number: i64) -> bool {
        let ahead = number - self.highest;
        if ahead > 0 {
            self.highest = number;
            let kept = u32::try_from(ahead)
                .ok()
                .and_then(|n| self.seen.checked_shl(n));
            self.seen = kept.unwrap_or(0) | 1;
            return false;
        }
        let bit = u32::try_from(-ahead).ok().and_then(|n| 1u64.checked_shl(n));
        let bit = bit.unwrap_or(0);
        let has_come = self.seen & bit != 0;
        self.seen |= bit;
        has_come
    }

    /// True if the sender's timeline no longer is the one that we play.
    fn has_jumped(&self, now: Instant, at: i64) -> bool {
        let always_late = |since| now.saturating_duration_since(since) > ALWAYS_LATE;
        self.is_too_early(at) || self.late_since.is_some_and(always_late)
    }

    fn is_too_early(&self, at: i64) -> bool {
        at - self.head > units(self.settings.max) + TOO_EARLY
    }

    fn is_in_time(&self, at: i64) -> bool {
        at >= self.head - units(self.settings.max) && !self.is_too_early(at)
    }

    /// False for a packet whose turn has passed. One that nothing overtook is played all the same, unless the delay
    /// would become too long.
    fn make_room_in_time(&mut self, number: i64, at: i64, late: i64) -> bool {
        if at >= self.head {
            return number >= self.next;
        }
        if number < self.highest || late > units(self.settings.max) {
            return false;
        }
        self.head = at;
        self.review.begin_anew();
        true
    }

    /// What is due now.
    pub(crate) fn due(&mut self, now: Instant) -> Due<'_, P> {
        match self.state {
            State::Empty => return Due::Silence,
            State::Filling { since } => {
                let waited = now.saturating_duration_since(since);
                let held = self.newest().map_or(0, |at| at - self.head + FRAME_UNITS);
                if held < units(self.settings.initial) && waited < self.settings.initial {
                    return Due::Silence;
                }
                self.skip_to_initial_delay();
                self.state = State::Playing;
            }
            State::Playing => {}
        }
        self.take()
    }

    /// Media time of the newest audio held.
    fn newest(&self) -> Option<i64> {
        self.slots.iter().flatten().map(|held| held.at).max()
    }

    /// A burst at the beginning must not become a lasting delay.
    fn skip_to_initial_delay(&mut self) {
        let initial = units(self.settings.initial);
        let Some(newest) = self.newest() else {
            return;
        };
        let begin = newest + FRAME_UNITS - initial;
        if begin - self.head < initial {
            return;
        }
        let kept = self.slots.iter().flatten().filter(|held| held.at >= begin);
        if let Some(first) = kept.min_by_key(|held| held.sequence) {
            (self.next, self.head) = (first.sequence, first.at);
        }
        self.arrivals.forget();
    }

    fn take(&mut self) -> Due<'_, P> {
        // Bounded: every turn empties a slot.
        while let Some((number, at)) = self.first() {
            if at > self.head + TOLERANCE {
                return self.missing(number, at);
            }
            if number > self.next {
                self.review.note_loss();
            }
            let held = self.slots[slot(number)].take();
            self.next = number + 1;
            if let Some(Content::Audio(packet)) = held.map(|held| held.content) {
                self.head = at;
                return Due::Packet(packet);
            }
        }
        Due::Gap { units: FRAME_UNITS }
    }

    /// Packet `number` is the next that is here, and its time has not come.
    fn missing(&mut self, number: i64, at: i64) -> Due<'_, P> {
        let units = at - self.head;
        match &self.slots[slot(number)] {
            Some(Held {
                content: Content::Audio(next),
                ..
            }) if number > self.next => Due::Lost { units, next },
            _ => Due::Gap {
                units: units.min(FRAME_UNITS),
            },
        }
    }

    /// The first packet that is here: its number and media time.
    fn first(&self) -> Option<(i64, i64)> {
        let number_and_time = |held: &Held<P>| (held.sequence, held.at);
        let next = self.slots[slot(self.next)].as_ref();
        if let Some(held) = next.filter(|held| held.sequence == self.next) {
            return Some(number_and_time(held));
        }
        let held = self.slots.iter().flatten();
        held.map(number_and_time)
            .filter(|(number, _)| *number > self.next)
            .min()
    }

    /// True if a packet is here and follows what was played last.
    pub(crate) fn has_next(&self) -> bool {
        self.state == State::Playing
            && self
                .first()
                .is_some_and(|(_, at)| at <= self.head + TOLERANCE)
    }

    /// So many samples were played, or made up.
    pub(crate) fn played(&mut self, samples: usize) {
        self.head += samples as i64;
    }

    /// What the delay should do, asked once for each frame that goes out. `decoded`: samples that were taken out and
    /// not heard yet.
    pub(crate) fn change(&mut self, now: Instant, decoded: usize) -> Change {
        let (State::Playing, Some(delay)) = (self.state, self.delay_units(now, decoded)) else {
            return Change::Keep;
        };
        // What of a packet is left between two frames is delay that makes no packet safer.
        let rest = decoded as i64 % FRAME_UNITS;
        let longest = units(self.settings.max) - FRAME_UNITS;
        let may_repeat = self.ticks == OPUS_TICKS;
        let to_cover = self.arrivals.to_cover(self.clock(now));
        let needed = to_cover + self.review.time_for_redundancy(may_repeat);
        self.review.judge(delay - rest, rest, needed.min(longest))
    }

    /// The delay was changed: watch what comes of it.
    pub(crate) fn changed(&mut self) {
        self.review.begin_anew();
    }

    fn delay_units(&self, now: Instant, decoded: usize) -> Option<i64> {
        let heard = self.head - decoded as i64;
        Some(self.clock(now) - heard - self.arrivals.fastest()?)
    }

    /// What the buffer adds to the way of the fastest packet.
    pub(crate) fn delay(&self, now: Instant, decoded: usize) -> Duration {
        let delay = match self.state {
            State::Playing => self.delay_units(now, decoded).unwrap_or(0),
            State::Empty | State::Filling { .. } => 0,
        };
        Duration::from_micros(delay.max(0).unsigned_abs() * 125)
    }

    fn clock(&self, now: Instant) -> i64 {
        units(now.saturating_duration_since(self.origin))
    }
}

fn slot(sequence: i64) -> usize {
    sequence.rem_euclid(SLOTS as i64) as usize
}

fn units(duration: Duration) -> i64 {
    (duration.as_micros() * 8 / 1000) as i64
}
