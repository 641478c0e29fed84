//! Offers and answers as real clients write them.

use mxtrunk_media::{Happened, IceMode, Law, LegId, MediaError};

use crate::world::World;

const CHROMIUM_OFFER: &str = include_str!("../fixtures/m.call.invite.sdp");
const CHROMIUM_ANSWER: &str = include_str!("../fixtures/m.call.answer.sdp");
const FIREFOX_OFFER: &str = include_str!("../fixtures/firefox-offer.sdp");
const HOLD_OFFER: &str = include_str!("../fixtures/m.call.negotiate.offer.sdp");

const LEG: LegId = LegId(7);

fn answer_to(offer: &str) -> String {
    let mut world = World::new(IceMode::Full);
    world.legs.open_browser(world.now(), LEG, Some(offer));
    world.description(LEG)
}

fn refusal_of(offer: &str) -> MediaError {
    let mut world = World::new(IceMode::Full);
    world.legs.open_browser(world.now(), LEG, Some(offer));
    world.collect();
    assert!(world.legs.is_empty());
    match &world.events.last().unwrap().what {
        Happened::Failed { why, .. } => why.clone(),
        other => panic!("{other:?}"),
    }
}

fn has_line(sdp: &str, line: &str) -> bool {
    sdp.lines().any(|candidate| candidate == line)
}

#[test]
fn chromium_gets_opus_and_telephone_events_and_nothing_else() {
    let answer = answer_to(CHROMIUM_OFFER);
    assert!(
        answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111 110 126\r\n"),
        "{answer}"
    );
    for line in [
        "a=rtpmap:111 opus/48000/2",
        "a=rtpmap:110 telephone-event/48000",
        "a=rtpmap:126 telephone-event/8000",
        "a=setup:passive",
        "a=rtcp-mux",
        "a=sendrecv",
        "a=mid:0",
    ] {
        assert!(has_line(&answer, line), "{line} is missing: {answer}");
    }
    assert!(
        answer.contains("127.0.0.1 40000 typ host"),
        "no candidate: {answer}"
    );
    assert!(!answer.contains("transport-cc"), "{answer}");
}

#[test]
fn the_answer_names_a_stream_of_our_own_and_keeps_it() {
    let mut world = World::new(IceMode::Full);
    world
        .legs
        .open_browser(world.now(), LEG, Some(CHROMIUM_OFFER));
    let msid = |sdp: &str| {
        let line = sdp.lines().find_map(|line| line.strip_prefix("a=msid:"));
        line.unwrap().to_owned()
    };
    let first = msid(&world.description(LEG));
    assert!(!first.contains(msid(CHROMIUM_OFFER).split(' ').next().unwrap()));
    assert!(!first.starts_with('-'));
    world.legs.apply_offer(world.now(), LEG, HOLD_OFFER);
    assert_eq!(msid(&world.description(LEG)), first);
}

#[test]
fn firefox_keeps_its_own_payload_numbers() {
    let answer = answer_to(FIREFOX_OFFER);
    assert!(
        answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 109 101\r\n"),
        "{answer}"
    );
    assert!(has_line(&answer, "a=rtpmap:101 telephone-event/8000"));
}

#[test]
fn our_offer_names_a_real_stream_and_both_event_clocks() {
    let mut world = World::new(IceMode::Full);
    world.legs.open_browser(world.now(), LEG, None);
    let offer = world.description(LEG);
    let msid = offer
        .lines()
        .find_map(|line| line.strip_prefix("a=msid:"))
        .unwrap();
    let (stream, track) = msid.split_once(' ').unwrap();
    assert!(stream.len() > 8 && track.len() > 8, "{msid}");
    let ssrc = offer
        .lines()
        .find_map(|line| line.strip_prefix("a=ssrc:"))
        .unwrap();
    let number = ssrc.split(' ').next().unwrap();
    assert!(
        has_line(&offer, &format!("a=ssrc:{number} msid:{msid}")),
        "{offer}"
    );
    assert!(
        offer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111 110 126\r\n"),
        "{offer}"
    );
    assert!(has_line(&offer, "a=rtpmap:126 telephone-event/8000"));
    assert!(has_line(&offer, "a=setup:actpass"));
}

#[test]
fn chromiums_answer_to_an_offer_of_ours_is_taken() {
    let mut world = World::new(IceMode::Full);
    world.legs.open_browser(world.now(), LEG, None);
    let offer = world.description(LEG);
    let mid = offer
        .lines()
        .find_map(|line| line.strip_prefix("a=mid:"))
        .unwrap();
    let answer = CHROMIUM_ANSWER
        .replace("a=mid:0", &format!("a=mid:{mid}"))
        .replace("BUNDLE 0", &format!("BUNDLE {mid}"));
    world.legs.apply_answer(world.now(), LEG, &answer);
    world.collect();
    assert_eq!(world.legs.len(), 1, "{:?}", world.events);
}

#[test]
fn ice_lite_is_said_in_the_answer() {
    let mut world = World::new(IceMode::Lite);
    world
        .legs
        .open_browser(world.now(), LEG, Some(CHROMIUM_OFFER));
    assert!(has_line(&world.description(LEG), "a=ice-lite"));
}

#[test]
fn hold_in_a_later_offer_is_answered_with_the_mirrored_direction() {
    let mut world = World::new(IceMode::Full);
    world
        .legs
        .open_browser(world.now(), LEG, Some(CHROMIUM_OFFER));
    world.legs.apply_offer(world.now(), LEG, HOLD_OFFER);
    assert!(has_line(&world.description(LEG), "a=recvonly"));
}

#[test]
fn the_video_of_a_video_call_is_refused_and_its_audio_taken() {
    let mut world = World::new(IceMode::Full);
    let leg = world.new_browser(440.0, 48_000);
    let offer = world.browser(leg).offer(true);
    world.legs.open_browser(world.now(), leg, Some(&offer));
    let answer = world.description(leg);
    assert!(answer.contains("m=video 0 "), "{answer}");
    let bundle = answer
        .lines()
        .find(|line| line.starts_with("a=group:BUNDLE"))
        .unwrap();
    // The engine gives its own lines names by chance, some of which begin with a v.
    assert!(!bundle.split(' ').any(|mid| mid == "v"), "{bundle}");
}

#[test]
fn offers_that_cannot_be_used_fail_with_their_reason() {
    let no_opus = CHROMIUM_OFFER
        .replace("SAVPF 111 63", "SAVPF")
        .replace("a=rtpmap:111 opus/48000/2\n", "");
    let no_opus = no_opus.replace("a=rtpmap:111 opus/48000/2\r\n", "");
    assert_eq!(refusal_of(&no_opus), MediaError::NoCommonCodec);
    let plain = CHROMIUM_OFFER.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    assert_eq!(
        refusal_of(&plain),
        MediaError::UnsupportedTransport("RTP/AVP".to_owned())
    );
    assert!(matches!(refusal_of(""), MediaError::BadDescription(_)));
    let no_key = CHROMIUM_OFFER.replace("a=fingerprint", "a=x-fingerprint");
    assert!(matches!(refusal_of(&no_key), MediaError::BadDescription(_)));
}

#[test]
fn a_phone_leg_answers_an_offer_with_its_own_port() {
    let mut world = World::new(IceMode::Full);
    let leg = world.new_phone(Law::A, 440.0);
    let offer = world.phone(leg).description();
    let rtp = world.phone_port(leg);
    world.open_phone(leg, rtp, Some(&offer));
    let answer = world.description(leg);
    assert!(
        answer.contains("m=audio 20000 RTP/AVP 8 96\r\n"),
        "{answer}"
    );
}

#[test]
fn an_answer_that_nobody_waits_for_does_not_end_the_call() {
    let mut world = World::new(IceMode::Full);
    world
        .legs
        .open_browser(world.now(), LEG, Some(CHROMIUM_OFFER));
    world.legs.apply_answer(world.now(), LEG, CHROMIUM_ANSWER);
    world.collect();
    assert_eq!(world.legs.len(), 1, "{:?}", world.events);
}

#[test]
fn a_second_answer_moves_the_phones_audio() {
    let mut world = World::new(IceMode::Full);
    let one = world.phone_is_called(Law::A, 440.0);
    let other = world.phone_is_called(Law::A, 620.0);
    world.legs.bridge(world.now(), one, other);
    world.run(100);
    let moved = world.phone(other).description().replace("60002", "60010");
    world.legs.apply_answer(world.now(), other, &moved);
    let before = world.phone(other).received.len();
    world.run(200);
    assert_eq!(world.phone(other).received.len(), before);
}

#[test]
fn candidates_that_cannot_be_used_are_counted_and_do_no_harm() {
    let mut world = World::new(IceMode::Full);
    world
        .legs
        .open_browser(world.now(), LEG, Some(CHROMIUM_OFFER));
    for line in [
        "",
        "candidate:1 1 udp 2122260223 5d1f1a8c-1f5e-4d8e-9b1a-0123456789ab.local 50000 typ host",
        "candidate:1 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active",
        "rubbish",
        "candidate:1356068768 1 udp 2122260223 127.0.0.1 34489 typ host generation 0",
    ] {
        world.legs.add_candidate(world.now(), LEG, line);
    }
    let stats = world.close(LEG);
    // Not the TCP one: that browser may come to us by TCP.
    assert_eq!(stats.dropped.candidates, 2);
}
