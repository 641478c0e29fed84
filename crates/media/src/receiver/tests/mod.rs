//! From packets on a bad network to the steady stream that a phone hears, in virtual time.

mod drift;
mod jitter;
mod loss;
mod order;
mod silence;

use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::codec::{FRAME, Frame, Law, OPUS_TICKS};
use crate::virtual_time::origin;

const FRAME_US: u64 = 20_000;
const SECOND: u64 = 1_000_000;

/// A packet on its way: when it arrives, in µs, and what it is.
#[derive(Debug, Clone)]
struct Sent {
    arrives: u64,
    stamp: Stamp,
    payload: Payload,
}

#[derive(Debug, Clone)]
enum Payload {
    Opus(Arc<[u8]>),
    Law(Vec<u8>),
    Noise(Vec<u8>),
}

/// A phone that hears what a receiver pulls.
struct Phone {
    start: Instant,
    receiver: Receiver,
    heard: Vec<i16>,
    /// What the buffer added to the delay, at each frame.
    delays: Vec<Duration>,
}

impl Phone {
    fn hears_opus() -> Self {
        Phone::new(OPUS_TICKS)
    }

    fn hears_law() -> Self {
        Phone::new(1)
    }

    fn new(ticks: i64) -> Self {
        let start = origin();
        let mut receiver = Receiver::new(JitterSettings::default());
        receiver.feed_paced(start, ticks);
        Phone {
            start,
            receiver,
            heard: Vec::new(),
            delays: Vec::new(),
        }
    }

    /// Lets the packets arrive and pulls a frame every 20 ms, from `phase` µs on, until `end` µs.
    fn listen(&mut self, packets: impl IntoIterator<Item = Sent>, phase: u64, end: u64) {
        let mut packets: Vec<Sent> = packets.into_iter().collect();
        packets.sort_by_key(|packet| packet.arrives);
        let mut packets = packets.into_iter().peekable();
        for pull in (phase..end).step_by(FRAME_US as usize) {
            while let Some(packet) = packets.next_if(|packet| packet.arrives <= pull) {
                self.take_in(packet);
            }
            let now = self.at(pull);
            let frame = self.receiver.pull(now);
            self.heard.extend(frame.unwrap_or([0; FRAME]));
            self.delays.push(self.receiver.stats.buffered);
        }
        for packet in packets.take_while(|packet| packet.arrives < end) {
            self.take_in(packet);
        }
    }

    fn at(&self, us: u64) -> Instant {
        self.start + Duration::from_micros(us)
    }

    fn take_in(&mut self, packet: Sent) {
        let (now, stamp) = (self.at(packet.arrives), packet.stamp);
        match &packet.payload {
            Payload::Opus(payload) => {
                self.receiver
                    .receive_audio(now, stamp, Coded::Opus(payload));
            }
            Payload::Law(payload) => {
                let coded = Coded::Plain(Codec::Pcma, payload);
                self.receiver.receive_audio(now, stamp, coded);
            }
            Payload::Noise(payload) => self.receiver.receive_noise(now, stamp, payload),
        }
    }

    fn frame(&self, n: usize) -> &[i16] {
        &self.heard[n * FRAME..(n + 1) * FRAME]
    }

    /// Between two moments, in seconds.
    fn between(&self, from: f64, to: f64) -> &[i16] {
        &self.heard[(from * 8000.0) as usize..(to * 8000.0) as usize]
    }

    /// The mean delay between two moments, in ms.
    fn mean_delay(&self, from: f64, to: f64) -> f64 {
        let delays = &self.delays[(from * 50.0) as usize..(to * 50.0) as usize];
        let sum: f64 = delays.iter().map(Duration::as_secs_f64).sum();
        1000.0 * sum / delays.len() as f64
    }
}

/// A stream of 20 ms packets that nothing happens to: `n` is sent and arrives at `n` times 20 ms.
fn stream(payloads: Vec<Payload>, ticks: u32) -> Vec<Sent> {
    let packets = payloads.into_iter().enumerate();
    packets
        .map(|(n, payload)| Sent {
            arrives: n as u64 * FRAME_US,
            stamp: Stamp {
                ssrc: 7,
                sequence: 65_000u16.wrapping_add(n as u16),
                timestamp: (u32::MAX - 9000).wrapping_add(n as u32 * 160 * ticks),
                marker: false,
            },
            payload,
        })
        .collect()
}

fn law_stream(pcm: &[i16]) -> Vec<Sent> {
    let payloads = pcm.chunks_exact(FRAME).map(|frame| {
        let frame: &Frame = frame.try_into().unwrap();
        Payload::Law(Law::A.encode(frame).to_vec())
    });
    stream(payloads.collect(), 1)
}

/// As a browser sends it: 32 kbit/s at 48 kHz, here from 8 kHz sound.
fn opus_stream(pcm: &[i16], tune: impl Fn(&mut opus::Encoder)) -> Vec<Sent> {
    let mut encoder =
        opus::Encoder::new(8000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    tune(&mut encoder);
    let payloads = pcm.chunks_exact(FRAME).map(|frame| {
        let packet = encoder.encode_vec(frame, 1000).unwrap();
        Payload::Opus(packet.into())
    });
    stream(payloads.collect(), OPUS_TICKS as u32)
}

fn tone(hertz: f64, seconds: f64) -> Vec<i16> {
    (0..(seconds * 8000.0) as usize)
        .map(|n| ((n as f64 * hertz * TAU / 8000.0).sin() * 8000.0) as i16)
        .collect()
}

/// Something like a voice: a gliding pitch with harmonics, in syllables, over a quiet background.
fn voice(seconds: f64) -> Vec<i16> {
    sing(seconds, |time| (time * 4.0 * TAU).sin().max(0.0))
}

/// One long vowel.
fn vowel(seconds: f64) -> Vec<i16> {
    sing(seconds, |_| 1.0)
}

fn sing(seconds: f64, loudness: impl Fn(f64) -> f64) -> Vec<i16> {
    let mut random = Random(5);
    let mut phase = 0.0;
    (0..(seconds * 8000.0) as usize)
        .map(|n| {
            let time = n as f64 / 8000.0;
            phase += (130.0 + 30.0 * (time * 3.0).sin()) / 8000.0 * TAU;
            let harmonics: f64 = (1..9)
                .map(|h| (phase * f64::from(h)).sin() / f64::from(h))
                .sum();
            let background = f64::from(random.below(60)) - 30.0;
            (harmonics * loudness(time) * 5000.0 + background) as i16
        })
        .collect()
}

/// Chance that is the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(bound)) as u32
    }
}

/// Level in dBov.
fn dbov(pcm: &[i16]) -> f64 {
    let squares: f64 = pcm.iter().map(|s| f64::from(*s).powi(2)).sum();
    10.0 * (squares / pcm.len() as f64 / 32_768f64.powi(2)).log10()
}

/// The largest departure from a pure tone: what a click would make large. A pure tone obeys
/// `x[n] = 2 cos w x[n-1] - x[n-2]`.
fn largest_click(hertz: f64, pcm: &[i16]) -> f64 {
    let factor = 2.0 * (hertz * TAU / 8000.0).cos();
    let departure =
        |w: &[i16]| (f64::from(w[2]) - factor * f64::from(w[1]) + f64::from(w[0])).abs();
    pcm.windows(3).map(departure).fold(0.0, f64::max)
}
