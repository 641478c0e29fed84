//! Hostile input: nothing panics, nothing is heard, running calls go on.

use std::net::SocketAddr;

use mxtrunk_media::{Happened, IceMode, Law, LegId, Socket};
use proptest::prelude::*;

use crate::phone::Phone;
use crate::sound;
use crate::world::World;

fn stranger() -> SocketAddr {
    ([127, 0, 0, 66], 6666).into()
}

#[test]
fn dtls_and_rtp_from_an_address_without_a_check_are_dropped_and_counted() {
    let mut world = World::new(IceMode::Full);
    world.browser_calls(440.0, 48_000);
    for first in [22u8, 128] {
        let datagram = [first; 100];
        let now = world.now();
        world
            .legs
            .handle(now, Socket::Browsers(0), stranger(), &datagram);
    }
    world
        .legs
        .handle(world.now(), Socket::Browsers(0), stranger(), &[]);
    world
        .legs
        .handle(world.now(), Socket::Browsers(0), stranger(), &[70; 30]);
    assert!(world.legs.poll_transmit().is_none());
    let strangers = world.legs.strangers();
    assert_eq!((strangers.wrong_source, strangers.malformed), (2, 2));
}

#[test]
fn a_flood_at_the_phone_port_is_not_heard_and_the_call_goes_on() {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(440.0, 48_000);
    let phone = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    let mut attacker = Phone::new(stranger(), Law::Mu, 1000.0);
    for _ in 0..1000 {
        let datagram = attacker.frame().unwrap();
        world
            .legs
            .handle(world.now(), Socket::Rtp(phone), stranger(), &datagram);
        world.run(1);
    }
    let heard = world.browser(browser).heard(10);
    assert!(sound::tone_level(620.0, 48_000, &heard).abs() < 1.0);
    assert!(sound::tone_level(1000.0, 48_000, &heard) < -20.0);
}

#[test]
fn several_devices_may_answer_one_offer_and_only_the_selected_one_is_heard() {
    let mut world = World::new(IceMode::Full);
    let leg = world.new_browser(440.0, 48_000);
    let other = world.new_browser(880.0, 48_000);
    world.legs.open_browser(world.now(), leg, None);
    let offer = world.description(leg);
    let answer = world.browser(leg).answer(&offer);
    world.browser(other).answer(&offer);
    world.run(300);
    assert!(!world.happened(leg, &Happened::Connected));
    world.legs.apply_answer(world.now(), leg, &answer);
    let phone = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), leg, phone);
    world.connect(leg);
    world.run(1500);
    assert!(world.browser(leg).connected && !world.browser(other).connected);
    let heard = world.phone(phone).heard(30);
    assert!(sound::tone_level(440.0, 8000, &heard).abs() < 1.0);
    assert!(sound::tone_level(880.0, 8000, &heard) < -20.0);
}

#[test]
fn a_bad_leg_does_not_take_the_others_with_it() {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(440.0, 48_000);
    let phone = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    for n in 0..20 {
        world
            .legs
            .open_browser(world.now(), LegId(n), Some("v=0\r\nm=audio"));
        world.open_phone(LegId(50 + n), stranger(), Some("rubbish"));
        world.legs.bridge(world.now(), LegId(n), phone);
        world.legs.close(LegId(n));
    }
    world.run(1000);
    assert_eq!(world.legs.len(), 2);
    let heard = world.phone(phone).heard(20);
    assert!(sound::tone_level(440.0, 8000, &heard).abs() < 1.0);
}

#[test]
fn bridging_with_nobody_or_with_itself_fails_that_leg_only() {
    let mut world = World::new(IceMode::Full);
    let one = world.phone_is_called(Law::Mu, 620.0);
    let other = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), one, LegId(9999));
    world.legs.bridge(world.now(), LegId(9999), other);
    world.collect();
    assert_eq!(world.legs.len(), 1);
    world.legs.bridge(world.now(), other, other);
    assert!(world.legs.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn datagrams_from_the_right_address_may_hold_anything(
        datagrams in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..40),
        first in prop_oneof![Just(0u8), Just(22), Just(128), Just(0x90), Just(0xa0), any::<u8>()],
    ) {
        let mut world = World::new(IceMode::Full);
        let browser = world.browser_calls(440.0, 48_000);
        let phone = world.phone_is_called(Law::Mu, 620.0);
        world.legs.bridge(world.now(), browser, phone);
        world.connect(browser);
        let from_browser = world.browser(browser).address;
        let from_phone = world.phone(phone).address;
        let mut control = from_phone;
        control.set_port(from_phone.port() + 1);
        for mut datagram in datagrams {
            if let Some(byte) = datagram.first_mut() {
                *byte = first;
            }
            let now = world.now();
            world.legs.handle(now, Socket::Browsers(0), from_browser, &datagram);
            world.legs.handle(now, Socket::Rtp(phone), from_phone, &datagram);
            world.legs.handle(now, Socket::Rtcp(phone), control, &datagram);
            world.collect();
        }
        world.run(300);
        prop_assert_eq!(world.legs.len(), 2);
    }

    #[test]
    fn any_changed_byte_of_a_real_offer_is_survived(at in 0usize..2000, byte in 0u8..128) {
        let offer = include_str!("../fixtures/m.call.invite.sdp");
        let mut bytes = offer.as_bytes().to_vec();
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
        let offer = String::from_utf8(bytes).unwrap();
        let mut world = World::new(IceMode::Full);
        world.legs.open_browser(world.now(), LegId(1), Some(&offer));
        world.run(20);
        let is_fault = |what: &Happened| {
            matches!(what, Happened::Failed { why: mxtrunk_media::MediaError::Fault, .. })
        };
        prop_assert!(!world.events.iter().any(|event| is_fault(&event.what)));
    }
}
