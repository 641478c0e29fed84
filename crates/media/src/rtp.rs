//! The RTP header of the phone leg (RFC 3550 section 5.1), read from the network and written in front of our payload.

use thiserror::Error;

/// Length in bytes of the header that we write: no CSRC, no extension.
pub const HEADER_LEN: usize = 12;

/// A packet older than this many is the first of a new count (RFC 3550 appendix A.1, `MAX_MISORDER`).
pub(crate) const MISORDER: i64 = 100;

/// The fixed part of an RTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Marker: the first packet of a talk spurt or of a telephone-event.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl Header {
    /// The header as it goes on the wire.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = 0x80;
        bytes[1] = (u8::from(self.marker) << 7) | (self.payload_type & 0x7f);
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }
}

/// An RTP packet: its header and the payload without extension and padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// The payload; may be empty.
    pub payload: &'a [u8],
}

/// What is wrong with a datagram that should be RTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Shorter than a header, or than the header says it is.
    #[error("truncated")]
    Truncated,
    /// Not version 2.
    #[error("not RTP version 2")]
    Version,
    /// The padding length is zero or longer than what is there.
    #[error("impossible padding")]
    Padding,
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Every length in it is a claim of the sender and is checked before use.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let offset = payload_offset(datagram)?;
        let (fixed, mut rest) = (&datagram[..HEADER_LEN], &datagram[offset..]);
        if fixed[0] & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(Malformed::Padding)?);
            let kept = rest
                .len()
                .checked_sub(padding)
                .filter(|_| padding > 0)
                .ok_or(Malformed::Padding)?;
            rest = &rest[..kept];
        }
        Ok(Packet {
            header: Header {
                payload_type: fixed[1] & 0x7f,
                marker: fixed[1] & 0x80 != 0,
                sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
                timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
                ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            },
            payload: rest,
        })
    }
}

/// Bytes of header, CSRCs and extension: where the payload begins, which may be the end.
pub(crate) fn payload_offset(datagram: &[u8]) -> Result<usize, Malformed> {
    let (fixed, rest) = datagram
        .split_first_chunk::<HEADER_LEN>()
        .ok_or(Malformed::Truncated)?;
    if fixed[0] >> 6 != 2 {
        return Err(Malformed::Version);
    }
    let mut len = usize::from(fixed[0] & 0x0f) * 4;
    if fixed[0] & 0x10 != 0 {
        let head = rest.get(len..len + 4).ok_or(Malformed::Truncated)?;
        len += 4 + usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
    }
    match len <= rest.len() {
        true => Ok(HEADER_LEN + len),
        false => Err(Malformed::Truncated),
    }
}

/// Turns 16-bit sequence numbers into ever growing ones, relative to the last one seen (RFC 3550 appendix A.1).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SequenceUnwrap(Option<i64>);

impl SequenceUnwrap {
    /// The extended number nearest to the last one.
    pub(crate) fn extend(&mut self, sequence: u16) -> i64 {
        let extended = match self.0 {
            None => i64::from(sequence),
            // The cast to i16 is the signed distance on the 16-bit circle.
            Some(last) => last + i64::from(sequence.wrapping_sub(last as u16) as i16),
        };
        self.0 = Some(extended);
        extended
    }
}

/// The same for 32-bit timestamps.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TimestampUnwrap(Option<i64>);

impl TimestampUnwrap {
    /// The extended timestamp nearest to the last one.
    pub(crate) fn extend(&mut self, timestamp: u32) -> i64 {
        let extended = match self.0 {
            None => i64::from(timestamp),
            Some(last) => last + i64::from(timestamp.wrapping_sub(last as u32) as i32),
        };
        self.0 = Some(extended);
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: [u8; 14] = [0x80, 0x88, 0, 7, 0, 0, 0, 160, 1, 2, 3, 4, 0xd5, 0xd5];

    #[test]
    fn a_written_header_reads_back() {
        let header = Header {
            payload_type: 8,
            marker: true,
            sequence: 7,
            timestamp: 160,
            ssrc: 0x0102_0304,
        };
        let packet = Packet::parse(&PLAIN).unwrap();
        assert_eq!(packet.header, header);
        assert_eq!(packet.payload, [0xd5, 0xd5]);
        assert_eq!(header.to_bytes(), PLAIN[..12]);
    }

    #[test]
    fn csrc_extension_and_padding_are_skipped() {
        let mut datagram = vec![0x80 | 0x20 | 0x10 | 2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        datagram.extend([0; 8]);
        datagram.extend([0xbe, 0xde, 0, 1, 1, 2, 3, 4]);
        datagram.extend([0x55, 0x66, 0, 0, 3]);
        assert_eq!(Packet::parse(&datagram).unwrap().payload, [0x55, 0x66]);
    }

    #[test]
    fn lying_lengths_are_refused() {
        let fifteen_csrc = [0x8f, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9];
        assert_eq!(Packet::parse(&fifteen_csrc), Err(Malformed::Truncated));
        let mut endless_extension = PLAIN.to_vec();
        endless_extension[0] |= 0x10;
        endless_extension.extend([0xff, 0xff]);
        assert_eq!(Packet::parse(&endless_extension), Err(Malformed::Truncated));
        let mut padded = PLAIN;
        padded[0] |= 0x20;
        padded[13] = 3;
        assert_eq!(Packet::parse(&padded), Err(Malformed::Padding));
        padded[13] = 0;
        assert_eq!(Packet::parse(&padded), Err(Malformed::Padding));
        assert_eq!(Packet::parse(&[0x40; 12]), Err(Malformed::Version));
        assert_eq!(Packet::parse(&[]), Err(Malformed::Truncated));
    }

    #[test]
    fn sequence_numbers_grow_across_the_wrap_and_step_back_for_late_packets() {
        let mut unwrap = SequenceUnwrap::default();
        assert_eq!(unwrap.extend(65_535), 65_535);
        assert_eq!(unwrap.extend(1), 65_537);
        assert_eq!(unwrap.extend(0), 65_536);
        let mut unwrap = TimestampUnwrap::default();
        assert_eq!(unwrap.extend(u32::MAX), i64::from(u32::MAX));
        assert_eq!(unwrap.extend(159), i64::from(u32::MAX) + 160);
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_parser_panic(datagram in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Packet::parse(&datagram);
        }
    }
}
