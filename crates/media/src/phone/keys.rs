//! Keys of a phone leg: telephone-events (RFC 4733) where the phone has them, else what signalling tells (SIP INFO).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::PhoneLeg;
use crate::dtmf::{EventPacket, Key, Press, TelephoneEvent};
use crate::outbox::Outbox;
use crate::rtp::Header;

/// What is known about a phone's keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The way that its first key took since the last offer and answer.
    heard_by: Option<Way>,
    /// Of the other side, to be told by signalling.
    told: VecDeque<Key>,
}

impl Keys {
    /// Another device may be there now.
    pub(super) fn forget_way(&mut self) {
        self.heard_by = None;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Sound,
    Signalling,
}

impl PhoneLeg {
    /// Takes over a digit that the bridged leg heard.
    pub(crate) fn press(&mut self, now: Instant, press: Press) {
        // On hold nobody listens: a key kept until the resume would be pressed minutes after it was meant.
        let is_heard = self
            .agreed()
            .is_some_and(|agreed| agreed.destination().is_some());
        if !is_heard || !self.digits.press(now, press) {
            self.receiver.drops().digits += 1;
            return;
        }
        // What is passed on as it comes keeps the leg's own clock back.
        self.frames.hurry(now);
    }

    /// The phone pressed a key, as signalling tells.
    pub(crate) fn hear_key(&mut self, key: Key) -> [Option<Press>; 2] {
        // As with telephone-events, nobody keys before the answer.
        let is_heard = self.agreed().is_some() && !self.is_early();
        match key.presses().filter(|_| is_heard) {
            Some(presses) if self.is_way(Way::Signalling) => presses.map(Some),
            _ => [None, None],
        }
    }

    /// The same, as telephone-events tell.
    pub(super) fn hear_event(&mut self, presses: [Option<Press>; 2]) -> [Option<Press>; 2] {
        let is_key = presses.iter().any(Option::is_some);
        match is_key && self.is_way(Way::Sound) {
            true => presses,
            false => [None, None],
        }
    }

    /// Some telephones press each key in both ways: the one that came first is listened to, or each would be heard twice.
    fn is_way(&mut self, way: Way) -> bool {
        *self.keys.heard_by.get_or_insert(way) == way
    }

    /// A key for a phone that knows no telephone-event is told once it is over.
    pub(super) fn tell_key(&mut self, packet: EventPacket) {
        let event = TelephoneEvent::parse(&packet.payload);
        let Some((event, units)) = event.zip(packet.ended) else {
            return;
        };
        self.sent.digits += 1;
        self.keys.told.push_back(Key {
            event: event.event,
            lasted: Duration::from_micros(u64::from(units) * 125),
        });
    }

    /// The next key to be told by signalling.
    pub(crate) fn take_key(&mut self) -> Option<Key> {
        self.keys.told.pop_front()
    }

    pub(super) fn send_event(
        &mut self,
        packet: EventPacket,
        payload_type: u8,
        destination: SocketAddr,
        out: &mut Outbox,
    ) {
        self.sent.digits += u64::from(packet.marker);
        let header = Header {
            payload_type,
            marker: packet.marker,
            timestamp: packet.timestamp,
            ..self.header
        };
        self.push(header, &packet.payload, destination, out);
    }
}
