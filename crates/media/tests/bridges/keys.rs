//! Keys through a whole bridge and a bad network: each once, none lost.

use std::time::Duration;

use mxtrunk_media::{Happened, IceMode, Key, Law, LegId, TelephoneEvent};

use crate::world::{Weather, World};
use crate::{press_at_browser, press_at_phone};

const KEYS: [u8; 7] = [1, 1, 1, 2, 0, 11, 11];

/// Two of three packets are lost, and the others overtake each other.
fn storm() -> Weather {
    Box::new(|n| n.is_multiple_of(3).then_some(1 + (n as u64 * 7) % 50))
}

fn bridged(event_clock: u32) -> (World, LegId, LegId) {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(440.0, event_clock);
    let phone = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    world.run(500);
    (world, browser, phone)
}

fn codes(digits: &[(u8, u16)]) -> Vec<u8> {
    digits.iter().map(|digit| digit.0).collect()
}

#[test]
fn keys_in_quick_succession_reach_the_phone_once_each_through_a_storm() {
    for clock in [48_000, 8000] {
        let (mut world, browser, phone) = bridged(clock);
        world.weather[0] = storm();
        for key in KEYS {
            press_at_browser(&mut world, browser, key, clock);
            world.run(60);
        }
        world.run(2000);
        assert_eq!(codes(&world.phone(phone).digits()), KEYS, "at {clock} Hz");
        assert_eq!(told(&world, phone), []);
    }
}

#[test]
fn keys_in_quick_succession_reach_the_browser_once_each_through_a_storm() {
    for clock in [48_000, 8000] {
        let (mut world, browser, phone) = bridged(clock);
        world.weather[1] = storm();
        for key in KEYS {
            press_at_phone(&mut world, phone, key, 0b111_1111);
            world.run(60);
        }
        world.run(2000);
        assert_eq!(
            codes(&world.browser(browser).digits()),
            KEYS,
            "at {clock} Hz"
        );
    }
}

/// At 48 kHz a key held for more than 1.4 s needs a second segment (RFC 4733 section 2.5.1.3).
#[test]
fn a_held_key_is_one_key_and_as_long_through_a_storm() {
    for clock in [48_000, 8000] {
        let (mut world, browser, phone) = bridged(clock);
        world.weather[0] = storm();
        hold_at_browser(&mut world, browser, clock);
        world.run(1000);
        let digits = world.phone(phone).digits();
        assert_eq!(codes(&digits), [5], "at {clock} Hz");
        assert!((23_900..=24_500).contains(&digits[0].1), "{digits:?}");
    }
}

/// The phone's answer, or its later offer, without telephone-event.
fn knows_no_event(world: &mut World, phone: LegId) {
    let described = world.phone(phone).description();
    let bare = described.replace(" 96\r\na=rtpmap:96 telephone-event/8000", "");
    assert_ne!(bare, described);
    world.legs.apply_answer(world.now(), phone, &bare);
}

fn told(world: &World, phone: LegId) -> Vec<Key> {
    let told = world.events.iter().filter(|event| event.leg == phone);
    told.filter_map(|event| match event.what {
        Happened::Keyed { key } => Some(key),
        _ => None,
    })
    .collect()
}

fn key(event: u8) -> Key {
    let lasted = Duration::from_millis(160);
    Key { event, lasted }
}

#[test]
fn keys_for_a_phone_without_telephone_events_are_told_in_their_order_and_as_long() {
    let (mut world, browser, phone) = bridged(48_000);
    knows_no_event(&mut world, phone);
    for key in KEYS {
        press_at_browser(&mut world, browser, key, 48_000);
        world.run(60);
    }
    world.run(2000);
    let told: Vec<Key> = told(&world, phone);
    let codes: Vec<u8> = told.iter().map(|key| key.event).collect();
    assert_eq!(codes, KEYS);
    let held = Duration::from_millis(40)..Duration::from_millis(300);
    assert!(
        told.iter().all(|key| held.contains(&key.lasted)),
        "{told:?}"
    );
    assert_eq!(world.phone(phone).digits(), []);
}

#[test]
fn a_key_held_for_long_is_told_as_one_and_as_long() {
    let (mut world, browser, phone) = bridged(8000);
    knows_no_event(&mut world, phone);
    hold_at_browser(&mut world, browser, 8000);
    world.run(1000);
    let told = told(&world, phone);
    let [key] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(key.event, 5);
    let lasted = key.lasted.as_millis();
    assert!((2980..=3060).contains(&lasted), "{lasted} ms");
}

#[test]
fn keys_that_a_phone_tells_by_signalling_reach_the_browser() {
    for clock in [48_000, 8000] {
        let (mut world, browser, phone) = bridged(clock);
        knows_no_event(&mut world, phone);
        for event in KEYS {
            world.legs.hear_key(world.now(), phone, key(event));
            world.run(20);
        }
        // No telephone has it.
        world.legs.hear_key(world.now(), phone, key(17));
        world.run(3000);
        let digits = world.browser(browser).digits();
        assert_eq!(codes(&digits), KEYS, "at {clock} Hz");
        let units = (clock / 1000 * 160) as u16;
        assert!(digits.iter().all(|digit| digit.1 == units), "{digits:?}");
    }
}

#[test]
fn a_phone_that_presses_each_key_in_both_ways_presses_it_once() {
    for signalling_is_first in [true, false] {
        let (mut world, browser, phone) = bridged(48_000);
        for event in KEYS {
            if signalling_is_first {
                world.legs.hear_key(world.now(), phone, key(event));
            }
            press_at_phone(&mut world, phone, event, 0b111_1111);
            if !signalling_is_first {
                world.legs.hear_key(world.now(), phone, key(event));
            }
            world.run(100);
        }
        world.run(3000);
        let heard = world.browser(browser).digits();
        assert_eq!(
            codes(&heard),
            KEYS,
            "signalling first: {signalling_is_first}"
        );
    }
}

/// Three seconds of the key 5.
fn hold_at_browser(world: &mut World, leg: LegId, clock: u32) {
    world.browser(leg).talks = false;
    let begin = world.browser(leg).timestamp();
    // Where a browser has 8 kHz events beside Opus, timestamps stay on the clock of the audio.
    let update = clock / 50;
    let mut before = 0;
    for n in 1..=152u32 {
        let lasted = n.min(150) * update;
        if lasted - before > u32::from(u16::MAX) {
            before += 65_280;
        }
        let event = TelephoneEvent {
            event: 5,
            end: n >= 150,
            volume: 10,
            duration: (lasted - before) as u16,
        };
        let now = world.now();
        world.browser(leg).event(now, event, begin + before);
        world.run(20);
    }
    world.browser(leg).talks = true;
}
