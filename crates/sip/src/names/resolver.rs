//! Looking a name up: NAPTR, SRV, A and AAAA, in the order of RFC 3263 §4.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{RData, RecordType};

use tracing::debug;

use super::place;
use crate::config::{NamedTarget, Transport, TrunkConfig};
use crate::refused::StartError;
use crate::target::Place;

/// How long a server may take; it is asked twice.
const PATIENCE: Duration = Duration::from_secs(3);
/// More records than this of one kind are no answer but an attack.
const MOST: usize = 32;
/// So many places are enough for one name, however many hosts it leads to: each is asked with OPTIONS, and each may call us.
const PLACES: usize = 64;

/// Where a name leads.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Never empty.
    pub(crate) places: Vec<Place>,
    pub(crate) holds_for: Duration,
}

/// Why it leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookUpError {
    #[error("it has no address")]
    NoAddress,
    #[error("its SRV record says that there is no SIP at all")]
    NoService,
    #[error("{0}")]
    Failed(String),
}

/// Asks DNS.
#[derive(Clone)]
pub(crate) struct Resolver(TokioResolver);

/// Records, and until when they hold.
struct Records {
    all: Vec<RData>,
    until: Instant,
}

impl Resolver {
    /// For the names of these trunks. A site without names needs no DNS, and
    /// may have none.
    pub(crate) fn of(
        trunks: &[TrunkConfig],
        nameservers: &[SocketAddr],
    ) -> Result<Option<Self>, StartError> {
        let has_names = trunks.iter().any(|trunk| !trunk.names.is_empty());
        has_names.then(|| Self::new(nameservers)).transpose()
    }

    /// Asks these servers; the system's where there are none.
    pub(crate) fn new(nameservers: &[SocketAddr]) -> Result<Self, StartError> {
        let failed = |error: NetError| StartError::NoResolver(error.to_string());
        let mut builder = match nameservers {
            [] => TokioResolver::builder_tokio().map_err(failed)?,
            own => {
                let servers = own.iter().map(|server| {
                    let mut config = NameServerConfig::udp_and_tcp(server.ip());
                    for connection in &mut config.connections {
                        connection.port = server.port();
                    }
                    config
                });
                let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
                let provider = TokioRuntimeProvider::default();
                TokioResolver::builder_with_config(config, provider)
            }
        };
        // One that does not exist is asked for again as soon as one that is
        // not found: it may be on its way.
        builder.options_mut().negative_max_ttl = Some(super::RETRY);
        builder.options_mut().timeout = PATIENCE;
        Ok(Self(builder.build().map_err(failed)?))
    }

    /// Where a name leads over this transport.
    pub(crate) async fn look_up(
        &self,
        target: &NamedTarget,
        transport: Transport,
    ) -> Result<Answer, LookUpError> {
        let mut found = Found::default();
        match target.port {
            Some(port) => {
                self.addresses(target, &target.name, port, None, &mut found)
                    .await?
            }
            None => self.services(target, transport, &mut found).await?,
        }
        match (found.places.is_empty(), found.until) {
            (false, Some(until)) => Ok(Answer {
                places: found.places,
                holds_for: until.saturating_duration_since(Instant::now()),
            }),
            _ => Err(LookUpError::NoAddress),
        }
    }

    /// NAPTR says where the SRV records of a transport are (§4.1); without it
    /// they are where they always are (§4.2); without those the name's own
    /// addresses count.
    async fn services(
        &self,
        target: &NamedTarget,
        transport: Transport,
        found: &mut Found,
    ) -> Result<(), LookUpError> {
        let mut places = self.naptr(&target.name, transport, found).await?;
        if places.is_empty() {
            places.push(Pointer::Service(standard_service(&target.name, transport)));
        }
        for place in places {
            match place {
                Pointer::Service(service) => self.srv(target, &service, found).await?,
                Pointer::Host(host) => {
                    let port = transport.default_port();
                    self.addresses(target, &host, port, None, found).await?;
                }
            }
            // The next ones are for who gets no answer there.
            if !found.places.is_empty() {
                return Ok(());
            }
        }
        let port = transport.default_port();
        self.addresses(target, &target.name, port, None, found)
            .await
    }

    async fn naptr(
        &self,
        name: &str,
        transport: Transport,
        found: &mut Found,
    ) -> Result<Vec<Pointer>, LookUpError> {
        let records = self.records(name, RecordType::NAPTR).await?;
        let mut ours = Vec::new();
        for record in found.note(records) {
            if let RData::NAPTR(naptr) = record
                && naptr
                    .services
                    .eq_ignore_ascii_case(naptr_service(transport))
                && let Some(pointer) = Pointer::of(&naptr.flags, naptr.replacement.to_ascii())
            {
                ours.push(((naptr.order, naptr.preference), pointer));
            }
        }
        ours.sort_by_key(|(turn, _)| *turn);
        Ok(ours.into_iter().map(|(_, pointer)| pointer).collect())
    }

    async fn srv(
        &self,
        target: &NamedTarget,
        service: &str,
        found: &mut Found,
    ) -> Result<(), LookUpError> {
        let records = self.records(service, RecordType::SRV).await?;
        let records = found.note(records);
        let is_root = |record: &RData| matches!(record, RData::SRV(srv) if srv.target.is_root());
        if records.len() == 1 && records.iter().all(is_root) {
            // RFC 2782: "decidedly not available at this domain".
            return Err(LookUpError::NoService);
        }
        let mut failed = None;
        for record in in_order(records) {
            if found.is_full() {
                break;
            }
            let RData::SRV(srv) = record else {
                continue;
            };
            let (host, rank) = (srv.target.to_ascii(), (srv.priority, srv.weight));
            let looked = self.addresses(target, &host, srv.port, Some(rank), found);
            if let Err(error) = looked.await {
                // The others may be there.
                failed = Some(error);
            }
        }
        match failed {
            Some(error) if found.places.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// A host's addresses of both families.
    async fn addresses(
        &self,
        target: &NamedTarget,
        host: &str,
        port: u16,
        rank: Option<(u16, u16)>,
        found: &mut Found,
    ) -> Result<(), LookUpError> {
        let (four, six) = tokio::join!(
            self.records(host, RecordType::A),
            self.records(host, RecordType::AAAA)
        );
        let (four, six) = match (four, six) {
            (Err(error), Err(_)) => return Err(error),
            // One family is better than none.
            (four, six) => (four.unwrap_or(None), six.unwrap_or(None)),
        };
        let mut records = found.note(four);
        records.extend(found.note(six));
        for record in records {
            let ip = match record {
                RData::A(ip) => IpAddr::V4(ip.0),
                RData::AAAA(ip) => IpAddr::V6(ip.0),
                _ => continue,
            };
            if found.is_full() {
                break;
            }
            let address = SocketAddr::new(ip, port);
            found.places.push(place(target, address, rank));
        }
        Ok(())
    }

    /// The records of a name; `None` where there are none, which is an answer,
    /// too.
    async fn records(&self, name: &str, kind: RecordType) -> Result<Option<Records>, LookUpError> {
        // Never one of the site's own domain in its place.
        let full = format!("{}.", name.trim_end_matches('.'));
        match self.0.lookup(full, kind).await {
            Ok(found) => {
                let of_kind = found.answers().iter().filter(|r| r.record_type() == kind);
                let all: Vec<_> = of_kind.map(|r| r.data.clone()).take(MOST).collect();
                Ok(Some(Records {
                    all,
                    until: found.valid_until(),
                }))
            }
            Err(error) if error.is_no_records_found() => Ok(None),
            // Servers that do not know NAPTR, or do not let it through, are
            // many; the other kinds everybody needs.
            Err(NetError::Dns(DnsError::ResponseCode(code))) if kind == RecordType::NAPTR => {
                debug!(name, %code, "no NAPTR from this DNS server");
                Ok(None)
            }
            Err(error) => Err(LookUpError::Failed(format!("{kind} of {name}: {error}"))),
        }
    }
}

/// What was found so far.
#[derive(Default)]
struct Found {
    places: Vec<Place>,
    /// When the first of its parts is out of date.
    until: Option<Instant>,
}

impl Found {
    fn is_full(&self) -> bool {
        self.places.len() == PLACES
    }

    fn note(&mut self, records: Option<Records>) -> Vec<RData> {
        let Some(records) = records else {
            return Vec::new();
        };
        self.until = Some(
            self.until
                .map_or(records.until, |own| own.min(records.until)),
        );
        records.all
    }
}

/// The best SRV records first, so that those count where there are too many.
fn in_order(mut records: Vec<RData>) -> Vec<RData> {
    records.sort_by_key(|record| match record {
        RData::SRV(srv) => srv.priority,
        _ => u16::MAX,
    });
    records
}

/// Where a NAPTR record points.
#[derive(Debug, PartialEq, Eq)]
enum Pointer {
    Service(String),
    Host(String),
}

impl Pointer {
    fn of(flags: &[u8], replacement: String) -> Option<Self> {
        match flags {
            b"s" | b"S" => Some(Self::Service(replacement)),
            b"a" | b"A" => Some(Self::Host(replacement)),
            // A regular expression (`u`) has no place here (§4.1).
            _ => None,
        }
    }
}

fn naptr_service(transport: Transport) -> &'static [u8] {
    match transport {
        Transport::Udp => b"SIP+D2U",
        Transport::Tcp => b"SIP+D2T",
        Transport::Tls => b"SIPS+D2T",
    }
}

fn standard_service(name: &str, transport: Transport) -> String {
    match transport {
        Transport::Udp => format!("_sip._udp.{name}"),
        Transport::Tcp => format!("_sip._tcp.{name}"),
        Transport::Tls => format!("_sips._tcp.{name}"),
    }
}

#[cfg(test)]
mod tests;
