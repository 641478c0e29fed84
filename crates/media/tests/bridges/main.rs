//! Bridges in virtual time: str0m as the browser, plain RTP as the phone.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is all test code; clippy sees only the functions marked so"
)]

mod attacks;
mod browser;
mod descriptions;
mod early;
mod hold;
mod keys;
mod lies;
mod overtaken;
mod pauses;
mod phone;
mod ptime;
mod rebridge;
mod relay;
mod reoffers;
mod reports;
mod silence;
mod sound;
mod world;

use std::time::Duration;

use mxtrunk_media::{AudioVerdict, Event, Happened, IceMode, Law, LegId, Socket, TelephoneEvent};

use world::World;

const BROWSER_TONE: f64 = 440.0;
const PHONE_TONE: f64 = 620.0;

/// A browser that called and a phone that answered, bridged and connected.
fn bridged(law: Law) -> (World, LegId, LegId) {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(BROWSER_TONE, 48_000);
    let phone = world.phone_is_called(law, PHONE_TONE);
    let now = world.now();
    world.legs.bridge(now, browser, phone);
    world.connect(browser);
    (world, browser, phone)
}

fn assert_level(level: f64) {
    assert!(level.abs() < 1.0, "{level} dB off");
}

#[test]
fn a_tone_crosses_the_bridge_in_both_directions_at_its_level() {
    for law in [Law::Mu, Law::A] {
        let (mut world, browser, phone) = bridged(law);
        world.run(3000);
        let at_phone = world.phone(phone).heard(50);
        let at_browser = world.browser(browser).heard(50);
        assert!(at_phone.len() > 8000 * 2 && at_browser.len() > 48_000 * 2 - 960);
        assert_level(sound::tone_level(BROWSER_TONE, 8000, &at_phone));
        assert_level(sound::tone_level(PHONE_TONE, 48_000, &at_browser));
        let browser = world.close(browser);
        let phone = world.close(phone);
        assert_eq!(AudioVerdict::of(&browser, &phone), AudioVerdict::Both);
        assert_eq!((browser.received.lost, browser.received.concealed), (0, 0));
        assert_eq!(phone.received.lost, 0);
        let expected = -15.2;
        for stats in [&browser, &phone] {
            let level = stats.received.level_dbov.unwrap();
            assert!((level - expected).abs() < 1.0, "{level} dBov");
        }
    }
}

#[test]
fn a_browser_that_is_called_and_trickles_late_connects_too() {
    for ice in [IceMode::Full, IceMode::Lite] {
        let mut world = World::new(ice);
        let browser = world.browser_is_called(BROWSER_TONE, 8000);
        let phone = world.phone_is_called(Law::A, PHONE_TONE);
        let now = world.now();
        world.legs.bridge(now, phone, browser);
        world.connect(browser);
        world.run(2000);
        assert_level(sound::tone_level(
            BROWSER_TONE,
            8000,
            &world.phone(phone).heard(50),
        ));
        assert_level(sound::tone_level(
            PHONE_TONE,
            48_000,
            &world.browser(browser).heard(20),
        ));
    }
}

#[test]
fn the_stream_to_the_phone_is_unbroken_from_the_bridge_on() {
    let mut world = World::new(IceMode::Full);
    let browser = world.browser_calls(BROWSER_TONE, 48_000);
    let phone = world.phone_is_called(Law::Mu, PHONE_TONE);
    world.browser(browser).talks = false;
    let now = world.now();
    world.legs.bridge(now, browser, phone);
    world.run(500);
    world.browser(browser).talks = true;
    world.run(1000);
    world.browser(browser).talks = false;
    world.run(500);
    let packets: Vec<_> = world.phone(phone).audio().cloned().collect();
    assert_eq!(packets.len(), 101);
    for pair in packets.windows(2) {
        let step = pair[1]
            .header
            .timestamp
            .wrapping_sub(pair[0].header.timestamp);
        assert_eq!(step, 160);
        assert_eq!(
            pair[1]
                .header
                .sequence
                .wrapping_sub(pair[0].header.sequence),
            1
        );
        assert!((19..=21).contains(&(pair[1].at_ms - pair[0].at_ms)));
    }
    assert!(packets[0].header.marker && !packets[1].header.marker);
}

#[test]
fn loss_towards_the_phone_is_concealed_without_a_gap() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.weather[0] = Box::new(|n| (n % 10 != 0).then_some(1));
    world.run(5000);
    let heard = world.phone(phone).heard(50);
    let silence = sound::longest_silence(&heard);
    assert!(silence < 160, "silent for {silence} samples");
    assert!(sound::tone_level(BROWSER_TONE, 8000, &heard) > -2.0);
    let stats = world.close(browser);
    assert!((20..=30).contains(&stats.received.lost), "{stats:?}");
    assert!((20..=30).contains(&stats.received.concealed), "{stats:?}");
}

#[test]
fn loss_towards_the_browser_stays_a_gap_that_it_conceals() {
    let (mut world, browser, phone) = bridged(Law::A);
    world.weather[1] = Box::new(|n| (n % 10 != 0).then_some(1));
    world.run(3000);
    let numbers: Vec<u64> = world.browser(browser).received.keys().copied().collect();
    let span = numbers.last().unwrap() - numbers[0] + 1;
    let missing = span - numbers.len() as u64;
    assert!((12..=16).contains(&missing), "{missing} missing");
    let stamps: Vec<u32> = world
        .browser(browser)
        .received
        .values()
        .map(|p| p.1)
        .collect();
    let elapsed = u64::from(stamps.last().unwrap().wrapping_sub(stamps[0]));
    assert_eq!(elapsed, (span - 1) * 960);
    let heard = world.browser(browser).heard(50);
    // libopus fades what it makes up: a tenth of the frames costs a little level, and never silence.
    assert!(sound::level(&heard) > -2.5, "{}", sound::level(&heard));
    assert!(sound::longest_silence(&heard) < 960);
    assert!(world.close(phone).received.lost >= 12);
}

#[test]
fn jitter_towards_the_phone_is_smoothed() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.weather[0] = Box::new(|n| Some(1 + (n as u64 * 7919) % 45));
    world.run(5000);
    let heard = world.phone(phone).heard(100);
    assert_level(sound::tone_level(BROWSER_TONE, 8000, &heard[..8000]));
    let stats = world.close(browser);
    assert_eq!(stats.dropped.late, 0, "{stats:?}");
    assert!(stats.received.concealed < 10, "{stats:?}");
}

#[test]
fn digits_cross_from_browser_to_phone_once_each() {
    for clock in [48_000u32, 8000] {
        let mut world = World::new(IceMode::Full);
        let browser = world.browser_calls(BROWSER_TONE, clock);
        let phone = world.phone_is_called(Law::Mu, PHONE_TONE);
        let now = world.now();
        world.legs.bridge(now, browser, phone);
        world.connect(browser);
        world.run(500);
        for digit in [1, 1, 11] {
            press_at_browser(&mut world, browser, digit, clock);
            world.run(200);
        }
        world.run(500);
        let units = 800;
        assert_eq!(
            world.phone(phone).digits(),
            [(1, units), (1, units), (11, units)],
            "at {clock} Hz"
        );
        assert_eq!(world.close(browser).received.digits, 3);
    }
}

/// 100 ms of a digit: five updates and three end packets, as browsers send them.
fn press_at_browser(world: &mut World, leg: LegId, digit: u8, clock: u32) {
    world.browser(leg).talks = false;
    let begin = world.browser(leg).timestamp();
    for n in 1..=7u16 {
        let duration = n.min(5) * (clock / 50) as u16;
        let event = TelephoneEvent {
            event: digit,
            end: n >= 5,
            volume: 10,
            duration,
        };
        let now = world.now();
        world.browser(leg).event(now, event, begin);
        world.run(20);
    }
    world.browser(leg).talks = true;
}

#[test]
fn digits_cross_from_phone_to_browser_though_packets_are_lost() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    for (digit, arrives) in [(0, 0b1111111), (5, 0b1000000), (10, 0b0000111)] {
        press_at_phone(&mut world, phone, digit, arrives);
        world.run(300);
    }
    world.run(500);
    let digits = world.browser(browser).digits();
    let codes: Vec<u8> = digits.iter().map(|digit| digit.0).collect();
    assert_eq!(codes, [0, 5, 10], "{digits:?}");
    assert!((4800..=5760).contains(&digits[0].1), "{digits:?}");
    let stats = world.close(browser);
    assert_eq!(stats.sent.digits, 3);
}

/// Compared with the timeline of the first device, every key of the second was a late repeat, and lost.
#[test]
fn digits_of_another_device_are_heard_though_its_clock_is_behind() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    press_at_phone(&mut world, phone, 1, 0b1111111);
    world.run(500);
    world.phone(phone).becomes_another_device();
    world.run(500);
    press_at_phone(&mut world, phone, 2, 0b1111111);
    world.run(500);
    let digits = world.browser(browser).digits();
    let codes: Vec<u8> = digits.iter().map(|digit| digit.0).collect();
    assert_eq!(codes, [1, 2], "{digits:?}");
}

/// Bit `n` of `arrives` tells whether the `n`th of the seven packets gets through. No packet has the marker.
fn press_at_phone(world: &mut World, leg: LegId, digit: u8, arrives: u8) {
    world.phone(leg).talks = false;
    let begin = world.phone(leg).timestamp();
    for n in 1..=7u16 {
        let event = TelephoneEvent {
            event: digit,
            end: n >= 5,
            volume: 10,
            duration: n.min(5) * 160,
        };
        let datagram = world.phone(leg).event(event, begin);
        if arrives & (1 << (n - 1)) != 0 {
            world.phone_sends(leg, datagram);
        }
        world.run(20);
    }
    world.phone(leg).talks = true;
}

#[test]
fn two_phones_hear_each_other() {
    let mut world = World::new(IceMode::Full);
    let one = world.phone_is_called(Law::A, 440.0);
    let other = world.phone_is_called(Law::Mu, 620.0);
    let now = world.now();
    world.legs.bridge(now, one, other);
    world.run(2000);
    assert_level(sound::tone_level(620.0, 8000, &world.phone(one).heard(20)));
    assert_level(sound::tone_level(
        440.0,
        8000,
        &world.phone(other).heard(20),
    ));
}

#[test]
fn two_browsers_hear_each_other() {
    let mut world = World::new(IceMode::Full);
    let one = world.browser_calls(440.0, 48_000);
    let other = world.browser_is_called(620.0, 48_000);
    let now = world.now();
    world.legs.bridge(now, one, other);
    world.connect(one);
    world.connect(other);
    world.run(2000);
    assert_level(sound::tone_level(
        620.0,
        48_000,
        &world.browser(one).heard(20),
    ));
    assert_level(sound::tone_level(
        440.0,
        48_000,
        &world.browser(other).heard(20),
    ));
}

#[test]
fn a_browser_can_be_bridged_anew_with_another_phone() {
    let (mut world, browser, first) = bridged(Law::Mu);
    world.run(1000);
    let second = world.phone_is_called(Law::A, 800.0);
    let now = world.now();
    world.legs.bridge(now, browser, second);
    world.close(first);
    let heard = world.browser(browser).received.len();
    world.run(2000);
    assert_level(sound::tone_level(
        800.0,
        48_000,
        &world.browser(browser).heard(heard + 5),
    ));
    assert_level(sound::tone_level(
        BROWSER_TONE,
        8000,
        &world.phone(second).heard(20),
    ));
}

#[test]
fn rtp_from_anywhere_but_the_negotiated_address_is_not_heard() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.phone(phone).talks = false;
    world.run(100);
    let before = world.browser(browser).received.len();
    let mut foreign = phone::Phone::new(([127, 0, 0, 9], 7000).into(), Law::Mu, 900.0);
    let same_host = ([127, 0, 0, 3], 7000).into();
    for source in [foreign.address, same_host] {
        for _ in 0..50 {
            let datagram = foreign.frame().unwrap();
            let now = world.now();
            world
                .legs
                .handle(now, Socket::Rtp(phone), source, &datagram);
            world.collect();
        }
    }
    assert_eq!(world.browser(browser).received.len(), before);
    let stats = world.close(phone);
    assert_eq!(stats.dropped.wrong_source, 100);
}

#[test]
fn a_phone_on_hold_gets_nothing_and_comes_back() {
    let (mut world, _, phone) = bridged(Law::Mu);
    world.run(500);
    let held = world.phone(phone).description() + "a=inactive\r\n";
    let now = world.now();
    world.legs.apply_offer(now, phone, &held);
    assert!(world.description(phone).contains("a=inactive"));
    let before = world.phone(phone).received.len();
    world.run(500);
    assert_eq!(world.phone(phone).received.len(), before);
    let resumed = world.phone(phone).description();
    let now = world.now();
    world.legs.apply_offer(now, phone, &resumed);
    world.run(500);
    assert_eq!(world.phone(phone).received.len(), before + 25);
}

/// A key pressed towards a phone on hold was kept, and pressed at the resume, minutes later.
#[test]
fn a_digit_pressed_during_hold_is_not_pressed_at_the_resume() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    let held = world.phone(phone).description() + "a=inactive\r\n";
    let now = world.now();
    world.legs.apply_offer(now, phone, &held);
    press_at_browser(&mut world, browser, 5, 48_000);
    world.run(500);
    let resumed = world.phone(phone).description();
    let now = world.now();
    world.legs.apply_offer(now, phone, &resumed);
    world.run(500);
    assert_eq!(world.phone(phone).digits(), []);
    press_at_browser(&mut world, browser, 6, 48_000);
    world.run(500);
    assert_eq!(world.phone(phone).digits(), [(6, 800)]);
}

#[test]
fn the_phone_gets_sender_reports_that_tell_its_loss() {
    let (mut world, _, phone) = bridged(Law::Mu);
    world.weather[1] = Box::new(|n| (n % 4 != 0).then_some(1));
    world.run(11_000);
    let reports = world.phone(phone).reports.clone();
    assert_eq!(reports.len(), 2);
    let report = reports.last().unwrap();
    assert_eq!(report[..2], [0x81, 200], "a sender report with one block");
    let ntp = u32::from_be_bytes(report[8..12].try_into().unwrap());
    let unix_of_the_world = 1_800_000_000u64;
    let elapsed = u64::from(ntp).wrapping_sub(unix_of_the_world + 2_208_988_800);
    assert!((9..=11).contains(&elapsed), "{elapsed} s by its NTP time");
    let loss = report[32];
    assert!(
        (56..=72).contains(&loss),
        "a quarter is lost, not {loss}/256"
    );
}

#[test]
fn a_leg_knows_how_long_ago_its_peer_was_heard() {
    let mut world = World::new(IceMode::Full);
    let leg = world.phone_is_called(Law::Mu, 440.0);
    assert_eq!(ago(&mut world, leg), None);
    world.run(100);
    let talking = ago(&mut world, leg).expect("it was heard");
    assert!(talking <= Duration::from_millis(20), "{talking:?}");
    world.phone(leg).talks = false;
    world.run(4_000);
    let quiet = ago(&mut world, leg).expect("it was heard before");
    assert!(quiet >= Duration::from_millis(3_950), "{quiet:?}");
    // RFC 3550 section 6.4.2: an empty receiver report.
    let report = [0x80, 201, 0, 1, 0, 0, 0x5e, 0xed];
    let stranger = world.phone(leg).address;
    let (now, control) = (world.now(), world.phone(leg).control());
    for (source, heard) in [(stranger, false), (control, true)] {
        world.legs.handle(now, Socket::Rtcp(leg), source, &report);
        assert_eq!(ago(&mut world, leg) == Some(Duration::ZERO), heard);
    }
}

fn ago(world: &mut World, leg: LegId) -> Option<Duration> {
    world.legs.probe(world.now(), leg);
    world.collect();
    match world.events.pop() {
        Some(Event {
            what: Happened::Heard { ago },
            ..
        }) => ago,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_browser_that_leaves_is_noticed() {
    let (mut world, browser, _) = bridged(Law::Mu);
    world.run(500);
    world.browsers.clear();
    world.run_until(60_000, |world| world.happened(browser, &Happened::Lost));
}

#[test]
fn a_closed_leg_leaves_the_other_one_alive() {
    let (mut world, browser, phone) = bridged(Law::Mu);
    world.run(500);
    world.close(browser);
    let before = world.phone(phone).received.len();
    world.run(200);
    assert_eq!(world.phone(phone).received.len(), before + 10);
    world.close(phone);
    assert!(world.legs.is_empty());
}
