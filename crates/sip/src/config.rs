//! What the operator sets: sockets, trunks, timers and limits.

mod accounts;
mod trunk;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::LegId;
use crate::registration::RegistrationConfig;
use crate::subscription::SubscriptionConfig;
use crate::tap::Tap;
use crate::tls::TlsIdentity;

pub use accounts::{Credentials, DigestAlgorithm, RequiredAuth};
pub use trunk::{NamedTarget, Target, TrunkConfig};

/// The name an operator gave a trunk; it appears in events, records and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TrunkName(pub String);

impl fmt::Display for TrunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account at a registrar, by the user part of its Contact: what calls to it
/// arrive at, and whose calls of ours are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountName(pub String);

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How SIP messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams, retransmitted by the transaction timers.
    Udp,
    /// A stream; at most one connection per peer address is kept open.
    Tcp,
    /// The same with TLS, 1.2 or 1.3.
    Tls,
}

impl Transport {
    /// What a URI says of it (RFC 3261 §19.1.1); UDP goes without saying.
    pub(crate) fn uri_parameter(self) -> &'static str {
        match self {
            Self::Udp => "",
            Self::Tcp => ";transport=tcp",
            // RFC 3261 §26.2.2 deprecates it, and every PBX writes it: a
            // `sips:` URI would ask for TLS on all of the way behind it, too.
            Self::Tls => ";transport=tls",
        }
    }

    /// Where a peer listens that names no port (§19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// Everything a [`crate::UserAgent`] needs to start.
#[derive(Clone)]
pub struct SipConfig {
    /// The sockets to listen on; each trunk uses the first one of its own
    /// transport and address family.
    pub listeners: Vec<Listener>,
    /// The peers; nobody else is answered.
    pub trunks: Vec<TrunkConfig>,
    /// Who we are in TLS: what a listener with TLS needs, and what we show to
    /// peers that ask for it.
    pub tls: Option<TlsIdentity>,
    /// The accounts at which we register.
    pub registrations: Vec<RegistrationConfig>,
    /// What the trunks' peers are to tell about lines.
    pub subscriptions: Vec<SubscriptionConfig>,
    /// Value of the User-Agent header.
    pub user_agent: String,
    /// Source of the ids of incoming legs, shared with whoever numbers the
    /// outgoing ones so that no id is given twice.
    pub leg_ids: Arc<dyn Fn() -> LegId + Send + Sync>,
    /// The DNS servers that names are looked up at; the system's where there
    /// are none.
    pub nameservers: Vec<SocketAddr>,
    /// Transaction timers (RFC 3261 §17).
    pub timers: Timers,
    /// Calls in all, both directions; above it a trunk gets 503.
    pub max_calls: usize,
    /// SIP messages per second and source address; the rest is dropped. A
    /// call takes about ten; each request answered is remembered for 64*T1
    /// (some 1 kB), which is what a flood from a trunk's address can cost.
    pub messages_per_second: u32,
    /// When addresses of no trunk are banned.
    pub bans: Bans,
    /// Whether a called number is an emergency number: no limit on calls holds
    /// for it. Its argument is the number as the caller wrote it.
    pub is_emergency: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// How what we send is marked: a DSCP (RFC 2474), 0 to 63.
    pub dscp: u8,
    /// Who is shown the messages of calls as they pass.
    pub tap: Option<Tap>,
}

/// Class selector 3 (RFC 2474 §4.2.2), what telephone networks use for
/// call signalling.
const CS3: u8 = 24;

impl SipConfig {
    /// A configuration with the default timers and limits: 1,000 calls, 1,000
    /// messages per second, no emergency numbers; marked as class selector 3.
    pub fn new(
        listeners: Vec<Listener>,
        trunks: Vec<TrunkConfig>,
        leg_ids: Arc<dyn Fn() -> LegId + Send + Sync>,
    ) -> Self {
        Self {
            listeners,
            trunks,
            tls: None,
            registrations: Vec::new(),
            subscriptions: Vec::new(),
            user_agent: format!("mxtrunk/{}", env!("CARGO_PKG_VERSION")),
            leg_ids,
            nameservers: Vec::new(),
            timers: Timers::default(),
            max_calls: 1_000,
            messages_per_second: 1_000,
            bans: Bans::default(),
            is_emergency: Arc::new(|_| false),
            dscp: CS3,
            tap: None,
        }
    }
}

impl fmt::Debug for SipConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipConfig")
            .field("listeners", &self.listeners)
            .field("trunks", &self.trunks)
            .field("tls", &self.tls)
            .field("registrations", &self.registrations)
            .field("user_agent", &self.user_agent)
            .field("timers", &self.timers)
            .field("max_calls", &self.max_calls)
            .field("messages_per_second", &self.messages_per_second)
            .field("dscp", &self.dscp)
            .finish_non_exhaustive()
    }
}

/// What may change of the limits while a user agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipLimits {
    /// As in [`SipConfig`].
    pub max_calls: usize,
    /// As in [`SipConfig`].
    pub messages_per_second: u32,
    /// As in [`SipConfig`].
    pub bans: Bans,
    /// Those of trunks; one that is not named keeps its own.
    pub trunks: Vec<(TrunkName, TrunkLimits)>,
}

/// The same of one trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrunkLimits {
    /// As in [`TrunkConfig`].
    pub max_calls: usize,
    /// As in [`TrunkConfig`].
    pub new_calls_per_second: u32,
}

/// When an address that is no trunk's is banned. It gets no answer either way; one that is banned is not looked at, and
/// counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bans {
    /// So many messages within a minute, or the first one of a known scanner; 0: nobody is.
    pub after: u32,
    /// How long it has to keep quiet then.
    pub lasting: Duration,
}

impl Default for Bans {
    fn default() -> Self {
        Self {
            after: 20,
            lasting: Duration::from_secs(3_600),
        }
    }
}

/// One socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What the socket carries.
    pub transport: Transport,
    /// The local address; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// The address peers reach us at (Via, Contact) where it differs from
    /// `bind`; required when `bind` is the unspecified address.
    pub advertise: Option<SocketAddr>,
}

/// Transaction timers of RFC 3261 §17; all others are multiples of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// T1, the round-trip estimate: 500 ms. A transaction gives up after 64*T1.
    pub t1: Duration,
    /// T2, the longest retransmission interval: 4 s.
    pub t2: Duration,
    /// T4, how long a message can stay in the network: 5 s.
    pub t4: Duration,
    /// How long a new offer of the peer (re-INVITE, UPDATE) may wait for
    /// [`crate::Command::Answer`] before it is refused with 488: 8 s.
    pub reoffer: Duration,
    /// The shortest session interval accepted from a peer (RFC 4028 §5):
    /// 90 s, the RFC's own lower bound.
    pub min_session: Duration,
    /// How often a trunk with calls is asked by OPTIONS, or one that does not
    /// answer (over a stream after five times more and more seldom): 2 s.
    pub probe_every: Duration,
    /// How long an OPTIONS, its retransmissions included, may stay without a
    /// final answer: 2.5 s. Two such in a row are an outage, so that one in
    /// mid-call is known within 7 s.
    pub probe_within: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            reoffer: Duration::from_secs(8),
            min_session: Duration::from_secs(90),
            probe_every: Duration::from_secs(2),
            probe_within: Duration::from_millis(2_500),
        }
    }
}

impl Timers {
    /// 64*T1: timers B, F, H, L and M, the life of an unanswered transaction.
    pub fn give_up(&self) -> Duration {
        self.t1 * 64
    }

    /// How long to wait for the ACK of a 200, whatever the transaction says:
    /// one whose 200 could not be sent never reports its end.
    pub(crate) fn ack_within(&self) -> Duration {
        // Timer L, which also ends the call, goes first.
        self.give_up() + Duration::from_secs(1)
    }
}
