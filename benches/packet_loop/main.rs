//! What a packet costs: nanoseconds and allocations, Opus ↔ PCMU and PCMA transcoded, PCMA, G.722 and Opus straight
//! through, 1 to 200 bridges on one worker.
//!
//! Phones with SRTP are those of a second gateway, so that somebody seals what the first one opens: both are counted.
//!
//! Only the gateway's own work is timed and counted, from [`Legs::handle`] to the last [`Legs::poll_transmit`]; the
//! browsers' and phones' side of it is not, nor are system calls. A *packet* is one that crosses a bridge; each bridge
//! carries two in 20 ms. Allocations are given beside those of the WebRTC engine doing the same alone: the rest is
//! ours.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

mod engine;
mod secured;
mod sound;

use std::alloc::System;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mxtrunk_media::rtp::Header;
use mxtrunk_media::{
    Codec, CodecPolicy, Epoch, Happened, LegId, Legs, PhoneProfile, Settings, Socket,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use engine::{Engine, engine_allocations};
use secured::{SUITES, Secured};
use sound::{frames, number, opus_frames};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TICK: Duration = Duration::from_millis(20);
const GATEWAY: ([u8; 4], u16) = ([127, 0, 0, 1], 40_000);
/// Rounds before allocations are counted: queues and tables have their size by then.
const WARM_UP: usize = 100;
const COUNTED: usize = 100;
const MTU: usize = 1500;

/// A peer's datagrams of one round, made before the clock runs.
type Datagrams = Vec<(Socket, SocketAddr, Vec<u8>)>;

/// A worker's legs with their peers, in virtual time.
struct Bench {
    now: Instant,
    legs: Legs,
    browsers: Vec<Engine>,
    /// With the RTP clock ticks of their packets.
    phones: Vec<(LegId, SocketAddr, Header, u32)>,
    speech: Vec<Vec<u8>>,
    coded: Vec<Vec<u8>>,
    round: usize,
    /// STUN and DTLS from the gateway, which the browsers must get to be connected and to stay so.
    handshakes: Vec<(SocketAddr, usize, [u8; MTU])>,
}

impl Bench {
    fn new(policy: CodecPolicy) -> Self {
        let now = Instant::now();
        let epoch = Epoch {
            instant: now,
            since_unix: Duration::ZERO,
        };
        let mut settings = Settings::new(vec![GATEWAY.into()]);
        settings.policy = policy;
        Bench {
            now,
            legs: Legs::new(settings, epoch, 1),
            browsers: Vec::new(),
            phones: Vec::new(),
            speech: opus_frames(),
            coded: Vec::new(),
            round: 0,
            handshakes: Vec::with_capacity(4096),
        }
    }

    /// `bridges` of a browser that speaks the first codec with a phone that speaks the second.
    fn with_browsers(bridges: u16, (browsers, phones): (Codec, Codec)) -> Self {
        let mut bench = Bench::new(match browsers {
            Codec::Opus => CodecPolicy::Opus,
            _ => CodecPolicy::Auto,
        });
        if browsers != Codec::Opus {
            bench.speech = frames(browsers);
        }
        for n in 0..bridges {
            let browser = LegId(u64::from(n));
            let mut engine = Engine::new(bench.now, 50_000 + n);
            engine.speaks = browsers;
            engine.negotiate(|offer| {
                let now = bench.now;
                bench
                    .legs
                    .open_browser_beside(now, browser, None, Some(offer));
                description(&mut bench.legs);
                let phone = bench.open_phone(phones, n, Some(browser));
                bench.legs.bridge(now, browser, phone);
                bench.legs.describe(browser);
                description(&mut bench.legs)
            });
            bench.browsers.push(engine);
        }
        while !bench.browsers.iter().all(|browser| browser.connected) {
            bench.run_round();
        }
        bench
    }

    /// `bridges` of a phone with a phone: no engine takes part.
    fn with_phones(bridges: u16, codecs: (Codec, Codec)) -> Self {
        let mut bench = Bench::new(CodecPolicy::Opus);
        for n in 0..bridges {
            let one = bench.open_phone(codecs.0, 2 * n, None);
            let other = bench.open_phone(codecs.1, 2 * n + 1, None);
            bench.legs.bridge(bench.now, one, other);
        }
        bench
    }

    fn open_phone(&mut self, codec: Codec, n: u16, beside: Option<LegId>) -> LegId {
        self.coded = frames(codec);
        let leg = LegId(100_000 + u64::from(n));
        let address = SocketAddr::from(([127, 0, 0, 3], 10_000 + 2 * n));
        let rtp = SocketAddr::from((GATEWAY.0, 10_000 + 2 * n));
        let profile = PhoneProfile {
            codecs: vec![codec],
            ..PhoneProfile::default()
        };
        self.legs
            .open_phone_beside(self.now, leg, beside, rtp, &profile, None);
        description(&mut self.legs);
        let answer = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.3\r\ns=-\r\nc=IN IP4 127.0.0.3\r\nt=0 0\r\nm=audio {} RTP/AVP {number}\r\n\
             a=rtpmap:111 opus/48000/2\r\n",
            address.port(),
            number = number(codec)
        );
        self.legs.apply_answer(self.now, leg, &answer);
        let header = Header {
            payload_type: number(codec),
            marker: false,
            sequence: 0,
            timestamp: 0,
            ssrc: 1,
        };
        self.phones.push((leg, address, header, codec.clock() / 50));
        leg
    }

    /// One round of 20 ms; returns what the gateway's share took and how often it allocated.
    fn run_round(&mut self) -> (Duration, usize) {
        self.now += TICK;
        let datagrams = self.peers_speak();
        let region = Region::new(ALLOCATOR);
        let start = Instant::now();
        for (socket, source, datagram) in &datagrams {
            self.legs.handle(self.now, *socket, *source, datagram);
            self.take_out();
        }
        self.legs.handle_timeout(self.now);
        self.take_out();
        let took = start.elapsed();
        let change = region.change();
        for (to, len, bytes) in self.handshakes.drain(..) {
            let browser = self
                .browsers
                .iter_mut()
                .find(|browser| browser.address == to);
            browser
                .unwrap()
                .receive(self.now, GATEWAY.into(), &bytes[..len]);
        }
        while self.legs.poll_event().is_some() {}
        (took, change.allocations + change.reallocations)
    }

    fn peers_speak(&mut self) -> Datagrams {
        self.round += 1;
        let mut datagrams = Vec::with_capacity(4 * self.phones.len());
        let speech = &self.speech[self.round % self.speech.len()];
        for browser in &mut self.browsers {
            browser.advance(self.now);
            if browser.connected {
                browser.write(self.now, speech);
            }
            for datagram in browser.out.drain(..) {
                datagrams.push((Socket::Browsers(0), browser.address, datagram));
            }
        }
        let coded = &self.coded[self.round % self.coded.len()];
        for (leg, address, header, ticks) in &mut self.phones {
            header.sequence = header.sequence.wrapping_add(1);
            header.timestamp = header.timestamp.wrapping_add(*ticks);
            let mut datagram = header.to_bytes().to_vec();
            datagram.extend(coded);
            datagrams.push((Socket::Rtp(*leg), *address, datagram));
        }
        datagrams
    }

    fn take_out(&mut self) {
        while let Some(transmit) = self.legs.poll_transmit() {
            let payload = black_box(transmit.payload);
            let handshake = payload.first().is_some_and(|first| *first < 64);
            if handshake && transmit.socket == Socket::Browsers(0) {
                let mut bytes = [0; MTU];
                bytes[..payload.len()].copy_from_slice(payload);
                self.handshakes
                    .push((transmit.destination, payload.len(), bytes));
            }
        }
    }

    /// Allocations per packet once everything has its size.
    fn allocations(&mut self) -> f64 {
        for _ in 0..WARM_UP {
            self.run_round();
        }
        let count: usize = (0..COUNTED).map(|_| self.run_round().1).sum();
        count as f64 / (COUNTED * self.phones.len().max(self.browsers.len() * 2)) as f64
    }
}

fn description(legs: &mut Legs) -> String {
    loop {
        if let Happened::LocalDescription { sdp } = legs.poll_event().unwrap().what {
            return sdp;
        }
    }
}

fn packet_loop(criterion: &mut Criterion) {
    let engine = engine_allocations();
    for codecs in [(Codec::Pcmu, Codec::Pcmu), (Codec::Pcmu, Codec::Pcma)] {
        let phones = Bench::with_phones(50, codecs).allocations();
        println!("allocations per packet: phone to phone, {codecs:?} {phones:.2} (all of it ours)");
        assert!(phones < 0.01, "our own code allocates per packet");
    }
    for suite in SUITES {
        let secured = Secured::new(20, suite).allocations();
        println!(
            "allocations per packet: phone to phone, SRTP {suite} {secured:.2} (all of it ours)"
        );
        assert!(secured < 0.01, "our own code allocates per packet of SRTP");
    }
    // `cargo test` runs this once, to see that it works; `cargo bench` says so with an argument.
    let measured = std::env::args().any(|argument| argument == "--bench");
    let sizes: &[u16] = if measured {
        &[1, 10, 50, 200]
    } else {
        &[1, 10]
    };
    let mut group = criterion.benchmark_group("packet_loop");
    group.sample_size(10);
    for (browsers, phones) in [
        (Codec::Opus, Codec::Pcmu),
        (Codec::Opus, Codec::Pcma),
        (Codec::Pcma, Codec::Pcma),
        (Codec::G722, Codec::G722),
        (Codec::Opus, Codec::Opus),
    ] {
        for &bridges in sizes {
            let mut bench = Bench::with_browsers(bridges, (browsers, phones));
            let all = bench.allocations();
            let name = format!("{}-{}", browsers.name(), phones.name()).to_lowercase();
            println!(
                "allocations per packet: {name}/{bridges} {all:.2}, the WebRTC engine alone {engine:.2}"
            );
            assert!(all < engine + 0.1, "our own code allocates per packet");
            group.throughput(Throughput::Elements(2 * u64::from(bridges)));
            group.bench_function(BenchmarkId::new(name, bridges), |bencher| {
                bencher.iter_custom(|rounds| (0..rounds).map(|_| bench.run_round().0).sum());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, packet_loop);
criterion_main!(benches);
