//! From where somebody asks: the address that counts is the one that the last proxy of ours has seen.

use std::net::{IpAddr, Ipv6Addr};

/// The address that a request came from. `forwarded` are its `X-Forwarded-For` headers, in order: each proxy adds
/// whom it saw at the end, so that all before the first stranger from behind may be made up.
#[must_use]
pub fn address<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    proxies: &[IpAddr],
) -> IpAddr {
    let is_ours = |address: &IpAddr| proxies.contains(&address.to_canonical());
    let mut seen = peer.to_canonical();
    for header in forwarded.rev() {
        for said in header.rsplit(',') {
            if !is_ours(&seen) {
                return seen;
            }
            let Ok(said) = said.trim().parse::<IpAddr>() else {
                return seen;
            };
            seen = said.to_canonical();
        }
    }
    seen
}

/// Whom a rate is for: with IPv6, somebody has a whole /64.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a test address")
    }

    #[test]
    fn only_what_our_own_proxies_say_is_believed() {
        let proxies = [ip("127.0.0.1"), ip("10.0.0.1")];
        for (peer, headers, counts) in [
            ("127.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", vec!["192.0.2.1, 198.51.100.7"], "198.51.100.7"),
            (
                "127.0.0.1",
                vec!["192.0.2.1", "198.51.100.7"],
                "198.51.100.7",
            ),
            ("127.0.0.1", vec!["198.51.100.7, 10.0.0.1"], "198.51.100.7"),
            ("::ffff:127.0.0.1", vec!["2001:db8::7"], "2001:db8::7"),
            ("198.51.100.9", vec!["192.0.2.1"], "198.51.100.9"),
            ("127.0.0.1", vec![], "127.0.0.1"),
            ("127.0.0.1", vec!["192.0.2.1, nonsense"], "127.0.0.1"),
            (
                "127.0.0.1",
                vec!["192.0.2.1, nonsense, 10.0.0.1"],
                "10.0.0.1",
            ),
        ] {
            let found = address(ip(peer), headers.iter().copied(), &proxies);
            assert_eq!(found, ip(counts), "{peer} {headers:?}");
        }
    }

    #[test]
    fn who_has_a_network_of_ipv6_is_one() {
        assert_eq!(network(ip("2001:db8::1")), network(ip("2001:db8::ffff:2")));
        assert_ne!(network(ip("2001:db8::1")), network(ip("2001:db8:0:1::1")));
        assert_ne!(network(ip("192.0.2.1")), network(ip("192.0.2.2")));
        assert_eq!(network(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }
}
