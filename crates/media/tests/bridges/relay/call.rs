//! A call of a browser with a phone on a trunk with a codec list, and what both say and hear in it.

use mxtrunk_media::rtp::Header;
use mxtrunk_media::{Codec, CodecPolicy, Happened, IceMode, LegId, PhoneProfile};

use crate::sound;
use crate::world::World;

pub(super) const EVENT: u8 = 100;

/// A call between a browser and a phone on a trunk with a codec list, with both ends' numbers.
pub(super) struct Call {
    pub(super) world: World,
    pub(super) browser: LegId,
    pub(super) phone: LegId,
    pub(super) header: Header,
    pub(super) sent: u32,
}

impl Call {
    /// The browser calls; the phone answers with these formats (`m=` numbers and `a=rtpmap` values).
    pub(super) fn outgoing(
        policy: CodecPolicy,
        trunk: &[Codec],
        answer: &str,
        maps: &[&str],
    ) -> Self {
        Self::begun(policy, trunk, |world, phone| {
            let answer = description(answer, maps);
            world.legs.apply_answer(world.now(), phone, &answer);
        })
    }

    /// The same, and nobody has picked up: it is a description of early media.
    pub(super) fn early(policy: CodecPolicy, trunk: &[Codec], answer: &str) -> Self {
        Self::begun(policy, trunk, |world, phone| {
            let answer = description(answer, &[]);
            world.legs.apply_early_answer(world.now(), phone, &answer);
        })
    }

    fn begun(
        policy: CodecPolicy,
        trunk: &[Codec],
        is_described: impl FnOnce(&mut World, LegId),
    ) -> Self {
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
        is_described(&mut world, phone);
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

    pub(super) fn answer(&mut self) -> String {
        let line = self.world.description(self.browser);
        let line = line.lines().find(|line| line.starts_with("m=audio"));
        line.unwrap_or_default().to_owned()
    }

    /// Both send a packet every 20 ms for so many packets, each made from its number.
    pub(super) fn talk(
        &mut self,
        packets: u32,
        kinds: (u8, u8),
        ticks: u32,
        make: impl Fn(u32) -> Vec<u8>,
    ) {
        for _ in 0..packets {
            self.sent += 1;
            self.browser_says(kinds.0, self.sent * ticks, &make(self.sent));
            self.phone_says(kinds.1, ticks, &make(self.sent));
            self.world.run(20);
        }
    }

    pub(super) fn browser_says(&mut self, kind: u8, timestamp: u32, payload: &[u8]) {
        let now = self.world.now();
        let browser = self.world.browser(self.browser);
        browser.write(now, kind, timestamp, payload);
    }

    pub(super) fn phone_says(&mut self, kind: u8, ticks: u32, payload: &[u8]) {
        self.header.payload_type = kind;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(ticks);
        let mut datagram = self.header.to_bytes().to_vec();
        datagram.extend(payload);
        self.world.phone_sends(self.phone, datagram);
    }

    /// What the phone got under `kind` after its `from`th packet: number, timestamp, payload.
    pub(super) fn at_phone(&mut self, from: usize, kind: u8) -> Vec<(u16, u32, Vec<u8>)> {
        let received = self.world.phone(self.phone).received.iter().skip(from);
        let received = received.filter(|packet| packet.header.payload_type == kind);
        received
            .map(|packet| {
                let header = packet.header;
                (header.sequence, header.timestamp, packet.payload.clone())
            })
            .collect()
    }

    pub(super) fn at_browser(&mut self, kind: u8) -> Vec<(u64, u32, Vec<u8>)> {
        let received = self.world.browser(self.browser).received.iter();
        let received = received.filter(|(_, packet)| packet.0 == kind);
        received
            .map(|(sequence, packet)| (*sequence, packet.1, packet.2.clone()))
            .collect()
    }

    /// Whatever changed in the call, the phone got one stream.
    pub(super) fn assert_numbers_at_phone_go_on_by_one(&mut self) {
        for pair in self.world.phone(self.phone).received.windows(2) {
            let [one, next] = [&pair[0].header, &pair[1].header];
            assert_eq!(next.sequence.wrapping_sub(one.sequence), 1);
        }
    }

    pub(super) fn reoffer(&mut self, formats: &str, maps: &[&str]) -> Happened {
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

pub(super) fn profile(codecs: &[Codec]) -> PhoneProfile {
    PhoneProfile {
        codecs: codecs.to_vec(),
        ..PhoneProfile::default()
    }
}

pub(super) fn description(formats: &str, maps: &[&str]) -> String {
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
pub(super) fn in_the_order_of(offer: &str, answer: &str) -> String {
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
pub(super) fn bytes(n: u32) -> Vec<u8> {
    (0..160).map(|k| (n * 31 + k * 7) as u8).collect()
}

/// 20 ms of a tone in A-law.
pub(super) fn tone(hertz: f64, law: mxtrunk_media::Law) -> impl Fn(u32) -> Vec<u8> {
    move |n| {
        let pcm = sound::tone(hertz, 8000, n as usize * 160, 160);
        law.encode(&pcm.try_into().expect("a frame")).to_vec()
    }
}

pub(super) fn decoded(law: mxtrunk_media::Law, packets: &[(u16, u32, Vec<u8>)]) -> Vec<i16> {
    let mut pcm = Vec::new();
    for (_, _, payload) in packets {
        let mut frame = [0; 160];
        law.decode(payload, &mut frame);
        pcm.extend(frame);
    }
    pcm
}

pub(super) fn assert_steps<N: Into<u64> + Copy>(packets: &[(N, u32, Vec<u8>)], ticks: u32) {
    for pair in packets.windows(2) {
        let step = pair[1].0.into().wrapping_sub(pair[0].0.into());
        assert!(step == 1 || step as u16 == 1, "a step of {step}");
        assert_eq!(pair[1].1.wrapping_sub(pair[0].1), ticks);
    }
}
