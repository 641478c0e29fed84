//! Attacks 14 and 15 of facts/attacks.md.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use mxtrunk_media::{Happened, IceMode, LegId};
use str0m::config::DtlsVersion;
use str0m::ice::{StunMessage, TransId};
use str0m::net::Protocol;

use crate::browser::Datagram;
use crate::net::{Net, hosts};
use crate::{BOTH, ELSEWHERE, assert_both_hear_each_other};

const VERSIONS: [DtlsVersion; 2] = [DtlsVersion::Dtls12, DtlsVersion::Dtls13];

fn stranger() -> SocketAddr {
    ELSEWHERE.parse().unwrap()
}

/// A check whose integrity is made of nothing.
fn forged(browser: SocketAddr, username: &str) -> Datagram {
    let message = StunMessage::binding_request(username, TransId::new(), true, 1, 1, true);
    let mut contents = vec![0; 500];
    let sha1 = |_: &[u8], _: &[&[u8]]| [7; 20];
    let len = message
        .to_bytes(Some(b"guessed"), &mut contents, sha1)
        .unwrap();
    contents.truncate(len);
    Datagram {
        protocol: Protocol::Udp,
        browser,
        gateway: hosts()[0].address,
        contents,
    }
}

fn user_name(net: &mut Net, leg: LegId) -> String {
    let theirs = net.browser(leg).local_credentials().0;
    let ours = net.description(leg);
    let mut lines = ours.lines();
    let ours = lines
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .unwrap();
    format!("{ours}:{theirs}")
}

/// The next check with good integrity of the browser at this address.
fn check_from(net: &mut Net, address: &str) -> Datagram {
    let address: SocketAddr = address.parse().unwrap();
    let caught = Rc::new(RefCell::new(None));
    let check = Rc::clone(&caught);
    net.carries = Box::new(move |to_gateway, datagram| {
        let is_request = datagram.contents[..2] == [0, 1];
        if to_gateway && is_request && datagram.browser == address {
            *check.borrow_mut() = Some(datagram.clone());
        }
        true
    });
    net.run(6000);
    net.carries = Box::new(|_, _| true);
    caught.take().expect("a browser checks its consent")
}

#[test]
fn a_client_hello_from_an_address_that_ice_has_not_validated_is_dropped() {
    for version in VERSIONS {
        let mut net = Net::new(IceMode::Full);
        let leg = net.browser_with(Protocol::Udp, "198.51.100.1:5000", version);
        net.calls(leg);
        let stolen = Rc::new(RefCell::new(None));
        let hello = Rc::clone(&stolen);
        // The browser's own ClientHello never arrives; the attacker has it.
        net.carries = Box::new(move |to_gateway, datagram| {
            let is_hello = to_gateway && datagram.is_dtls();
            if is_hello {
                hello.borrow_mut().get_or_insert(datagram.clone());
            }
            !is_hello
        });
        net.run(2000);
        let mut hello = stolen.borrow().clone().expect("it greeted");
        // A check with a bad integrity does not validate it either.
        let known = user_name(&mut net, leg);
        net.sent.clear();
        hello.browser = stranger();
        net.give(&forged(stranger(), &known));
        for _ in 0..100 {
            net.give(&hello);
        }
        let answered = net
            .sent
            .iter()
            .filter(|(_, _, first)| (20..64).contains(first));
        assert_eq!(answered.count(), 0, "{version:?}");
        assert_eq!(net.legs.strangers().wrong_source, 100);
        assert!(net.astray.is_empty());
        // From where it does come it is answered.
        net.carries = Box::new(|_, _| true);
        net.connect(leg);
    }
}

/// Several devices may check before one answers; a handshake is begun with none of them.
#[test]
fn before_a_device_has_answered_nothing_but_its_checks_is_taken() {
    for ice in BOTH {
        let mut net = Net::new(ice);
        let leg = net.browser_at(Protocol::Udp, "198.51.100.1:5000");
        net.legs.open_browser(net.now(), leg, None);
        let offer = net.description(leg);
        let answer = net.browser(leg).answer(&offer);
        net.run(1000);
        let mut hello = forged("198.51.100.1:5000".parse().unwrap(), "none:none");
        hello.contents = vec![22; 50];
        let before = net.legs.strangers().wrong_source;
        net.give(&hello);
        assert_eq!(net.legs.strangers().wrong_source, before + 1, "{ice:?}");
        net.legs.apply_answer(net.now(), leg, &answer);
        net.connect(leg);
    }
}

#[test]
fn a_wrong_fingerprint_fails_the_leg_and_nobody_hears_anything() {
    for version in VERSIONS {
        for calls in [true, false] {
            let mut net = Net::new(IceMode::Full);
            let peer = net.browser_at(Protocol::Udp, "198.51.100.2:5000");
            net.calls(peer);
            let leg = net.browser_with(Protocol::Udp, "198.51.100.1:5000", version);
            match calls {
                true => {
                    let offer = net.browser(leg).offer();
                    let changed = other_fingerprint(&offer);
                    net.legs.open_browser(net.now(), leg, Some(&changed));
                    let answer = net.description(leg);
                    net.browser(leg).accept_answer(&answer);
                }
                false => {
                    net.legs.open_browser(net.now(), leg, None);
                    let offer = net.description(leg);
                    let answer = net.browser(leg).answer(&offer);
                    let changed = other_fingerprint(&answer);
                    net.legs.apply_answer(net.now(), leg, &changed);
                }
            }
            net.legs.bridge(net.now(), leg, peer);
            net.run_until(10_000, |net| net.failed(leg).is_some());
            net.run(2000);
            assert!(!net.happened(leg, &Happened::Connected), "{version:?}");
            assert_eq!((net.browser(leg).heard, net.browser(peer).heard), (0, 0));
            assert_eq!(net.legs.len(), 1);
        }
    }
}

fn other_fingerprint(sdp: &str) -> String {
    let line = |line: &str| match line.strip_prefix("a=fingerprint:sha-256 ") {
        Some(hex) => {
            let first = if hex.starts_with('0') { "1" } else { "0" };
            format!("a=fingerprint:sha-256 {first}{}\r\n", &hex[1..])
        }
        None => format!("{line}\r\n"),
    };
    sdp.lines().map(line).collect()
}

/// Each datagram of the handshake is lost once, the last flight included.
#[test]
fn a_lost_flight_of_the_handshake_is_sent_again() {
    for version in VERSIONS {
        for to_gateway in [true, false] {
            for nth in 0..6 {
                let mut net = Net::new(IceMode::Full);
                let leg = net.browser_with(Protocol::Udp, "198.51.100.1:5000", version);
                let mut seen = 0;
                net.carries = Box::new(move |way, datagram| {
                    let counts = way == to_gateway && datagram.is_dtls();
                    seen += usize::from(counts);
                    !counts || seen != nth + 1
                });
                net.calls(leg);
                net.connect(leg);
            }
        }
    }
}

#[test]
fn a_thousand_half_open_handshakes_leave_running_calls_alone_and_nothing_behind() {
    const HALF_OPEN: u64 = 1000;
    let (mut net, caller, called) = Net::talking(IceMode::Full);
    let mut waiting = Vec::new();
    for n in 0..HALF_OPEN {
        let address = format!("203.0.113.{}:{}", n % 250 + 1, 6000 + n / 250);
        let address: SocketAddr = address.parse().unwrap();
        let mut browser = crate::browser::Browser::new(net.now(), DtlsVersion::Auto);
        browser.add_address(Protocol::Udp, address);
        let leg = LegId(1000 + n);
        let offer = browser.offer();
        net.legs.open_browser(net.now(), leg, Some(&offer));
        let answer = net.description(leg);
        browser.accept_answer(&answer);
        net.browsers.push((leg, browser, vec![address]));
        waiting.push(leg);
    }
    // They check, are validated, greet, and fall silent.
    net.carries = Box::new(|to_gateway, datagram| {
        to_gateway || datagram.browser.port() == 5000 || datagram.is_stun()
    });
    net.run(1500);
    net.browsers.truncate(2);
    net.sent.clear();
    let half_open = net.ms;
    for _ in 0..10 {
        assert_both_hear_each_other(&mut net, caller, called);
    }
    // What is sent to them ends: retransmissions of a flight, checks.
    let towards_them = net.astray.len() as u64;
    let seconds = (net.ms - half_open) / 1000;
    assert!(towards_them > 0, "no handshake was begun");
    assert!(
        towards_them < HALF_OPEN * 8 * seconds,
        "{towards_them} datagrams"
    );
    for leg in waiting {
        net.legs.close(leg);
    }
    net.collect();
    assert_eq!(net.legs.len(), 2);
    net.astray.clear();
    assert_both_hear_each_other(&mut net, caller, called);
    assert!(net.astray.is_empty());
}

#[test]
fn bad_checks_get_no_answer_and_running_calls_lose_nothing() {
    for ice in BOTH {
        let (mut net, caller, called) = Net::talking(ice);
        let known = user_name(&mut net, caller);
        let from_its_own: SocketAddr = "198.51.100.1:5000".parse().unwrap();
        let forgeries = [
            forged(stranger(), "nobody:nothing"),
            forged(stranger(), &known),
            forged(from_its_own, &known),
        ];
        let before = net.browser(caller).heard + net.browser(called).heard;
        let mut answered = 0;
        for ms in 0..1000 {
            net.run(1);
            net.sent.clear();
            // 10,000 a second of each.
            for n in 0..30 {
                net.give(&forgeries[(ms + n) % 3]);
            }
            answered += net.sent.len();
        }
        assert_eq!(answered, 0, "{ice:?}");
        assert!(net.astray.is_empty());
        let heard = net.browser(caller).heard + net.browser(called).heard - before;
        assert!((98..=102).contains(&heard), "{heard} packets");
        assert!(net.legs.strangers().wrong_source >= 10_000);
        assert!(net.close(caller).dropped.unproven >= 20_000);
    }
}

/// Bad checks from the browser's own address do not stand for its consent.
#[test]
fn forged_checks_do_not_keep_a_call_alive() {
    for ice in BOTH {
        let (mut net, caller, _) = Net::talking(ice);
        let known = user_name(&mut net, caller);
        let own: SocketAddr = "198.51.100.1:5000".parse().unwrap();
        net.carries = Box::new(move |_, datagram| datagram.browser != own);
        for _ in 0..31 {
            net.run(1000);
            net.give(&forged(own, &known));
        }
        assert!(net.happened(caller, &Happened::Lost), "{ice:?}");
    }
}

/// In an ICE restart without a candidate the engine has no pair whose end it could notice.
#[test]
fn a_browser_that_vanishes_in_an_ice_restart_without_addresses_is_lost_too() {
    for ice in BOTH {
        for forges in [false, true] {
            let (mut net, caller, _) = Net::talking(ice);
            let own: SocketAddr = "198.51.100.1:5000".parse().unwrap();
            net.carries = Box::new(move |_, datagram| datagram.browser != own);
            let offer = net.browser(caller).ice_restart(false);
            net.legs.apply_offer(net.now(), caller, &offer);
            let known = user_name(&mut net, caller);
            for _ in 0..31 {
                net.run(1000);
                if forges {
                    net.give(&forged(own, &known));
                }
            }
            assert!(net.happened(caller, &Happened::Lost), "{ice:?} {forges}");
        }
    }
}

/// A party of the call claims the address of somebody who is none.
#[test]
fn a_third_party_named_in_the_call_gets_a_few_checks_and_nothing_else() {
    let (mut net, caller, called) = Net::talking(IceMode::Full);
    let mut check = check_from(&mut net, "198.51.100.1:5000");
    check.browser = stranger();
    let spent = check.contents.len();
    net.give(&check);
    assert_both_hear_each_other(&mut net, caller, called);
    net.run(60_000);
    let got = net.astray.iter().filter(|(to, _)| *to == stranger());
    let got: Vec<usize> = got.map(|(_, what)| what.len()).collect();
    assert!(
        net.astray.iter().all(|(_, what)| what[0] < 4),
        "more than checks"
    );
    // The answer to its own, and checks of that path for as long as RFC 8445 section 14 has them repeated.
    assert!(
        (1..=30).contains(&got.len()),
        "{} datagrams for {spent} bytes",
        got.len()
    );
    assert!(got.iter().sum::<usize>() < 3500, "{got:?}");
}

#[test]
fn two_hundred_candidates_cost_a_bounded_number_of_checks() {
    let mut net = Net::new(IceMode::Full);
    let leg = net.browser_at(Protocol::Udp, "198.51.100.1:5000");
    let offer = net.browser(leg).offer();
    let many: String = (1..=200)
        .map(|n| format!("a=candidate:{n} 1 udp 2122260223 203.0.113.{n} 5000 typ host\r\n"))
        .collect();
    net.legs
        .open_browser(net.now(), leg, Some(&format!("{offer}{many}")));
    let answer = net.description(leg);
    net.browser(leg).accept_answer(&answer);
    net.connect(leg);
    net.run(30_000);
    let mut named: Vec<SocketAddr> = net.astray.iter().map(|(to, _)| *to).collect();
    let checks = named.len();
    named.sort();
    named.dedup();
    // 64 with the one that is its own; each is checked at most ten times, at most 20 a second in all.
    assert!((1..=64).contains(&named.len()), "{} addresses", named.len());
    assert!(checks <= 64 * 10, "{checks} checks");
    assert_eq!(net.close(leg).dropped.candidates, 200 + 1 - 64);
}

/// Each new address of somebody who knows the credentials costs the engine memory and checks.
#[test]
fn checks_from_a_thousand_addresses_are_not_all_taken() {
    for ice in BOTH {
        let (mut net, caller, called) = Net::talking(ice);
        let mut check = check_from(&mut net, "198.51.100.1:5000");
        for port in 10_000..11_000 {
            check.browser.set_port(port);
            net.give(&check);
        }
        let mut named: Vec<SocketAddr> = net.astray.iter().map(|(to, _)| *to).collect();
        named.sort();
        named.dedup();
        assert!((1..=64).contains(&named.len()), "{ice:?}: {}", named.len());
        assert_both_hear_each_other(&mut net, caller, called);
    }
}
