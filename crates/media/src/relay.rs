//! Passing packets on as they are: the numbers of a received stream turned into those of the stream that is sent.
//!
//! A packet keeps its distance in sequence and time from the ones before it, so that a loss stays a loss and a packet
//! that was overtaken still finds its place. Whenever that is impossible (another source, a jump, something else sent
//! in between) the line is drawn anew from where the sent stream stands, so that it never steps back.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::receiver::Stamp;
use crate::rtp::{MISORDER, SequenceUnwrap, TimestampUnwrap};

/// Beyond this many lost packets the gap is not reproduced.
const LARGEST_GAP: i64 = 50;
/// When media time and the clock disagree by more than this, the source's timeline jumped.
const JUMP: Duration = Duration::from_secs(1);

/// A received packet that goes on as it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passing<'a> {
    pub(crate) codec: Codec,
    pub(crate) stamp: Stamp,
    pub(crate) payload: &'a [u8],
    /// How long it lasts, in 1/8000 s.
    pub(crate) units: u32,
}

/// What a relayed leg heard, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Heard<'a> {
    Audio(Passing<'a>),
    /// A telephone-event took a number, and leaves no gap.
    Event(Stamp),
}

/// Packets on their way from one leg to the other, within one call of the worker. Its memory is used again.
#[derive(Debug, Default)]
pub(crate) struct Passage {
    heads: VecDeque<(Stamp, Option<Head>)>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    codec: Codec,
    units: u32,
    start: usize,
    len: usize,
}

impl Passage {
    pub(crate) fn push(&mut self, stamp: Stamp, codec: Codec, units: u32, payload: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(payload);
        let len = payload.len();
        let head = Head {
            codec,
            units,
            start,
            len,
        };
        self.heads.push_back((stamp, Some(head)));
    }

    pub(crate) fn push_event(&mut self, stamp: Stamp) {
        self.heads.push_back((stamp, None));
    }

    pub(crate) fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
    }

    pub(crate) fn pop(&mut self) -> Option<Heard<'_>> {
        let Some((stamp, head)) = self.heads.pop_front() else {
            self.bytes.clear();
            return None;
        };
        Some(match head {
            None => Heard::Event(stamp),
            Some(head) => Heard::Audio(Passing {
                codec: head.codec,
                stamp,
                payload: &self.bytes[head.start..head.start + head.len],
                units: head.units,
            }),
        })
    }
}

/// Where the stream that is sent stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The number of its next packet.
    pub(crate) sequence: u64,
    /// The timestamp of a packet that continues it now.
    pub(crate) timestamp: u32,
}

/// Where a packet goes in the stream that is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    /// No packet with a higher number has gone out.
    pub(crate) newest: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Relay {
    line: Option<Line>,
}

#[derive(Debug)]
struct Line {
    ssrc: u32,
    clock: u32,
    sequence: SequenceUnwrap,
    timestamp: TimestampUnwrap,
    /// The newest packet received.
    highest: i64,
    at: i64,
    when: Instant,
    /// Bit `n`: number `highest - n` is not to go out (any more). Two packets under one number would be encrypted with
    /// the same key stream (RFC 3711 section 9.1).
    gone: u64,
    /// Sent minus received.
    sequence_shift: i64,
    timestamp_shift: u32,
    /// The number that the sent stream goes on with, unless somebody else sends.
    next: u64,
}

impl Relay {
    /// Audio comes from another leg now.
    pub(crate) fn forget_source(&mut self) {
        self.line = None;
    }

    /// `None` for a packet that has gone out already, or whose place is taken.
    pub(crate) fn place(
        &mut self,
        now: Instant,
        packet: &Passing<'_>,
        standing: Standing,
    ) -> Option<Placed> {
        let stamp = &packet.stamp;
        let line = self.line.as_mut().filter(|line| {
            line.ssrc == stamp.ssrc
                && line.clock == packet.codec.clock()
                && line.next == standing.sequence
        });
        let Some(line) = line else {
            return Some(self.begin(now, packet, standing));
        };
        let number = line.sequence.extend(stamp.sequence);
        let at = line.timestamp.extend(stamp.timestamp);
        let step = number - line.highest;
        if step <= -MISORDER || step > LARGEST_GAP || step > 0 && line.jumps(now, at) {
            return Some(self.begin(now, packet, standing));
        }
        if step <= 0 && !line.claim(-step) {
            return None;
        }
        let placed = Placed {
            sequence: (number + line.sequence_shift) as u64,
            timestamp: stamp.timestamp.wrapping_add(line.timestamp_shift),
            marker: stamp.marker,
            newest: step > 0,
        };
        if placed.newest {
            line.advance(step, number);
            line.at = at;
            line.when = now;
            line.next = placed.sequence + 1;
        }
        Some(placed)
    }

    fn begin(&mut self, now: Instant, packet: &Passing<'_>, standing: Standing) -> Placed {
        let stamp = &packet.stamp;
        let (mut sequence, mut timestamp) = (SequenceUnwrap::default(), TimestampUnwrap::default());
        let highest = sequence.extend(stamp.sequence);
        let at = timestamp.extend(stamp.timestamp);
        self.line = Some(Line {
            ssrc: stamp.ssrc,
            clock: packet.codec.clock(),
            sequence,
            timestamp,
            highest,
            at,
            when: now,
            gone: u64::MAX,
            sequence_shift: standing.sequence as i64 - highest,
            timestamp_shift: standing.timestamp.wrapping_sub(stamp.timestamp),
            next: standing.sequence + 1,
        });
        Placed {
            sequence: standing.sequence,
            timestamp: standing.timestamp,
            marker: true,
            newest: true,
        }
    }

    /// A telephone-event took a number of the source's, and is not passed on under one of its own.
    pub(crate) fn skip(&mut self, stamp: Stamp) {
        let Some(line) = self.line.as_mut().filter(|line| line.ssrc == stamp.ssrc) else {
            return;
        };
        let number = line.sequence.extend(stamp.sequence);
        let step = number - line.highest;
        if (1..=LARGEST_GAP).contains(&step) {
            line.advance(step, number);
            line.sequence_shift -= 1;
            // What comes late from before the event would be numbered by the new distance.
            line.gone = u64::MAX;
        }
    }
}

impl Line {
    fn jumps(&self, now: Instant, at: i64) -> bool {
        let step = at - self.at;
        let elapsed = now.saturating_duration_since(self.when).as_secs_f64();
        let media = step as f64 / f64::from(self.clock);
        step <= 0 || (media - elapsed).abs() > JUMP.as_secs_f64()
    }

    /// Takes the place of the packet that is so many numbers back, if it is free.
    fn claim(&mut self, back: i64) -> bool {
        let bit = u32::try_from(back)
            .ok()
            .and_then(|back| 1u64.checked_shl(back));
        match bit {
            Some(bit) if self.gone & bit == 0 => {
                self.gone |= bit;
                true
            }
            _ => false,
        }
    }

    fn advance(&mut self, step: i64, number: i64) {
        self.highest = number;
        let moved = u32::try_from(step)
            .ok()
            .and_then(|step| self.gone.checked_shl(step));
        self.gone = moved.unwrap_or(0) | 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;

    /// A source and the stream that is sent, both with frames of 20 ms of G.711.
    struct Wire {
        relay: Relay,
        now: Instant,
        standing: Standing,
    }

    impl Wire {
        fn new() -> Self {
            Wire {
                relay: Relay::default(),
                now: origin(),
                standing: Standing {
                    sequence: 1000,
                    timestamp: 50_000,
                },
            }
        }

        fn packet(&mut self, ssrc: u32, sequence: u16, timestamp: u32) -> Option<(u64, u32)> {
            let stamp = Stamp {
                ssrc,
                sequence,
                timestamp,
                marker: false,
            };
            let packet = Passing {
                codec: Codec::Pcma,
                stamp,
                payload: &[0; 160],
                units: 160,
            };
            let placed = self.relay.place(self.now, &packet, self.standing)?;
            if placed.newest {
                self.standing.sequence = placed.sequence + 1;
                self.standing.timestamp = placed.timestamp.wrapping_add(160);
            }
            Some((placed.sequence, placed.timestamp))
        }

        /// Packet `n` of a regular source, at its time.
        fn regular(&mut self, n: u16) -> Option<(u64, u32)> {
            self.now = origin() + Duration::from_millis(20) * u32::from(n);
            self.packet(7, 65_530u16.wrapping_add(n), 160 * u32::from(n))
        }
    }

    #[test]
    fn a_regular_stream_continues_the_one_that_is_sent_across_the_wrap() {
        let mut wire = Wire::new();
        for n in 0..20 {
            let expected = (1000 + u64::from(n), 50_000 + 160 * u32::from(n));
            assert_eq!(wire.regular(n), Some(expected));
        }
    }

    #[test]
    fn a_loss_stays_a_loss_and_a_late_packet_takes_its_own_place_once() {
        let mut wire = Wire::new();
        wire.regular(0);
        assert_eq!(wire.regular(3), Some((1003, 50_480)));
        assert_eq!(wire.packet(7, 65_531, 160), Some((1001, 50_160)));
        assert_eq!(wire.packet(7, 65_531, 160), None);
        assert_eq!(wire.packet(7, 65_533, 480), None);
        assert_eq!(wire.regular(4), Some((1004, 50_640)));
    }

    #[test]
    fn what_comes_from_before_the_beginning_does_not_go_out() {
        let mut wire = Wire::new();
        wire.regular(5);
        assert_eq!(wire.packet(7, 65_534, 640), None);
    }

    #[test]
    fn another_source_and_a_jump_continue_where_the_stream_stands() {
        let mut wire = Wire::new();
        wire.regular(0);
        assert_eq!(wire.packet(8, 5, 9_000_000), Some((1001, 50_160)));
        assert_eq!(wire.packet(8, 6, 19_000_000), Some((1002, 50_320)));
        assert_eq!(wire.packet(8, 32_774, 19_000_160), Some((1003, 50_480)));
        assert_eq!(wire.packet(8, 32_775, 19_000_000), Some((1004, 50_640)));
    }

    #[test]
    fn what_was_sent_in_between_is_not_overwritten() {
        let mut wire = Wire::new();
        wire.regular(0);
        wire.standing.sequence += 3;
        wire.standing.timestamp += 480;
        assert_eq!(wire.regular(1), Some((1004, 50_640)));
        assert_eq!(wire.regular(2), Some((1005, 50_800)));
    }

    #[test]
    fn a_key_pressed_at_the_source_leaves_no_gap() {
        let mut wire = Wire::new();
        wire.regular(0);
        for n in 1u16..4 {
            wire.relay.skip(Stamp {
                ssrc: 7,
                sequence: 65_530u16.wrapping_add(n),
                timestamp: 160,
                marker: n == 1,
            });
        }
        assert_eq!(wire.regular(4), Some((1001, 50_640)));
        assert_eq!(wire.packet(7, 65_529, 0), None);
    }

    #[test]
    fn no_number_goes_out_twice_whatever_comes() {
        let mut wire = Wire::new();
        let mut sent = std::collections::HashSet::new();
        let mut chaos = 1u32;
        for _ in 0..20_000 {
            chaos = chaos.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let sequence = (chaos >> 16) as u16 % 300;
            let ssrc = chaos >> 8 & 1;
            if chaos >> 24 & 7 == 0 {
                wire.relay.skip(Stamp {
                    ssrc,
                    sequence,
                    timestamp: 0,
                    marker: false,
                });
            } else if let Some((number, _)) = wire.packet(ssrc, sequence, chaos) {
                assert!(sent.insert(number), "{number}");
            }
        }
    }
}
