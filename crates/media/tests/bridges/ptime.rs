//! Streams towards a phone in packets of the length that it asks for, and a phone that falls silent.

use mxtrunk_media::{IceMode, Law, LegId};

use crate::world::World;
use crate::{BROWSER_TONE, PHONE_TONE, assert_level, press_at_browser, sound};

/// A browser that called and a phone that wants packets of `ptime` ms, connected.
fn bridged(ptime: u32) -> (World, LegId, LegId) {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(BROWSER_TONE, 48_000);
    let phone = world.new_phone(Law::Mu, PHONE_TONE);
    world.phone(phone).ptime = ptime;
    let rtp = world.phone_port(phone);
    let offer = world.phone(phone).description();
    world.open_phone(phone, rtp, Some(&offer));
    let now = world.now();
    world.legs.bridge(now, browser, phone);
    world.connect(browser);
    (world, browser, phone)
}

#[test]
fn packets_have_the_ptime_that_the_phone_asks_for_at_a_steady_pace() {
    for ptime in [10, 20, 30, 40, 60] {
        let (mut world, _, phone) = bridged(ptime);
        world.run(3000);
        let packets: Vec<_> = world.phone(phone).audio().cloned().collect();
        assert!(packets.len() as u32 > 2900 / ptime, "{}", packets.len());
        for pair in packets.windows(2) {
            let [one, next] = pair else { unreachable!() };
            let step = next.header.timestamp.wrapping_sub(one.header.timestamp);
            assert_eq!(step, 8 * ptime);
            assert_eq!(next.header.sequence.wrapping_sub(one.header.sequence), 1);
            assert_eq!(one.payload.len() as u32, 8 * ptime);
            let apart = next.at_ms - one.at_ms;
            assert!(
                apart.abs_diff(u64::from(ptime)) <= 1,
                "{apart} ms at ptime {ptime}"
            );
        }
        let heard = world.phone(phone).heard(packets.len() / 2);
        assert_level(sound::tone_level(BROWSER_TONE, 8000, &heard));
    }
}

#[test]
fn digits_last_as_long_as_they_were_pressed_whatever_the_ptime() {
    for ptime in [10, 30, 60] {
        let (mut world, browser, phone) = bridged(ptime);
        world.run(500);
        for digit in [3, 3, 9] {
            press_at_browser(&mut world, browser, digit, 48_000);
            world.run(200);
        }
        world.run(500);
        let digits = world.phone(phone).digits();
        assert_eq!(digits, [(3, 800), (3, 800), (9, 800)], "at ptime {ptime}");
    }
}

#[test]
fn a_phone_that_changes_its_ptime_in_mid_call_is_obeyed() {
    let (mut world, _, phone) = bridged(20);
    world.run(1000);
    world.phone(phone).ptime = 40;
    let offer = world.phone(phone).description();
    let now = world.now();
    world.legs.apply_offer(now, phone, &offer);
    let before = world.phone(phone).received.len();
    world.run(1000);
    let after = &world.phone(phone).received[before + 1..];
    assert!(after.iter().all(|packet| packet.payload.len() == 320));
    let steps = after.windows(2).map(|pair| {
        let step = pair[1]
            .header
            .timestamp
            .wrapping_sub(pair[0].header.timestamp);
        (step, pair[1].at_ms - pair[0].at_ms)
    });
    assert!(steps.eq(vec![(320, 40); after.len() - 1]));
}

#[test]
fn comfort_noise_of_a_phone_is_a_gap_in_time_for_a_browser_and_noise_for_a_phone() {
    let (mut world, browser, phone) = bridged(20);
    let one = world.phone_is_called(Law::A, 440.0);
    let other = world.phone_is_called(Law::Mu, 620.0);
    let now = world.now();
    world.legs.bridge(now, one, other);
    world.run(1000);
    for leg in [phone, one] {
        let noise = world.phone(leg).comfort_noise();
        world.phone_sends(leg, noise);
        world.phone(leg).talks = false;
    }
    world.run(1000);
    let heard = world.phone(other).heard(75);
    let level = sound::level(&heard);
    // A tone of the test's amplitude has -15 dBov.
    assert!((level + 35.0).abs() < 2.0, "{level} dB");
    for leg in [phone, one] {
        world.phone(leg).talks = true;
    }
    world.run(500);
    let received = &world.browser(browser).received;
    let numbers: Vec<u64> = received.keys().copied().collect();
    let span = numbers.last().unwrap() - numbers[0] + 1;
    assert_eq!(span, numbers.len() as u64, "nothing was lost");
    let stats = world.close(phone);
    assert_eq!((stats.received.lost, stats.dropped.unknown_payload), (0, 0));
}
