//! The way of a phone's sound to a browser, with the encoder's settings free.

use std::time::Duration;

use mxtrunk_media::silence::{SilenceGate, Turn};
use mxtrunk_media::{FRAME, Frame, Law};
use opus::{Application, Bitrate, Channels, Decoder, Encoder};

/// Samples per second.
pub(crate) const RATE: u32 = 8000;

/// How an encoder is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) complexity: u8,
    pub(crate) bitrate: u32,
    /// The loss that it prepares for, percent.
    pub(crate) fec: Option<u8>,
    pub(crate) silence: Silence,
}

/// What is done with silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It is sent like talk.
    Encoded,
    /// libopus's own DTX.
    Libopus,
    /// Our gate in front of the encoder.
    Gate,
}

impl Default for Settings {
    fn default() -> Self {
        let shipped = mxtrunk_media::OpusSettings::default();
        Settings {
            complexity: shipped.complexity,
            bitrate: shipped.bitrate,
            fec: None,
            silence: Silence::Encoded,
        }
    }
}

struct Sender {
    encoder: Encoder,
    gate: Option<SilenceGate>,
    in_dtx: bool,
    buffer: [u8; 400],
}

impl Sender {
    fn new(settings: Settings) -> Self {
        let mut encoder = Encoder::new(RATE, Channels::Mono, Application::Voip).unwrap();
        let complexity = i32::from(settings.complexity);
        encoder.set_complexity(complexity).unwrap();
        let bitrate = Bitrate::Bits(settings.bitrate as i32);
        encoder.set_bitrate(bitrate).unwrap();
        if let Some(loss) = settings.fec {
            encoder.set_inband_fec(true).unwrap();
            encoder.set_packet_loss_perc(i32::from(loss)).unwrap();
        }
        encoder
            .set_dtx(settings.silence == Silence::Libopus)
            .unwrap();
        Sender {
            encoder,
            gate: (settings.silence == Silence::Gate).then(SilenceGate::default),
            in_dtx: false,
            buffer: [0; 400],
        }
    }

    /// Encodes a frame; lengths of the packets for the one before and for this one.
    fn take(&mut self, pcm: &Frame, mut send: impl FnMut(usize, &[u8])) {
        let turn = match &mut self.gate {
            Some(gate) => gate.judge(pcm),
            None => Turn::Speak,
        };
        match turn {
            Turn::Skip => {}
            Turn::Hush => send(0, &[self.buffer[0] & 0xfc]),
            Turn::Speak | Turn::Refresh | Turn::Spurt { before: false } => {
                self.encode(pcm, 0, &mut send)
            }
            Turn::Spurt { before: true } => {
                let before = *self.gate.as_ref().unwrap().before();
                self.encode(&before, 1, &mut send);
                self.encode(pcm, 0, &mut send);
            }
        }
    }

    fn encode(&mut self, pcm: &Frame, back: usize, send: &mut impl FnMut(usize, &[u8])) {
        let len = self.encoder.encode(pcm, &mut self.buffer).unwrap();
        // As browsers use libopus's DTX: the first empty packet is sent, those after it are not.
        let is_empty = len <= 2;
        if !(is_empty && self.in_dtx) {
            send(back, &self.buffer[..len]);
        }
        self.in_dtx = is_empty;
    }
}

/// The packet of each frame, if one is sent.
pub(crate) fn sent(settings: Settings, pcm: &[i16]) -> Vec<Option<Vec<u8>>> {
    let mut sender = Sender::new(settings);
    let mut packets: Vec<Option<Vec<u8>>> = Vec::new();
    for frame in frames(pcm) {
        packets.push(None);
        let last = packets.len() - 1;
        sender.take(frame, |back, payload| {
            packets[last - back] = Some(payload.to_vec());
        });
    }
    packets
}

/// CPU time of the encoder per frame, `count` encoders taking turns; the best of three runs.
pub(crate) fn cost(settings: Settings, clips: &[&[i16]], count: usize) -> Duration {
    let runs = (0..3).map(|_| {
        let mut senders: Vec<Sender> = (0..count).map(|_| Sender::new(settings)).collect();
        let rounds = clips.iter().map(|clip| clip.len() / FRAME).min().unwrap();
        let start = thread_time();
        for round in 0..rounds {
            for (n, sender) in senders.iter_mut().enumerate() {
                let clip = clips[n % clips.len()];
                // Each is at another place of its clip.
                let frame = frames(clip).nth((round + 7 * n) % (clip.len() / FRAME));
                sender.take(frame.unwrap(), |_, payload| {
                    std::hint::black_box(payload);
                });
            }
        }
        (thread_time() - start) / (rounds * count) as u32
    });
    runs.min().unwrap()
}

/// Time that this thread has spent on a CPU.
fn thread_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = text.split(' ').next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

/// Random loss, the same in every run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    percent: u8,
    state: u64,
}

impl Loss {
    pub(crate) const NONE: Loss = Loss {
        percent: 0,
        state: 1,
    };

    pub(crate) fn of(percent: u8, seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Loss { percent, state }
    }

    fn strikes(&mut self) -> bool {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % 100 < u64::from(self.percent)
    }
}

/// What a browser plays: redundancy where the next packet is there, concealment or comfort noise elsewhere.
pub(crate) fn heard(packets: &[Option<Vec<u8>>], mut loss: Loss) -> Vec<i16> {
    let arrived: Vec<Option<&[u8]>> = packets
        .iter()
        .map(|packet| packet.as_deref().filter(|_| !loss.strikes()))
        .collect();
    let mut decoder = Decoder::new(RATE, Channels::Mono).unwrap();
    let mut pcm = Vec::with_capacity(packets.len() * FRAME);
    for (n, packet) in arrived.iter().enumerate() {
        let mut frame = [0; FRAME];
        let next = arrived.get(n + 1).copied().flatten();
        let is_lost = packet.is_none() && packets[n].is_some();
        let (payload, fec) = match (packet, next) {
            (Some(payload), _) => (*payload, false),
            (None, Some(next)) if is_lost && next.len() > 2 => (next, true),
            (None, _) => (&[][..], false),
        };
        decoder.decode(payload, &mut frame, fec).unwrap();
        pcm.extend(frame);
    }
    pcm
}

/// The clip and a pause as long, with the line's noise (dBov) over both.
pub(crate) fn noisy(clip: &[i16], noise: Option<f32>) -> Vec<i16> {
    let mut line = clip.to_vec();
    line.resize(2 * clip.len(), 0);
    let Some(level) = noise else {
        return line;
    };
    // Uniform noise of amplitude A has the power A²/3; a little coloured, as rooms are.
    let amplitude = 32_768.0 * 10_f32.powf(level / 20.0) * 3_f32.sqrt();
    let (mut seed, mut last) = (7_u32, 0.0);
    for sample in &mut line {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let white = (seed >> 8) as f32 / 8_388_608.0 - 1.0;
        last = 0.5 * last + 0.866 * white;
        *sample = (f32::from(*sample) + amplitude * last) as i16;
    }
    line
}

/// What a phone makes of a sound: G.711, whole frames.
pub(crate) fn phone(pcm: &[i16]) -> Vec<i16> {
    let coded = frames(pcm).flat_map(|frame| {
        let mut back = [0; FRAME];
        Law::Mu.decode(&Law::Mu.encode(frame), &mut back);
        back
    });
    coded.collect()
}

/// The longest stretch in which the clip speaks and what was heard is 20 dB weaker, in ms.
pub(crate) fn longest_hole(clip: &[i16], heard: &[i16]) -> usize {
    let holes = frames(clip)
        .zip(frames(heard))
        .map(|(spoken, heard)| level(spoken) > -40.0 && level(heard) < level(spoken) - 20.0);
    let (_, longest) = holes.fold((0, 0), |(run, longest), is_hole| {
        let run = if is_hole { run + 20 } else { 0 };
        (run, longest.max(run))
    });
    longest
}

/// RMS in dBov.
pub(crate) fn level(pcm: &[i16]) -> f64 {
    let squares: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    20.0 * ((squares / pcm.len() as f64).sqrt().max(0.1) / 32_768.0).log10()
}

fn frames(pcm: &[i16]) -> impl Iterator<Item = &Frame> {
    pcm.as_chunks::<FRAME>().0.iter()
}
