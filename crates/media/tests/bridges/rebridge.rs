//! A browser is joined with another phone in the middle of its call, and nothing clicks.

use mxtrunk_media::{IceMode, Law, LegId};

use crate::world::World;
use crate::{BROWSER_TONE, assert_level, bridged, sound};

/// Low enough that a whole period has small steps, odd enough that no frame begins at a zero.
const LOW: f64 = 170.0;
/// The largest step between two samples of such a tone at 8 kHz.
const STEP: i32 = (sound::AMPLITUDE * std::f64::consts::TAU * LOW / 8000.0) as i32;

fn largest_step(pcm: &[i16]) -> i32 {
    pcm.windows(2)
        .map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs())
        .max()
        .unwrap_or(0)
}

/// Browser with a low tone, joined with one phone, and another phone that waits.
fn two_phones() -> (World, LegId, LegId, LegId) {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(LOW, 48_000);
    let first = world.phone_is_called(Law::Mu, LOW);
    let second = world.phone_is_called(Law::Mu, LOW);
    world.legs.bridge(world.now(), browser, first);
    world.connect(browser);
    world.run(1000);
    (world, browser, first, second)
}

#[test]
fn the_browsers_stream_goes_on_without_a_jump() {
    let (mut world, browser, first, second) = two_phones();
    for to in [second, first, second] {
        world.legs.bridge(world.now(), browser, to);
        world.run(1013);
    }
    let packets: Vec<(u64, u32)> = world
        .browser(browser)
        .received
        .iter()
        .map(|(sequence, packet)| (*sequence, packet.1))
        .collect();
    assert!(packets.len() > 190, "{}", packets.len());
    for pair in packets.windows(2) {
        assert_eq!(pair[1].0, pair[0].0 + 1, "in sequence");
        let step = pair[1].1.wrapping_sub(pair[0].1);
        assert!((960..=2 * 960).contains(&step), "{step} ticks at a time");
    }
    let ticks = packets.last().unwrap().1.wrapping_sub(packets[0].1);
    let frames = (packets.len() - 1) as u32 * 960;
    assert!(ticks - frames <= 3 * 960, "{ticks} ticks for {frames}");
}

#[test]
fn no_seam_towards_the_browser_is_louder_than_the_tone_itself() {
    let (mut world, browser, first, second) = two_phones();
    for to in [second, first, second, first] {
        // Each seam falls at another place of the wave.
        world.run(207);
        world.legs.bridge(world.now(), browser, to);
        world.run(500);
    }
    let heard = world.browser(browser).heard(20);
    // At 48 kHz the tone's own steps are six times smaller; the codec rings a little.
    let step = largest_step(&heard);
    assert!(step < STEP / 6 + 300, "{step} of {}", STEP / 6);
    assert_level(sound::tone_level(LOW, 48_000, &heard));
}

#[test]
fn neither_the_phone_that_leaves_nor_the_one_that_comes_hears_a_click() {
    let (mut world, browser, first, second) = two_phones();
    world.run(211);
    world.legs.bridge(world.now(), browser, second);
    world.run(1000);
    // The one that left hears its tone end, the other one hears it begin; both from and to silence.
    for phone in [first, second] {
        let heard = world.phone(phone).heard(0);
        let step = largest_step(&heard);
        assert!(step < STEP + 500, "{step} of {STEP}");
    }
    let from = world.phone(second).audio().count() - 40;
    let heard = world.phone(second).heard(from);
    assert_level(sound::tone_level(LOW, 8000, &heard));
}

#[test]
fn the_phone_that_was_left_gets_an_unbroken_stream_of_silence() {
    let (mut world, browser, first) = bridged(Law::A);
    world.run(1000);
    let second = world.phone_is_called(Law::A, 800.0);
    world.legs.bridge(world.now(), browser, second);
    let from = world.phone(first).audio().count();
    world.run(1000);
    let packets: Vec<_> = world.phone(first).audio().skip(from - 1).cloned().collect();
    assert_eq!(packets.len(), 51);
    for pair in packets.windows(2) {
        let (last, next) = (pair[0].header, pair[1].header);
        assert_eq!(next.sequence, last.sequence.wrapping_add(1));
        assert_eq!(next.timestamp, last.timestamp.wrapping_add(160));
    }
    let heard = world.phone(first).heard(from + 5);
    assert!(sound::level(&heard) < -40.0);
    let heard = world.phone(second).heard(10);
    assert_level(sound::tone_level(BROWSER_TONE, 8000, &heard));
}

/// A person hands a call on and leaves: the two telephones talk, each in its own law and at its own pitch.
#[test]
fn two_telephones_hear_each_other_once_the_browser_between_them_has_gone() {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(BROWSER_TONE, 48_000);
    let first = world.phone_is_called(Law::Mu, 500.0);
    world.legs.bridge(world.now(), browser, first);
    world.connect(browser);
    world.run(500);
    // The browser goes before the second telephone has come.
    world.close(browser);
    world.run(300);
    let second = world.phone_is_called(Law::A, 800.0);
    world.legs.bridge(world.now(), first, second);
    let from = world.phone(first).audio().count();
    world.run(1000);
    let heard = world.phone(first).heard(from + 10);
    assert_level(sound::tone_level(800.0, 8000, &heard));
    let heard = world.phone(second).heard(10);
    assert_level(sound::tone_level(500.0, 8000, &heard));
    world.close(second);
}

/// Another worker goes on exactly where the first one stopped.
#[test]
fn a_phone_leg_that_changes_its_worker_keeps_its_stream_and_what_it_counted() {
    let mut world = World::new(IceMode::Full);
    let one = world.phone_is_called(Law::Mu, LOW);
    let other = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), one, other);
    world.run(1000);
    let leg = world.legs.hand_over(one).expect("a phone leg can move");
    assert!(!world.legs.contains(one));
    world.run(35);
    world.legs.take_over(one, leg);
    world.legs.bridge(world.now(), one, other);
    world.run(1000);
    for phone in [one, other] {
        let packets: Vec<_> = world.phone(phone).audio().cloned().collect();
        assert!((100..=103).contains(&packets.len()), "{}", packets.len());
        for pair in packets.windows(2) {
            let (last, next) = (pair[0].header, pair[1].header);
            assert_eq!(next.sequence, last.sequence.wrapping_add(1));
            assert_eq!(next.timestamp, last.timestamp.wrapping_add(160));
        }
    }
    let stats = world.close(one);
    assert!(stats.received.packets >= 98, "{stats:?}");
}

#[test]
fn a_browser_leg_stays_where_its_port_is() {
    let (mut world, browser, _) = bridged(Law::Mu);
    assert!(world.legs.hand_over(browser).is_none());
    assert!(world.legs.hand_over(LegId(9999)).is_none());
    assert!(world.legs.contains(browser));
}
