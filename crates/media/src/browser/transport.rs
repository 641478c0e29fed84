//! How a browser leg and its browser reach each other: our addresses, its candidates, its consent.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::net::{Protocol, TcpType};

use crate::demux::Path;
use crate::leg::{HostCandidate, Settings};
use crate::outbox::Socket;

/// Candidates of a browser between two ICE restarts that are checked; browsers have up to about 20. Each costs us
/// checks to an address of the other side's choice.
const CANDIDATES: usize = 64;
/// Without a sign of consent for so long, a browser gets no more media (RFC 7675 section 5.1).
const CONSENT: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Transport {
    hosts: Vec<HostCandidate>,
    /// What the browser's candidates were, duplicates aside, since the last ICE restart.
    taken: Vec<(Protocol, SocketAddr)>,
    ufrag: Option<String>,
    fingerprint: Option<String>,
    /// When the last STUN message with good integrity came.
    consented: Option<Instant>,
}

/// What to do with a remote candidate.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Check(Candidate),
    /// It is right, and tells us nothing that we need: a repetition, or TCP, where browsers come to us.
    Ignore,
    /// It cannot be read, cannot be used, or is one too many.
    Drop,
}

impl Transport {
    pub(super) fn new(settings: &Settings) -> Self {
        Transport {
            hosts: settings.candidates.clone(),
            taken: Vec::new(),
            ufrag: None,
            fingerprint: None,
            consented: None,
        }
    }

    /// Our candidates for the engine.
    pub(super) fn host_candidates(
        &self,
    ) -> impl Iterator<Item = Result<Candidate, impl std::fmt::Display>> {
        self.hosts.iter().map(|host| match host.socket {
            Socket::Streams(_) => Candidate::builder()
                .tcp()
                .host(host.address)
                .tcptype(TcpType::Passive)
                .build(),
            _ => Candidate::host(host.address, Protocol::Udp),
        })
    }

    /// As what, and at which of our advertised addresses, a datagram came: where several lead to one socket, ICE only
    /// asks that it be one that we offered.
    pub(super) fn arrival(&self, path: Path) -> Option<(Protocol, SocketAddr)> {
        let mut hosts = self.hosts.iter().filter(|host| host.socket == path.socket);
        let is_local = path.remote.ip().is_loopback();
        let alike = hosts
            .clone()
            .find(|host| host.address.ip().is_loopback() == is_local);
        let host = alike.or(hosts.next())?;
        Some((protocol_of(host), host.address))
    }

    /// The socket of one of our addresses.
    pub(super) fn socket(&self, protocol: Protocol, address: SocketAddr) -> Option<Socket> {
        let found =
            |host: &&HostCandidate| host.address == address && protocol_of(host) == protocol;
        Some(self.hosts.iter().find(found)?.socket)
    }

    /// Takes the candidates out of a description that is about to be applied: they pass [`Self::judge`] like the
    /// trickled ones. Those that came before an ICE restart no longer count.
    pub(super) fn take_candidates<'a>(&mut self, sdp: &'a str) -> (String, Vec<&'a str>) {
        let ufrag = attribute(sdp, "ice-ufrag");
        if self.ufrag.as_deref() != ufrag {
            self.ufrag = ufrag.map(str::to_owned);
            self.taken.clear();
        }
        if self.fingerprint.is_none() {
            self.fingerprint = attribute(sdp, "fingerprint").map(str::to_owned);
        }
        let is_candidate = |line: &&str| line.starts_with("a=candidate:");
        let bare = sdp.lines().filter(|line| !is_candidate(line));
        let bare = bare.flat_map(|line| [line, "\r\n"]).collect();
        (bare, sdp.lines().filter(is_candidate).collect())
    }

    /// True if a description comes from somebody else than the first: DTLS would have to begin anew (RFC 8842 section
    /// 5.5), and the voice of the person called go to another.
    pub(super) fn is_of_another(&self, sdp: &str) -> bool {
        let told = attribute(sdp, "fingerprint");
        let same = |known: &str, told: &str| known.trim().eq_ignore_ascii_case(told.trim());
        matches!((&self.fingerprint, told), (Some(known), Some(told)) if !same(known, told))
    }

    /// Judges a candidate line of the browser, with or without `a=`.
    pub(super) fn judge(&mut self, line: &str) -> Verdict {
        let line = line.strip_prefix("a=").unwrap_or(line).trim();
        if line.is_empty() {
            // End of candidates; often never sent, so nothing may depend on it.
            return Verdict::Ignore;
        }
        let Ok(candidate) = Candidate::from_sdp_string(line) else {
            return Verdict::Drop;
        };
        if candidate.proto() != Protocol::Udp {
            return Verdict::Ignore;
        }
        let place = (candidate.proto(), candidate.addr());
        if self.taken.contains(&place) {
            return Verdict::Ignore;
        }
        if self.taken.len() == CANDIDATES || !self.is_usable(candidate.addr()) {
            return Verdict::Drop;
        }
        self.taken.push(place);
        Verdict::Check(candidate)
    }

    /// Whether a check may be sent there: the other side names the address, which may be one of ours.
    fn is_usable(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_here = |host: &HostCandidate| host.address.ip().is_loopback();
        let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        address.port() != 0
            && !ip.is_unspecified()
            && !ip.is_multicast()
            && !is_broadcast
            && (!ip.is_loopback() || self.hosts.iter().any(is_here))
    }

    /// A STUN message whose integrity is good came.
    pub(super) fn note_consent(&mut self, now: Instant) {
        self.consented = Some(now);
    }

    /// When the browser's consent ends, unless it is renewed.
    pub(super) fn consent_ends(&self) -> Option<Instant> {
        self.consented.map(|at| at + CONSENT)
    }
}

fn protocol_of(host: &HostCandidate) -> Protocol {
    match host.socket {
        Socket::Streams(_) => Protocol::Tcp,
        _ => Protocol::Udp,
    }
}

fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    sdp.lines().find_map(|line| {
        line.strip_prefix("a=")?
            .strip_prefix(name)?
            .strip_prefix(':')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(address: &str) -> Transport {
        let address = address.parse().unwrap();
        Transport::new(&Settings::new(vec![address]))
    }

    fn line(address: &str, port: u16) -> String {
        format!("candidate:1 1 udp 2122260223 {address} {port} typ host")
    }

    #[test]
    fn candidates_over_the_limit_are_dropped_until_ice_restarts() {
        let mut transport = transport("192.0.2.1:40000");
        transport.take_candidates("a=ice-ufrag:one\r\n");
        let checked = |transport: &mut Transport| {
            let lines = (1..=200).map(|port| line("198.51.100.7", port));
            let verdicts = lines.map(|line| transport.judge(&line));
            verdicts
                .filter(|verdict| matches!(verdict, Verdict::Check(_)))
                .count()
        };
        assert_eq!(checked(&mut transport), CANDIDATES);
        assert_eq!(checked(&mut transport), 0);
        transport.take_candidates("a=ice-ufrag:one\r\n");
        assert_eq!(checked(&mut transport), 0);
        transport.take_candidates("a=ice-ufrag:two\r\n");
        assert_eq!(checked(&mut transport), CANDIDATES);
    }

    #[test]
    fn no_check_goes_to_an_address_that_is_nobodys_or_our_own() {
        let mut public = transport("192.0.2.1:40000");
        for (address, port) in [
            ("0.0.0.0", 5000),
            ("::", 5000),
            ("255.255.255.255", 5000),
            ("224.0.0.1", 5000),
            ("ff02::1", 5000),
            ("127.0.0.1", 5060),
            ("::1", 5060),
            ("::ffff:127.0.0.1", 5060),
            ("198.51.100.7", 0),
            ("0dbab2c5-2b4c-4b7f-a2c9-e5f0a1b2c3d4.local", 5000),
        ] {
            assert_eq!(
                public.judge(&line(address, port)),
                Verdict::Drop,
                "{address}"
            );
        }
        let here = transport("127.0.0.1:40000").judge(&line("127.0.0.1", 5060));
        assert!(matches!(here, Verdict::Check(_)));
        let six = public.judge(&line("2001:db8::7", 5000));
        assert!(matches!(six, Verdict::Check(_)));
    }

    #[test]
    fn a_tcp_candidate_and_a_repetition_are_no_fault() {
        let mut transport = transport("192.0.2.1:40000");
        let active = "a=candidate:1 1 TCP 2105524479 198.51.100.7 9 typ host tcptype active";
        assert_eq!(transport.judge(active), Verdict::Ignore);
        assert_eq!(transport.judge(""), Verdict::Ignore);
        let udp = line("198.51.100.7", 5000);
        assert!(matches!(transport.judge(&udp), Verdict::Check(_)));
        assert_eq!(transport.judge(&udp), Verdict::Ignore);
    }

    #[test]
    fn a_description_is_freed_of_its_candidates() {
        let sdp = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=candidate:1 x\r\na=mid:0\r\n";
        let (bare, candidates) = transport("192.0.2.1:40000").take_candidates(sdp);
        assert_eq!(
            bare,
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n"
        );
        assert_eq!(candidates, ["a=candidate:1 x"]);
    }
}
