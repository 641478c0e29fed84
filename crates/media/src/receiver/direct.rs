//! Decoding on arrival, for a browser.

use super::Path;
use super::payload::{Coded, decode};
use super::{Receiver, Stamp};
use crate::codec::{FRAME, Frame};
use crate::rtp::{SequenceUnwrap, TimestampUnwrap};

/// Beyond this many lost frames the sequence gap towards a browser is not reproduced.
const LARGEST_GAP: i64 = 50;
/// A packet older than this many is the first of a new count (RFC 3550 appendix A.1, `MAX_MISORDER`).
const MISORDER: i64 = 100;

/// A frame for a browser, decoded on arrival.
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
    next: Option<(i64, i64)>,
    /// Media time of the first sample in `pcm`.
    at: i64,
    lost: u16,
}

/// Where a packet stands in the stream.
struct Place {
    number: i64,
    at: i64,
    /// It does not follow what was decoded last.
    apart: bool,
}

impl Direct {
    /// A telephone-event takes a sequence number and leaves no gap.
    pub(super) fn skip(&mut self, sequence: u16) {
        let number = self.sequence.extend(sequence);
        if let Some((next, _)) = &mut self.next {
            *next = (*next).max(number + 1);
        }
    }

    /// `None` for a packet whose turn has passed.
    fn place(&mut self, stamp: Stamp, ticks: i64) -> Option<Place> {
        let number = self.sequence.extend(stamp.sequence);
        let at = self.timestamp.extend(stamp.timestamp) / ticks;
        let Some((next, next_at)) = self.next else {
            return Some(Place {
                number,
                at,
                apart: true,
            });
        };
        if number < next - MISORDER {
            self.lost = 0;
        } else if number < next {
            return None;
        } else if number > next {
            let gap = (at - next_at + FRAME as i64 / 2) / FRAME as i64;
            self.lost = if (1..=LARGEST_GAP).contains(&gap) {
                gap as u16
            } else {
                0
            };
        }
        Some(Place {
            number,
            at,
            apart: at != next_at,
        })
    }
}

impl Receiver {
    pub(super) fn decode_on_arrival(&mut self, stamp: Stamp, coded: Coded<'_>) {
        let Path::Direct(direct) = &mut self.path else {
            return;
        };
        let Some(place) = direct.place(stamp, coded.ticks()) else {
            self.drops.late += 1;
            return;
        };
        if place.apart {
            self.pcm.clear();
        }
        if self.pcm.is_empty() {
            direct.at = place.at;
        }
        let decoder = self.opus.as_mut();
        match self.pcm.fill(|room| decode(decoder, coded, room)) {
            Some(samples) => {
                self.level.add(self.pcm.newest(samples));
                direct.next = Some((place.number + 1, place.at + samples as i64));
            }
            None => self.drops.undecodable += 1,
        }
    }

    /// The next frame decoded on arrival; `None` until more comes.
    pub(crate) fn next_direct(&mut self) -> Option<DirectFrame> {
        let Path::Direct(direct) = &mut self.path else {
            return None;
        };
        let pcm = self.pcm.take()?;
        let at = direct.at;
        direct.at += FRAME as i64;
        Some(DirectFrame {
            pcm,
            at,
            lost_before: std::mem::take(&mut direct.lost),
        })
    }
}
