//! Attack 12: RTP bleed and injection (CVE-2017-14099, CVE-2025-53399). A site's assertion that nobody shouts is in
//! every packet that its phones receive; whatever is sent anywhere else is a stray.

use super::site::{Phone, Site};
use crate::profile::{PhoneProfile, SrtpPolicy};

const PHONE: ([u8; 4], u16) = ([192, 0, 2, 7], 40_000);
const OTHER_PORT: ([u8; 4], u16) = ([192, 0, 2, 7], 6666);
const OTHER_ADDRESS: ([u8; 4], u16) = ([192, 0, 2, 66], 40_000);
/// What a phone behind NAT takes for its own address.
const PRIVATE: ([u8; 4], u16) = ([10, 0, 0, 7], 12_000);

fn phone() -> Phone {
    Phone::new(PHONE, 7)
}

fn direct() -> Site {
    Site::new(&PhoneProfile::default(), phone(), &phone()).bridge()
}

fn behind_nat(srtp: SrtpPolicy) -> PhoneProfile {
    PhoneProfile {
        nat: vec![std::net::IpAddr::from(PHONE.0)],
        srtp,
        ..PhoneProfile::default()
    }
}

fn natted() -> Site {
    let profile = behind_nat(SrtpPolicy::Off);
    Site::new(&profile, phone(), &Phone::new(PRIVATE, 7)).bridge()
}

#[test]
fn an_attacker_from_another_address_or_port_gets_nothing_and_is_not_heard_at_any_time() {
    for attacker in [OTHER_ADDRESS, OTHER_PORT] {
        let mut site = direct();
        let mut attacker = Phone::attacker(attacker);
        site.phone.silent = true;
        site.run(100, &mut [&mut attacker]);
        site.phone.silent = false;
        site.assert_both_heard(&mut [&mut attacker]);
        site.assert_both_heard(&mut []);
        site.assert_both_heard(&mut [&mut attacker]);
        assert_eq!(site.strays, []);
        assert_eq!(site.drops().wrong_source, 300);
    }
}

#[test]
fn a_phone_behind_nat_is_heard_and_hears_after_five_packets() {
    let mut site = natted();
    site.run(4, &mut []);
    assert_eq!(site.phone.packets, 0);
    site.run(2, &mut []);
    assert!(site.phone.packets > 0);
    site.assert_both_heard(&mut []);
    let private = PRIVATE.into();
    assert!(
        site.strays.iter().all(|stray| *stray == private),
        "the described address gets what nobody else may"
    );
    assert_eq!(site.drops().wrong_source, 4);
}

#[test]
fn behind_nat_another_address_gets_nothing_before_during_and_after_the_latch() {
    let mut site = natted();
    let mut attacker = Phone::attacker(OTHER_ADDRESS);
    site.phone.silent = true;
    site.run(100, &mut [&mut attacker]);
    site.phone.silent = false;
    site.run(3, &mut [&mut attacker]);
    site.assert_both_heard(&mut [&mut attacker]);
    site.assert_both_heard(&mut [&mut attacker]);
    let attacker = attacker.address;
    assert!(!site.strays.contains(&attacker), "{:?}", site.strays);
}

/// From the trunk's own address plain RTP cannot be told apart: a source is learnt by its fifth packet in a row at the
/// earliest, and until then gets nothing and is not heard.
#[test]
fn behind_nat_another_port_gets_nothing_by_up_to_four_packets_before_during_and_after_the_latch() {
    let mut site = natted();
    let mut attacker = Phone::attacker(OTHER_PORT);
    site.phone.silent = true;
    site.run(4, &mut [&mut attacker]);
    site.phone.silent = false;
    site.run(1, &mut []);
    site.run(3, &mut [&mut attacker]);
    site.assert_both_heard(&mut []);
    site.assert_both_heard(&mut [&mut attacker]);
    let attacker = attacker.address;
    assert!(!site.strays.contains(&attacker), "{:?}", site.strays);
}

#[test]
fn a_phone_at_its_described_address_cannot_be_displaced_although_nat_is_allowed_for() {
    let mut site = Site::new(&behind_nat(SrtpPolicy::Off), phone(), &phone()).bridge();
    let mut attacker = Phone::attacker(OTHER_PORT);
    site.run(1, &mut []);
    site.assert_both_heard(&mut [&mut attacker]);
    assert_eq!(site.strays, []);
}

#[test]
fn with_srtp_only_a_right_tag_latches_and_an_attacker_never_does() {
    for attacker in [OTHER_PORT, OTHER_ADDRESS] {
        let profile = behind_nat(SrtpPolicy::Required);
        let described = Phone::new(PRIVATE, 7);
        let mut site = Site::secured(&profile, described, 0).bridge();
        site.phone.address = PHONE.into();
        let mut attacker = Phone::attacker(attacker);
        site.phone.silent = true;
        site.run(100, &mut [&mut attacker]);
        site.phone.silent = false;
        site.assert_both_heard(&mut [&mut attacker]);
        site.assert_both_heard(&mut [&mut attacker]);
        let attacker = attacker.address;
        assert!(!site.strays.contains(&attacker), "{:?}", site.strays);
    }
}
