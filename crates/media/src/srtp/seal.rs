//! The sending side.

use super::keys::MasterKey;
use super::transform::{Kind, Position, Trailer, Transform};
use crate::rtp::HEADER_LEN;

/// The E flag of SRTCP: the packet is encrypted (RFC 3711 section 3.4).
pub(super) const ENCRYPTED: u32 = 1 << 31;
/// What of an RTCP packet stays readable: the first header and the sender's SSRC.
pub(super) const RTCP_CLEAR: usize = 8;

/// Protects what we send with one key.
#[derive(Debug)]
pub(crate) struct Sealer {
    rtp: Transform,
    rtcp: Transform,
    /// Of the last RTP packet: roll-over counter and sequence number.
    last: Option<u64>,
    /// Of the last RTCP packet.
    last_report: u32,
}

impl Sealer {
    pub(super) fn new(master: &MasterKey) -> Self {
        Self::with(
            Transform::new(master, Kind::Rtp),
            Transform::new(master, Kind::Rtcp),
        )
    }

    pub(super) fn with(rtp: Transform, rtcp: Transform) -> Self {
        Sealer {
            rtp,
            rtcp,
            last: None,
            last_report: 0,
        }
    }

    /// Seals the RTP packet that `bytes` holds from `start` on: our header of 12 bytes and the payload.
    pub(crate) fn seal_rtp(&mut self, bytes: &mut Vec<u8>, start: usize) {
        let packet = &mut bytes[start..];
        let Some(header) = packet.first_chunk::<HEADER_LEN>() else {
            return;
        };
        let sequence = u16::from_be_bytes([header[2], header[3]]);
        let at = Position {
            ssrc: u32::from_be_bytes([header[8], header[9], header[10], header[11]]),
            index: self.next_index(sequence),
        };
        let trailer = Trailer::RollOver((at.index >> 16) as u32);
        let tag = self.rtp.seal(packet, HEADER_LEN, trailer, at);
        bytes.extend_from_slice(tag.as_ref());
    }

    /// An index must never come twice, for that would give the plain text away: so it only grows, by a whole turn if
    /// need be.
    fn next_index(&mut self, sequence: u16) -> u64 {
        let index = match self.last {
            None => u64::from(sequence),
            Some(last) => last + 1 + u64::from(sequence.wrapping_sub(last as u16).wrapping_sub(1)),
        };
        self.last = Some(index);
        index
    }

    /// Seals the compound RTCP packet that `bytes` holds from `start` on.
    pub(crate) fn seal_rtcp(&mut self, bytes: &mut Vec<u8>, start: usize) {
        let packet = &mut bytes[start..];
        let Some(header) = packet.first_chunk::<RTCP_CLEAR>() else {
            return;
        };
        // 31 bits at a report every 5 s last for centuries.
        self.last_report = (self.last_report + 1) & !ENCRYPTED;
        let at = Position {
            ssrc: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            index: u64::from(self.last_report),
        };
        let word = self.last_report | ENCRYPTED;
        let tag = self.rtcp.seal(packet, RTCP_CLEAR, Trailer::Index(word), at);
        if self.rtcp.tag_precedes_index() {
            bytes.extend_from_slice(tag.as_ref());
            bytes.extend_from_slice(&word.to_be_bytes());
        } else {
            bytes.extend_from_slice(&word.to_be_bytes());
            bytes.extend_from_slice(tag.as_ref());
        }
    }

    #[cfg(test)]
    pub(super) fn set_last_report(&mut self, index: u32) {
        self.last_report = index;
    }
}
