//! What a site decides about codecs and encryption: for all browsers, and for each trunk.

use std::net::IpAddr;

use crate::codec::Codec;

/// Which codec browsers are answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CodecPolicy {
    /// Always Opus, for its resistance to loss on the internet.
    #[default]
    Opus,
    /// Whatever passes straight through to the other side, for the least work and delay and the best sound; else Opus.
    Auto,
    /// G.711 where the browser has it, else Opus.
    G711,
}

/// Whether audio towards a trunk's phones is encrypted (SRTP with keys in the SDP, RFC 4568).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpPolicy {
    /// Never: an offer that insists on it is refused.
    #[default]
    Off,
    /// Where the other side can.
    Offered,
    /// Always: whoever cannot is refused.
    Required,
}

/// What the phones behind one trunk can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneProfile {
    /// The codecs that may be spoken, in order of preference.
    pub codecs: Vec<Codec>,
    /// Encryption of the audio.
    pub srtp: SrtpPolicy,
    /// Where the trunk is behind NAT: its addresses. RTP may then come from another port, or another one of these
    /// addresses, than its SDP says; the first source to prove itself is kept. Empty: the SDP is obeyed.
    pub nat: Vec<IpAddr>,
}

impl Default for PhoneProfile {
    fn default() -> Self {
        PhoneProfile {
            codecs: vec![Codec::Pcmu, Codec::Pcma],
            srtp: SrtpPolicy::default(),
            nat: Vec::new(),
        }
    }
}
