//! The protections that we speak, by the names that SDP gives them.

/// A crypto suite (RFC 4568 section 6.2, RFC 7714 section 14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    Aes128CmSha1Tag80,
    Aes128CmSha1Tag32,
}

impl Suite {
    /// In the order of our offers: GCM costs less than half of what AES-CM with HMAC does, and the short tag comes
    /// last because one forged packet in 2³² gets past it.
    pub(crate) const ALL: [Suite; 4] = [
        Suite::Aes128Gcm,
        Suite::Aes256Gcm,
        Suite::Aes128CmSha1Tag80,
        Suite::Aes128CmSha1Tag32,
    ];
    /// Bytes of the longest key and salt.
    pub(super) const LONGEST: usize = 32 + 14;

    pub(super) fn of_name(name: &str) -> Option<Self> {
        let named = |suite: &Suite| suite.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(named)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Suite::Aes128Gcm => "AEAD_AES_128_GCM",
            Suite::Aes256Gcm => "AEAD_AES_256_GCM",
            Suite::Aes128CmSha1Tag80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::Aes128CmSha1Tag32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Its place in [`Self::ALL`].
    pub(super) fn index(self) -> usize {
        match self {
            Suite::Aes128Gcm => 0,
            Suite::Aes256Gcm => 1,
            Suite::Aes128CmSha1Tag80 => 2,
            Suite::Aes128CmSha1Tag32 => 3,
        }
    }

    /// Bytes of the key, master and session alike.
    pub(super) fn key_len(self) -> usize {
        match self {
            Suite::Aes256Gcm => 32,
            Suite::Aes128Gcm | Suite::Aes128CmSha1Tag80 | Suite::Aes128CmSha1Tag32 => 16,
        }
    }

    /// Bytes of the salt, master and session alike.
    pub(super) fn salt_len(self) -> usize {
        match self {
            Suite::Aes128Gcm | Suite::Aes256Gcm => 12,
            Suite::Aes128CmSha1Tag80 | Suite::Aes128CmSha1Tag32 => 14,
        }
    }
}
