//! A phone side that is heard before anybody picks up.

use std::net::SocketAddr;

use mxtrunk_media::{CodecPolicy, Happened, IceMode, Law, LegId};

use crate::phone::Phone;
use crate::world::World;
use crate::{BROWSER_TONE, PHONE_TONE, assert_level, press_at_browser, sound};

/// France's, and that of the browser's microphone too: what is heard at the browser is never its own tone.
const RINGBACK: f64 = 440.0;

/// A phone that has described its early media and sends nothing yet, beside a browser.
fn described(policy: CodecPolicy) -> (World, LegId, LegId) {
    let mut world = World::of(IceMode::Full, policy);
    let browser = world.browser_calls(BROWSER_TONE, 48_000);
    let phone = world.phone_is_called_early(Law::Mu, PHONE_TONE);
    (world, browser, phone)
}

/// The same, and an announcement is heard at the browser.
fn announcing(policy: CodecPolicy) -> (World, LegId, LegId) {
    let (mut world, browser, phone) = described(policy);
    world.set_talking(phone, true);
    world.run_until(100, |world| world.happened(phone, &Happened::EarlySound));
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    (world, browser, phone)
}

fn picks_up(world: &mut World, phone: LegId) {
    let answer = world.phone(phone).description();
    world.legs.apply_answer(world.now(), phone, &answer);
}

/// What the browser hears in so many milliseconds from now on.
fn heard_in(world: &mut World, browser: LegId, ms: u64) -> Vec<i16> {
    let before = world.browser(browser).received.len();
    world.run(ms);
    world.browser(browser).heard(before)
}

fn is_heard(hertz: f64, pcm: &[i16]) -> bool {
    // Our own ringback is softer than the phones of these tests.
    sound::tone_level(hertz, 48_000, pcm) > -12.0
}

#[test]
fn an_announcement_is_heard_and_the_microphone_is_shut_until_somebody_picks_up() {
    for policy in [CodecPolicy::Opus, CodecPolicy::G711] {
        let (mut world, browser, phone) = announcing(policy);
        let heard = heard_in(&mut world, browser, 2000);
        if policy == CodecPolicy::Opus {
            assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
        }
        let at_phone = world.phone(phone).heard(0);
        let loudest = at_phone.iter().map(|sample| sample.unsigned_abs()).max();
        assert!(loudest < Some(10), "{policy:?}: {loudest:?} got through");
        picks_up(&mut world, phone);
        let from = world.phone(phone).audio().count();
        world.run(2000);
        let at_phone = world.phone(phone).heard(from + 10);
        assert_level(sound::tone_level(BROWSER_TONE, 8000, &at_phone));
    }
}

#[test]
fn no_word_of_an_announcement_is_missed_by_a_browser_that_connects_later() {
    for policy in [CodecPolicy::Opus, CodecPolicy::G711] {
        let (mut world, browser, phone) = described(policy);
        world.set_talking(phone, true);
        world.run_until(100, |world| world.happened(phone, &Happened::EarlySound));
        world.run(700);
        world.legs.bridge(world.now(), browser, phone);
        world.connect(browser);
        world.run(500);
        let frames = world.ms / 20;
        world.set_talking(phone, false);
        world.run(1800);
        let came = world.browser(browser).received.len() as u64;
        // Opus says that it falls silent at the end, in a packet or two.
        assert!(
            (frames - 1..=frames + 3).contains(&came),
            "{policy:?}: {came} of {frames}"
        );
    }
}

fn is_heard_out(world: &World, phone: LegId) -> bool {
    world.happened(phone, &Happened::HeardOut)
}

#[test]
fn the_last_word_of_a_phone_side_that_has_left_is_heard_too() {
    for connects_late in [false, true] {
        let (mut world, browser, phone) = described(CodecPolicy::Opus);
        world.set_talking(phone, true);
        world.run_until(100, |world| world.happened(phone, &Happened::EarlySound));
        world.run(1200);
        world.legs.bridge(world.now(), browser, phone);
        let leaves = |world: &mut World| {
            world.set_talking(phone, false);
            world.legs.hear_out(world.now(), phone);
            world.ms / 20
        };
        let frames = if connects_late {
            let frames = leaves(&mut world);
            world.run(400);
            world.connect(browser);
            frames
        } else {
            world.connect(browser);
            world.run(500);
            leaves(&mut world)
        };
        let sent = world.phone(phone).received.len();
        world.run_until(4000, |world| is_heard_out(world, phone));
        let came = world.browser(browser).received.len() as u64;
        assert!(
            (frames - 1..=frames + 3).contains(&came),
            "late {connects_late}: {came} of {frames}"
        );
        assert_eq!(world.phone(phone).received.len(), sent, "nobody is there");
        let heard = heard_in(&mut world, browser, 8000);
        assert!(!is_heard(RINGBACK, &heard), "nothing rings any more");
        let told = world.events.iter();
        let told = told.filter(|event| event.what == Happened::HeardOut);
        assert_eq!(told.count(), 1);
    }
}

#[test]
fn a_phone_side_that_leaves_after_a_pause_keeps_nobody_waiting() {
    let (mut world, _, phone) = announcing(CodecPolicy::Opus);
    world.run(500);
    world.phone(phone).hushed = true;
    world.run(2000);
    world.legs.hear_out(world.now(), phone);
    world.run(20);
    assert!(is_heard_out(&world, phone));
    let (mut world, _, phone) = described(CodecPolicy::Opus);
    world.legs.hear_out(world.now(), phone);
    world.run(20);
    assert!(is_heard_out(&world, phone), "nothing was ever said");
}

#[test]
fn what_a_phone_side_still_sends_after_it_has_left_keeps_nobody_waiting_nor_takes_its_last_words() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    let other = another_rings(&mut world, phone, Law::A, 1000.0);
    world.run(500);
    world.legs.hear_out(world.now(), phone);
    world.phones[other].1.talks = true;
    let heard = heard_in(&mut world, browser, 700);
    assert!(is_heard_out(&world, phone));
    assert!(!is_heard(1000.0, &heard));
    assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
}

#[test]
fn what_is_left_of_an_announcement_is_skipped_when_somebody_picks_up() {
    let (mut world, browser, phone) = described(CodecPolicy::Opus);
    world.set_talking(phone, true);
    world.run(1000);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    world.run(500);
    let before = world.browser(browser).received.len();
    picks_up(&mut world, phone);
    world.phone(phone).hertz = 1000.0;
    world.run(60);
    let came = world.browser(browser).received.len() - before;
    assert!(came <= 5, "{came} packets in 60 ms: it came in a rush");
    let heard = heard_in(&mut world, browser, 500);
    assert_level(sound::tone_level(1000.0, 48_000, &heard));
    let stats = world.close(phone);
    assert_eq!(stats.received.lost, 0, "what was skipped had come");
}

#[test]
fn silence_goes_to_the_phone_from_its_description_on_in_one_unbroken_stream() {
    let (mut world, browser, phone) = described(CodecPolicy::Opus);
    world.run(500);
    assert!(world.phone(phone).audio().count() >= 24);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    world.run(500);
    picks_up(&mut world, phone);
    world.run(500);
    let packets: Vec<_> = world.phone(phone).audio().cloned().collect();
    for pair in packets.windows(2) {
        let (last, next) = (pair[0].header, pair[1].header);
        assert_eq!(next.sequence, last.sequence.wrapping_add(1));
        assert_eq!(next.timestamp, last.timestamp.wrapping_add(160));
    }
}

#[test]
fn keys_get_through_before_somebody_picks_up() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    press_at_browser(&mut world, browser, 5, 48_000);
    world.run(500);
    let digits = world.phone(phone).digits();
    assert_eq!(digits.iter().map(|digit| digit.0).collect::<Vec<_>>(), [5]);
}

#[test]
fn silence_clicks_and_comfort_noise_are_no_sound_and_sound_is_told_once() {
    let (mut world, _, phone) = described(CodecPolicy::Opus);
    world.phone(phone).hushed = true;
    world.set_talking(phone, true);
    world.run(500);
    let noise = world.phone(phone).comfort_noise();
    world.phone_sends(phone, noise);
    world.run(20);
    world.phone(phone).hushed = false;
    world.run(20);
    world.phone(phone).hushed = true;
    world.run(200);
    let told = |world: &World| {
        let events = world.events.iter();
        events
            .filter(|event| event.what == Happened::EarlySound)
            .count()
    };
    assert_eq!(told(&world), 0, "a click of 20 ms is no announcement");
    world.phone(phone).hushed = false;
    world.run(60);
    assert_eq!(told(&world), 1);
    world.run(2000);
    assert_eq!(told(&world), 1);
}

#[test]
fn an_announcement_that_ends_gives_way_to_ringback_of_ours_until_sound_comes_again() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    world.run(1000);
    world.set_talking(phone, false);
    let heard = heard_in(&mut world, browser, 1900);
    assert!(!is_heard(RINGBACK, &heard), "an announcement may pause");
    let heard = heard_in(&mut world, browser, 1500);
    assert!(is_heard(RINGBACK, &heard[9600..]));
    world.run(4000);
    world.set_talking(phone, true);
    world.run(100);
    let heard = heard_in(&mut world, browser, 1000);
    assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
    assert!(!is_heard(RINGBACK, &heard));
}

#[test]
fn ringback_of_ours_ends_when_somebody_picks_up() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    world.set_talking(phone, false);
    world.run(2500);
    picks_up(&mut world, phone);
    let heard = heard_in(&mut world, browser, 6000);
    assert!(heard.is_empty() || !is_heard(RINGBACK, &heard));
    world.set_talking(phone, true);
    world.run(200);
    let heard = heard_in(&mut world, browser, 1000);
    assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
}

#[test]
fn the_pauses_of_a_networks_own_ringback_are_not_filled_with_ours() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    world.run(1000);
    // As in Germany: 4 s of silence in packets. As with voice activity detection: of comfort noise, then nothing.
    world.phone(phone).hushed = true;
    let heard = heard_in(&mut world, browser, 4000);
    assert!(heard.is_empty() || !is_heard(RINGBACK, &heard));
    world.phone(phone).hushed = false;
    world.run(1000);
    let noise = world.phone(phone).comfort_noise();
    world.set_talking(phone, false);
    world.phone_sends(phone, noise);
    let heard = heard_in(&mut world, browser, 4000);
    assert!(heard.is_empty() || !is_heard(RINGBACK, &heard));
    // Nobody's ringback pauses for so long.
    world.run(2100);
    let heard = heard_in(&mut world, browser, 1000);
    assert!(is_heard(RINGBACK, &heard));
}

#[test]
fn a_phone_side_that_says_that_it_rings_leaves_the_ringback_to_us_unless_it_goes_on_sending() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    world.legs.ring_back(phone);
    let heard = heard_in(&mut world, browser, 1000);
    assert!(!is_heard(RINGBACK, &heard), "it plays its own");
    world.set_talking(phone, false);
    world.run(250);
    let heard = heard_in(&mut world, browser, 1000);
    assert!(is_heard(RINGBACK, &heard));
}

#[test]
fn nothing_is_owed_before_somebody_picks_up() {
    let (mut world, browser, phone) = described(CodecPolicy::Opus);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    world.run(70_000);
    let timed_out = |what: &Happened| matches!(what, Happened::TimedOut { .. });
    assert!(!world.events.iter().any(|event| timed_out(&event.what)));
    picks_up(&mut world, phone);
    world.run(31_000);
    assert!(world.events.iter().any(|event| timed_out(&event.what)));
}

#[test]
fn a_description_that_cannot_be_met_does_not_end_the_call() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    for bad in [
        "nonsense",
        "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n",
    ] {
        world.legs.apply_early_answer(world.now(), phone, bad);
    }
    let heard = heard_in(&mut world, browser, 1000);
    assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
}

/// A second telephone of the same call, which has described its early media.
fn another_rings(world: &mut World, leg: LegId, law: Law, hertz: f64) -> usize {
    let address = SocketAddr::from(([127, 0, 0, 4], 61_000));
    let mut phone = Phone::new(address, law, hertz);
    phone.becomes_another_device();
    phone.talks = false;
    let description = phone.description();
    world
        .legs
        .apply_early_answer(world.now(), leg, &description);
    world.phones.push((leg, phone));
    world.phones.len() - 1
}

#[test]
fn of_two_telephones_the_last_that_began_to_sound_is_heard() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    let other = another_rings(&mut world, phone, Law::A, 1000.0);
    let heard = heard_in(&mut world, browser, 1000);
    assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
    world.phones[other].1.talks = true;
    world.run(100);
    // Both sound now: there is no going back and forth.
    let heard = heard_in(&mut world, browser, 1000);
    assert_level(sound::tone_level(1000.0, 48_000, &heard));
    assert!(!is_heard(PHONE_TONE, &heard));
    let before = world.phones[other].1.received.len();
    world.run(200);
    assert!(
        world.phones[other].1.received.len() > before,
        "it is sent silence"
    );
}

#[test]
fn an_answer_of_another_telephone_than_the_one_heard_switches_over_to_it() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    let other = another_rings(&mut world, phone, Law::A, 1000.0);
    world.phones[other].1.talks = true;
    world.run(500);
    picks_up(&mut world, phone);
    world.run(100);
    let heard = heard_in(&mut world, browser, 1000);
    assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
    let from = world.phone(phone).audio().count();
    let others = world.phones[other].1.received.len();
    world.run(1000);
    let at_phone = world.phone(phone).heard(from + 10);
    assert_level(sound::tone_level(BROWSER_TONE, 8000, &at_phone));
    assert_eq!(
        world.phones[other].1.received.len(),
        others,
        "and gets nothing"
    );
}

#[test]
fn a_stranger_who_sounds_during_an_announcement_is_not_heard() {
    let (mut world, browser, phone) = announcing(CodecPolicy::Opus);
    let other = another_rings(&mut world, phone, Law::A, 1000.0);
    world.phones[other].1.address.set_port(61_002);
    world.phones[other].1.talks = true;
    let heard = heard_in(&mut world, browser, 1000);
    assert!(!is_heard(1000.0, &heard));
    assert_level(sound::tone_level(PHONE_TONE, 48_000, &heard));
}
