//! Codecs by negotiation: what passes straight through, what is transcoded, and what changes in the middle of a call.

use mxtrunk_media::rtp::Header;
use mxtrunk_media::{
    AudioVerdict, Codec, CodecPolicy, Happened, IceMode, LegId, MediaError, PhoneProfile,
    TelephoneEvent,
};

use crate::sound;
use crate::world::World;

const EVENT: u8 = 100;

/// A call between a browser and a phone on a trunk with a codec list, with both ends' numbers.
struct Call {
    world: World,
    browser: LegId,
    phone: LegId,
    header: Header,
    sent: u32,
}

impl Call {
    /// The browser calls; the phone answers with these formats (`m=` numbers and `a=rtpmap` values).
    fn outgoing(policy: CodecPolicy, trunk: &[Codec], answer: &str, maps: &[&str]) -> Self {
        let mut world = World::of(IceMode::Full, policy);
        let browser = world.new_browser(440.0, 8000);
        let offer = world.browser(browser).offer(false);
        let now = world.now();
        world
            .legs
            .open_browser_beside(now, browser, None, Some(&offer));
        world.description(browser);
        let phone = world.new_phone(mxtrunk_media::Law::A, 620.0);
        world.phone(phone).talks = false;
        let (rtp, profile) = (world.phone_port(phone), profile(trunk));
        world
            .legs
            .open_phone_beside(now, phone, Some(browser), rtp, &profile, None);
        world.description(phone);
        world
            .legs
            .apply_answer(now, phone, &description(answer, maps));
        world.legs.bridge(now, browser, phone);
        world.legs.describe(browser);
        let answer = world.description(browser);
        world.browser(browser).accept_answer(&answer);
        world.browser(browser).talks = false;
        world.connect(browser);
        world.run(200);
        Call {
            world,
            browser,
            phone,
            header: Header {
                payload_type: 0,
                marker: false,
                sequence: 65_500,
                timestamp: u32::MAX - 3000,
                ssrc: 0x5eed,
            },
            sent: 0,
        }
    }

    fn answer(&mut self) -> String {
        let line = self.world.description(self.browser);
        let line = line.lines().find(|line| line.starts_with("m=audio"));
        line.unwrap_or_default().to_owned()
    }

    /// Both send a packet every 20 ms for so many packets, each made from its number.
    fn talk(&mut self, packets: u32, kinds: (u8, u8), ticks: u32, make: impl Fn(u32) -> Vec<u8>) {
        for _ in 0..packets {
            self.sent += 1;
            self.browser_says(kinds.0, self.sent * ticks, &make(self.sent));
            self.phone_says(kinds.1, ticks, &make(self.sent));
            self.world.run(20);
        }
    }

    fn browser_says(&mut self, kind: u8, timestamp: u32, payload: &[u8]) {
        let now = self.world.now();
        let browser = self.world.browser(self.browser);
        browser.write(now, kind, timestamp, payload);
    }

    fn phone_says(&mut self, kind: u8, ticks: u32, payload: &[u8]) {
        self.header.payload_type = kind;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(ticks);
        let mut datagram = self.header.to_bytes().to_vec();
        datagram.extend(payload);
        self.world.phone_sends(self.phone, datagram);
    }

    /// What the phone got under `kind` after its `from`th packet: number, timestamp, payload.
    fn at_phone(&mut self, from: usize, kind: u8) -> Vec<(u16, u32, Vec<u8>)> {
        let received = self.world.phone(self.phone).received.iter().skip(from);
        let received = received.filter(|packet| packet.header.payload_type == kind);
        received
            .map(|packet| {
                let header = packet.header;
                (header.sequence, header.timestamp, packet.payload.clone())
            })
            .collect()
    }

    fn at_browser(&mut self, kind: u8) -> Vec<(u64, u32, Vec<u8>)> {
        let received = self.world.browser(self.browser).received.iter();
        let received = received.filter(|(_, packet)| packet.0 == kind);
        received
            .map(|(sequence, packet)| (*sequence, packet.1, packet.2.clone()))
            .collect()
    }

    fn reoffer(&mut self, formats: &str, maps: &[&str]) -> Happened {
        self.world.events.clear();
        let now = self.world.now();
        let offer = description(formats, maps);
        self.world.legs.apply_offer(now, self.phone, &offer);
        self.world.collect();
        self.world
            .events
            .pop()
            .expect("an answer or a refusal")
            .what
    }
}

fn profile(codecs: &[Codec]) -> PhoneProfile {
    PhoneProfile {
        codecs: codecs.to_vec(),
        ..PhoneProfile::default()
    }
}

fn description(formats: &str, maps: &[&str]) -> String {
    let maps: String = maps
        .iter()
        .map(|map| format!("a=rtpmap:{map}\r\n"))
        .collect();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\n\
         m=audio 60000 RTP/AVP {formats}\r\n{maps}"
    )
}

/// As Chromium and Firefox answer: in the order of the offer, whose first they send.
fn in_the_order_of(offer: &str, answer: &str) -> String {
    let line = |sdp: &str| {
        let line = sdp.lines().find(|line| line.starts_with("m=audio"));
        line.unwrap_or_default().to_owned()
    };
    let formats = |sdp: &str| -> Vec<String> {
        let line = line(sdp);
        line.split(' ').skip(3).map(str::to_owned).collect()
    };
    let answered = formats(answer);
    let ordered = formats(offer).into_iter();
    let ordered: Vec<_> = ordered.filter(|format| answered.contains(format)).collect();
    let own = line(answer);
    let ours = format!("m=audio 9 UDP/TLS/RTP/SAVPF {}", ordered.join(" "));
    answer.replace(&own, &ours)
}

/// Bytes that no codec of ours would make by itself.
fn bytes(n: u32) -> Vec<u8> {
    (0..160).map(|k| (n * 31 + k * 7) as u8).collect()
}

/// 20 ms of a tone in A-law.
fn tone(hertz: f64, law: mxtrunk_media::Law) -> impl Fn(u32) -> Vec<u8> {
    move |n| {
        let pcm = sound::tone(hertz, 8000, n as usize * 160, 160);
        law.encode(&pcm.try_into().expect("a frame")).to_vec()
    }
}

fn decoded(law: mxtrunk_media::Law, packets: &[(u16, u32, Vec<u8>)]) -> Vec<i16> {
    let mut pcm = Vec::new();
    for (_, _, payload) in packets {
        let mut frame = [0; 160];
        law.decode(payload, &mut frame);
        pcm.extend(frame);
    }
    pcm
}

fn assert_steps<N: Into<u64> + Copy>(packets: &[(N, u32, Vec<u8>)], ticks: u32) {
    for pair in packets.windows(2) {
        let step = pair[1].0.into().wrapping_sub(pair[0].0.into());
        assert!(step == 1 || step as u16 == 1, "a step of {step}");
        assert_eq!(pair[1].1.wrapping_sub(pair[0].1), ticks);
    }
}

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
    // Numbers go on by one through all of it.
    let all = call.world.phone(call.phone).received.clone();
    for pair in all.windows(2) {
        let step = pair[1]
            .header
            .sequence
            .wrapping_sub(pair[0].header.sequence);
        assert_eq!(step, 1);
    }
    let digits = call.world.browser(call.browser).digits();
    assert_eq!(digits, [(5, 800)], "on the clock of the audio, 8 kHz");
}

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
    let all = call.world.phone(call.phone).received.clone();
    for pair in all.windows(2) {
        let step = pair[1]
            .header
            .sequence
            .wrapping_sub(pair[0].header.sequence);
        assert_eq!(step, 1);
    }
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
    let all = call.world.phone(call.phone).received.clone();
    for pair in all.windows(2) {
        let step = pair[1]
            .header
            .sequence
            .wrapping_sub(pair[0].header.sequence);
        assert_eq!(step, 1);
    }
}

#[test]
fn a_change_that_would_leave_somebody_deaf_is_refused_and_the_call_goes_on() {
    let trunk = [Codec::G722, Codec::Pcma];
    let mut call = Call::outgoing(CodecPolicy::Auto, &trunk, "9", &[]);
    call.talk(10, (9, 9), 160, bytes);
    let refused = Happened::OfferRefused {
        why: MediaError::NoCommonCodec,
    };
    assert_eq!(call.reoffer("8", &[]), refused);
    let heard = call.at_browser(9).len();
    call.talk(10, (9, 9), 160, bytes);
    assert_eq!(call.at_browser(9).len(), heard + 10);
    let mut call = Call::outgoing(CodecPolicy::Opus, &trunk, "8", &[]);
    assert_eq!(call.reoffer("9", &[]), refused);
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
