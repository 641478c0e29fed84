//! One peer, and where it is.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Credentials, RequiredAuth, Transport, TrunkName};
use crate::address;
use crate::extra_header::ExtraHeader;
use crate::forwarded::ForwardHeaders;
use crate::identity::IdentityHeaders;
use crate::tls::TlsPeer;

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
    /// are up, or it does not answer, [`super::Timers::probe_every`] is used instead
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
    /// seconds, at least [`super::Timers::min_session`]; zero asks for none. What the
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
