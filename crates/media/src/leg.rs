//! The vocabulary between the legs and whoever drives them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::codec::OpusSettings;
use crate::dtmf::Key;
use crate::error::MediaError;
use crate::jitter::JitterSettings;
use crate::outbox::Socket;
use crate::profile::CodecPolicy;
use crate::ringback::Ringback;
use crate::stats::LegStats;
use crate::watch::{MediaTimeouts, TimedOut};

/// Names one leg; given by the one who opens it, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

impl std::fmt::Display for LegId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "leg {}", self.0)
    }
}

/// How we take part in ICE (RFC 8445).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IceMode {
    /// We check the peer's candidates too.
    #[default]
    Full,
    /// We only answer checks: for a gateway that browsers always reach directly.
    Lite,
}

/// An address at which browsers reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostCandidate {
    /// As browsers are told: behind a NAT its public side.
    pub address: SocketAddr,
    /// What is bound there: [`Socket::Browsers`] or [`Socket::Streams`]. Several addresses may lead to one socket.
    pub socket: Socket,
}

/// What all legs of a worker have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Full ICE or ICE-lite.
    pub ice: IceMode,
    /// The host candidates offered to browsers.
    pub candidates: Vec<HostCandidate>,
    /// Opus towards browsers.
    pub opus: OpusSettings,
    /// The jitter buffer towards phones.
    pub jitter: JitterSettings,
    /// The codec towards browsers.
    pub policy: CodecPolicy,
    /// How long a phone may send nothing.
    pub timeouts: MediaTimeouts,
    /// What a person hears who waits where early media was heard and has stopped.
    pub ringback: Ringback,
}

impl Settings {
    /// Settings with defaults for everything but the addresses, each with a UDP port for browsers.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        let candidate = |(number, address)| HostCandidate {
            address,
            socket: Socket::Browsers(number),
        };
        Settings {
            ice: IceMode::default(),
            candidates: addresses.into_iter().enumerate().map(candidate).collect(),
            opus: OpusSettings::default(),
            jitter: JitterSettings::default(),
            policy: CodecPolicy::default(),
            timeouts: MediaTimeouts::default(),
            ringback: Ringback::default(),
        }
    }
}

/// Something happened to a leg.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// To this one.
    pub leg: LegId,
    /// This.
    pub what: Happened,
}

/// What can happen to a leg.
#[derive(Debug, Clone, PartialEq)]
pub enum Happened {
    /// Our offer, or our answer if an offer was given.
    LocalDescription {
        /// The SDP text.
        sdp: String,
    },
    /// A browser leg has ICE and DTLS up: audio can flow. Comes again when a lost connection is back.
    Connected,
    /// Sound comes from a phone that nobody has picked up, after
    /// [`Legs::apply_early_answer`](crate::Legs::apply_early_answer). Told once.
    EarlySound,
    /// The last word of a phone that has left without picking up was heard, after
    /// [`Legs::hear_out`](crate::Legs::hear_out). Told once.
    HeardOut,
    /// The other side pressed a key, and this phone knows no telephone-event: it is to be told by signalling.
    Keyed {
        /// Which, and how long.
        key: Key,
    },
    /// A later offer cannot be met. The leg goes on as it was (RFC 3261 section 14.2).
    OfferRefused {
        /// The reason.
        why: MediaError,
    },
    /// The other side of the call holds, or resumes: the far end should hear it in a later offer of ours, which
    /// [`Legs::reoffer`](crate::Legs::reoffer) makes.
    OfferDue,
    /// The leg could not be opened, or broke down. It is gone: no [`Self::Closed`] follows.
    Failed {
        /// The reason.
        why: MediaError,
        /// What flowed over it; `None` if it had not been opened.
        stats: Option<LegStats>,
    },
    /// The browser no longer answers (ICE consent, RFC 7675) or closed its side. The leg stays until it is closed.
    Lost,
    /// Nothing comes from the peer on the wire, though sound should: it is connected, bridged, not on hold, and has
    /// announced no pause. The call goes on.
    Silent {
        /// For so long by now.
        lasted: Duration,
    },
    /// The peer is heard again, or need not be heard any more (hold, the connection is lost).
    SilenceOver {
        /// How long the silence was.
        lasted: Duration,
    },
    /// The peer of a phone leg has sent nothing at all for too long: nobody is there any more. The leg stays until it
    /// is closed.
    TimedOut {
        /// Which patience is exhausted.
        which: TimedOut,
    },
    /// The answer to [`Legs::probe`](crate::Legs::probe).
    Heard {
        /// How long ago the last packet of the negotiated peer came, RTP or (from a phone) RTCP; `None`: never.
        ago: Option<Duration>,
    },
    /// The answer to [`Legs::ask_report`](crate::Legs::ask_report).
    Report {
        /// What has flowed over the leg so far.
        stats: LegStats,
    },
    /// The leg was closed as told.
    Closed {
        /// What flowed over it.
        stats: LegStats,
    },
}

/// Why the legs want to be called at a certain time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// ICE, DTLS or RTCP of a browser leg.
    Engine,
    /// A frame of 20 ms is due to a phone.
    Frame,
    /// A telephone-event packet is due to a browser.
    Digit,
    /// A browser that has given no sign of consent gets nothing more (RFC 7675).
    Consent,
    /// An RTCP report is due to a phone.
    Report,
    /// Early media is due to whoever waits: some that was kept, or a frame of our own ringback.
    EarlyMedia,
    /// A silence of the peer may have lasted too long.
    Silence,
    /// A packet for a browser that others overtook has been waited for long enough.
    Overtaken,
}
