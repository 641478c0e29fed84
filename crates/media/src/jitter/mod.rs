//! The jitter buffer: packets go in as they come and out as they are due.
//!
//! It works on media time in units of 1/8000 s. `position` is the media time that is heard next; it moves on by
//! itself at every pull, whether or not something came. A packet's **slack** is how long before its turn it
//! arrived. The buffer keeps the smallest slack of the last seconds just above a margin: a packet that comes too
//! late moves `position` back (the delay grows by what was concealed meanwhile), and when every packet of a
//! window came more than a frame too early, one frame is taken out (the caller merges two frames into one).
//! Clock drift between the peers is the same thing slowly, and is followed by the same two moves.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::rtp::{SequenceUnwrap, TimestampUnwrap};

/// One frame of 20 ms in media time units.
const FRAME_UNITS: i64 = 160;
/// A packet that comes earlier than the longest delay by this much belongs to a timeline that jumped.
const TOO_EARLY: i64 = 250 * 8;
/// When every packet has been too late for so long, the sender's timeline jumped and the stream starts anew.
const ALWAYS_LATE: Duration = Duration::from_millis(300);
/// The slack that is kept in hand when the delay shrinks.
const MARGIN: i64 = 10 * 8;
/// How long every packet must have come too early before the delay shrinks.
const WINDOW: Duration = Duration::from_secs(3);
/// Packets held at most; a power of two.
const SLOTS: usize = 64;

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

/// What to play for the frame that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due<'a, P> {
    /// Nothing has come yet, or not enough to begin with.
    Silence,
    /// This packet. Call [`JitterBuffer::played`] with its length.
    Packet(P),
    /// A frame is missing; if the next packet is here it may hold redundancy for it. The position has moved on.
    Lost { next: Option<&'a P> },
    /// The sender left a gap on purpose, or everything is late: nothing is here. The position has moved on.
    Gap,
}

/// The outcome of [`JitterBuffer::insert`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    Kept,
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
    slots: Box<[Option<Held<P>>]>,
    state: State,
    sequence: SequenceUnwrap,
    timestamp: TimestampUnwrap,
    /// RTP clock ticks per media time unit.
    ticks: i64,
    next: i64,
    highest: i64,
    position: i64,
    pulled: Instant,
    /// What the delay has grown by since the stream began, in units; negative when it shrank.
    growth: i64,
    slack: i64,
    window_ends: Instant,
    spare: bool,
    late_since: Option<Instant>,
}

impl<P> JitterBuffer<P> {
    /// `ticks`: RTP clock ticks per 1/8000 s (6 for Opus, 1 for G.711).
    pub(crate) fn new(now: Instant, settings: JitterSettings, ticks: i64) -> Self {
        JitterBuffer {
            settings,
            slots: (0..SLOTS).map(|_| None).collect(),
            state: State::Empty,
            sequence: SequenceUnwrap::default(),
            timestamp: TimestampUnwrap::default(),
            ticks,
            next: 0,
            highest: 0,
            position: 0,
            pulled: now,
            growth: 0,
            slack: i64::MAX,
            window_ends: now + WINDOW,
            spare: false,
            late_since: None,
        }
    }

    /// Forgets everything: the stream begins anew (another source, a jump in time).
    pub(crate) fn restart(&mut self) {
        self.slots.fill_with(|| None);
        self.state = State::Empty;
        self.sequence = SequenceUnwrap::default();
        self.timestamp = TimestampUnwrap::default();
        self.growth = 0;
        self.spare = false;
        self.late_since = None;
    }

    /// RTP clock ticks per 1/8000 s.
    pub(crate) fn ticks(&self) -> i64 {
        self.ticks
    }

    /// True when all packets come so early that one frame can be taken out. Call [`Self::shrink`] having done so.
    pub(crate) fn has_spare_frame(&self) -> bool {
        self.spare
    }

    /// A frame has been taken out.
    pub(crate) fn shrink(&mut self) {
        self.spare = false;
        self.growth -= FRAME_UNITS;
    }

    pub(crate) fn insert(
        &mut self,
        now: Instant,
        sequence: u16,
        timestamp: u32,
        content: Content<P>,
    ) -> Inserted {
        let number = self.sequence.extend(sequence);
        let is_event = matches!(content, Content::Event);
        let at = if is_event {
            // An event carries the time of its start, which says nothing about its own turn.
            self.position
        } else {
            self.timestamp.extend(timestamp) / self.ticks
        };
        if self.state == State::Playing && !is_event && self.has_jumped(now, at) {
            self.restart();
            return self.insert(now, sequence, timestamp, content);
        }
        match self.state {
            State::Empty if is_event => return Inserted::Kept,
            State::Empty => {
                self.state = State::Filling { since: now };
                (self.next, self.highest, self.position) = (number, number, at);
            }
            State::Filling { .. } if !is_event && number < self.next => {
                (self.next, self.position) = (number, at);
            }
            State::Filling { .. } => {}
            State::Playing if is_event => {
                if number < self.next {
                    return Inserted::Kept;
                }
            }
            State::Playing => {
                if self.make_room_in_time(now, number, at) == Inserted::Late {
                    self.late_since.get_or_insert(now);
                    return Inserted::Late;
                }
                self.late_since = None;
            }
        }
        self.highest = self.highest.max(number);
        self.slots[slot(number)] = Some(Held {
            sequence: number,
            at,
            content,
        });
        Inserted::Kept
    }

    /// True if the sender's timeline no longer is the one that we play.
    fn has_jumped(&self, now: Instant, at: i64) -> bool {
        let always_late = |since| now.saturating_duration_since(since) > ALWAYS_LATE;
        at - self.position > units(self.settings.max) + TOO_EARLY
            || self.late_since.is_some_and(always_late)
    }

    /// Notes the slack of a packet; lets the delay grow if the packet's turn has passed.
    fn make_room_in_time(&mut self, now: Instant, number: i64, at: i64) -> Inserted {
        let since_pull = units(now.saturating_duration_since(self.pulled));
        let slack = at - self.position + FRAME_UNITS - since_pull;
        self.slack = self.slack.min(slack);
        let lateness = self.position - at;
        if lateness <= 0 {
            return if number < self.next {
                Inserted::Late
            } else {
                Inserted::Kept
            };
        }
        let budget = units(self.settings.max) - units(self.settings.initial) - self.growth;
        let overtaken = number < self.next && self.highest >= self.next;
        if number < self.next - 1 || overtaken || lateness > budget {
            if number >= self.next {
                self.next = number + 1;
                self.highest = self.highest.max(number);
            }
            return Inserted::Late;
        }
        self.growth += lateness;
        self.spare = false;
        self.position = at;
        self.next = self.next.min(number);
        self.slack = i64::MAX;
        Inserted::Kept
    }

    /// What is due now; call every 20 ms.
    pub(crate) fn pull(&mut self, now: Instant) -> Due<'_, P> {
        match self.state {
            State::Empty => return Due::Silence,
            State::Filling { since } => {
                let held = (self.highest - self.next + 1) * FRAME_UNITS;
                let waited = now.saturating_duration_since(since);
                if held < units(self.settings.initial) && waited < self.settings.initial {
                    return Due::Silence;
                }
                self.skip_to_initial_delay();
                self.state = State::Playing;
                self.window_ends = now + WINDOW;
                self.slack = i64::MAX;
            }
            State::Playing => {}
        }
        self.pulled = now;
        self.review_window(now);
        self.take()
    }

    /// The packet that [`Self::pull`] gave out was this long.
    pub(crate) fn played(&mut self, samples: usize) {
        self.position += samples as i64;
    }

    /// A burst at the beginning must not become a lasting delay.
    fn skip_to_initial_delay(&mut self) {
        let frames = units(self.settings.initial) / FRAME_UNITS;
        if self.highest - self.next < 2 * frames {
            return;
        }
        let first = self.highest - frames.max(1) + 1;
        let begin = (first..=self.highest).find_map(|number| {
            let held = self.slots[slot(number)].as_ref()?;
            (held.sequence == number && matches!(held.content, Content::Audio(_)))
                .then_some((number, held.at))
        });
        if let Some((number, at)) = begin.filter(|(number, _)| *number > self.next) {
            (self.next, self.position) = (number, at);
        }
    }

    fn review_window(&mut self, now: Instant) {
        if now < self.window_ends {
            return;
        }
        self.window_ends = now + WINDOW;
        let slack = std::mem::replace(&mut self.slack, i64::MAX);
        self.spare = slack != i64::MAX && slack > MARGIN + FRAME_UNITS;
    }

    fn take(&mut self) -> Due<'_, P> {
        let tolerance = FRAME_UNITS / 2;
        // Bounded: every turn moves `next` on, and never beyond `highest`, at most a ring ahead.
        while self.next <= self.highest {
            let held = self.slots[slot(self.next)].take_if(|held| held.sequence == self.next);
            match held {
                Some(Held {
                    content: Content::Event,
                    ..
                }) => self.next += 1,
                Some(Held {
                    at,
                    content: Content::Audio(packet),
                    ..
                }) if at <= self.position + tolerance => {
                    self.position = at;
                    self.next += 1;
                    return Due::Packet(packet);
                }
                Some(early) => {
                    self.slots[slot(self.next)] = Some(early);
                    self.position += FRAME_UNITS;
                    return Due::Gap;
                }
                None => match self.next_audio() {
                    Some((number, at)) if at > self.position + tolerance => {
                        return self.lost(number, at);
                    }
                    Some((number, _)) => self.next = number,
                    None => self.next = self.highest + 1,
                },
            }
        }
        self.position += FRAME_UNITS;
        Due::Gap
    }

    /// One frame before packet `number`, which is here, is missing.
    fn lost(&mut self, number: i64, at: i64) -> Due<'_, P> {
        self.position += FRAME_UNITS;
        if self.next < number - 1 {
            self.next += 1;
        }
        let adjacent = at.abs_diff(self.position) <= FRAME_UNITS as u64 / 2;
        let next = self.slots[slot(number)]
            .as_ref()
            .filter(|_| adjacent)
            .and_then(|held| match &held.content {
                Content::Audio(packet) => Some(packet),
                Content::Event => None,
            });
        Due::Lost { next }
    }

    /// The first packet of audio after `next` that is here.
    fn next_audio(&self) -> Option<(i64, i64)> {
        let end = self.highest.min(self.next + SLOTS as i64);
        (self.next + 1..=end).find_map(|number| match &self.slots[slot(number)] {
            Some(Held {
                sequence,
                at,
                content: Content::Audio(_),
            }) if *sequence == number => Some((number, *at)),
            _ => None,
        })
    }
}

fn slot(sequence: i64) -> usize {
    sequence.rem_euclid(SLOTS as i64) as usize
}

fn units(duration: Duration) -> i64 {
    (duration.as_micros() * 8 / 1000) as i64
}
