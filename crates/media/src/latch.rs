//! Where a phone's RTP comes from and goes to: the address in its description, or, behind NAT, the one that its
//! packets were learnt to come from.
//!
//! Whoever sends to our port could be taken for the phone and would then hear the call ("RTP bleed",
//! CVE-2017-14099, CVE-2025-53399). So nothing is learnt unless the trunk is said to be behind NAT, and then only from
//! the trunk's own address, once, in a window, by several packets in a row or by one that SRTP proves genuine.
//! Until then nobody is sent anything but the address of the description, and nobody else is heard.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::rtp::Header;

/// Packets in a row that a source has to send before it is taken for the phone.
const PROBATION: u8 = 5;
/// Once somebody has tried, there is this much time.
const WINDOW: Duration = Duration::from_secs(10);

/// How a source is to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The phone.
    Peer,
    /// It may become that, see [`Latch::learn`].
    Candidate,
    /// Neither heard nor learnt.
    Stranger,
}

/// What a packet shows about who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Anybody could have made it.
    None,
    /// Its SRTP tag is right.
    Tag,
}

#[derive(Debug)]
pub(crate) struct Latch {
    /// The addresses that a phone behind NAT may send from; none: there is no NAT.
    nat: Vec<IpAddr>,
    described: Option<SocketAddr>,
    state: State,
    /// Where the RTCP of a phone that was learnt comes from.
    control: Option<SocketAddr>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open {
        until: Option<Instant>,
        candidate: Option<Candidate>,
    },
    Locked(SocketAddr),
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
    packets: u8,
}

impl State {
    const NEW: State = State::Open {
        until: None,
        candidate: None,
    };
}

impl Latch {
    pub(crate) fn new(nat: Vec<IpAddr>) -> Self {
        Latch {
            nat,
            described: None,
            state: State::NEW,
            control: None,
        }
    }

    /// Whether the phone may turn out to be elsewhere than its description says.
    pub(crate) fn learns(&self) -> bool {
        !self.nat.is_empty()
    }

    /// A description names this address. Another one than before opens the window anew: the trunk itself says that
    /// the phone is elsewhere now.
    pub(crate) fn describe(&mut self, described: Option<SocketAddr>) {
        // The old form of hold takes the address away for a while.
        if described.is_some() && self.described != described {
            self.described = described;
            self.state = State::NEW;
            self.control = None;
        }
    }

    /// Where RTP goes; `described` is the address of the description in force.
    pub(crate) fn destination(&self, described: SocketAddr) -> SocketAddr {
        match self.state {
            State::Locked(source) => source,
            State::Open { .. } => described,
        }
    }

    /// Where RTCP goes; `described` as the description has it.
    pub(crate) fn control_destination(&self, described: SocketAddr) -> SocketAddr {
        match self.learnt() {
            None => described,
            // RFC 3550 section 11: the next port, unless the phone has shown that NAT put it elsewhere.
            Some(peer) => self.control.unwrap_or_else(|| {
                SocketAddr::new(peer.ip(), peer.port().checked_add(1).unwrap_or(peer.port()))
            }),
        }
    }

    /// Whether RTCP from there may be the phone's.
    pub(crate) fn is_control(&self, described: Option<SocketAddr>, source: SocketAddr) -> bool {
        match (self.learnt(), self.control) {
            (None, _) => described == Some(source),
            (Some(_), Some(control)) => control == source,
            (Some(peer), None) => peer.ip() == source.ip(),
        }
    }

    /// A well-formed report came from there.
    pub(crate) fn learn_control(&mut self, source: SocketAddr) {
        if self.learnt().is_some() {
            self.control.get_or_insert(source);
        }
    }

    /// The address that was learnt, if it is another one than the description's.
    fn learnt(&self) -> Option<SocketAddr> {
        match self.state {
            State::Locked(source) => Some(source).filter(|_| self.described != Some(source)),
            State::Open { .. } => None,
        }
    }

    pub(crate) fn source(&self, now: Instant, source: SocketAddr) -> Source {
        match self.state {
            State::Locked(peer) if peer == source => Source::Peer,
            State::Locked(_) => Source::Stranger,
            State::Open { .. } if self.described == Some(source) => Source::Peer,
            State::Open { until, .. } => {
                let in_time = until.is_none_or(|until| now < until);
                match in_time && self.nat.contains(&source.ip()) {
                    true => Source::Candidate,
                    false => Source::Stranger,
                }
            }
        }
    }

    /// A packet of the peer or of a candidate is here; true if it is the peer's, from now on.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        source: SocketAddr,
        header: Header,
        proof: Proof,
    ) -> bool {
        if self.nat.is_empty() {
            return true;
        }
        let State::Open { until, candidate } = &mut self.state else {
            return true;
        };
        until.get_or_insert(now + WINDOW);
        let follows = |before: &Candidate| {
            before.source == source
                && before.ssrc == header.ssrc
                && before.sequence.wrapping_add(1) == header.sequence
        };
        let before = candidate.filter(follows).map_or(0, |before| before.packets);
        let packets = before + 1;
        *candidate = Some(Candidate {
            source,
            ssrc: header.ssrc,
            sequence: header.sequence,
            packets,
        });
        let is_described = self.described == Some(source);
        if is_described || proof == Proof::Tag || packets == PROBATION {
            self.state = State::Locked(source);
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;

    const PHONE: ([u8; 4], u16) = ([192, 0, 2, 7], 40_000);
    const DESCRIBED: ([u8; 4], u16) = ([10, 0, 0, 7], 12_000);

    fn latch() -> Latch {
        let mut latch = Latch::new(vec![IpAddr::from(PHONE.0)]);
        latch.describe(Some(DESCRIBED.into()));
        latch
    }

    fn header(ssrc: u32, sequence: u16) -> Header {
        Header {
            payload_type: 0,
            marker: false,
            sequence,
            timestamp: 0,
            ssrc,
        }
    }

    /// Lets a source send; how many of its packets were taken for the phone's.
    fn send(latch: &mut Latch, source: SocketAddr, sequences: std::ops::Range<u16>) -> usize {
        let now = origin();
        let mut heard = 0;
        for sequence in sequences {
            heard += usize::from(match latch.source(now, source) {
                Source::Stranger => false,
                Source::Peer | Source::Candidate => {
                    latch.learn(now, source, header(1, sequence), Proof::None)
                }
            });
        }
        heard
    }

    fn destination(latch: &Latch) -> SocketAddr {
        latch.destination(DESCRIBED.into())
    }

    #[test]
    fn without_nat_only_the_described_address_counts() {
        let mut latch = Latch::new(Vec::new());
        latch.describe(Some(DESCRIBED.into()));
        assert_eq!(send(&mut latch, PHONE.into(), 0..100), 0);
        assert_eq!(send(&mut latch, DESCRIBED.into(), 0..100), 100);
        assert_eq!(destination(&latch), DESCRIBED.into());
    }

    #[test]
    fn a_phone_behind_nat_is_learnt_by_its_fifth_packet_in_a_row() {
        let mut latch = latch();
        assert_eq!(send(&mut latch, PHONE.into(), 0..4), 0);
        assert_eq!(destination(&latch), DESCRIBED.into());
        assert_eq!(
            send(&mut latch, PHONE.into(), 10..14),
            0,
            "a gap begins it anew"
        );
        assert_eq!(send(&mut latch, PHONE.into(), 14..20), 6);
        assert_eq!(destination(&latch), PHONE.into());
        assert_eq!(latch.learnt(), Some(PHONE.into()));
    }

    #[test]
    fn an_address_that_is_not_the_trunks_is_never_learnt() {
        let mut latch = latch();
        let attacker = SocketAddr::from(([192, 0, 2, 66], 40_000));
        assert_eq!(send(&mut latch, attacker, 0..1000), 0, "before");
        send(&mut latch, PHONE.into(), 0..3);
        assert_eq!(send(&mut latch, attacker, 0..1000), 0, "during");
        assert_eq!(send(&mut latch, PHONE.into(), 3..10), 6);
        assert_eq!(send(&mut latch, attacker, 0..1000), 0, "after");
        assert_eq!(destination(&latch), PHONE.into());
    }

    #[test]
    fn another_port_of_the_trunks_address_cannot_break_in() {
        let mut latch = latch();
        let attacker = SocketAddr::from((PHONE.0, 6666));
        assert_eq!(send(&mut latch, attacker, 0..4), 0, "before");
        // Taking turns, neither is learnt, and the call stays with the description.
        for n in 0..50 {
            assert_eq!(send(&mut latch, PHONE.into(), n..n + 1), 0);
            assert_eq!(send(&mut latch, attacker, n..n + 1), 0);
        }
        assert_eq!(destination(&latch), DESCRIBED.into());
        assert_eq!(send(&mut latch, PHONE.into(), 50..60), 6);
        assert_eq!(send(&mut latch, attacker, 0..1000), 0, "after");
        assert_eq!(destination(&latch), PHONE.into());
    }

    #[test]
    fn the_described_address_itself_is_known_at_once_and_ends_the_search() {
        let mut latch = latch();
        assert_eq!(send(&mut latch, DESCRIBED.into(), 0..1), 1);
        assert_eq!(send(&mut latch, PHONE.into(), 0..100), 0);
        assert_eq!(latch.learnt(), None);
    }

    #[test]
    fn reports_come_from_the_phones_address_and_from_one_port_of_it_only() {
        let mut latch = latch();
        send(&mut latch, PHONE.into(), 0..5);
        let described = Some(SocketAddr::from((DESCRIBED.0, DESCRIBED.1 + 1)));
        let (first, second) = ((PHONE.0, 7001).into(), (PHONE.0, 7002).into());
        let attacker = SocketAddr::from(([192, 0, 2, 66], 7001));
        assert!(latch.is_control(described, first) && latch.is_control(described, second));
        assert!(!latch.is_control(described, attacker));
        latch.learn_control(first);
        assert!(latch.is_control(described, first));
        assert!(!latch.is_control(described, second));
    }

    #[test]
    fn a_right_tag_is_proof_enough() {
        let mut latch = latch();
        assert!(latch.learn(origin(), PHONE.into(), header(1, 9), Proof::Tag));
        assert_eq!(destination(&latch), PHONE.into());
    }

    #[test]
    fn after_the_window_nothing_is_learnt_until_the_trunk_names_another_address() {
        let mut latch = latch();
        send(&mut latch, PHONE.into(), 0..1);
        let late = origin() + WINDOW;
        assert_eq!(latch.source(late, PHONE.into()), Source::Stranger);
        assert_eq!(latch.source(late, DESCRIBED.into()), Source::Peer);
        latch.describe(Some(DESCRIBED.into()));
        assert_eq!(latch.source(late, PHONE.into()), Source::Stranger);
        latch.describe(None);
        latch.describe(Some(([10, 0, 0, 8], 12_000).into()));
        assert_eq!(latch.source(late, PHONE.into()), Source::Candidate);
    }
}
