//! The sending side: digits into a regular series of packets.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{LONGEST, Press, TelephoneEvent};

/// Media time is counted in units of 1/8000 s on both sides.
const UNITS_PER_UPDATE: u32 = 160;
/// A digit whose packets cease without an end is over after this.
const SILENCE_ENDS: Duration = Duration::from_millis(200);
/// Shorter digits are stretched to this, for the detectors of old equipment.
const SHORTEST: u32 = 40 * 8;
/// RFC 4733 section 2.5.1.4: the final packet is sent three times.
const END_PACKETS: u8 = 3;
/// Updates of silence between two digits.
const PAUSE: u8 = 2;
/// Digits that wait to be sent; what comes beyond is dropped.
const QUEUE: usize = 32;

/// One packet to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventPacket {
    /// RTP timestamp: where the event (or its segment) began, on the timeline of the audio.
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: [u8; 4],
    /// In the first packet of the event's end: how long it lasted as a whole, 1/8000 s.
    pub(crate) ended: Option<u32>,
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

    /// Nobody hears keys any more.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.sending = None;
        self.pause = 0;
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
            ended: (self.ends == 1).then_some(self.before + self.segment),
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
