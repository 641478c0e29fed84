//! RFC 4733 telephone-events: understood from one leg, sent anew on the other.
//!
//! Events are not relayed packet by packet. The receiving side reduces them to digits that start, go on and end
//! (so that repeated end packets, lost markers and lost packets do no harm), and the sending side generates a
//! regular series from its own clock: one packet every 20 ms, three end packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The interval between two packets of one event.
pub(crate) const UPDATE: Duration = Duration::from_millis(20);
/// Media time is counted in units of 1/8000 s on both sides.
const UNITS_PER_UPDATE: u32 = 160;
/// A digit whose packets cease without an end is over after this.
const SILENCE_ENDS: Duration = Duration::from_millis(200);
/// Shorter digits are stretched to this, for the detectors of old equipment.
const SHORTEST: u32 = 40 * 8;
/// An event that never ends is ended for it.
const LONGEST: u32 = 10 * 8000;
/// RFC 4733 section 2.5.1.4: the final packet is sent three times.
const END_PACKETS: u8 = 3;
/// Updates of silence between two digits.
const PAUSE: u8 = 2;
/// Digits that wait to be sent; what comes beyond is dropped.
const QUEUE: usize = 32;

/// DTMF events are 0 to 15 (`0`–`9`, `*`, `#`, `A`–`D`), 16 is flash-hook.
const LAST_EVENT: u8 = 16;

/// The four bytes of a telephone-event payload (RFC 4733 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Event code: 0 to 9 the digits, 10 `*`, 11 `#`, 12 to 15 `A` to `D`, 16 flash.
    pub event: u8,
    /// True in the last packets of an event.
    pub end: bool,
    /// Power below 0 dBm0, 0 to 63.
    pub volume: u8,
    /// How long the event has lasted, in units of the payload's clock.
    pub duration: u16,
}

impl TelephoneEvent {
    /// Reads a payload; `None` if it is too short. Further events packed behind the first are ignored (RFC 4733
    /// section 2.5.1.5 allows them, no phone sends them for DTMF).
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<4>()?;
        Some(TelephoneEvent {
            event: bytes[0],
            end: bytes[1] & 0x80 != 0,
            volume: bytes[1] & 0x3f,
            duration: u16::from_be_bytes([bytes[2], bytes[3]]),
        })
    }

    /// The payload as it goes on the wire.
    pub fn to_bytes(self) -> [u8; 4] {
        let duration = self.duration.to_be_bytes();
        [
            self.event,
            (u8::from(self.end) << 7) | (self.volume & 0x3f),
            duration[0],
            duration[1],
        ]
    }
}

/// What a received packet says about the key that is pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Press {
    /// A new digit; `ended` when its only packet heard is an end.
    Begins { event: u8, volume: u8 },
    /// The digit goes on.
    Holds,
    /// The digit is over after this many 1/8000 s.
    Ends { units: u32 },
}

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

/// One packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventPacket {
    /// RTP timestamp: where the event (or its segment) began, on the timeline of the audio.
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: [u8; 4],
}

/// Generates the packets of the digits that the other leg heard.
#[derive(Debug)]
pub(crate) struct DigitSender {
    waiting: VecDeque<Queued>,
    sending: Option<Sending>,
    pause: u8,
    clock: EventClock,
}

/// The clock of the telephone-event payload, and that of the audio whose timeline it shares. They differ where a
/// browser offers `telephone-event/8000` beside Opus: libwebrtc counts timestamps on the audio's clock then and
/// only the duration on the event's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventClock {
    pub(crate) event: u32,
    pub(crate) audio: u32,
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    event: u8,
    volume: u8,
    heard: Instant,
    /// Known once it ended, in 1/8000 s.
    lasted: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Sending {
    digit: Queued,
    timestamp: u32,
    /// Sent so far in this segment, and in the segments before it; 1/8000 s.
    segment: u32,
    before: u32,
    marker: bool,
    ends: u8,
}

impl DigitSender {
    pub(crate) fn new(clock: EventClock) -> Self {
        DigitSender {
            waiting: VecDeque::with_capacity(QUEUE),
            sending: None,
            pause: 0,
            clock,
        }
    }

    pub(crate) fn set_clock(&mut self, clock: EventClock) {
        self.clock = clock;
    }

    /// True while there is something to send, pauses between digits included.
    pub(crate) fn is_busy(&self) -> bool {
        self.sending.is_some() || !self.waiting.is_empty()
    }

    /// Takes over what the other leg heard. False if the digit found no room.
    pub(crate) fn press(&mut self, now: Instant, press: Press) -> bool {
        if let Press::Begins { event, volume } = press {
            self.end_newest(None);
            if self.waiting.len() == QUEUE {
                return false;
            }
            self.waiting.push_back(Queued {
                event,
                volume,
                heard: now,
                lasted: None,
            });
            return true;
        }
        let newest = match self.waiting.back_mut() {
            Some(digit) => Some(digit),
            None => self.sending.as_mut().map(|sending| &mut sending.digit),
        };
        if let Some(digit) = newest {
            digit.heard = now;
        }
        if let Press::Ends { units } = press {
            self.end_newest(Some(units));
        }
        true
    }

    fn end_newest(&mut self, units: Option<u32>) {
        if let Some(digit) = self.waiting.back_mut() {
            digit.lasted = digit.lasted.or(Some(units.unwrap_or(SHORTEST)));
        } else if let Some(sending) = &mut self.sending {
            let so_far = sending.before + sending.segment;
            sending.digit.lasted = sending.digit.lasted.or(Some(units.unwrap_or(so_far)));
        }
    }

    /// The packet due at this update, if any; call every [`UPDATE`]. `timestamp` is the audio's at this moment.
    pub(crate) fn next(&mut self, now: Instant, timestamp: u32) -> Option<EventPacket> {
        if self.sending.is_none() {
            if self.pause > 0 {
                self.pause -= 1;
                return None;
            }
            self.sending = self.waiting.pop_front().map(|digit| Sending {
                digit,
                timestamp,
                segment: 0,
                before: 0,
                marker: true,
                ends: 0,
            });
        }
        let clock = self.clock;
        let sending = self.sending.as_mut()?;
        let packet = sending.step(now, clock);
        if sending.ends == END_PACKETS {
            self.sending = None;
            self.pause = PAUSE;
        }
        Some(packet)
    }
}

impl Sending {
    fn step(&mut self, now: Instant, clock: EventClock) -> EventPacket {
        let total = self.before + self.segment;
        if self.digit.lasted.is_none()
            && (now.saturating_duration_since(self.digit.heard) > SILENCE_ENDS || total >= LONGEST)
        {
            self.digit.lasted = Some(total);
        }
        let finished = self
            .digit
            .lasted
            .is_some_and(|lasted| total >= lasted.max(SHORTEST));
        if finished {
            self.ends += 1;
        } else {
            self.grow(clock);
        }
        let packet = EventPacket {
            timestamp: self.timestamp,
            marker: self.marker,
            payload: TelephoneEvent {
                event: self.digit.event,
                end: finished,
                volume: self.digit.volume,
                duration: scale(self.segment, clock.event) as u16,
            }
            .to_bytes(),
        };
        self.marker = false;
        packet
    }

    fn grow(&mut self, clock: EventClock) {
        if scale(self.segment + UNITS_PER_UPDATE, clock.event) > u32::from(u16::MAX) {
            self.timestamp = self
                .timestamp
                .wrapping_add(scale(self.segment, clock.audio));
            self.before += self.segment;
            self.segment = 0;
        }
        self.segment += UNITS_PER_UPDATE;
    }
}

fn scale(units: u32, clock: u32) -> u32 {
    units * (clock / 8000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;
    use proptest::prelude::*;

    const NARROW: EventClock = EventClock {
        event: 8000,
        audio: 8000,
    };
    const WIDE: EventClock = EventClock {
        event: 48_000,
        audio: 48_000,
    };

    fn event(event: u8, end: bool, duration: u16) -> TelephoneEvent {
        TelephoneEvent {
            event,
            end,
            volume: 10,
            duration,
        }
    }

    fn presses(
        receiver: &mut DigitReceiver,
        packets: &[(u32, TelephoneEvent)],
        clock: u32,
    ) -> Vec<Press> {
        packets
            .iter()
            .flat_map(|(timestamp, packet)| receiver.receive(*timestamp, *packet, clock))
            .flatten()
            .filter(|press| *press != Press::Holds)
            .collect()
    }

    fn send_all(sender: &mut DigitSender, start: Instant) -> Vec<EventPacket> {
        (0..1000u32)
            .take_while(|_| true)
            .filter_map(|n| sender.next(start + UPDATE * n, 160 * n))
            .collect()
    }

    #[test]
    fn repeated_end_packets_are_one_digit() {
        let mut receiver = DigitReceiver::default();
        let packets = [
            (100, event(5, false, 160)),
            (100, event(5, false, 320)),
            (100, event(5, true, 800)),
            (100, event(5, true, 800)),
            (100, event(5, true, 800)),
        ];
        assert_eq!(
            presses(&mut receiver, &packets, 8000),
            [
                Press::Begins {
                    event: 5,
                    volume: 10
                },
                Press::Ends { units: 800 }
            ]
        );
    }

    #[test]
    fn a_digit_of_which_only_one_end_packet_arrives_is_not_lost() {
        let mut receiver = DigitReceiver::default();
        let heard = presses(&mut receiver, &[(9, event(11, true, 4800))], 48_000);
        assert_eq!(
            heard,
            [
                Press::Begins {
                    event: 11,
                    volume: 10
                },
                Press::Ends { units: 800 }
            ]
        );
    }

    #[test]
    fn the_same_key_twice_is_two_digits() {
        let mut receiver = DigitReceiver::default();
        let packets = [(100, event(1, true, 800)), (2000, event(1, true, 800))];
        assert_eq!(presses(&mut receiver, &packets, 8000).len(), 4);
    }

    #[test]
    fn a_long_press_in_segments_is_one_digit() {
        let mut receiver = DigitReceiver::default();
        let packets = [
            (0, event(1, false, 65_000)),
            (65_535, event(1, false, 960)),
            (65_535, event(1, true, 9600)),
        ];
        assert_eq!(
            presses(&mut receiver, &packets, 48_000),
            [
                Press::Begins {
                    event: 1,
                    volume: 10
                },
                Press::Ends {
                    units: (65_535 + 9600) / 6
                }
            ]
        );
    }

    #[test]
    fn a_sent_digit_has_one_marker_and_three_ends() {
        let now = origin();
        let mut sender = DigitSender::new(NARROW);
        sender.press(
            now,
            Press::Begins {
                event: 3,
                volume: 8,
            },
        );
        sender.press(now, Press::Ends { units: 800 });
        let sent = send_all(&mut sender, now);
        let events: Vec<_> = sent
            .iter()
            .map(|packet| TelephoneEvent::parse(&packet.payload).unwrap())
            .collect();
        let durations: Vec<_> = events.iter().map(|event| event.duration).collect();
        assert_eq!(durations, [160, 320, 480, 640, 800, 800, 800, 800]);
        assert_eq!(events.iter().filter(|event| event.end).count(), 3);
        assert!(sent[0].marker && sent[1..].iter().all(|packet| !packet.marker));
        assert!(
            sent.iter()
                .all(|packet| packet.timestamp == sent[0].timestamp)
        );
    }

    #[test]
    fn a_digit_whose_end_is_lost_ends_by_itself() {
        let now = origin();
        let mut sender = DigitSender::new(NARROW);
        sender.press(
            now,
            Press::Begins {
                event: 3,
                volume: 8,
            },
        );
        let sent = send_all(&mut sender, now);
        let last = TelephoneEvent::parse(&sent.last().unwrap().payload).unwrap();
        assert!(last.end);
        assert!(last.duration >= 1600 && last.duration < 2400, "{last:?}");
    }

    #[test]
    fn digits_dialled_in_a_burst_all_go_out_apart_and_in_order() {
        let now = origin();
        let mut sender = DigitSender::new(WIDE);
        for digit in 0..10 {
            sender.press(
                now,
                Press::Begins {
                    event: digit,
                    volume: 8,
                },
            );
            sender.press(now, Press::Ends { units: 0 });
        }
        let sent = send_all(&mut sender, now);
        let starts: Vec<_> = sent
            .iter()
            .filter(|packet| packet.marker)
            .map(|packet| packet.payload[0])
            .collect();
        assert_eq!(starts, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_press_longer_than_sixteen_bits_is_sent_in_segments() {
        let now = origin();
        let mut sender = DigitSender::new(WIDE);
        sender.press(
            now,
            Press::Begins {
                event: 0,
                volume: 8,
            },
        );
        sender.press(now, Press::Ends { units: 16_000 });
        let sent = send_all(&mut sender, now);
        let first = sent[0].timestamp;
        let last = sent.last().unwrap();
        let in_last = TelephoneEvent::parse(&last.payload).unwrap().duration;
        let total = last.timestamp - first + u32::from(in_last);
        assert_eq!(total, 96_000);
        assert_eq!(sent.iter().filter(|packet| packet.marker).count(), 1);
    }

    proptest! {
        #[test]
        fn any_series_of_packets_is_survived(
            packets in proptest::collection::vec((any::<u32>(), any::<[u8; 4]>(), any::<bool>()), 0..60)
        ) {
            let now = origin();
            let mut receiver = DigitReceiver::default();
            let mut sender = DigitSender::new(WIDE);
            for (n, (timestamp, bytes, wide)) in packets.into_iter().enumerate() {
                let clock = if wide { 48_000 } else { 8000 };
                let packet = TelephoneEvent::parse(&bytes).unwrap();
                for press in receiver.receive(timestamp, packet, clock).into_iter().flatten() {
                    sender.press(now, press);
                }
                sender.next(now + UPDATE * n as u32, timestamp);
            }
        }
    }
}
