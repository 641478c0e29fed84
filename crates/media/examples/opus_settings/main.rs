//! What Opus towards browsers costs and how it sounds, by its settings: prints the tables of `docs/opus.md`.
//!
//! `cargo run -p mxtrunk-media --example opus_settings -- target/testbed` (some minutes; `cargo xtask setup` first).
//! Real voices go through G.711 as a phone's would, are encoded, and decoded as a browser does. CPU is thread time of
//! the encoder alone, 50 of them taking turns as on a busy worker.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement reads files and its CPU time, and fails by panicking"
)]

mod chain;
mod voices;

use chain::{Loss, Settings, Silence, cost, heard, longest_hole, noisy, phone, sent};
use voices::{Pesq, clips};

const COMPLEXITIES: [u8; 7] = [0, 1, 2, 3, 5, 7, 10];
const BITRATES: [u32; 4] = [12_000, 16_000, 24_000, 32_000];
/// Percent.
const LOSSES: [u8; 6] = [0, 1, 2, 5, 10, 20];
const ENCODERS: usize = 50;

fn main() {
    let testbed = std::env::args().nth(1).unwrap_or("target/testbed".into());
    let mut bench = Bench {
        pesq: Pesq::new(&testbed),
        clips: clips(&testbed),
    };
    bench.complexity_and_bitrate();
    bench.redundancy();
    bench.silence();
}

struct Bench {
    pesq: Pesq,
    clips: Vec<Vec<i16>>,
}

impl Bench {
    fn complexity_and_bitrate(&mut self) {
        println!("\n## Complexity and bit rate: CPU per frame, PESQ without loss\n");
        let rates = BITRATES.map(|rate| format!(" {} kbit/s |", rate / 1000));
        println!("| complexity |{} 24 kbit/s, FEC 10 % |", rates.concat());
        println!("|---|{}---|", "---|".repeat(BITRATES.len()));
        for complexity in COMPLEXITIES {
            let plain = BITRATES.map(|bitrate| Settings {
                complexity,
                bitrate,
                ..Settings::default()
            });
            let redundant = Settings {
                complexity,
                fec: Some(10),
                ..Settings::default()
            };
            let cells = plain.iter().chain([&redundant]).map(|settings| {
                let score = self.score(*settings, 0);
                format!(" {:.0} µs, {score:.2} |", self.cost(*settings))
            });
            let cells: String = cells.collect();
            println!("| {complexity} |{cells}");
        }
    }

    fn redundancy(&mut self) {
        println!("\n## FEC: PESQ without / with it at random loss, the encoder told of it\n");
        let heads = LOSSES.map(|loss| format!(" {loss} % |"));
        println!("| kbit/s |{}", heads.concat());
        println!("|---|{}", "---|".repeat(LOSSES.len()));
        for bitrate in [16_000, 24_000, 32_000] {
            let cells = LOSSES.map(|loss| {
                let plain = Settings {
                    bitrate,
                    ..Settings::default()
                };
                let fec = Some(loss.max(1));
                let redundant = Settings { fec, ..plain };
                let (without, with) = (self.score(plain, loss), self.score(redundant, loss));
                format!(" {without:.2} / {with:.2} |")
            });
            println!("| {} |{}", bitrate / 1000, cells.concat());
        }
    }

    fn silence(&mut self) {
        println!("\n## Silence: each clip, then a pause as long, on a line with noise\n");
        println!(
            "| noise | DTX | CPU per frame | packets/s | PESQ | longest hole, ms | noise in the pause, dBov |"
        );
        println!("|---|---|---|---|---|---|---|");
        for noise in [None, Some(-65.0), Some(-55.0), Some(-40.0)] {
            let name = noise.map_or("none".to_owned(), |level| format!("{level} dBov"));
            for silence in [Silence::Encoded, Silence::Libopus, Silence::Gate] {
                let settings = Settings {
                    silence,
                    ..Settings::default()
                };
                self.silence_row(&name, settings, noise);
            }
        }
    }

    fn silence_row(&mut self, name: &str, settings: Settings, noise: Option<f32>) {
        let (mut packets, mut frames, mut hole, mut pause) = (0, 0, 0, 0.0);
        let lines: Vec<Vec<i16>> = self
            .clips
            .iter()
            .map(|clip| phone(&noisy(clip, noise)))
            .collect();
        let mut pairs = Vec::new();
        for (clip, line) in self.clips.iter().zip(&lines) {
            let out = sent(settings, line);
            packets += out.iter().flatten().count();
            frames += out.len();
            let back = heard(&out, Loss::NONE);
            // From a second after the last word on.
            pause += chain::level(&back[clip.len() + chain::RATE as usize..]);
            let back = back[..clip.len()].to_vec();
            hole = hole.max(longest_hole(clip, &back));
            pairs.push((clip.clone(), back));
        }
        let score = self.pesq.mean(&pairs);
        let lines: Vec<&[i16]> = lines.iter().map(Vec::as_slice).collect();
        let cost = cost(settings, &lines, ENCODERS).as_secs_f64() * 1e6;
        println!(
            "| {name} | {:?} | {cost:.1} µs | {:.1} | {score:.2} | {hole} | {:.1} |",
            settings.silence,
            packets as f64 * 50.0 / frames as f64,
            pause / pairs.len() as f64,
        );
    }

    /// The mean PESQ of all clips.
    fn score(&mut self, settings: Settings, loss: u8) -> f64 {
        let pairs = self.clips.iter().enumerate().map(|(n, clip)| {
            let packets = sent(settings, &phone(clip));
            (clip.clone(), heard(&packets, Loss::of(loss, n as u64 + 1)))
        });
        let pairs: Vec<_> = pairs.collect();
        self.pesq.mean(&pairs)
    }

    /// Microseconds per frame.
    fn cost(&self, settings: Settings) -> f64 {
        let pcm: Vec<Vec<i16>> = self.clips.iter().map(|clip| phone(clip)).collect();
        let pcm: Vec<&[i16]> = pcm.iter().map(Vec::as_slice).collect();
        cost(settings, &pcm, ENCODERS).as_secs_f64() * 1e6
    }
}
