//! RFC 4733 telephone-events: understood from one leg, sent anew on the other.
//!
//! Events are not relayed packet by packet. The receiving side reduces them to digits that start, go on and end
//! (so that repeated end packets, lost markers and lost packets do no harm), and the sending side generates a
//! regular series from its own clock: one packet every 20 ms, three end packets.

mod receive;
mod send;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

pub(crate) use receive::DigitReceiver;
pub(crate) use send::{DigitSender, EventClock, EventPacket};

/// The interval between two packets of one event.
pub(crate) const UPDATE: Duration = Duration::from_millis(20);
/// DTMF events are 0 to 15 (`0`–`9`, `*`, `#`, `A`–`D`), 16 is flash-hook.
const LAST_EVENT: u8 = 16;
/// Of a key that was told without one, dBm0 below 0: what telephones send.
const VOLUME: u8 = 10;
/// An event that never ends is ended for it.
const LONGEST: u32 = 10 * 8000;

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

/// A key that was pressed, where it is told as one thing and not as a series of packets (SIP INFO).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Event code, as in [`TelephoneEvent::event`].
    pub event: u8,
    /// How long it was held.
    pub lasted: Duration,
}

impl fmt::Debug for Key {
    // Keys are PINs and card numbers too: no log has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} ms)", self.lasted.as_millis())
    }
}

impl Key {
    /// The same as it is heard from packets; nothing for what is no key.
    pub(crate) fn presses(self) -> Option<[Press; 2]> {
        let units = u32::try_from(self.lasted.as_millis() * 8).unwrap_or(LONGEST);
        let begins = Press::Begins {
            event: self.event,
            volume: VOLUME,
        };
        let ends = Press::Ends {
            units: units.min(LONGEST),
        };
        (self.event <= LAST_EVENT).then_some([begins, ends])
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
