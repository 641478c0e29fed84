//! What the operator sets: sockets, trunks, timers and limits.

mod accounts;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address;
use crate::event::LegId;
use crate::extra_header::ExtraHeader;
use crate::forwarded::ForwardHeaders;
use crate::identity::IdentityHeaders;
use crate::registration::RegistrationConfig;
use crate::subscription::SubscriptionConfig;
use crate::tap::Tap;
use crate::tls::{TlsIdentity, TlsPeer};

pub use accounts::{Credentials, DigestAlgorithm, RequiredAuth};

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

/// One of the addresses at which a trunk's peer takes calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Where it is.
    pub address: SocketAddr,
    /// Those of the lowest number are tried first, as in RFC 2782.
    pub priority: u16,
    /// Its share of the calls among those of the same priority; 0 gets next
    /// to none.
    pub weight: u16,
}

impl From<SocketAddr> for Target {
    /// One of the first, with one share of the calls.
    fn from(address: SocketAddr) -> Self {
        Self {
            address,
            priority: 0,
            weight: 1,
        }
    }
}

/// A name whose addresses are targets: those that its NAPTR and SRV records
/// lead to, by their priority and weight, else its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTarget {
    /// The name.
    pub name: String,
    /// Where it is set, NAPTR and SRV are not asked (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// As for [`Target::priority`]; that of SRV decides among its own.
    pub priority: u16,
    /// As for [`Target::weight`], of each address; that of SRV goes before.
    pub weight: u16,
}

impl NamedTarget {
    /// `name` or `name:port`.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.name),
            None => self.name.clone(),
        }
    }
}

/// One peer: a PBX or a carrier, known by its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkConfig {
    /// The operator's name for it; unique.
    pub name: TrunkName,
    /// Where requests for it are sent; at least one, of these or of `names`.
    pub targets: Vec<Target>,
    /// The names that lead to more of them (RFC 3263).
    pub names: Vec<NamedTarget>,
    /// How they are sent. Over TLS, nothing that comes without it is taken for
    /// this trunk's, whatever its address.
    pub transport: Transport,
    /// Over TLS: how the peer shows who it is.
    pub tls: TlsPeer,
    /// Addresses whose requests are this trunk's; empty means the targets'.
    pub allow: Vec<IpAddr>,
    /// Digest credentials for its challenges (401, 407).
    pub auth: Option<Credentials>,
    /// What its own INVITEs have to be answered to, where its address alone is
    /// not enough.
    pub require_auth: Option<RequiredAuth>,
    /// Host part of our From and P-Asserted-Identity, our own address if unset;
    /// and of the URI that is called, the target's name or address if unset.
    pub from_domain: Option<String>,
    /// How often its health is asked by OPTIONS; zero never asks. While calls
    /// are up, or it does not answer, [`Timers::probe_every`] is used instead
    /// where that is shorter.
    pub options_every: Duration,
    /// How many OPTIONS in a row a target has to leave without an answer to be
    /// taken to be down; at least 1.
    pub options_down_after: u32,
    /// How many it then has to answer in a row to be taken to be up again; at
    /// least 1.
    pub options_up_after: u32,
    /// Calls over this trunk at a time, both directions.
    pub max_calls: usize,
    /// New calls per second, each way (with a burst of the same size). Above
    /// it the trunk gets 503, far above it silence, and our own calls are
    /// refused. Calls for help are not counted on their way out, and by
    /// themselves on their way in.
    pub new_calls_per_second: u32,
    /// Headers that our INVITEs carry besides those of the protocol, as a
    /// carrier may want them.
    pub headers: Vec<ExtraHeader>,
    /// How long an INVITE may stay without any response before the call is
    /// reported as [`crate::Happened::Unreachable`]; the targets that are tried
    /// share it. The RFC's own limit is 32 s (64*T1), longer than a caller
    /// should listen to nothing.
    pub answer_within: Duration,
    /// The session interval (RFC 4028) that our INVITEs ask for, whole
    /// seconds, at least [`Timers::min_session`]; zero asks for none. What the
    /// peer asks for is agreed to all the same.
    pub session_expires: Duration,
    /// What the trunk asserts about callers (P-Asserted-Identity,
    /// Remote-Party-ID) is believed; else From is all that counts.
    pub trust_identity: bool,
    /// How it is told who calls.
    pub identity: IdentityHeaders,
    /// How it is told who forwarded a call that goes on to it.
    pub forwarded: ForwardHeaders,
}

impl TrunkConfig {
    /// A UDP trunk with the defaults: requests from the target's address
    /// only, no credentials, OPTIONS every 30 s (two in a row unanswered: down;
    /// one answered: up), 100 calls and 100 new ones per second, no headers of
    /// its own, 8 s without an answer, sessions refreshed within 30 min; what
    /// it asserts about callers is not believed.
    pub fn new(name: impl Into<String>, target: SocketAddr) -> Self {
        Self {
            targets: vec![target.into()],
            ..Self::nowhere(name)
        }
    }

    /// The same without a target, which is still to be set.
    pub fn nowhere(name: impl Into<String>) -> Self {
        Self {
            name: TrunkName(name.into()),
            targets: Vec::new(),
            names: Vec::new(),
            transport: Transport::Udp,
            tls: TlsPeer::default(),
            allow: Vec::new(),
            auth: None,
            require_auth: None,
            from_domain: None,
            options_every: Duration::from_secs(30),
            options_down_after: 2,
            options_up_after: 1,
            max_calls: 100,
            new_calls_per_second: 100,
            headers: Vec::new(),
            answer_within: Duration::from_secs(8),
            session_expires: Duration::from_secs(1800),
            trust_identity: false,
            identity: IdentityHeaders::default(),
            forwarded: ForwardHeaders::default(),
        }
    }

    /// Whether it is at the same place as another one of this name, so that what is known of it holds for that one.
    pub(crate) fn is_where(&self, other: &Self) -> bool {
        self.targets == other.targets
            && self.names == other.names
            && self.transport == other.transport
            // Its accounts belong to that.
            && self.from_domain == other.from_domain
            && self.options_every.is_zero() == other.options_every.is_zero()
    }

    /// What its accounts belong to: where nothing else is set, the one name
    /// that it is known by.
    pub(crate) fn domain(&self) -> Option<&str> {
        let only = match (&self.targets[..], &self.names[..]) {
            ([], [only]) => Some(only.name.as_str()),
            _ => None,
        };
        self.from_domain.as_deref().or(only)
    }

    /// The Request-URI of a call to `to` over this trunk, at the target that is
    /// tried first; what cannot stand in one is escaped. `None` without targets.
    pub fn request_uri(&self, to: &str) -> Option<String> {
        let addresses = self.targets.iter();
        let addresses = addresses.map(|target| (target.priority, target.address.to_string()));
        let names = self.names.iter();
        let names = names.map(|target| (target.priority, target.authority()));
        let (_, first) = addresses
            .chain(names)
            .min_by_key(|(priority, _)| *priority)?;
        let host = self.from_domain.as_ref().unwrap_or(&first);
        let mut uri = address::sip_uri(to, host);
        uri.push_str(self.transport.uri_parameter());
        Some(uri)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uri_of_a_call_names_the_target_that_is_tried_first() {
        let mut trunk = TrunkConfig::new("pbx", ([192, 0, 2, 1], 5060).into());
        trunk.targets[0].priority = 20;
        trunk.targets.push(Target {
            priority: 10,
            ..SocketAddr::from(([192, 0, 2, 2], 5070)).into()
        });
        trunk.transport = Transport::Tcp;
        let uri = trunk.request_uri("1001");
        assert_eq!(
            uri.as_deref(),
            Some("sip:1001@192.0.2.2:5070;transport=tcp")
        );
        trunk.names.push(NamedTarget {
            name: "sip.example.org".into(),
            port: None,
            priority: 0,
            weight: 1,
        });
        let uri = trunk.request_uri("1001");
        assert_eq!(
            uri.as_deref(),
            Some("sip:1001@sip.example.org;transport=tcp")
        );
        assert_eq!(trunk.domain(), None);
        trunk.targets.clear();
        assert_eq!(trunk.domain(), Some("sip.example.org"));
        trunk.from_domain = Some("example.org".into());
        assert_eq!(trunk.domain(), Some("example.org"));
        let uri = trunk.request_uri("1001");
        assert_eq!(uri.as_deref(), Some("sip:1001@example.org;transport=tcp"));
    }
}
