//! Packets of the bridged leg that the phone takes as they are: they go out as they come, for the phone has a jitter
//! buffer of its own. Only where the source falls silent does the leg's own clock take over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{PhoneLeg, Ptime};
use crate::codec::{Codec, FRAME};
use crate::formats::Format;
use crate::outbox::Outbox;
use crate::receiver::Stamp;
use crate::relay::{Passing, Standing};
use crate::rtp::Header;

/// A packet may be so late before silence is sent in its stead.
const PATIENCE: Duration = Duration::from_millis(60);
/// The longest packet that a phone may ask for: 60 ms of 64 kbit/s.
const LONGEST_CUT: usize = 480;

/// Where passed packets go, and in which shape.
#[derive(Debug, Clone, Copy)]
struct Way {
    destination: SocketAddr,
    format: Format,
    ptime: Ptime,
}

impl PhoneLeg {
    /// Sends a packet of the bridged leg as it is.
    pub(crate) fn pass(&mut self, now: Instant, packet: &Passing<'_>, out: &mut Outbox) {
        let way = self.agreed().and_then(|agreed| {
            Some(Way {
                destination: self.destination()?,
                format: agreed.heard_as(packet.codec)?,
                ptime: agreed.audio().ptime,
            })
        });
        let Some(way) = way else {
            return;
        };
        // RFC 4733 section 2.5.1.1: an event stands in the place of the audio.
        if self.digits.is_busy() || self.is_early() {
            return;
        }
        if packet.codec == Codec::Opus || packet.units as usize == way.ptime.samples() {
            self.pass_whole(now, packet, way, out);
        } else {
            self.pass_cut(now, packet, way, out);
        }
    }

    fn pass_whole(&mut self, now: Instant, packet: &Passing<'_>, way: Way, out: &mut Outbox) {
        let standing = Standing {
            sequence: self.sequence.extend(self.header.sequence) as u64,
            timestamp: self.frames.standing(),
        };
        let Some(placed) = self.relay.place(now, packet, standing) else {
            return;
        };
        // The index of a sealed packet is counted by those before it (RFC 3711 section 3.3.1).
        if !placed.newest && self.srtp.is_some() {
            return;
        }
        self.speak(way.format);
        let header = Header {
            payload_type: way.format.number,
            marker: placed.marker,
            sequence: placed.sequence as u16,
            timestamp: placed.timestamp,
            ssrc: self.header.ssrc,
        };
        let next = match placed.newest {
            true => header.sequence.wrapping_add(1),
            false => self.header.sequence,
        };
        self.push(header, packet.payload, way.destination, out);
        self.header.sequence = next;
        if placed.newest {
            let ticks = packet.units.wrapping_mul(packet.codec.ticks() as u32);
            self.keep_clock_back(now, packet, placed.timestamp.wrapping_add(ticks));
        }
    }

    /// The same for a phone that asked for packets of another length.
    fn pass_cut(&mut self, now: Instant, packet: &Passing<'_>, way: Way, out: &mut Outbox) {
        if self.cut.next != Some(self.header.sequence) {
            self.cut.begin();
        }
        let mut at = self.frames.standing();
        let standing = Standing {
            sequence: self.cut.count,
            timestamp: at.wrapping_add(self.cut.len() as u32),
        };
        let placed = self.relay.place(now, packet, standing);
        let Some(placed) = placed.filter(|placed| placed.newest) else {
            return;
        };
        self.speak(way.format);
        self.header.marker = placed.marker;
        if placed.timestamp != standing.timestamp {
            at = self.send_cut(at, self.cut.len(), way, out);
            let is_lost = placed.sequence != standing.sequence;
            self.header.sequence = self.header.sequence.wrapping_add(u16::from(is_lost));
            at = at.wrapping_add(placed.timestamp.wrapping_sub(standing.timestamp));
        }
        self.cut.count = placed.sequence + 1;
        self.cut.push(packet.payload);
        // Bounded by the length of one packet.
        while self.cut.len() >= way.ptime.samples() {
            at = self.send_cut(at, way.ptime.samples(), way, out);
        }
        self.cut.next = Some(self.header.sequence);
        self.keep_clock_back(now, packet, at);
    }

    /// Sends the oldest bytes that wait, which begin at this timestamp; returns where the rest begins.
    fn send_cut(&mut self, at: u32, len: usize, way: Way, out: &mut Outbox) -> u32 {
        let mut bytes = [0; LONGEST_CUT];
        let Some(payload) = bytes.get_mut(..len).filter(|payload| !payload.is_empty()) else {
            return at;
        };
        if self.cut.take(payload) {
            self.send_payload(way.format, at, payload, way.destination, out);
        }
        at.wrapping_add(len as u32)
    }

    /// The leg's own clock takes over from `timestamp` on, unless more comes in time.
    fn keep_clock_back(&mut self, now: Instant, packet: &Passing<'_>, timestamp: u32) {
        self.header.marker = false;
        self.sent.carried += u64::from(packet.units / FRAME as u32).max(1);
        let lasts = Duration::from_micros(u64::from(packet.units) * 125);
        self.frames.resume(now + lasts + PATIENCE, timestamp);
    }

    /// The bridged leg is another one now.
    pub(crate) fn forget_source(&mut self) {
        self.relay.forget_source();
    }

    /// The bridged leg heard a telephone-event, which is sent as one of our own.
    pub(crate) fn skip(&mut self, stamp: Stamp) {
        self.relay.skip(stamp);
    }
}
