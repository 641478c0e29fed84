//! ICE and DTLS of browser legs, in virtual time: addresses, protocols, restarts, consent, and those who attack them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is all test code; clippy sees only the functions marked so"
)]

mod attacks;
mod browser;
mod net;

use mxtrunk_media::{Happened, IceMode, LegId, MediaError, Socket};
use str0m::config::DtlsVersion;
use str0m::net::Protocol;

use net::Net;

const BOTH: [IceMode; 2] = [IceMode::Full, IceMode::Lite];
const ELSEWHERE: &str = "198.51.100.99:6000";

/// Both hear the other for a second, but for what is on its way when it ends.
fn assert_both_hear_each_other(net: &mut Net, one: LegId, other: LegId) {
    let before = [one, other].map(|leg| net.browser(leg).heard);
    net.run(1000);
    for (leg, before) in [one, other].into_iter().zip(before) {
        let heard = net.browser(leg).heard - before;
        assert!((49..=51).contains(&heard), "{leg} heard {heard} packets");
    }
}

#[test]
fn our_descriptions_name_every_address_by_udp_and_tcp() {
    let mut net = Net::new(IceMode::Full);
    let leg = net.browser_at(Protocol::Udp, "198.51.100.1:5000");
    net.legs.open_browser(net.now(), leg, None);
    let offer = net.description(leg);
    for (protocol, address, rest) in [
        ("udp", "192.0.2.1", "typ host"),
        ("udp", "2001:db8::1", "typ host"),
        ("tcp", "192.0.2.1", "typ host tcptype passive"),
        ("tcp", "2001:db8::1", "typ host tcptype passive"),
    ] {
        let named = offer.lines().any(|line| {
            line.starts_with("a=candidate:")
                && line.contains(&format!(" 1 {protocol} "))
                && line.contains(&format!(" {address} 40000 {rest}"))
        });
        assert!(named, "no {protocol} candidate at {address} in {offer}");
    }
}

#[test]
fn a_browser_connects_by_ipv4_or_ipv6_and_by_udp_or_tcp() {
    for ice in BOTH {
        for (protocol, address, socket) in [
            (Protocol::Udp, "198.51.100.1:5000", Socket::Browsers(0)),
            (Protocol::Udp, "[2001:db8::7]:5000", Socket::Browsers(1)),
            (Protocol::Tcp, "198.51.100.1:5000", Socket::Streams(0)),
            (Protocol::Tcp, "[2001:db8::7]:5000", Socket::Streams(1)),
        ] {
            let mut net = Net::new(ice);
            let caller = net.browser_at(protocol, address);
            let called = net.browser_at(protocol, &address.replace("5000", "5001"));
            net.calls(caller);
            net.is_called(called);
            net.legs.bridge(net.now(), caller, called);
            net.connect(caller);
            net.connect(called);
            net.run(200);
            net.sent.clear();
            assert_both_hear_each_other(&mut net, caller, called);
            assert!(
                net.sent.iter().all(|(via, ..)| *via == socket),
                "{ice:?} {protocol:?}"
            );
            assert_eq!(net.close(caller).dropped.candidates, 0);
        }
    }
}

#[test]
fn dtls_1_2_and_1_3_are_spoken_whichever_the_browser_has() {
    for (version, agreed) in [
        (DtlsVersion::Dtls12, "DTLS1_2"),
        (DtlsVersion::Dtls13, "DTLS1_3"),
        (DtlsVersion::Auto, "DTLS1_3"),
    ] {
        let mut net = Net::new(IceMode::Full);
        let caller = net.browser_with(Protocol::Udp, "198.51.100.1:5000", version);
        let called = net.browser_with(Protocol::Udp, "198.51.100.2:5000", version);
        net.calls(caller);
        net.is_called(called);
        net.legs.bridge(net.now(), caller, called);
        for leg in [caller, called] {
            net.connect(leg);
            let spoken = net.browser(leg).dtls_version();
            assert!(spoken.contains(agreed), "{version:?}: {spoken}");
        }
        net.run(200);
        assert_both_hear_each_other(&mut net, caller, called);
    }
}

#[test]
fn an_ice_restart_where_the_browser_stays_loses_nothing() {
    for ice in BOTH {
        let (mut net, caller, called) = Net::talking(ice);
        for leg in [caller, called] {
            let before = [caller, called].map(|leg| net.browser(leg).heard);
            net.restarts(leg, None);
            net.run(3000);
            for (leg, before) in [caller, called].into_iter().zip(before) {
                let heard = net.browser(leg).heard - before;
                assert!(
                    (149..=151).contains(&heard),
                    "{ice:?}, {leg}: {heard} packets"
                );
            }
        }
        assert!(!net.happened(caller, &Happened::Lost));
        assert_both_hear_each_other(&mut net, caller, called);
    }
}

#[test]
fn an_ice_restart_takes_the_call_along_to_another_network() {
    for ice in BOTH {
        let (mut net, caller, called) = Net::talking(ice);
        for (leg, address) in [
            (caller, "198.51.100.31:7000"),
            (called, "[2001:db8::31]:7000"),
        ] {
            net.restarts(leg, Some(address));
            net.run(3000);
            assert_both_hear_each_other(&mut net, caller, called);
            net.sent.clear();
        }
        assert!(net.failed(caller).is_none() && net.failed(called).is_none());
    }
}

#[test]
fn a_later_offer_with_another_fingerprint_is_refused_and_the_call_goes_on() {
    let (mut net, caller, called) = Net::talking(IceMode::Full);
    let mut stranger = browser::Browser::new(net.now(), DtlsVersion::Auto);
    let fingerprint = |sdp: &str| {
        let mut lines = sdp.lines();
        lines
            .find(|line| line.starts_with("a=fingerprint"))
            .unwrap()
            .to_owned()
    };
    let offer = net.browser(caller).ice_restart(true);
    let foreign = offer.replace(&fingerprint(&offer), &fingerprint(&stranger.offer()));
    net.legs.apply_offer(net.now(), caller, &foreign);
    net.collect();
    let refused = Happened::OfferRefused {
        why: MediaError::BadDescription("the fingerprint has changed".to_owned()),
    };
    assert!(net.happened(caller, &refused), "{:?}", net.events);
    assert_both_hear_each_other(&mut net, caller, called);
}

#[test]
fn a_browser_that_hides_its_addresses_or_names_none_connects_too() {
    for ice in BOTH {
        let mut net = Net::new(ice);
        let caller = net.browser_at(Protocol::Udp, "198.51.100.1:5000");
        let offer = net.browser(caller).offer();
        let hidden = offer.replace(
            " 198.51.100.1 ",
            " 0dbab2c5-2b4c-4b7f-a2c9-e5f0a1b2c3d4.local ",
        );
        assert_ne!(hidden, offer);
        net.legs.open_browser(net.now(), caller, Some(&hidden));
        let answer = net.description(caller);
        net.browser(caller).accept_answer(&answer);
        net.connect(caller);
        let silent = net.browser_at(Protocol::Udp, "198.51.100.2:5000");
        let offer = net.browser(silent).offer();
        let candidate = |line: &&str| !line.starts_with("a=candidate");
        let bare = offer
            .lines()
            .filter(candidate)
            .map(|line| format!("{line}\r\n"));
        let bare: String = bare.collect();
        net.legs.open_browser(net.now(), silent, Some(&bare));
        let answer = net.description(silent);
        net.browser(silent).accept_answer(&answer);
        net.connect(silent);
        assert_eq!(net.close(caller).dropped.candidates, 1);
        assert_eq!(net.close(silent).dropped.candidates, 0);
    }
}

/// RFC 7675: what is sent to somebody who does not want it any more hits whoever has the address by then.
#[test]
fn without_consent_for_30_s_the_browser_is_lost_and_gets_no_more_media() {
    for ice in BOTH {
        let (mut net, caller, called) = Net::talking(ice);
        let silent_from = net.ms;
        let gone: std::net::SocketAddr = "198.51.100.1:5000".parse().unwrap();
        net.carries = Box::new(move |_, datagram| datagram.browser != gone);
        net.run_until(30_000, |net| net.happened(caller, &Happened::Lost));
        assert!(
            net.ms - silent_from > 5000,
            "{} ms is too rash",
            net.ms - silent_from
        );
        net.run(100);
        net.sent.clear();
        let before = net.browser(caller).heard;
        net.run(5000);
        // Only the one who is still there gets any: its own 250 packets are not sent, since nobody speaks to it.
        let media = net.sent.iter().filter(|(_, _, first)| *first >= 20).count();
        assert!(media <= 2, "{ice:?}: {media} packets but its reports");
        // It is back, and the call goes on.
        net.events.clear();
        net.carries = Box::new(|_, _| true);
        net.restarts(caller, None);
        net.run_until(10_000, |net| net.happened(caller, &Happened::Connected));
        net.run(200);
        assert!(net.browser(caller).heard > before);
        assert_both_hear_each_other(&mut net, caller, called);
    }
}

/// The operator read "heard again" in the moment that the browser was lost.
#[test]
fn a_browser_that_is_lost_stays_silent_until_it_is_heard_again() {
    let told = |net: &Net, leg, over: bool| {
        net.events.iter().any(|event| match event.what {
            Happened::Silent { .. } => event.leg == leg && !over,
            Happened::SilenceOver { .. } => event.leg == leg && over,
            _ => false,
        })
    };
    for ice in BOTH {
        let (mut net, caller, _) = Net::talking(ice);
        let gone: std::net::SocketAddr = "198.51.100.1:5000".parse().unwrap();
        net.carries = Box::new(move |_, datagram| datagram.browser != gone);
        net.run_until(30_000, |net| net.happened(caller, &Happened::Lost));
        net.run(2000);
        assert!(told(&net, caller, false), "{ice:?}: no silence");
        assert!(!told(&net, caller, true), "{ice:?}: over, they say");
        net.carries = Box::new(|_, _| true);
        net.restarts(caller, None);
        net.run_until(10_000, |net| told(net, caller, true));
    }
}

/// An ICE restart clears the engine's pairs, and with them its own idea of consent.
#[test]
fn a_browser_that_vanishes_in_an_ice_restart_gets_no_more_media_either() {
    for ice in BOTH {
        let (mut net, caller, _) = Net::talking(ice);
        net.restarts(caller, Some(ELSEWHERE));
        net.carries = Box::new(|_, datagram| datagram.browser.port() == 5000);
        let since = net.ms;
        net.run_until(31_000, |net| net.happened(caller, &Happened::Lost));
        assert!(net.ms - since > 5000, "{} ms is too rash", net.ms - since);
        let old: std::net::SocketAddr = "198.51.100.1:5000".parse().unwrap();
        net.astray.clear();
        net.run(5000);
        let media = net
            .astray
            .iter()
            .filter(|(to, what)| *to == old && what[0] >= 20);
        assert_eq!(media.count(), 0, "{ice:?}");
    }
}
