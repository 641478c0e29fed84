//! A silent phone, as the browser hears it.

use mxtrunk_media::Law;

use crate::sound;
use crate::{PHONE_TONE, bridged};

#[test]
fn a_silent_phone_costs_next_to_no_packets_and_is_heard_again_at_once() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(2_000);
    world.phone(phone).hushed = true;
    // The end of a word is still sent.
    world.run(500);
    let before = world.browser(browser).received.len();
    world.run(8_400);
    let silent = world.browser(browser).received.len() - before;
    assert!((36..=44).contains(&silent), "{silent} packets in 8.4 s");
    world.phone(phone).hushed = false;
    let before = world.browser(browser).received.len();
    world.run(1_000);
    let packets = world.browser(browser).received.len() - before;
    assert!((49..=52).contains(&packets), "{packets} packets in 1 s");
    let heard = world.browser(browser).heard(before + 2);
    assert!(sound::tone_level(PHONE_TONE, 48_000, &heard).abs() < 1.0);
    let received = &world.browser(browser).received;
    let numbers: Vec<u64> = received.keys().copied().collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    // Media time goes on with the clock through all of it.
    let stamps: Vec<u32> = received.values().map(|packet| packet.1).collect();
    let elapsed = stamps.last().unwrap().wrapping_sub(stamps[0]) / 48;
    assert!((11_800..=12_000).contains(&elapsed), "{elapsed} ms");
    let stats = world.close(browser);
    assert!(stats.sent.carried > stats.sent.packets + 350, "{stats:?}");
}

#[test]
fn a_digit_in_the_middle_of_a_silence_is_heard() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(1_000);
    world.phone(phone).hushed = true;
    world.run(2_000);
    crate::press_at_phone(&mut world, phone, 7, 0b1111111);
    world.run(1_000);
    let digits = world.browser(browser).digits();
    assert_eq!(digits.len(), 1, "{digits:?}");
    assert_eq!(digits[0].0, 7);
}
