//! What passes straight through.

mod call;
mod changes;

use mxtrunk_media::{AudioVerdict, Codec, CodecPolicy, TelephoneEvent};

use call::{Call, EVENT, assert_steps, bytes, tone};

#[test]
fn hd_voice_passes_straight_through_both_ways() {
    let trunk = [Codec::G722, Codec::Pcma];
    let mut call = Call::outgoing(
        CodecPolicy::Auto,
        &trunk,
        "9 101",
        &["101 telephone-event/8000"],
    );
    assert_eq!(call.answer(), "m=audio 9 UDP/TLS/RTP/SAVPF 9 100");
    let silent = call.world.phone(call.phone).received.len();
    call.talk(100, (9, 9), 160, bytes);
    let at_phone = call.at_phone(silent, 9);
    let said: Vec<_> = (1..=100).map(bytes).collect();
    let heard: Vec<_> = at_phone.iter().map(|packet| packet.2.clone()).collect();
    assert_eq!(
        heard
            .iter()
            .filter(|payload| said.contains(payload))
            .count(),
        100
    );
    assert_steps(&at_phone, 160);
    let at_browser = call.at_browser(9);
    let heard: Vec<_> = at_browser.iter().map(|packet| packet.2.clone()).collect();
    assert_eq!(heard, said);
    assert_steps(&at_browser, 160);
    let browser = call.world.close(call.browser);
    let phone = call.world.close(call.phone);
    assert_eq!(AudioVerdict::of(&browser, &phone), AudioVerdict::Both);
    assert!(browser.sent.carried >= 99 && phone.sent.carried >= 99);
    assert_eq!(browser.received.level_dbov, None, "G.722 is not decoded");
}

#[test]
fn g711_passes_straight_through_and_its_level_is_known() {
    for (codec, law, number) in [
        (Codec::Pcmu, mxtrunk_media::Law::Mu, 0),
        (Codec::Pcma, mxtrunk_media::Law::A, 8),
    ] {
        let answer = format!("{number}");
        let mut call = Call::outgoing(CodecPolicy::Auto, &[codec], &answer, &[]);
        call.talk(50, (number, number), 160, tone(440.0, law));
        let said: Vec<_> = (1..=50).map(tone(440.0, law)).collect();
        let heard: Vec<_> = call
            .at_browser(number)
            .into_iter()
            .map(|packet| packet.2)
            .collect();
        assert_eq!(heard, said);
        let stats = call.world.close(call.browser);
        let level = stats.received.level_dbov.expect("it is measured");
        assert!((level - -15.2).abs() < 1.0, "{level} dBov");
    }
}

#[test]
fn opus_passes_straight_through_under_the_numbers_of_each_side() {
    let trunk = [Codec::Opus, Codec::Pcma];
    let maps = ["96 opus/48000/2", "101 telephone-event/8000"];
    let mut call = Call::outgoing(CodecPolicy::Opus, &trunk, "96 8 101", &maps);
    assert_eq!(call.answer(), "m=audio 9 UDP/TLS/RTP/SAVPF 111 100");
    let silent = call.world.phone(call.phone).received.len();
    // A packet of 20 ms whose contents we do not look into.
    let packet = |n: u32| [&[0xf8], &bytes(n)[..60]].concat();
    call.talk(50, (111, 96), 960, packet);
    let at_phone = call.at_phone(silent, 96);
    assert_steps(&at_phone, 960);
    let said: Vec<_> = (1..=50).map(packet).collect();
    assert_eq!(
        at_phone
            .iter()
            .filter(|heard| said.contains(&heard.2))
            .count(),
        50
    );
    let at_browser = call.at_browser(111);
    assert_eq!(at_browser.len(), 50);
    assert_steps(&at_browser, 960);
}

#[test]
fn a_source_that_falls_silent_leaves_no_hole_in_the_stream_to_the_phone() {
    let mut call = Call::outgoing(CodecPolicy::Auto, &[Codec::Pcma], "8", &[]);
    call.talk(20, (8, 8), 160, bytes);
    call.world.run(2000);
    call.sent += 100;
    call.talk(20, (8, 8), 160, bytes);
    let at_phone = call.at_phone(0, 8);
    assert_steps(&at_phone, 160);
    let silence = at_phone
        .iter()
        .filter(|packet| packet.2 == [0xd5; 160])
        .count();
    // 10 before anybody spoke; the 2 s, but for the patience at their beginning.
    assert!(
        (100..=115).contains(&silence),
        "{silence} frames of silence"
    );
}

#[test]
fn a_loss_stays_a_gap_and_an_overtaken_packet_its_place() {
    let mut call = Call::outgoing(CodecPolicy::Auto, &[Codec::Pcma], "8", &[]);
    let silent = call.world.phone(call.phone).received.len();
    let before = call.world.phone(call.phone).received.last().unwrap().header;
    call.world.weather[0] = Box::new(|n| match n % 10 {
        3 => None,
        6 => Some(31),
        _ => Some(1),
    });
    call.talk(40, (8, 8), 160, bytes);
    call.world.run(40);
    let at_phone = call.at_phone(silent, 8);
    let first = at_phone
        .iter()
        .position(|packet| packet.2 == bytes(1))
        .expect("the first");
    let base = at_phone[first].clone();
    assert!(base.0.wrapping_sub(before.sequence) as usize <= first + 1);
    let mut heard = 0;
    for n in 1..=40u32 {
        let Some(packet) = at_phone.iter().find(|packet| packet.2 == bytes(n)) else {
            continue;
        };
        heard += 1;
        assert_eq!(u32::from(packet.0.wrapping_sub(base.0)), n - 1);
        assert_eq!(packet.1.wrapping_sub(base.1), (n - 1) * 160);
    }
    assert_eq!(heard, 36);
}

#[test]
fn a_key_takes_the_place_of_the_audio_that_passes_through_and_the_audio_goes_on() {
    let maps = ["101 telephone-event/8000"];
    let mut call = Call::outgoing(CodecPolicy::Auto, &[Codec::Pcma], "8 101", &maps);
    call.talk(20, (8, 8), 160, bytes);
    let begin = call.sent * 160;
    for n in 1..=7u16 {
        let event = TelephoneEvent {
            event: 5,
            end: n >= 5,
            volume: 10,
            duration: n.min(5) * 160,
        };
        call.sent += 1;
        call.browser_says(EVENT, begin, &event.to_bytes());
        call.phone_says(101, 0, &event.to_bytes());
        call.world.run(20);
    }
    call.header.timestamp = call.header.timestamp.wrapping_add(7 * 160);
    let keyed = call.world.phone(call.phone).received.len();
    call.talk(30, (8, 8), 160, bytes);
    let digits = call.at_phone(0, 101);
    let codes: Vec<_> = digits.iter().map(|digit| digit.2[0]).collect();
    assert!(
        codes.len() >= 7 && codes.iter().all(|code| *code == 5),
        "{codes:?}"
    );
    let ends = digits.iter().filter(|digit| digit.2[1] & 0x80 != 0).count();
    assert_eq!(ends, 3);
    let after: Vec<_> = call.at_phone(keyed, 8);
    assert!(
        after
            .iter()
            .filter(|packet| packet.2 != [0xd5; 160])
            .count()
            >= 20
    );
    call.assert_numbers_at_phone_go_on_by_one();
    let digits = call.world.browser(call.browser).digits();
    assert_eq!(digits, [(5, 800)], "on the clock of the audio, 8 kHz");
}

#[test]
fn what_passes_through_is_cut_to_the_length_that_the_phone_asked_for() {
    for (ptime, units) in [(30u32, 240usize), (10, 80), (60, 480)] {
        let answer = format!("8\r\na=ptime:{ptime}");
        let mut call = Call::outgoing(CodecPolicy::Auto, &[Codec::Pcma], &answer, &[]);
        let silent = call.world.phone(call.phone).received.len();
        let next = call.sent + 1;
        call.talk(60, (8, 8), 160, bytes);
        let heard = call.at_phone(silent, 8);
        let passed: Vec<_> = heard
            .into_iter()
            .filter(|packet| packet.2 != vec![0xd5; packet.2.len()])
            .collect();
        assert!(passed.len() as u32 >= 1200 / ptime - 2, "{}", passed.len());
        assert_steps(&passed, units as u32);
        let bytes_heard: Vec<u8> = passed.iter().flat_map(|packet| packet.2.clone()).collect();
        let said: Vec<u8> = (next..next + 60).flat_map(bytes).collect();
        assert_eq!(bytes_heard, said[..bytes_heard.len()], "at {ptime} ms");
    }
}

/// A key stands in the place of the sound until it ends, and nobody could send its end any more.
#[test]
fn a_key_that_the_phone_no_longer_hears_does_not_keep_the_sound_back() {
    let events = ["101 telephone-event/8000"];
    let mut call = Call::outgoing(CodecPolicy::Auto, &[Codec::Pcma], "8 101", &events);
    call.talk(5, (8, 8), 160, bytes);
    call.browser_says(EVENT, 5000, &[1, 10, 0, 160]);
    call.world.run(40);
    call.reoffer("8", &[]);
    let heard = call.at_phone(0, 8).len();
    let next = call.sent + 1;
    call.talk(20, (8, 8), 160, bytes);
    let heard = call.at_phone(heard, 8);
    let said: Vec<_> = (next..next + 20).map(bytes).collect();
    let came_through = said
        .iter()
        .filter(|said| heard.iter().any(|heard| heard.2 == **said));
    assert!(came_through.count() >= 18, "{heard:?}");
}

#[test]
fn what_passes_straight_through_is_heard_at_the_browser_alone_until_somebody_picks_up() {
    let mut call = Call::outgoing(CodecPolicy::Auto, &[Codec::Pcma], "8", &[]);
    let description = call::description("8", &[]);
    let now = call.world.now();
    call.world
        .legs
        .apply_early_answer(now, call.phone, &description);
    let from = call.world.phone(call.phone).received.len();
    call.talk(50, (8, 8), 160, bytes);
    call.world.run(40);
    let said: Vec<_> = (1..=50).map(bytes).collect();
    let at_phone = call.at_phone(from, 8);
    assert!(at_phone.len() >= 50, "the stream goes on");
    assert!(at_phone.iter().all(|packet| !said.contains(&packet.2)));
    let at_browser = call.at_browser(8);
    let heard = at_browser.iter().filter(|packet| said.contains(&packet.2));
    assert_eq!(heard.count(), 50);
    let now = call.world.now();
    call.world.legs.apply_answer(now, call.phone, &description);
    let from = call.world.phone(call.phone).received.len();
    call.talk(50, (8, 8), 160, bytes);
    let said: Vec<_> = (51..=100).map(bytes).collect();
    let at_phone = call.at_phone(from, 8);
    let heard = at_phone.iter().filter(|packet| said.contains(&packet.2));
    assert!(heard.count() >= 49);
    call.assert_numbers_at_phone_go_on_by_one();
}
