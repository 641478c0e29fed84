//! The hearing side: packets into digits.

use super::{LAST_EVENT, LONGEST, Press, TelephoneEvent};

/// A segment may end so many ms short of what 16 bits hold, as far as its last packets are lost …
const FULL_WITHIN: u32 = 200;
/// … and the next one begin so many ms after the last packet heard.
const SLACK: u32 = 260;
/// A packet that is behind by so much at most is late: 15 s of the fastest clock. More is another timeline, as after a
/// transfer behind the PBX.
const LATE: u32 = 15 * 48_000;

/// Reduces telephone-event packets to digits.
#[derive(Debug, Default)]
pub(crate) struct DigitReceiver {
    state: Hearing,
}

#[derive(Debug, Default)]
enum Hearing {
    #[default]
    Silent,
    Sounding(Sounding),
    /// Ended; repeats of its end packet carry this timestamp.
    Over {
        timestamp: u32,
    },
}

#[derive(Debug, Clone, Copy)]
struct Sounding {
    event: u8,
    timestamp: u32,
    /// Duration of the current segment, in clock units.
    segment: u32,
    /// Duration of the segments before it, in clock units.
    before: u32,
}

impl DigitReceiver {
    /// Takes one packet in; `clock` is the payload's rate in Hz. Yields up to two steps: an end implies that a
    /// digit whose beginning was lost begins first.
    pub(crate) fn receive(
        &mut self,
        timestamp: u32,
        packet: TelephoneEvent,
        clock: u32,
    ) -> [Option<Press>; 2] {
        if packet.event > LAST_EVENT {
            return [None, None];
        }
        let Some((sounding, begins)) = self.advance(timestamp, packet, clock) else {
            return [None, None];
        };
        if !packet.end {
            return match begins {
                Some(press) => [Some(press), None],
                None => [Some(Press::Holds), None],
            };
        }
        self.state = Hearing::Over { timestamp };
        let total = u64::from(sounding.before) + u64::from(sounding.segment);
        let units = u32::try_from(total * 8000 / u64::from(clock.max(1))).unwrap_or(LONGEST);
        let end = Press::Ends {
            units: units.min(LONGEST),
        };
        [begins.or(Some(end)), begins.map(|_| end)]
    }

    /// The digit that this packet belongs to, and its beginning if it is a new one. `None`: a late packet of one that
    /// is over.
    fn advance(
        &mut self,
        timestamp: u32,
        packet: TelephoneEvent,
        clock: u32,
    ) -> Option<(Sounding, Option<Press>)> {
        let duration = u32::from(packet.duration);
        match &mut self.state {
            Hearing::Sounding(sounding) if sounding.timestamp == timestamp => {
                sounding.segment = sounding.segment.max(duration);
                return Some((*sounding, None));
            }
            Hearing::Sounding(sounding) => {
                let step = timestamp.wrapping_sub(sounding.timestamp);
                if is_late(timestamp, sounding.timestamp) {
                    return None;
                }
                if sounding.event == packet.event && sounding.goes_on_after(step, clock) {
                    let full = step.min(u32::from(u16::MAX));
                    sounding.before = sounding.before.saturating_add(full);
                    sounding.timestamp = timestamp;
                    sounding.segment = duration;
                    return Some((*sounding, None));
                }
            }
            Hearing::Over { timestamp: over } => {
                if is_late(timestamp, *over) {
                    return None;
                }
            }
            Hearing::Silent => {}
        }
        let sounding = Sounding {
            event: packet.event,
            timestamp,
            segment: duration,
            before: 0,
        };
        self.state = Hearing::Sounding(sounding);
        let begins = Press::Begins {
            event: packet.event,
            volume: packet.volume,
        };
        Some((sounding, Some(begins)))
    }
}

fn is_late(timestamp: u32, newest: u32) -> bool {
    newest.wrapping_sub(timestamp) <= LATE
}

impl Sounding {
    /// RFC 4733 section 2.5.1.3: an event too long for 16 bits goes on in a new segment, whose timestamp follows where
    /// the last one stopped. At 48 kHz that is after 1.4 s. A segment that was not about full is another digit: the
    /// same key again, of whose first press every end packet was lost.
    fn goes_on_after(&self, step: u32, clock: u32) -> bool {
        let milliseconds = |n: u32| clock / 1000 * n;
        let is_full = self.segment.saturating_add(milliseconds(FULL_WITHIN)) > u32::from(u16::MAX);
        // Beside Opus the timestamps of 8 kHz events count at 48 kHz all the same.
        let finest = 48_000 / clock.clamp(1, 48_000);
        is_full && step / finest <= self.segment.saturating_add(milliseconds(SLACK))
    }
}
