//! Packets of the bridged leg that the browser takes as they are.

use std::time::Instant;

use str0m::rtp::RtpWrite;

use super::BrowserLeg;
use super::agreed::Negotiation;
use super::link::Link;
use crate::codec::FRAME;
use crate::error::MediaError;
use crate::outbox::Outbox;
use crate::receiver::Stamp;
use crate::relay::Passing;

impl BrowserLeg {
    /// Sends a packet of the bridged leg as it is.
    pub(crate) fn pass(
        &mut self,
        now: Instant,
        packet: &Passing<'_>,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        let Negotiation::Agreed(agreed) = &self.negotiation else {
            return Ok(());
        };
        let Some(number) = agreed.number_of(packet.codec) else {
            return Ok(());
        };
        // RFC 4733 section 2.5.1.1: an event stands in the place of the audio.
        if self.link != Link::Up || !agreed.direction.is_sending() || self.digits.is_busy() {
            return Ok(());
        }
        let standing = self.voice.standing(now, packet.codec);
        let Some(placed) = self.relay.place(now, packet, standing) else {
            return Ok(());
        };
        if placed.newest {
            self.voice.passed(now, packet.codec, placed);
        }
        self.sent.codec = Some(packet.codec);
        let write = RtpWrite::new(
            number,
            placed.sequence.into(),
            placed.timestamp,
            now,
            packet.payload,
        )
        .marker(placed.marker);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(agreed.mid, None) {
            stream.write_rtp(write);
            self.sent.packets += 1;
            self.sent.carried += u64::from(packet.units / FRAME as u32).max(1);
            self.sent.bytes += packet.payload.len() as u64;
        }
        self.advance(now, out)
    }

    /// The bridged leg heard a telephone-event, which is sent as one of our own.
    pub(crate) fn skip(&mut self, stamp: Stamp) {
        self.relay.skip(stamp);
    }
}
