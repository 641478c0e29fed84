//! Attack 16: packets whose contents lie. Nothing panics, nothing of it is heard, and the call goes on.

use mxtrunk_media::rtp::{HEADER_LEN, Header};
use mxtrunk_media::{LegId, Socket, TelephoneEvent};

use crate::sound;
use crate::world::World;
use crate::{BROWSER_TONE, PHONE_TONE, bridged};
use mxtrunk_media::Law;

fn assert_goes_on(world: &mut World, browser: LegId, phone: LegId) {
    world.run(1000);
    let (at_phone, at_browser) = (
        world.phone(phone).received.len(),
        world.browser(browser).received.len(),
    );
    world.run(2000);
    let heard = world.phone(phone).heard(at_phone);
    assert!(sound::tone_level(BROWSER_TONE, 8000, &heard).abs() < 1.0);
    let heard = world.browser(browser).heard(at_browser);
    assert!(sound::tone_level(PHONE_TONE, 48_000, &heard).abs() < 1.0);
}

/// A packet under the phone's next number.
fn from_phone(world: &mut World, leg: LegId, payload_type: u8, payload: &[u8]) {
    let header = Header {
        payload_type,
        ..world.phone(leg).next_header()
    };
    let mut datagram = header.to_bytes().to_vec();
    datagram.extend(payload);
    world.phone_sends(leg, datagram);
    world.run(1);
}

#[test]
fn lying_header_lengths_are_dropped_and_counted() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    let source = world.phone(phone).address;
    let good = [0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0x5e, 0xed];
    let with = |first: u8, rest: &[u8]| {
        let mut datagram = good.to_vec();
        datagram[0] = first;
        datagram.extend(rest);
        datagram
    };
    let lies = [
        with(0x8f, &[]),
        with(0x90, &[0xbe, 0xde, 0xff, 0xff, 1, 2, 3, 4]),
        with(0xa0, &[1, 2, 3, 200]),
        with(0xa0, &[1, 2, 3, 0]),
        good[..HEADER_LEN - 1].to_vec(),
    ];
    for lie in &lies {
        let now = world.now();
        world.legs.handle(now, Socket::Rtp(phone), source, lie);
        world.collect();
    }
    assert_goes_on(&mut world, browser, phone);
    assert_eq!(world.close(phone).dropped.malformed, lies.len() as u64);
}

#[test]
fn empty_payloads_are_no_sound_and_end_nothing() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    for _ in 0..5 {
        from_phone(&mut world, phone, 0, &[]);
        let now = world.now();
        world.browser(browser).raw(now, &[]);
        world.run(20);
    }
    assert_goes_on(&mut world, browser, phone);
    // libopus would take an empty packet for a lost one and make up some sound.
    for leg in [browser, phone] {
        assert_eq!(world.close(leg).dropped.undecodable, 5, "{leg}");
    }
}

/// RFC 6716 section 3.2.5: up to 48 frames, but never more than 120 ms.
#[test]
fn an_opus_packet_that_claims_48_frames_is_not_played() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    let mut of_20_ms = vec![0xfb, 48];
    of_20_ms.extend([0x55; 96]);
    for lie in [&of_20_ms[..], &[0xfb, 48], &[0xfb, 63, 1], &[0xe3, 48]] {
        let now = world.now();
        world.browser(browser).raw(now, lie);
        world.run(20);
    }
    assert_goes_on(&mut world, browser, phone);
    assert!(world.close(browser).dropped.undecodable >= 3);
}

#[test]
fn a_telephone_event_cut_short_presses_nothing() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    for len in 0..4 {
        from_phone(&mut world, phone, 96, &[5, 0x8a, 3, 32][..len]);
    }
    assert_goes_on(&mut world, browser, phone);
    assert_eq!(world.browser(browser).digits(), []);
    assert_eq!(world.close(phone).dropped.malformed, 4);
}

#[test]
fn an_endless_telephone_event_ends_by_itself() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    world.phone(phone).talks = false;
    let begin = world.phone(phone).timestamp();
    for n in 1..=900u32 {
        let event = TelephoneEvent {
            event: 5,
            end: false,
            volume: 10,
            duration: (n * 160).min(0xffff) as u16,
        };
        let datagram = world.phone(phone).event(event, begin);
        world.phone_sends(phone, datagram);
        world.run(20);
    }
    let digits = world.browser(browser).digits();
    assert_eq!(digits.len(), 1, "{digits:?}");
    world.phone(phone).talks = true;
    assert_goes_on(&mut world, browser, phone);
}

/// Only SIP ends a call.
#[test]
fn a_forged_bye_ends_nothing() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    let control = world.phone(phone).control();
    let bye = [
        0x80, 201, 0, 1, 0, 0, 0x5e, 0xed, 0x81, 203, 0, 1, 0, 0, 0x5e, 0xed,
    ];
    for _ in 0..10 {
        for datagram in [&bye[..], &bye[8..], &[0x9f, 203, 0xff, 0xff]] {
            let now = world.now();
            world
                .legs
                .handle(now, Socket::Rtcp(phone), control, datagram);
            world.collect();
        }
    }
    assert_goes_on(&mut world, browser, phone);
    // What does not begin with a report is no sign of life either.
    assert_eq!(world.close(phone).dropped.malformed, 20);
}
