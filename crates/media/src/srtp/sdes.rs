//! Keys in SDP: `a=crypto` (RFC 4568).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sdp_types::Media;

use super::keys::MasterKey;
use super::suite::Suite;
use crate::error::MediaError;
use crate::profile::SrtpPolicy;

/// Keys of 28 bytes need padding, and not everybody writes it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value of an `a=crypto` line that we can serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crypto {
    /// What an answer refers to a line of the offer by.
    pub(crate) tag: u32,
    pub(crate) key: MasterKey,
}

impl Crypto {
    /// `None` if it cannot be read or asks for what we cannot do: another suite, a master key identifier (MKI) in the
    /// packets or several keys, which need one, keys that change on the way, packets without encryption or tag.
    pub(crate) fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?;
        let tag = tag.parse().ok().filter(|_| tag.len() <= 9)?;
        let suite = Suite::of_name(words.next()?)?;
        let key = read_key(words.next()?, suite)?;
        words.all(is_harmless).then_some(Crypto { tag, key })
    }

    /// As it stands behind `a=crypto:`.
    pub(crate) fn to_value(&self) -> String {
        let key = BASE64.encode(self.key.key_and_salt());
        format!("{} {} inline:{key}", self.tag, self.key.suite.name())
    }
}

impl SrtpPolicy {
    /// The transport of our offers. Where encryption is only offered, it goes by "opportunistic SRTP" (RFC 8643): keys
    /// beside plain RTP/AVP, which a PBX without SRTP passes over and Asterisk with `media_encryption_optimistic`
    /// takes up. Two media lines, or RTP/SAVP alone, would be refused by most that lack SRTP.
    pub(crate) fn transport(self) -> &'static str {
        match self {
            SrtpPolicy::Off | SrtpPolicy::Offered => "RTP/AVP",
            SrtpPolicy::Required => "RTP/SAVP",
        }
    }

    /// The keys of a media line that we can use, best first; none if it is to be plain RTP. An error if we cannot take
    /// the line.
    pub(crate) fn keys(self, media: &Media) -> Result<Vec<Crypto>, MediaError> {
        // AVPF differs only in RTCP feedback, which we never send.
        let insists = match media.proto.as_str() {
            "RTP/AVP" | "RTP/AVPF" => false,
            "RTP/SAVP" | "RTP/SAVPF" if self != SrtpPolicy::Off => true,
            _ => return Err(MediaError::UnsupportedTransport(media.proto.clone())),
        };
        if self == SrtpPolicy::Off {
            return Ok(Vec::new());
        }
        let lines = media
            .attributes
            .iter()
            .filter(|line| line.attribute == "crypto");
        let keys = lines.filter_map(|line| Crypto::parse(line.value.as_deref()?));
        match (keys.collect::<Vec<_>>(), self) {
            (keys, SrtpPolicy::Required) if keys.is_empty() => Err(MediaError::NoUsableKey),
            (keys, _) if keys.is_empty() && insists => Err(MediaError::NoUsableKey),
            (keys, _) => Ok(keys),
        }
    }
}

/// `inline:key-and-salt[|lifetime][|MKI:length]`. The lifetime is passed over: the shortest that anybody writes, 2^20
/// packets, are 5.8 h at 50 packets/s, and who sends with the key knows best when to change it.
fn read_key(word: &str, suite: Suite) -> Option<MasterKey> {
    let (method, parameters) = word.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") || parameters.contains([':', ';']) {
        return None;
    }
    let key = parameters.split('|').next()?;
    MasterKey::new(suite, &BASE64.decode(key).ok()?)
}

/// Session parameters (RFC 4568 section 6.3) that change nothing for us: the size of our replay window, what may be
/// ignored by its form, and a key derivation rate of nought.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with('-') || parameter.starts_with("WSH=") || parameter == "KDR=0"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
    const GCM: &str = "AAECAwQFBgcICQoLDA0OD1F1aWQgcHJvIHF1bw==";

    fn line(suite: &str, key: &str, behind: &str) -> Option<Crypto> {
        Crypto::parse(&format!("1 {suite} inline:{key}{behind}"))
    }

    #[test]
    fn lines_as_peers_write_them_are_understood() {
        for behind in [
            "",
            "|2^20",
            "|2^48",
            "|1048576",
            " WSH=128",
            " -FANCY=1",
            " KDR=0",
        ] {
            let read = line("AES_CM_128_HMAC_SHA1_80", KEY, behind);
            assert!(read.is_some(), "{behind}");
        }
        let padded = line("AEAD_AES_128_GCM", GCM, "").unwrap();
        let bare = line("AEAD_AES_128_GCM", GCM.trim_end_matches('='), "");
        assert_eq!(Some(padded), bare);
    }

    #[test]
    fn what_we_cannot_do_is_refused() {
        for behind in [
            "|2^20|1:4",
            "|1:4",
            ";inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|2:4",
            " UNENCRYPTED_SRTP",
            " UNENCRYPTED_SRTCP",
            " UNAUTHENTICATED_SRTP",
            " KDR=24",
            " FEC_ORDER=FEC_SRTP",
            " FEC_KEY=inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
            " SOMETHING_NEW",
        ] {
            assert_eq!(
                line("AES_CM_128_HMAC_SHA1_80", KEY, behind),
                None,
                "{behind}"
            );
        }
        assert_eq!(line("F8_128_HMAC_SHA1_80", KEY, ""), None);
        assert_eq!(line("AEAD_AES_256_GCM", GCM, ""), None, "a key too short");
        assert_eq!(line("AES_CM_128_HMAC_SHA1_80", &KEY[1..], ""), None);
        for rubbish in [
            "",
            "1",
            "1 AES_CM_128_HMAC_SHA1_80",
            "x AES_CM_128_HMAC_SHA1_80 inline:",
            "4294967296 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj",
        ] {
            assert_eq!(Crypto::parse(rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn a_written_line_reads_back() {
        for suite in Suite::ALL {
            let bytes: Vec<u8> = (0..(suite.key_len() + suite.salt_len()) as u8).collect();
            let key = MasterKey::new(suite, &bytes).unwrap();
            let crypto = Crypto { tag: 7, key };
            assert_eq!(Crypto::parse(&crypto.to_value()), Some(crypto));
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(value in "\\PC{0,120}") {
            let _ = Crypto::parse(&value);
            let _ = line("AES_CM_128_HMAC_SHA1_80", &value, "");
        }
    }
}
