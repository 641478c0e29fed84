//! Offers in the middle of a call that cannot be met, and what a leg that fails leaves behind.

use mxtrunk_media::{Happened, IceMode, Law, LegId, LegStats, MediaError};
use proptest::prelude::*;

use crate::sound;
use crate::world::World;

const CHROMIUM_OFFER: &str = include_str!("../fixtures/m.call.invite.sdp");
const HOLD_OFFER: &str = include_str!("../fixtures/m.call.negotiate.offer.sdp");
const FAX: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\n\
    m=image 60000 udptl t38\r\na=T38FaxVersion:0\r\n";

/// A browser that called and a phone that answered, with the browser's offer.
fn talking() -> (World, LegId, LegId, String) {
    let mut world = World::new(IceMode::Full);
    let browser = world.new_browser(440.0, 48_000);
    let offer = world.browser(browser).offer(false);
    world.legs.open_browser(world.now(), browser, Some(&offer));
    let answer = world.description(browser);
    world.browser(browser).accept_answer(&answer);
    let phone = world.phone_is_called(Law::Mu, 620.0);
    world.legs.bridge(world.now(), browser, phone);
    world.connect(browser);
    world.run(500);
    (world, browser, phone, offer)
}

fn refusal(world: &mut World, leg: LegId, offer: &str) -> MediaError {
    world.events.clear();
    world.legs.apply_offer(world.now(), leg, offer);
    world.collect();
    match world.events.as_slice() {
        [event] if event.leg == leg => match &event.what {
            Happened::OfferRefused { why } => why.clone(),
            other => panic!("{offer}: {other:?}"),
        },
        other => panic!("{offer}: {other:?}"),
    }
}

fn assert_both_hear_each_other(world: &mut World, browser: LegId, phone: LegId) {
    let at_phone = world.phone(phone).received.len();
    let at_browser = world.browser(browser).received.len();
    world.run(2000);
    assert_eq!(world.phone(phone).received.len(), at_phone + 100);
    assert!(world.browser(browser).received.len() >= at_browser + 99);
    let at_phone = world.phone(phone).heard(at_phone);
    assert!(sound::tone_level(440.0, 8000, &at_phone).abs() < 1.0);
    let at_browser = world.browser(browser).heard(at_browser);
    assert!(sound::tone_level(620.0, 48_000, &at_browser).abs() < 1.0);
}

#[test]
fn a_phone_whose_new_offer_cannot_be_met_talks_on() {
    let (mut world, browser, phone, _) = talking();
    let offer = world.phone(phone).description();
    let video = offer.replace("m=audio 60000 RTP/AVP 0 96", "m=video 60000 RTP/AVP 96");
    let wideband = offer.replace("RTP/AVP 0 96", "RTP/AVP 9 96");
    for no_codec in [FAX, &video, &wideband] {
        let why = refusal(&mut world, phone, no_codec);
        assert_eq!(why, MediaError::NoCommonCodec);
    }
    let why = refusal(&mut world, phone, &offer.replace("RTP/AVP", "RTP/SAVP"));
    assert_eq!(why, MediaError::UnsupportedTransport("RTP/SAVP".to_owned()));
    let why = refusal(&mut world, phone, "rubbish");
    assert!(matches!(why, MediaError::BadDescription(_)), "{why}");
    assert_both_hear_each_other(&mut world, browser, phone);
}

#[test]
fn a_browser_whose_new_offer_cannot_be_met_talks_on() {
    let (mut world, browser, phone, offer) = talking();
    // New ICE credentials, which the engine would take before it found the fault.
    let restart = offer.replace("a=ice-ufrag:", "a=ice-ufrag:new");
    for bad in [
        "rubbish".to_owned(),
        restart.replace("a=fingerprint", "a=x-fingerprint"),
        restart.replace("a=ice-pwd", "a=x-ice-pwd"),
        restart.replace("a=mid:", "a=mid:x"),
        restart.replace("a=rtcp-mux\r\n", "a=rtcp-mux\r\na=mid:second\r\n"),
    ] {
        let why = refusal(&mut world, browser, &bad);
        assert!(matches!(why, MediaError::BadDescription(_)), "{bad}: {why}");
    }
    let video = restart.replace("m=audio", "m=video");
    let renumbered = restart.replace("111", "109");
    let rejected = restart
        .replace("m=audio 9", "m=audio 0")
        .replace("a=group:BUNDLE", "a=x-group");
    for no_codec in [video, renumbered, rejected] {
        let why = refusal(&mut world, browser, &no_codec);
        assert_eq!(why, MediaError::NoCommonCodec, "{no_codec}");
    }
    let why = refusal(&mut world, browser, &restart.replace("UDP/TLS/", ""));
    assert!(matches!(why, MediaError::UnsupportedTransport(_)), "{why}");
    assert_both_hear_each_other(&mut world, browser, phone);
}

#[test]
fn an_offer_after_a_refused_one_is_answered() {
    let (mut world, browser, phone, offer) = talking();
    refusal(&mut world, browser, "rubbish");
    refusal(&mut world, phone, FAX);
    world.legs.apply_offer(world.now(), browser, &offer);
    assert!(world.description(browser).contains("m=audio 9 "));
    let again = world.phone(phone).description();
    world.legs.apply_offer(world.now(), phone, &again);
    let answer = world.description(phone);
    // RFC 3264 section 8: the version goes up by one with each description that was sent, our offer being the first.
    assert!(
        answer
            .lines()
            .any(|line| line.starts_with("o=") && line.contains(" 2 IN IP4 "))
    );
    assert_both_hear_each_other(&mut world, browser, phone);
}

#[test]
fn a_camera_that_is_switched_on_twice_does_not_disturb_the_call() {
    let mut world = World::new(IceMode::Full);
    let leg = world.new_browser(440.0, 48_000);
    let offer = world.browser(leg).offer(true);
    world.legs.open_browser(world.now(), leg, Some(&offer));
    world.description(leg);
    let again = offer
        .replace("a=mid:v\r\n", "a=mid:w\r\n")
        .replace(" v\r\n", " w\r\n");
    world.legs.apply_offer(world.now(), leg, &again);
    assert!(world.description(leg).contains("a=mid:w\r\n"));
    let (audio, video) = again.split_once("m=video").unwrap();
    let (session, audio) = audio.split_once("m=audio").unwrap();
    let moved = format!("{session}m=video{video}m=audio{audio}");
    for bad in [format!("{session}m=audio{audio}"), moved] {
        let why = refusal(&mut world, leg, &bad);
        assert!(matches!(why, MediaError::BadDescription(_)), "{why}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn no_changed_byte_of_a_later_offer_ends_the_leg(at in 0..HOLD_OFFER.len(), byte in 0u8..128) {
        let mut bytes = HOLD_OFFER.as_bytes().to_vec();
        bytes[at] = byte;
        let changed = String::from_utf8(bytes).unwrap();
        let mut world = World::new(IceMode::Full);
        let leg = LegId(1);
        world.legs.open_browser(world.now(), leg, Some(CHROMIUM_OFFER));
        world.legs.apply_offer(world.now(), leg, &changed);
        world.collect();
        prop_assert_eq!(world.legs.len(), 1, "{:?}", world.events.last());
    }

    #[test]
    fn no_line_that_is_gone_or_comes_elsewhere_in_a_later_offer_ends_the_leg(
        from in 0..HOLD_OFFER.lines().count(),
        to in proptest::option::of(0..HOLD_OFFER.lines().count()),
    ) {
        let mut lines: Vec<&str> = HOLD_OFFER.lines().collect();
        match to {
            Some(to) => lines.insert(to, lines[from]),
            None => { lines.remove(from); }
        }
        let changed: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut world = World::new(IceMode::Full);
        let leg = LegId(1);
        world.legs.open_browser(world.now(), leg, Some(CHROMIUM_OFFER));
        world.legs.apply_offer(world.now(), leg, &changed);
        world.collect();
        prop_assert_eq!(world.legs.len(), 1, "{:?}", world.events.last());
    }
}

#[test]
fn a_leg_that_fails_tells_what_flowed_over_it() {
    let (mut world, browser, phone, _) = talking();
    for leg in [phone, browser] {
        // With itself no leg can be bridged.
        world.legs.bridge(world.now(), leg, leg);
        let stats = last_stats(&mut world, leg).expect("it was open");
        assert!(
            stats.received.packets >= 20 && stats.sent.carried >= 20,
            "{stats:?}"
        );
    }
    assert!(world.legs.is_empty());
}

#[test]
fn a_leg_that_was_never_opened_has_nothing_to_tell() {
    let mut world = World::new(IceMode::Full);
    let leg = world.phone_is_called(Law::Mu, 620.0);
    let rtp = world.phone_port(leg);
    world.open_phone(leg, rtp, None);
    assert_eq!(last_stats(&mut world, leg), None);
    world.close(leg);
}

fn last_stats(world: &mut World, leg: LegId) -> Option<LegStats> {
    world.collect();
    match world.events.pop() {
        Some(event) if event.leg == leg => match event.what {
            Happened::Failed { stats, .. } => stats,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
