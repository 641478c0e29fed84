//! Addresses of no trunk that send to us all the same: who does it often, or says that it is a scanner, is banned until it
//! has kept quiet for a while. None of them is ever answered; who is banned is not even looked at, and is counted apart.
//!
//! Whoever asks here has made sure that no trunk has the address ([`super::Admission`]): over UDP a source can be forged,
//! and the PBX must not be shut out by a stranger who writes its address on his letters.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::config::Bans;

/// How many are told apart; with one more the eldest is forgotten. A flood from forged addresses makes us forget, and
/// costs no more memory than this.
const MOST: usize = 4_096;

/// The time within which messages are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// How far into a message it is looked for who sends it, in bytes.
const LOOKED_AT: usize = 2_048;

/// How the User-Agents of well-known scanners begin, in small letters.
const SCANNERS: [&str; 9] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sundayddr",
    "sip-scan",
    "sipcli",
    "pplsip",
    "sivus",
    "iwar",
];

/// The strangers that have lately been met.
#[derive(Debug)]
pub(super) struct Strangers {
    bans: Bans,
    known: HashMap<IpAddr, Seen>,
    /// In the order in which they came first.
    order: VecDeque<IpAddr>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    since: Instant,
    messages: u32,
    banned_until: Option<Instant>,
}

/// What has become of a stranger who sends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// Nothing yet.
    Stranger,
    /// From now on it is banned.
    BannedNow,
    /// It was.
    Banned,
}

impl Strangers {
    pub(super) fn new(bans: Bans) -> Self {
        Self {
            bans,
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Others are banned from now on; who is stays so.
    pub(super) fn set(&mut self, bans: Bans) {
        self.bans = bans;
    }

    /// One sends this.
    pub(super) fn meet(&mut self, address: IpAddr, said: &[u8], now: Instant) -> Met {
        if self.bans.after == 0 {
            return Met::Stranger;
        }
        let until = now + self.bans.lasting;
        let seen = self.seen(network(address), now);
        if let Some(banned) = seen.banned_until {
            if now < banned {
                seen.banned_until = Some(until);
                return Met::Banned;
            }
            *seen = Seen::new(now);
        }
        if now.saturating_duration_since(seen.since) >= WINDOW {
            *seen = Seen::new(now);
        }
        seen.messages = seen.messages.saturating_add(1);
        let messages = seen.messages;
        if messages < self.bans.after && !is_scanner(said) {
            return Met::Stranger;
        }
        self.seen(network(address), now).banned_until = Some(until);
        Met::BannedNow
    }

    /// How many are banned.
    pub(super) fn banned(&self, now: Instant) -> usize {
        let all = self.known.values();
        all.filter(|seen| seen.banned_until.is_some_and(|until| now < until))
            .count()
    }

    fn seen(&mut self, address: IpAddr, now: Instant) -> &mut Seen {
        if !self.known.contains_key(&address) {
            if self.order.len() >= MOST
                && let Some(eldest) = self.order.pop_front()
            {
                self.known.remove(&eldest);
            }
            self.order.push_back(address);
        }
        let new = || Seen::new(now);
        self.known.entry(address).or_insert_with(new)
    }
}

impl Seen {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            messages: 0,
            banned_until: None,
        }
    }
}

/// Whether a request says that a scanner sends it.
pub(super) fn is_scanner(message: &[u8]) -> bool {
    let head = &message[..message.len().min(LOOKED_AT)];
    let mut lines = head.split(|byte| *byte == b'\n');
    if lines
        .next()
        .is_none_or(|start| start.starts_with(b"SIP/2.0"))
    {
        return false;
    }
    let mut headers = lines.take_while(|line| !line.trim_ascii().is_empty());
    headers.any(|line| {
        let colon = line.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.map(|colon| line.split_at(colon)) else {
            return false;
        };
        let value = value[1..].trim_ascii();
        name.trim_ascii().eq_ignore_ascii_case(b"user-agent")
            && SCANNERS.iter().any(|scanner| begins(value, scanner))
    })
}

fn begins(value: &[u8], with: &str) -> bool {
    let beginning = value.get(..with.len());
    beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(with.as_bytes()))
}

/// Who is one: with IPv6, somebody has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            Ipv6Addr::from(network).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANS: Bans = Bans {
        after: 3,
        lasting: Duration::from_secs(600),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ip(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0xc633_6400 + last).into()
    }

    #[test]
    fn who_keeps_sending_is_banned_until_it_has_kept_quiet() {
        let (mut strangers, now) = (Strangers::new(BANS), Instant::now());
        let mut meet = |address, after| strangers.meet(address, b"", now + seconds(after));
        assert_eq!(meet(ip(1), 0), Met::Stranger);
        assert_eq!(meet(ip(1), 1), Met::Stranger);
        assert_eq!(meet(ip(1), 2), Met::BannedNow);
        // Nobody else is.
        assert_eq!(meet(ip(2), 2), Met::Stranger);
        assert_eq!(meet(ip(1), 601), Met::Banned);
        // It begins anew with each message.
        assert_eq!(meet(ip(1), 1_200), Met::Banned);
        assert_eq!(meet(ip(1), 1_800), Met::Stranger);
    }

    #[test]
    fn who_comes_now_and_then_is_not_banned() {
        let (mut strangers, now) = (Strangers::new(BANS), Instant::now());
        for minute in 0..20 {
            for message in 0..2 {
                let at = now + seconds(60 * minute + message);
                assert_eq!(strangers.meet(ip(1), b"", at), Met::Stranger);
            }
        }
        assert_eq!(strangers.banned(now + seconds(1_200)), 0);
    }

    #[test]
    fn a_scanner_is_banned_with_its_first_message() {
        let options = |agent: &str| {
            format!(
                "OPTIONS sip:100@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP x\r\n{agent}\r\n\r\nv=0\r\n"
            )
        };
        for agent in [
            "User-Agent: friendly-scanner",
            "USER-AGENT :  Friendly-Scanner/2",
            "user-agent:sipcli/v1.8",
        ] {
            let (mut strangers, now) = (Strangers::new(BANS), Instant::now());
            let met = strangers.meet(ip(1), options(agent).as_bytes(), now);
            assert_eq!(met, Met::BannedNow, "{agent}");
            assert_eq!(strangers.banned(now), 1);
            assert_eq!(strangers.banned(now + seconds(600)), 0);
        }
        for harmless in [
            "User-Agent: Asterisk PBX 22",
            "User-Agent:",
            "Subject: sipvicious",
            "X: y\r\n\r\nUser-Agent: sipvicious",
        ] {
            assert!(!is_scanner(options(harmless).as_bytes()), "{harmless}");
        }
        // What answers us is no scanner, whatever it is called.
        assert!(!is_scanner(b"SIP/2.0 200 OK\r\nUser-Agent: sipvicious\r\n"));
        assert!(!is_scanner(b""));
    }

    #[test]
    fn a_flood_from_ever_new_addresses_takes_a_bounded_room() {
        let (mut strangers, now) = (Strangers::new(BANS), Instant::now());
        let most = u32::try_from(MOST).expect("it is small");
        for last in 0..3 * most {
            strangers.meet(ip(last), b"", now);
        }
        assert_eq!(strangers.known.len(), MOST);
        assert_eq!(strangers.order.len(), MOST);
        // The latest are known.
        assert!(strangers.known.contains_key(&ip(3 * most - 1)));
        assert!(!strangers.known.contains_key(&ip(0)));
    }

    #[test]
    fn who_has_a_network_of_ipv6_is_one() {
        let (mut strangers, now) = (Strangers::new(BANS), Instant::now());
        let all = ["2001:db8::1", "2001:db8::2", "2001:db8::3:3"];
        let met = all.map(|text| strangers.meet(text.parse().expect("one"), b"", now));
        assert_eq!(met[2], Met::BannedNow);
    }

    #[test]
    fn without_bans_nobody_is_remembered() {
        let mut strangers = Strangers::new(Bans { after: 0, ..BANS });
        for _ in 0..100 {
            let met = strangers.meet(ip(1), b"", Instant::now());
            assert_eq!(met, Met::Stranger);
        }
        assert!(strangers.known.is_empty());
    }
}
