//! The hearing side: packets into digits.

use super::{LONGEST, Press, TelephoneEvent};

/// DTMF events are 0 to 15 (`0`–`9`, `*`, `#`, `A`–`D`), 16 is flash-hook.
const LAST_EVENT: u8 = 16;

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
        let begins = self.advance(timestamp, packet, clock);
        let Hearing::Sounding(sounding) = self.state else {
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

    /// Brings `self.state` to the digit that this packet belongs to; says whether it is a new one.
    fn advance(&mut self, timestamp: u32, packet: TelephoneEvent, clock: u32) -> Option<Press> {
        let duration = u32::from(packet.duration);
        match &mut self.state {
            Hearing::Sounding(sounding) if sounding.timestamp == timestamp => {
                sounding.segment = sounding.segment.max(duration);
                return None;
            }
            Hearing::Sounding(sounding) => {
                let step = timestamp.wrapping_sub(sounding.timestamp);
                if step as i32 <= 0 {
                    return None;
                }
                // RFC 4733 section 2.5.1.3: an event too long for 16 bits goes on in a new segment, whose
                // timestamp follows where the last one stopped. At 48 kHz that is after 1.4 s.
                let slack = clock / 1000 * 60;
                if sounding.event == packet.event && step <= sounding.segment.saturating_add(slack)
                {
                    sounding.before = sounding.before.saturating_add(step);
                    sounding.timestamp = timestamp;
                    sounding.segment = duration;
                    return None;
                }
            }
            Hearing::Over { timestamp: over } => {
                if timestamp.wrapping_sub(*over) as i32 <= 0 {
                    return None;
                }
            }
            Hearing::Silent => {}
        }
        self.state = Hearing::Sounding(Sounding {
            event: packet.event,
            timestamp,
            segment: duration,
            before: 0,
        });
        Some(Press::Begins {
            event: packet.event,
            volume: packet.volume,
        })
    }
}
