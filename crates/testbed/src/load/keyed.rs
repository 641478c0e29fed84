//! SRTP with a key that both ends know (AES-128-GCM): the floor has no handshake.

use anyhow::anyhow;
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use mxtrunk_media::rtp::HEADER_LEN;

/// The payload type of Opus, here and in the browsers' offers.
pub const OPUS: u8 = 111;
/// The payload type of PCMU (RFC 3551).
pub const PCMU: u8 = 0;

const TAG: usize = 16;

/// The source that both ends of a call send as; not 0, which str0m takes for none.
#[must_use]
pub fn ssrc(call: usize) -> u32 {
    call as u32 + 1
}

/// The call that a source belongs to.
#[must_use]
pub fn call_of(ssrc: u32) -> usize {
    (ssrc as usize).wrapping_sub(1)
}

/// The key of all calls.
#[derive(Debug)]
pub struct Seal(LessSafeKey);

impl Seal {
    /// # Errors
    /// When the library refuses the key.
    pub fn new() -> anyhow::Result<Self> {
        let key = UnboundKey::new(&AES_128_GCM, &[7; 16]);
        let key = key.map_err(|_| anyhow!("no key of AES-128-GCM"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Seals `length` bytes of payload behind an RTP header, in place; returns the length of the datagram.
    pub fn seal(&self, packet: &mut [u8], length: usize) -> Option<usize> {
        let (header, rest) = packet.split_at_mut_checked(HEADER_LEN)?;
        let payload = rest.get_mut(..length)?;
        let nonce = nonce(header);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
        let tag = tag.ok()?;
        rest.get_mut(length..length + TAG)?
            .copy_from_slice(tag.as_ref());
        Some(HEADER_LEN + length + TAG)
    }

    /// Opens a datagram in place; returns the length of the payload behind its header.
    pub fn open(&self, datagram: &mut [u8]) -> Option<usize> {
        let (header, sealed) = datagram.split_at_mut_checked(HEADER_LEN)?;
        let nonce = nonce(header);
        let payload = self.0.open_in_place(nonce, Aad::from(&*header), sealed);
        payload.ok().map(|payload| payload.len())
    }
}

/// Of sequence number, timestamp and SSRC, which no two packets of a direction share.
fn nonce(header: &[u8]) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..10].copy_from_slice(&header[2..HEADER_LEN]);
    nonce[10] = header[1];
    Nonce::assume_unique_for_key(nonce)
}
