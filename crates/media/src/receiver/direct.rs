//! Decoding for a browser: on arrival where packets come in their order, else as soon as the order is known.

use std::time::Instant;

use super::Path;
use super::ahead::Ahead;
use super::payload::{Coded, LONGEST};
use super::waiting::Waiting;
use super::{Receiver, Stamp};
use crate::codec::{FRAME, Frame};
use crate::rtp::{MISORDER, SequenceUnwrap, TimestampUnwrap};

/// Beyond this many lost frames the sequence gap towards a browser is not reproduced.
const LARGEST_GAP: i64 = 50;

/// A frame for a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DirectFrame {
    pub(crate) pcm: Frame,
    /// Media time of its first sample, 1/8000 s.
    pub(crate) at: i64,
    /// Frames lost just before this one.
    pub(crate) lost_before: u16,
}

#[derive(Debug, Default)]
pub(super) struct Direct {
    sequence: SequenceUnwrap,
    timestamp: TimestampUnwrap,
    /// The sequence number and media time expected next.
    next: Option<Place>,
    /// What came before its turn.
    ahead: Ahead,
    /// Media time of the first sample in `pcm`.
    at: i64,
    lost: u16,
}

/// Where a packet stands in the stream.
#[derive(Debug, Clone, Copy)]
struct Place {
    number: i64,
    /// Media time, 1/8000 s.
    at: i64,
}

enum Turn {
    Now,
    Later,
    Over,
}

impl Direct {
    /// Another stream begins.
    pub(super) fn restart(&mut self) {
        let ahead = std::mem::take(&mut self.ahead);
        *self = Direct::default();
        self.ahead = ahead;
        self.ahead.restart();
    }

    fn turn(&mut self, now: Instant, number: i64) -> Turn {
        let Some(next) = self.next else {
            return Turn::Now;
        };
        if number < next.number - MISORDER {
            self.next = None;
            self.lost = 0;
            self.ahead.restart();
            return Turn::Now;
        }
        if number < next.number {
            self.ahead.missed(now, number);
            return Turn::Over;
        }
        if number > next.number {
            return Turn::Later;
        }
        self.ahead.filled(now);
        Turn::Now
    }

    /// A telephone-event takes a sequence number and leaves no gap.
    pub(super) fn skip(&mut self, now: Instant, sequence: u16) {
        let number = self.sequence.extend(sequence);
        let Some(next) = self.next else {
            return;
        };
        match self.turn(now, number) {
            Turn::Now => {
                self.next = Some(Place {
                    number: number + 1,
                    ..next
                })
            }
            Turn::Later => {
                self.keep(now, Place { number, ..next }, None);
            }
            Turn::Over => {}
        }
    }

    /// False if it cannot be kept.
    fn keep(&mut self, now: Instant, place: Place, coded: Option<Coded<'_>>) -> bool {
        let kept = self.ahead.keep(now, place.number, place.at, coded);
        if self.ahead.is_full()
            && let Some(next) = self.next
        {
            self.ahead.give_up(next.number);
        }
        kept
    }

    /// Whether the packet there does not follow what was decoded last; then frames may have been lost between.
    fn is_apart(&mut self, place: Place) -> bool {
        let Some(next) = self.next else {
            return true;
        };
        if place.number > next.number {
            let gap = (place.at - next.at + FRAME as i64 / 2) / FRAME as i64;
            self.lost = match (1..=LARGEST_GAP).contains(&gap) {
                true => gap as u16,
                false => 0,
            };
        }
        place.at != next.at
    }

    fn due(&self) -> Option<Instant> {
        self.next.and_then(|next| self.ahead.due(next.number))
    }
}

impl Receiver {
    pub(super) fn decode_in_turn(&mut self, now: Instant, stamp: Stamp, coded: Coded<'_>) {
        let Path::Direct(direct) = &mut self.path else {
            return;
        };
        let place = Place {
            number: direct.sequence.extend(stamp.sequence),
            at: direct.timestamp.extend(stamp.timestamp) / coded.ticks(),
        };
        match direct.turn(now, place.number) {
            Turn::Now => self.decode_at(place, coded),
            Turn::Later if direct.keep(now, place, Some(coded)) => {}
            Turn::Later | Turn::Over => self.drops.late += 1,
        }
    }

    fn decode_at(&mut self, place: Place, coded: Coded<'_>) {
        self.decoders.prepare_for(coded);
        let Path::Direct(direct) = &mut self.path else {
            return;
        };
        if direct.is_apart(place) {
            self.pcm.clear();
        }
        if self.pcm.is_empty() {
            direct.at = place.at;
        }
        let decoders = &mut self.decoders;
        match self.pcm.fill(|room| decoders.decode(coded, room)) {
            Some(samples) => {
                self.level.add(self.pcm.newest(samples));
                direct.next = Some(Place {
                    number: place.number + 1,
                    at: place.at + samples as i64,
                });
            }
            None => {
                self.drops.undecodable += 1;
                direct.ahead.spoilt(place.number);
            }
        }
    }

    /// When a packet that others overtook has been waited for long enough; [`Self::give_up`] then.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.path {
            Path::Direct(direct) => direct.due(),
            Path::Nowhere | Path::Paced(_) => None,
        }
    }

    pub(crate) fn give_up(&mut self, now: Instant) {
        if let Path::Direct(direct) = &mut self.path
            && direct.due().is_some_and(|due| due <= now)
            && let Some(next) = direct.next
        {
            direct.ahead.give_up(next.number);
        }
    }

    /// The next decoded frame; `None` until more comes.
    pub(crate) fn next_direct(&mut self) -> Option<DirectFrame> {
        loop {
            let Path::Direct(direct) = &mut self.path else {
                return None;
            };
            if let Some(pcm) = self.pcm.take() {
                let at = direct.at;
                direct.at += FRAME as i64;
                return Some(DirectFrame {
                    pcm,
                    at,
                    lost_before: std::mem::take(&mut direct.lost),
                });
            }
            self.decode_early()?;
        }
    }

    /// Decodes the next of what came early, if its turn has come.
    fn decode_early(&mut self) -> Option<()> {
        let Path::Direct(direct) = &mut self.path else {
            return None;
        };
        let next = direct.next?;
        let early = direct.ahead.take(next.number)?;
        let place = Place {
            number: early.number,
            at: early.at,
        };
        match early.sound {
            Some(Waiting::Opus(payload)) => self.decode_at(place, Coded::Opus(&payload)),
            Some(Waiting::Plain { codec, start, len }) => {
                let mut bytes = [0; LONGEST];
                let bytes = &mut bytes[..len];
                bytes.copy_from_slice(direct.ahead.payload(start, len));
                self.decode_at(place, Coded::Plain(codec, bytes));
            }
            Some(Waiting::Noise { .. }) | None => {
                direct.next = Some(Place {
                    number: early.number + 1,
                    ..next
                });
            }
        }
        Some(())
    }
}
