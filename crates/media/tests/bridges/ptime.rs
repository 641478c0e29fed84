//! Streams towards a phone in packets of the length that it asks for.

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
