//! Which codec it is, and what changes in the middle of a call.

use mxtrunk_media::{Codec, CodecPolicy, Happened, IceMode, MediaError};

use super::call::{
    Call, assert_steps, bytes, decoded, description, in_the_order_of, profile, tone,
};
use crate::sound;
use crate::world::World;

#[test]
fn a_phone_that_renumbers_in_the_middle_of_a_call_is_understood() {
    let maps = ["96 PCMA/8000", "101 telephone-event/8000"];
    let mut call = Call::outgoing(CodecPolicy::Auto, &[Codec::Pcma], "96 101", &maps);
    call.talk(20, (8, 96), 160, bytes);
    assert!(!call.at_phone(0, 96).is_empty());
    let maps = ["111 PCMA/8000", "96 telephone-event/8000"];
    let answered = call.reoffer("111 96", &maps);
    let Happened::LocalDescription { sdp } = answered else {
        panic!("{answered:?}");
    };
    assert!(sdp.contains("RTP/AVP 111 96\r\n"), "{sdp}");
    let heard = call.at_browser(8).len();
    let renumbered = call.world.phone(call.phone).received.len();
    call.talk(20, (8, 111), 160, bytes);
    assert_eq!(call.at_browser(8).len(), heard + 20);
    assert_eq!(call.at_phone(renumbered, 111).len(), 20);
    assert_steps(&call.at_browser(8), 160);
    call.assert_numbers_at_phone_go_on_by_one();
}

#[test]
fn a_phone_that_changes_its_codec_is_transcoded_and_changed_back_passed_through() {
    let trunk = [Codec::Pcma, Codec::Pcmu];
    let mut call = Call::outgoing(CodecPolicy::Auto, &trunk, "8", &[]);
    assert_eq!(call.answer(), "m=audio 9 UDP/TLS/RTP/SAVPF 8 100");
    let (a, mu) = (mxtrunk_media::Law::A, mxtrunk_media::Law::Mu);
    call.talk(50, (8, 8), 160, tone(440.0, a));
    assert!(matches!(
        call.reoffer("0", &[]),
        Happened::LocalDescription { .. }
    ));
    let changed = call.world.phone(call.phone).received.len();
    let heard = call.at_browser(8).len();
    for _ in 0..100 {
        call.sent += 1;
        let sent = call.sent;
        call.browser_says(8, sent * 160, &tone(440.0, a)(sent));
        call.phone_says(0, 160, &tone(620.0, mu)(sent));
        call.world.run(20);
    }
    let at_phone = decoded(mu, &call.at_phone(changed + 10, 0));
    assert!(sound::tone_level(440.0, 8000, &at_phone).abs() < 1.0);
    let at_browser: Vec<_> = call.at_browser(8).split_off(heard + 2);
    assert!(at_browser.len() >= 95);
    let packets: Vec<_> = at_browser.iter().map(|p| (0, p.1, p.2.clone())).collect();
    assert!(sound::tone_level(620.0, 8000, &decoded(a, &packets)).abs() < 1.0);
    assert_steps(&at_browser, 160);
    assert!(matches!(
        call.reoffer("8", &[]),
        Happened::LocalDescription { .. }
    ));
    let back = call.world.phone(call.phone).received.len();
    call.talk(20, (8, 8), 160, bytes);
    assert_eq!(
        call.at_phone(back, 8)
            .iter()
            .filter(|p| p.2 == bytes(call.sent))
            .count(),
        1
    );
    call.assert_numbers_at_phone_go_on_by_one();
}

/// The browser has agreed to G.722 alone, and the phone speaks A-law: each hears the other. What the browser is sent says
/// it again, which is then to be heard at the phone.
fn assert_both_hear_each_other(call: &mut Call) {
    let law = mxtrunk_media::Law::A;
    let before = call.at_browser(9).len();
    for n in 0..100 {
        call.phone_says(8, 160, &tone(620.0, law)(n));
        call.world.run(20);
    }
    let heard = call.at_browser(9).split_off(before);
    assert!(heard.len() >= 98, "{} packets", heard.len());
    assert_steps(&heard, 160);
    let from = call.world.phone(call.phone).received.len();
    for (_, _, payload) in heard {
        call.sent += 1;
        let timestamp = call.sent * 160;
        call.browser_says(9, timestamp, &payload);
        call.world.run(20);
    }
    let at_phone = decoded(law, &call.at_phone(from + 10, 8));
    let level = sound::tone_level(620.0, 8000, &at_phone);
    assert!(level.abs() < 1.0, "{level} dB");
}

#[test]
fn a_call_in_hd_voice_goes_on_with_a_telephone_that_has_g711_alone_and_back() {
    let trunk = [Codec::G722, Codec::Pcma];
    let mut call = Call::outgoing(CodecPolicy::Auto, &trunk, "9", &[]);
    call.talk(10, (9, 9), 160, bytes);
    let changed = call.reoffer("8", &[]);
    let Happened::LocalDescription { sdp } = changed else {
        panic!("{changed:?}");
    };
    assert!(sdp.contains("RTP/AVP 8\r\n"), "{sdp}");
    assert_both_hear_each_other(&mut call);
    let back = call.reoffer("9", &[]);
    assert!(
        matches!(back, Happened::LocalDescription { .. }),
        "{back:?}"
    );
    let heard = call.at_browser(9).len();
    call.talk(10, (9, 9), 160, bytes);
    assert_eq!(call.at_browser(9)[heard..][9].2, bytes(call.sent));
    call.assert_numbers_at_phone_go_on_by_one();
}

#[test]
fn an_announcement_in_hd_voice_is_followed_by_somebody_with_g711_alone() {
    let trunk = [Codec::G722, Codec::Pcma];
    let mut call = Call::early(CodecPolicy::Auto, &trunk, "9");
    for n in 0..20 {
        call.phone_says(9, 160, &bytes(n));
        call.world.run(20);
    }
    assert!(call.at_browser(9).len() >= 18);
    let now = call.world.now();
    let answer = description("8", &[]);
    call.world.legs.apply_answer(now, call.phone, &answer);
    call.world.run(100);
    assert_both_hear_each_other(&mut call);
}

#[test]
fn a_change_that_would_leave_somebody_deaf_is_refused_and_the_call_goes_on() {
    let trunk = [Codec::G722, Codec::Pcma];
    let mut call = Call::outgoing(CodecPolicy::Opus, &trunk, "8", &[]);
    let refused = Happened::OfferRefused {
        why: MediaError::NoCommonCodec,
    };
    assert_eq!(call.reoffer("9", &[]), refused);
    let law = mxtrunk_media::Law::A;
    let heard = call.at_browser(111).len();
    for n in 0..10 {
        call.phone_says(8, 160, &tone(620.0, law)(n));
        call.world.run(20);
    }
    assert!(call.at_browser(111).len() >= heard + 9);
}

#[test]
fn whatever_the_phone_agreed_to_is_heard() {
    let trunk = [Codec::Pcma, Codec::Pcmu];
    let mut call = Call::outgoing(CodecPolicy::Auto, &trunk, "8 0", &[]);
    assert_eq!(call.answer(), "m=audio 9 UDP/TLS/RTP/SAVPF 8 0 100");
    call.talk(10, (8, 8), 160, bytes);
    call.talk(10, (8, 0), 160, bytes);
    assert_eq!(call.at_browser(8).len(), 10);
    assert_eq!(call.at_browser(0).len(), 10);
    let all = call.world.browser(call.browser).received.clone();
    let numbers: Vec<_> = all.keys().copied().collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn g711_by_policy_spares_the_transcoding() {
    let mut call = Call::outgoing(CodecPolicy::G711, &[Codec::Pcmu], "0", &[]);
    assert_eq!(call.answer(), "m=audio 9 UDP/TLS/RTP/SAVPF 0 100");
    call.talk(10, (0, 0), 160, bytes);
    assert_eq!(call.at_browser(0).len(), 10);
}

#[test]
fn a_phone_that_calls_is_answered_with_what_the_browser_speaks() {
    let both: &[Codec] = &[Codec::G722, Codec::Pcma];
    for (policy, trunk, offered, answered) in [
        (CodecPolicy::Auto, both, "9 8 111 100", "9 101"),
        (CodecPolicy::Opus, both, "111 100", "8 101"),
        // A trunk with HD voice alone was refused: the browser might have settled on Opus.
        (CodecPolicy::Auto, &[Codec::G722], "9 100", "9 101"),
    ] {
        let mut world = World::of(IceMode::Full, policy);
        let phone = world.new_phone(mxtrunk_media::Law::A, 620.0);
        let (now, rtp) = (world.now(), world.phone_port(phone));
        let profile = profile(trunk);
        let offer = description("8 9 101", &["101 telephone-event/8000"]);
        let offer = Some(offer.as_str());
        world
            .legs
            .open_phone_beside(now, phone, None, rtp, &profile, offer);
        world.description(phone);
        let browser = world.new_browser(440.0, 8000);
        world
            .legs
            .open_browser_beside(now, browser, Some(phone), None);
        let offer = world.description(browser);
        let answer = world.browser(browser).answer(&offer);
        let answer = in_the_order_of(&offer, &answer);
        let line = format!(
            "m=audio 9 UDP/TLS/RTP/SAVPF {}",
            offered.replace("100", "126")
        );
        let line = line.replace("111 126", "111 110 126");
        assert!(offer.lines().any(|has| has == line), "{line}: {offer}");
        world.legs.apply_answer(now, browser, &answer);
        world.legs.bridge(now, phone, browser);
        world.legs.describe(phone);
        let answer = world.description(phone);
        let line = format!("RTP/AVP {answered}\r\n");
        assert!(answer.contains(&line), "{answer}");
        // One offer, one answer: the version that went out is the first.
        assert!(answer.contains(" 1 IN IP4 "), "{answer}");
    }
}
