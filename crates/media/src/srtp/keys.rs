//! Keys: ours out of a secret, the peer's out of its description, session keys out of both (RFC 3711 section 4.3).

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};

use super::suite::Suite;

/// What SRTP keys grow from: must be random, from a source fit for keys.
#[derive(Clone)]
pub struct SrtpSecret([u8; SrtpSecret::LEN]);

impl SrtpSecret {
    /// Its length in bytes.
    pub const LEN: usize = 32;

    /// Takes over random bytes.
    pub fn new(random: [u8; Self::LEN]) -> Self {
        SrtpSecret(random)
    }

    /// Another secret, from which neither this one nor a sibling can be told.
    pub(crate) fn child(&self, number: u64) -> Self {
        let mut counter = [0; 16];
        counter[..8].copy_from_slice(&number.to_be_bytes());
        let mut child = [0; Self::LEN];
        apply_keystream(&aes_ctr(&self.0), counter, &mut child);
        SrtpSecret(child)
    }

    /// Our master key for a suite. No two of a leg are alike: `generation` counts how often we had to change it.
    pub(super) fn master_key(&self, suite: Suite, generation: u32) -> MasterKey {
        let mut counter = [0; 16];
        counter[0] = suite.index() as u8;
        counter[4..8].copy_from_slice(&generation.to_be_bytes());
        let mut bytes = [0; Suite::LONGEST];
        let len = suite.key_len() + suite.salt_len();
        apply_keystream(&aes_ctr(&self.0), counter, &mut bytes[..len]);
        MasterKey { suite, bytes }
    }
}

impl fmt::Debug for SrtpSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SrtpSecret")
    }
}

/// The key and salt that one side sends with (RFC 3711 section 3.2.1).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct MasterKey {
    pub(crate) suite: Suite,
    /// The key, the salt, then noughts.
    bytes: [u8; Suite::LONGEST],
}

impl MasterKey {
    /// `None` if that is not as long as the key and salt of the suite.
    pub(super) fn new(suite: Suite, key_and_salt: &[u8]) -> Option<Self> {
        let mut bytes = [0; Suite::LONGEST];
        let len = suite.key_len() + suite.salt_len();
        (key_and_salt.len() == len).then(|| bytes[..len].copy_from_slice(key_and_salt))?;
        Some(MasterKey { suite, bytes })
    }

    /// The key and behind it the salt.
    pub(super) fn key_and_salt(&self) -> &[u8] {
        &self.bytes[..self.suite.key_len() + self.suite.salt_len()]
    }

    /// Fills `out` with the session key (or salt) that `label` names: the key derivation of RFC 3711 section 4.3.1,
    /// with a rate of nought. A salt of 12 bytes is padded behind (RFC 7714 section 11).
    pub(super) fn derive(&self, label: u8, out: &mut [u8]) {
        let (key, salt) = self.key_and_salt().split_at(self.suite.key_len());
        let mut counter = [0; 16];
        counter[..salt.len()].copy_from_slice(salt);
        counter[7] ^= label;
        out.fill(0);
        apply_keystream(&aes_ctr(key), counter, out);
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.suite.name())
    }
}

/// A key of 16 or 32 bytes, expanded once.
pub(super) fn aes_ctr(key: &[u8]) -> EncryptingKey {
    let algorithm = match key.len() {
        16 => &AES_128,
        _ => &AES_256,
    };
    UnboundCipherKey::new(algorithm, key)
        .ok()
        .and_then(|key| EncryptingKey::ctr(key).ok())
        .expect("every suite's keys are of 16 or 32 bytes")
}

/// AES in counter mode is its own reverse.
pub(super) fn apply_keystream(key: &EncryptingKey, counter: [u8; 16], text: &mut [u8]) {
    let context = EncryptionContext::Iv128(counter.into());
    key.less_safe_encrypt(text, context)
        .expect("counter mode takes a counter of 16 bytes and any text");
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_derived_as_the_rfc_has_it() {
        let master = hex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6");
        let master = MasterKey::new(Suite::Aes128CmSha1Tag80, &master).unwrap();
        for (label, expected) in [
            (0, "c61e7a93744f39ee10734afe3ff7a087"),
            (2, "30cbbc08863d8c85d49db34a9ae1"),
            (1, "cebe321f6ff7716b6fd4ab49af256a156d38baa4"),
        ] {
            let expected = hex(expected);
            let mut derived = vec![0xff; expected.len()];
            master.derive(label, &mut derived);
            assert_eq!(derived, expected);
        }
    }

    /// RFC 3711 appendix B.2.
    #[test]
    fn the_keystream_is_that_of_the_rfc() {
        let key = aes_ctr(&hex("2b7e151628aed2a6abf7158809cf4f3c"));
        let counter = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000");
        let mut text = vec![0; 0xff02 * 16];
        apply_keystream(&key, counter.try_into().unwrap(), &mut text);
        assert_eq!(text[..16], hex("e03ead0935c95e80e166b16dd92b4eb4"));
        assert_eq!(text[32..48], hex("41e95b3bb0a2e8dd477901e4fca894c0"));
        assert_eq!(text[0xff01 * 16..], hex("6a2cc3787889374fbeb4c81b17ba6c44"));
    }

    #[test]
    fn a_key_or_secret_never_shows_in_a_log() {
        let secret = SrtpSecret::new([0x5a; SrtpSecret::LEN]);
        let key = secret.master_key(Suite::Aes256Gcm, 0);
        assert_eq!(
            format!("{secret:?} {key:?}"),
            "SrtpSecret MasterKey(AEAD_AES_256_GCM)"
        );
    }

    #[test]
    fn no_two_keys_are_alike() {
        let secret = SrtpSecret::new([7; SrtpSecret::LEN]);
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for leg in 1..4 {
            for suite in Suite::ALL {
                for generation in 0..3 {
                    let key = secret.child(leg).master_key(suite, generation);
                    keys.push(key.key_and_salt()[..16].to_vec());
                }
            }
        }
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
