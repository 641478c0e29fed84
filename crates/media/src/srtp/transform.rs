//! One packet sealed or opened, with keys that are expanded once and without allocation.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::keys::{MasterKey, aes_ctr, apply_keystream};
use super::suite::Suite;

/// RFC 3711 section 5.2: bytes of the key for HMAC-SHA1.
const AUTHENTICATION_KEY: usize = 20;
/// RFC 7714 section 13.1: bytes of the tag of GCM, the longest there is.
const GCM_TAG: usize = 16;

/// Which of a session's two kinds of packets a transform is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Rtp,
    Rtcp,
}

/// The session keys for one kind of packet, ready for use.
#[derive(Debug)]
pub(super) enum Transform {
    CounterMode(Box<CounterMode>),
    Gcm {
        key: Box<LessSafeKey>,
        salt: [u8; 12],
    },
}

/// AES in counter mode with HMAC-SHA1.
#[derive(Debug)]
pub(super) struct CounterMode {
    cipher: EncryptingKey,
    salt: [u8; 14],
    authentication: hmac::Key,
    tag_len: usize,
}

/// What makes a packet's initialisation vector unique.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) ssrc: u32,
    /// RTP: roll-over counter and sequence number, 48 bits; RTCP: the SRTCP index, 31 bits.
    pub(super) index: u64,
}

/// What is authenticated as if it stood behind the packet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trailer {
    /// The roll-over counter, which is not sent; GCM has it in the initialisation vector.
    RollOver(u32),
    /// SRTCP's word of E flag and index, which is sent.
    Index(u32),
}

impl Trailer {
    fn to_bytes(self) -> [u8; 4] {
        let (Trailer::RollOver(word) | Trailer::Index(word)) = self;
        word.to_be_bytes()
    }
}

/// Proof that a packet comes from who has the key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tag {
    bytes: [u8; GCM_TAG],
    len: usize,
}

impl Tag {
    fn cut(bytes: &[u8], len: usize) -> Self {
        let mut tag = Tag {
            bytes: [0; GCM_TAG],
            len,
        };
        tag.bytes[..len].copy_from_slice(&bytes[..len]);
        tag
    }
}

impl AsRef<[u8]> for Tag {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A sealed packet taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed<'a> {
    pub(super) clear: &'a [u8],
    pub(super) encrypted: &'a [u8],
    pub(super) tag: &'a [u8],
    pub(super) trailer: Trailer,
}

impl Transform {
    pub(super) fn new(master: &MasterKey, kind: Kind) -> Self {
        let suite = master.suite;
        // RFC 3711 section 4.3.2: the labels of cipher, authentication and salt.
        let [cipher, authentication, salt] = match kind {
            Kind::Rtp => [0, 1, 2],
            Kind::Rtcp => [3, 4, 5],
        };
        let mut room = [0; 32];
        let key = &mut room[..suite.key_len()];
        master.derive(cipher, key);
        let tag_len = match suite {
            Suite::Aes128Gcm | Suite::Aes256Gcm => {
                let mut bytes = [0; 12];
                master.derive(salt, &mut bytes);
                return Self::gcm(key, bytes);
            }
            // RFC 4568 section 6.2.2: the short tag is for RTP only.
            Suite::Aes128CmSha1Tag32 if kind == Kind::Rtp => 4,
            Suite::Aes128CmSha1Tag32 | Suite::Aes128CmSha1Tag80 => 10,
        };
        let mut bytes = [0; AUTHENTICATION_KEY];
        master.derive(authentication, &mut bytes);
        let authentication = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
        let mut bytes = [0; 14];
        master.derive(salt, &mut bytes);
        Transform::CounterMode(Box::new(CounterMode {
            cipher: aes_ctr(key),
            salt: bytes,
            authentication,
            tag_len,
        }))
    }

    pub(super) fn gcm(key: &[u8], salt: [u8; 12]) -> Self {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            _ => &AES_256_GCM,
        };
        let key =
            UnboundKey::new(algorithm, key).expect("every suite's keys are of 16 or 32 bytes");
        Transform::Gcm {
            key: Box::new(LessSafeKey::new(key)),
            salt,
        }
    }

    /// Bytes of its tags.
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Transform::CounterMode(keys) => keys.tag_len,
            Transform::Gcm { .. } => GCM_TAG,
        }
    }

    /// Whether the tag stands in front of SRTCP's index word (RFC 7714 section 9.2) or behind (RFC 3711 section 3.4).
    pub(super) fn tag_precedes_index(&self) -> bool {
        matches!(self, Transform::Gcm { .. })
    }

    /// Encrypts `packet` in place behind its first `clear` bytes.
    pub(super) fn seal(
        &self,
        packet: &mut [u8],
        clear: usize,
        trailer: Trailer,
        at: Position,
    ) -> Tag {
        match self {
            Transform::CounterMode(keys) => {
                apply_keystream(&keys.cipher, counter(&keys.salt, at), &mut packet[clear..]);
                let mut context = hmac::Context::with_key(&keys.authentication);
                context.update(packet);
                context.update(&trailer.to_bytes());
                Tag::cut(context.sign().as_ref(), keys.tag_len)
            }
            Transform::Gcm { key, salt } => {
                let (head, text) = packet.split_at_mut(clear);
                let mut room = [0; 12];
                let associated = Aad::from(associated(head, trailer, &mut room));
                let tag = key
                    .seal_in_place_separate_tag(nonce(salt, at), associated, text)
                    .expect("GCM seals any text that fits a datagram");
                Tag::cut(tag.as_ref(), GCM_TAG)
            }
        }
    }

    /// Checks the tag and decrypts into `text`, which is as long as the encrypted part. False: forged, and `text`
    /// holds nothing of use.
    pub(super) fn open(&self, sealed: Sealed<'_>, at: Position, text: &mut [u8]) -> bool {
        match self {
            Transform::CounterMode(keys) => {
                let mut context = hmac::Context::with_key(&keys.authentication);
                context.update(sealed.clear);
                context.update(sealed.encrypted);
                context.update(&sealed.trailer.to_bytes());
                let expected = Tag::cut(context.sign().as_ref(), keys.tag_len);
                if verify_slices_are_equal(expected.as_ref(), sealed.tag).is_err() {
                    return false;
                }
                text.copy_from_slice(sealed.encrypted);
                apply_keystream(&keys.cipher, counter(&keys.salt, at), text);
                true
            }
            Transform::Gcm { key, salt } => {
                let mut room = [0; 12];
                let associated = Aad::from(associated(sealed.clear, sealed.trailer, &mut room));
                let (encrypted, tag) = (sealed.encrypted, sealed.tag);
                key.open_separate_gather(nonce(salt, at), associated, encrypted, tag, text)
                    .is_ok()
            }
        }
    }
}

/// RFC 3711 section 4.1.1; the last two bytes count the blocks.
fn counter(salt: &[u8; 14], at: Position) -> [u8; 16] {
    let mut counter = [0; 16];
    counter[4..8].copy_from_slice(&at.ssrc.to_be_bytes());
    counter[8..14].copy_from_slice(&at.index.to_be_bytes()[2..]);
    xor(&mut counter, salt);
    counter
}

/// RFC 7714 sections 8.1 and 9.1, which are alike but for what the index is.
fn nonce(salt: &[u8; 12], at: Position) -> Nonce {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&at.ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&at.index.to_be_bytes()[2..]);
    xor(&mut nonce, salt);
    Nonce::assume_unique_for_key(nonce)
}

fn xor(bytes: &mut [u8], with: &[u8]) {
    for (byte, other) in bytes.iter_mut().zip(with) {
        *byte ^= other;
    }
}

/// RFC 7714 sections 8.2 and 9.2: the clear part, in SRTCP (8 bytes) followed by the index word.
fn associated<'a>(clear: &'a [u8], trailer: Trailer, room: &'a mut [u8; 12]) -> &'a [u8] {
    let Trailer::Index(word) = trailer else {
        return clear;
    };
    let Some(head) = clear.first_chunk::<8>() else {
        return clear;
    };
    room[..8].copy_from_slice(head);
    room[8..].copy_from_slice(&word.to_be_bytes());
    room
}
