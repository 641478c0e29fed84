//! Which leg a datagram on a shared browser port belongs to.
//!
//! The first byte tells the protocol (RFC 7983). A STUN request names its leg by the user name, a STUN response by
//! the transaction of the check that it answers. Everything else is taken only from an address that a STUN message
//! with good integrity has proven to be the leg's: DTLS from anywhere else is dropped (CVE-2023-49786).

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use str0m::ice::StunMessage;

use crate::leg::LegId;
use crate::outbox::Socket;

/// Proven paths of a leg, and new ones between two ICE restarts: a browser has a few. The engine keeps each, and
/// somebody with the leg's credentials could send from any number of addresses.
const SOURCES: usize = 64;
/// Checks whose answers are still recognised.
const CHECKS: usize = 64;
/// Addresses that checked before it was known which device answered.
const EARLY: usize = 32;

/// The id that ties a STUN response to its request (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TransactionId([u8; 12]);

impl TransactionId {
    /// That of a binding request; `None` for any other datagram.
    pub(crate) fn of_request(datagram: &[u8]) -> Option<Self> {
        (datagram.get(..2)? == [0, 1]).then_some(())?;
        Self::of(datagram)
    }

    fn of(datagram: &[u8]) -> Option<Self> {
        Some(TransactionId(datagram.get(8..20)?.try_into().ok()?))
    }
}

/// Between which of our sockets and which remote address: with the protocol, the 5-tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Path {
    pub(crate) socket: Socket,
    pub(crate) remote: SocketAddr,
}

/// Where a datagram belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    /// To this leg.
    Leg(LegId),
    /// To this leg; a check by the peer that names itself so.
    Check { leg: LegId, remote: &'a str },
    /// To nobody: the source is not known.
    Stranger,
    /// To nobody: it is nothing that we speak.
    Malformed,
}

#[derive(Debug, Default)]
pub(crate) struct Demux {
    sources: HashMap<Path, LegId>,
    ufrags: HashMap<String, LegId>,
    checks: HashMap<TransactionId, LegId>,
    legs: HashMap<LegId, Known>,
}

#[derive(Debug, Default)]
struct Known {
    ufrags: Vec<String>,
    sources: Vec<Path>,
    /// How many were new since the last ICE restart.
    new_sources: usize,
    checks: VecDeque<TransactionId>,
    early: Vec<(Path, String)>,
}

impl Demux {
    /// From now on checks for this user name fragment are for this leg.
    pub(crate) fn add(&mut self, leg: LegId, ufrag: String) {
        let known = self.legs.entry(leg).or_default();
        if known.ufrags.contains(&ufrag) {
            return;
        }
        known.ufrags.push(ufrag.clone());
        known.new_sources = 0;
        self.ufrags.insert(ufrag, leg);
    }

    /// The leg is gone, and with it every way to reach it.
    pub(crate) fn remove(&mut self, leg: LegId) {
        let Some(known) = self.legs.remove(&leg) else {
            return;
        };
        for ufrag in &known.ufrags {
            self.ufrags.remove(ufrag);
        }
        for source in &known.sources {
            self.sources.remove(source);
        }
        for check in &known.checks {
            self.checks.remove(check);
        }
    }

    /// No leg is known in any way.
    pub(crate) fn is_empty(&self) -> bool {
        self.legs.is_empty()
            && self.sources.is_empty()
            && self.ufrags.is_empty()
            && self.checks.is_empty()
    }

    pub(crate) fn route<'a>(&self, path: Path, datagram: &'a [u8]) -> Route<'a> {
        match datagram.first() {
            Some(0..=3) => self.route_stun(path, datagram),
            Some(20..=63 | 128..=191) => match self.sources.get(&path) {
                Some(leg) => Route::Leg(*leg),
                None => Route::Stranger,
            },
            _ => Route::Malformed,
        }
    }

    fn route_stun<'a>(&self, path: Path, datagram: &'a [u8]) -> Route<'a> {
        let Ok(message) = StunMessage::parse(datagram) else {
            return Route::Malformed;
        };
        if !message.is_binding_request() {
            let check = TransactionId::of(datagram).and_then(|id| self.checks.get(&id));
            return check.map_or(Route::Stranger, |leg| Route::Leg(*leg));
        }
        let username = message.username();
        let Some((ours, remote)) = username.and_then(|name| name.split_once(':')) else {
            return Route::Malformed;
        };
        match self.ufrags.get(ours) {
            Some(leg) if self.may_check(*leg, path) => Route::Check { leg: *leg, remote },
            _ => Route::Stranger,
        }
    }

    fn may_check(&self, leg: LegId, path: Path) -> bool {
        let has_room = |known: &Known| known.new_sources < SOURCES;
        self.sources.get(&path) == Some(&leg) || self.legs.get(&leg).is_none_or(has_room)
    }

    /// True if a STUN message with good integrity came that way, though it may not be known yet for which device.
    pub(crate) fn knows(&self, path: Path) -> bool {
        let early = |known: &Known| known.early.iter().any(|(early, _)| *early == path);
        self.sources.contains_key(&path) || self.legs.values().any(early)
    }

    /// Nothing comes that way any more: a TCP connection is closed, and the address may be another's next.
    pub(crate) fn forget(&mut self, path: Path) {
        if let Some(leg) = self.sources.remove(&path)
            && let Some(known) = self.legs.get_mut(&leg)
        {
            known.sources.retain(|source| *source != path);
        }
        for known in self.legs.values_mut() {
            known.early.retain(|(early, _)| *early != path);
        }
    }

    /// We sent a check; its answer will be for this leg.
    pub(crate) fn sent_check(&mut self, leg: LegId, id: TransactionId) {
        let known = self.legs.entry(leg).or_default();
        if known.checks.len() == CHECKS
            && let Some(oldest) = known.checks.pop_front()
        {
            self.checks.remove(&oldest);
        }
        known.checks.push_back(id);
        self.checks.insert(id, leg);
    }

    /// The peer has proven to be there. A path that another living leg has proven stays with it.
    pub(crate) fn prove(&mut self, leg: LegId, path: Path) {
        if self.sources.contains_key(&path) {
            return;
        }
        tracing::debug!(%leg, way = ?path.socket, "the browser is there");
        let known = self.legs.entry(leg).or_default();
        if known.sources.len() == SOURCES {
            let oldest = known.sources.remove(0);
            self.sources.remove(&oldest);
        }
        known.new_sources += 1;
        known.sources.push(path);
        self.sources.insert(path, leg);
    }

    /// A device that knows our offer checked, but the answer that selects a device is not here yet.
    pub(crate) fn remember_early(&mut self, leg: LegId, path: Path, remote: &str) {
        let known = self.legs.entry(leg).or_default();
        let is_new = !known.early.iter().any(|(early, _)| *early == path);
        if is_new && known.early.len() < EARLY {
            known.early.push((path, remote.to_owned()));
        }
    }

    /// The answer came from the device with this user name fragment: its early checks count, those of the other
    /// devices do not.
    pub(crate) fn select_device(&mut self, leg: LegId, remote: &str) {
        let Some(known) = self.legs.get_mut(&leg) else {
            return;
        };
        for (path, ufrag) in std::mem::take(&mut known.early) {
            if ufrag == remote {
                self.prove(leg, path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use str0m::ice::TransId;

    const LEG: LegId = LegId(1);

    fn source(port: u16) -> Path {
        Path {
            socket: Socket::Browsers(0),
            remote: SocketAddr::from(([127, 0, 0, 1], port)),
        }
    }

    fn check(username: &str) -> Vec<u8> {
        let message = StunMessage::binding_request(username, TransId::new(), true, 1, 1, false);
        let mut buffer = vec![0; 500];
        let sha1 = |_: &[u8], _: &[&[u8]]| [0; 20];
        let len = message
            .to_bytes(Some(b"password"), &mut buffer, sha1)
            .unwrap();
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn a_check_finds_its_leg_by_the_user_name() {
        let mut demux = Demux::default();
        demux.add(LEG, "ours".to_owned());
        let datagram = check("ours:theirs");
        let route = demux.route(source(1), &datagram);
        assert_eq!(
            route,
            Route::Check {
                leg: LEG,
                remote: "theirs"
            }
        );
        let datagram = check("other:theirs");
        assert_eq!(demux.route(source(1), &datagram), Route::Stranger);
    }

    #[test]
    fn dtls_and_rtp_pass_only_from_a_proven_address() {
        let mut demux = Demux::default();
        demux.add(LEG, "ours".to_owned());
        for first in [22u8, 128] {
            assert_eq!(demux.route(source(1), &[first; 20]), Route::Stranger);
        }
        demux.prove(LEG, source(1));
        for first in [22u8, 128] {
            assert_eq!(demux.route(source(1), &[first; 20]), Route::Leg(LEG));
            assert_eq!(demux.route(source(2), &[first; 20]), Route::Stranger);
        }
    }

    #[test]
    fn an_address_cannot_be_taken_from_a_living_leg() {
        let mut demux = Demux::default();
        demux.prove(LEG, source(1));
        demux.prove(LegId(2), source(1));
        assert_eq!(demux.route(source(1), &[22; 20]), Route::Leg(LEG));
        demux.remove(LEG);
        demux.prove(LegId(2), source(1));
        assert_eq!(demux.route(source(1), &[22; 20]), Route::Leg(LegId(2)));
    }

    #[test]
    fn only_the_selected_device_keeps_its_early_address() {
        let mut demux = Demux::default();
        demux.add(LEG, "ours".to_owned());
        demux.remember_early(LEG, source(1), "first");
        demux.remember_early(LEG, source(2), "second");
        demux.select_device(LEG, "second");
        assert_eq!(demux.route(source(1), &[22; 20]), Route::Stranger);
        assert_eq!(demux.route(source(2), &[22; 20]), Route::Leg(LEG));
    }

    #[test]
    fn the_same_remote_address_through_another_socket_is_another_path() {
        let mut demux = Demux::default();
        demux.prove(LEG, source(1));
        let stream = Path {
            socket: Socket::Streams(0),
            ..source(1)
        };
        assert_eq!(demux.route(stream, &[22; 20]), Route::Stranger);
        demux.prove(LegId(2), stream);
        assert!(demux.knows(stream));
        demux.forget(stream);
        assert!(!demux.knows(stream));
        assert_eq!(demux.route(stream, &[22; 20]), Route::Stranger);
        assert_eq!(demux.route(source(1), &[22; 20]), Route::Leg(LEG));
    }

    #[test]
    fn checks_from_ever_new_addresses_end_until_ice_restarts() {
        let mut demux = Demux::default();
        demux.add(LEG, "ours".to_owned());
        let datagram = check("ours:theirs");
        let mut checked = 0;
        for port in 1..1000 {
            if demux.route(source(port), &datagram) != Route::Stranger {
                demux.prove(LEG, source(port));
                checked += 1;
            }
        }
        assert_eq!(checked, SOURCES);
        // Where it is already, the browser still checks.
        assert_ne!(
            demux.route(source(SOURCES as u16), &datagram),
            Route::Stranger
        );
        demux.add(LEG, "restarted".to_owned());
        let datagram = check("restarted:theirs");
        assert_ne!(demux.route(source(2000), &datagram), Route::Stranger);
    }

    #[test]
    fn over_many_restarts_only_the_newest_paths_are_kept() {
        let mut demux = Demux::default();
        for port in 1..1000 {
            demux.prove(LEG, source(port));
        }
        assert_eq!(demux.sources.len(), SOURCES);
        assert_eq!(demux.route(source(1), &[22; 20]), Route::Stranger);
        assert_eq!(demux.route(source(999), &[22; 20]), Route::Leg(LEG));
    }

    #[test]
    fn early_checks_from_ever_new_addresses_are_not_all_remembered() {
        let mut demux = Demux::default();
        demux.add(LEG, "ours".to_owned());
        for port in 1..1000 {
            demux.remember_early(LEG, source(port), "theirs");
        }
        demux.select_device(LEG, "theirs");
        assert_eq!(demux.sources.len(), EARLY);
    }

    #[test]
    fn a_removed_leg_leaves_nothing_behind() {
        let mut demux = Demux::default();
        demux.add(LEG, "ours".to_owned());
        demux.prove(LEG, source(1));
        for n in 0..200u8 {
            demux.sent_check(LEG, TransactionId([n; 12]));
        }
        assert_eq!(demux.checks.len(), CHECKS);
        demux.remove(LEG);
        assert!(demux.is_empty());
    }

    proptest! {
        #[test]
        fn no_datagram_makes_the_demultiplexer_panic(first in 0u8..4, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let demux = Demux::default();
            let mut datagram = vec![first];
            datagram.extend(rest);
            let _ = demux.route(source(1), &datagram);
            let _ = TransactionId::of_request(&datagram);
        }

        #[test]
        fn no_broken_check_makes_the_demultiplexer_panic(at in 0usize..80, byte in any::<u8>(), cut in 0usize..120) {
            let mut datagram = check("ours:theirs");
            if let Some(place) = datagram.get_mut(at) {
                *place = byte;
            }
            datagram.truncate(cut);
            let _ = Demux::default().route(source(1), &datagram);
        }
    }
}
