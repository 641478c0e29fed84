//! One long call in virtual time: 70,000 packets each way, past the roll-over of both sequence numbers and of SRTP,
//! with eleven minutes of hold in the middle, and the memory stays where it was.
//!
//! A test binary of its own: its memory is nobody else's.

#![expect(
    clippy::unwrap_used,
    reason = "this is all test code; clippy sees only the functions marked so"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mxtrunk_media::rtp::{Header, Packet};
use mxtrunk_media::{
    AudioVerdict, Epoch, Happened, LegId, LegStats, Legs, PhoneProfile, Settings, Socket,
};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

const TICK: Duration = Duration::from_millis(20);
/// 23 minutes of packets, beyond 65,536 of them.
const PACKETS: u64 = 70_000;
const HOLD: Duration = Duration::from_secs(11 * 60);
/// What the process may grow by once everything has its size.
const GROWTH_KIB: u64 = 1024;
const GATEWAY: ([u8; 4], u16) = ([127, 0, 0, 1], 40_000);
const BROWSER: ([u8; 4], u16) = ([127, 0, 0, 2], 50_000);
const PHONE: ([u8; 4], u16) = ([127, 0, 0, 3], 60_000);
const BROWSER_LEG: LegId = LegId(1);
const PHONE_LEG: LegId = LegId(2);

/// The resident memory of this process, KiB.
#[expect(
    clippy::disallowed_methods,
    reason = "the size of the process stands in a file"
)]
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// The browser's end of the connection.
struct Browser {
    rtc: Rtc,
    mid: Mid,
    pending: Option<SdpPendingOffer>,
    connected: bool,
    heard: u64,
    out: Vec<Vec<u8>>,
}

impl Browser {
    fn advance(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain();
    }

    fn receive(&mut self, now: Instant, datagram: &[u8]) {
        let (source, destination) = (GATEWAY.into(), BROWSER.into());
        let received = Receive::new(Protocol::Udp, source, destination, datagram);
        let input = Input::Receive(now, received.unwrap());
        self.rtc.handle_input(input).unwrap();
        self.drain();
    }

    fn write(&mut self, now: Instant, number: u64, payload: &[u8]) {
        let time = number as u32 * 960;
        let write = RtpWrite::new(111.into(), number.into(), time, now, payload);
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(self.mid, None).unwrap();
        stream.set_unpaced(true);
        stream.write_rtp(write);
        self.advance(now);
    }

    fn offer(&mut self, direction: Direction) -> String {
        let mut api = self.rtc.sdp_api();
        api.set_direction(self.mid, direction);
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        self.drain();
        offer.to_sdp_string()
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => self.out.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(_)) => self.heard += 1,
                Output::Event(_) => {}
            }
        }
    }
}

struct Call {
    now: Instant,
    legs: Legs,
    browser: Browser,
    voice: Vec<Vec<u8>>,
    sent: u64,
    at_phone: u64,
    phone: Header,
    closed: Vec<LegStats>,
}

impl Call {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time has to begin somewhere"
    )]
    fn new() -> Self {
        let now = Instant::now();
        let epoch = Epoch {
            instant: now,
            since_unix: Duration::from_secs(1_800_000_000),
        };
        let mut browser = RtcConfig::new()
            .clear_codecs()
            .set_rtp_mode(true)
            .enable_opus(true, false)
            .build(now);
        let candidate = Candidate::host(BROWSER.into(), Protocol::Udp).unwrap();
        browser.add_local_candidate(candidate);
        let mut api = browser.sdp_api();
        let mid = api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let mut call = Call {
            now,
            legs: Legs::new(Settings::new(vec![GATEWAY.into()]), epoch, 7),
            browser: Browser {
                rtc: browser,
                mid,
                pending: Some(pending),
                connected: false,
                heard: 0,
                out: Vec::new(),
            },
            voice: voice(),
            sent: 0,
            at_phone: 0,
            phone: Header {
                payload_type: 0,
                marker: false,
                sequence: 65_000,
                timestamp: u32::MAX - 1000,
                ssrc: 7,
            },
            closed: Vec::new(),
        };
        let offer = offer.to_sdp_string();
        call.legs.open_browser(now, BROWSER_LEG, Some(&offer));
        call.accept_answer();
        let port = SocketAddr::from((GATEWAY.0, 20_000));
        let profile = PhoneProfile::default();
        call.legs.open_phone(now, PHONE_LEG, port, &profile, None);
        call.description();
        call.legs
            .apply_answer(now, PHONE_LEG, &phone_sdp("sendrecv"));
        call.legs.bridge(now, BROWSER_LEG, PHONE_LEG);
        call
    }

    fn accept_answer(&mut self) {
        let answer = SdpAnswer::from_sdp_string(&self.description()).unwrap();
        let pending = self.browser.pending.take().unwrap();
        let api = self.browser.rtc.sdp_api();
        api.accept_answer(pending, answer).unwrap();
    }

    fn description(&mut self) -> String {
        loop {
            if let Happened::LocalDescription { sdp } = self.legs.poll_event().unwrap().what {
                return sdp;
            }
        }
    }

    /// Twenty milliseconds; both talk unless on hold.
    fn tick(&mut self, talking: bool) {
        self.now += TICK;
        self.browser.advance(self.now);
        if talking && self.browser.connected {
            self.talk();
        }
        for datagram in std::mem::take(&mut self.browser.out) {
            let (socket, source) = (Socket::Browsers(0), BROWSER.into());
            self.legs.handle(self.now, socket, source, &datagram);
            self.deliver();
        }
        self.legs.handle_timeout(self.now);
        self.deliver();
    }

    fn talk(&mut self) {
        self.sent += 1;
        let payload = &self.voice[self.sent as usize % self.voice.len()];
        self.browser.write(self.now, self.sent, payload);
        self.phone.sequence = self.phone.sequence.wrapping_add(1);
        self.phone.timestamp = self.phone.timestamp.wrapping_add(160);
        let mut datagram = self.phone.to_bytes().to_vec();
        datagram.extend([0x55; 160]);
        let (socket, source) = (Socket::Rtp(PHONE_LEG), PHONE.into());
        self.legs.handle(self.now, socket, source, &datagram);
        self.deliver();
    }

    fn deliver(&mut self) {
        while let Some(transmit) = self.legs.poll_transmit() {
            match transmit.socket {
                Socket::Rtp(_) => {
                    Packet::parse(transmit.payload).unwrap();
                    self.at_phone += 1;
                }
                Socket::Rtcp(_) => {}
                _ => self.browser.receive(self.now, transmit.payload),
            }
        }
        while let Some(event) = self.legs.poll_event() {
            match event.what {
                Happened::Closed { stats } => self.closed.push(stats),
                Happened::Connected | Happened::LocalDescription { .. } => {}
                // See `hold`: the far ends come by themselves.
                Happened::OfferDue => {}
                other => unreachable!("{other:?}"),
            }
        }
    }

    fn run(&mut self, packets: u64) {
        let end = self.sent + packets;
        while self.sent < end {
            self.tick(true);
        }
    }

    /// The phone holds, the browser too, and eleven minutes later both come back.
    fn hold(&mut self) {
        self.reoffer(Direction::Inactive, "inactive");
        let heard = (self.browser.heard, self.at_phone);
        for _ in 0..HOLD.as_millis() / TICK.as_millis() {
            self.tick(false);
        }
        assert_eq!((self.browser.heard, self.at_phone), heard);
        // The browser, which comes first, is answered that the phone still holds: both offer once more, as far ends do
        // when they are told of it.
        for _ in 0..2 {
            self.reoffer(Direction::SendRecv, "sendrecv");
        }
    }

    fn reoffer(&mut self, browser: Direction, phone: &str) {
        let offer = self.browser.offer(browser);
        self.legs.apply_offer(self.now, BROWSER_LEG, &offer);
        self.accept_answer();
        self.legs
            .apply_offer(self.now, PHONE_LEG, &phone_sdp(phone));
        self.deliver();
    }
}

fn phone_sdp(direction: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\n\
         m=audio 60000 RTP/AVP 0\r\na={direction}\r\n"
    )
}

/// A second of a rising tone, as a browser codes it.
fn voice() -> Vec<Vec<u8>> {
    let mut encoder =
        opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    let pcm: Vec<i16> = (0..48_000)
        .map(|n| ((n as f64).powf(1.6) / 900.0).sin() * 8000.0)
        .map(|sample| sample as i16)
        .collect();
    let frames = pcm.chunks_exact(960);
    frames
        .map(|frame| encoder.encode_vec(frame, 1000).unwrap())
        .collect()
}

#[test]
fn a_call_of_70_000_packets_with_eleven_minutes_of_hold_leaves_memory_flat() {
    let mut call = Call::new();
    call.run(5_000);
    let before = memory();
    call.run(PACKETS / 2 - 5_000);
    call.hold();
    call.run(PACKETS / 2);
    let after = memory();
    assert!(
        after <= before + GROWTH_KIB,
        "memory went from {before} to {after} KiB"
    );
    assert!(call.at_phone >= PACKETS - 100, "{}", call.at_phone);
    assert!(
        call.browser.heard >= PACKETS - 100,
        "{}",
        call.browser.heard
    );
    call.legs.close(BROWSER_LEG);
    call.legs.close(PHONE_LEG);
    call.deliver();
    let [browser, phone] = call.closed.as_slice() else {
        unreachable!("two legs were closed");
    };
    assert_eq!(AudioVerdict::of(browser, phone), AudioVerdict::Both);
    assert!(browser.received.packets >= PACKETS - 100, "{browser:?}");
    assert_eq!(phone.received.packets, PACKETS);
    assert_eq!((browser.received.lost, phone.received.lost), (0, 0));
    // What the hold costs is a frame or two at its seams.
    assert!(browser.received.concealed < 50, "{browser:?}");
    assert!(call.legs.is_empty());
}
