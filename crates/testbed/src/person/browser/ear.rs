//! Whether there is anything to hear: by what is in the packets, since a gateway that hears nothing may still send some.

use std::time::{Duration, Instant};

use opus::{Channels, Decoder};

/// Quieter than this (root mean square of full scale, -40 dB) is silence: comfort noise, or what is left of a voice
/// that is concealed.
const LOUD: f32 = 0.01;
/// So long without sound is no silence yet: two packets that came late.
const A_MOMENT: Duration = Duration::from_secs(1);
/// The longest that a packet of Opus may be, 120 ms, in samples of 8 kHz.
const LONGEST: usize = 960;

/// Listens to packets of Opus.
pub(super) struct Ear {
    decoder: Decoder,
    /// When there was sound last, or since when it is listened.
    last: Instant,
    /// When there was any for the first time.
    first: Option<Instant>,
    longest: Duration,
}

impl Ear {
    /// # Errors
    /// When there is no decoder.
    pub(super) fn new(now: Instant) -> anyhow::Result<Self> {
        Ok(Self {
            decoder: Decoder::new(8_000, Channels::Mono)?,
            last: now,
            first: None,
            longest: Duration::ZERO,
        })
    }

    pub(super) fn hears(&mut self, now: Instant, packet: &[u8]) {
        let mut pcm = [0.0; LONGEST];
        let Ok(length) = self.decoder.decode_float(packet, &mut pcm, false) else {
            return;
        };
        let energy: f32 = pcm[..length].iter().map(|sample| sample * sample).sum();
        if energy > LOUD * LOUD * length as f32 {
            self.longest = self.longest.max(now.duration_since(self.last));
            self.last = now;
            self.first.get_or_insert(now);
        }
    }

    /// The longest stretch without sound since this was asked for last, up to now.
    pub(super) fn longest_silence(&mut self, now: Instant) -> Duration {
        std::mem::take(&mut self.longest).max(self.silent_for(now))
    }

    /// How long it has been silent up to now.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.duration_since(self.last)
    }

    /// When there was sound for the first time.
    pub(super) fn heard_at(&self) -> Option<Instant> {
        self.first
    }

    pub(super) fn sounds(&self, now: Instant) -> bool {
        self.first.is_some() && self.silent_for(now) < A_MOMENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(amplitude: f32) -> Vec<u8> {
        let mut encoder =
            opus::Encoder::new(8_000, Channels::Mono, opus::Application::Voip).unwrap();
        let wave = |n: usize| (n as f32 * 440.0 * std::f32::consts::TAU / 8_000.0).sin();
        let pcm: Vec<f32> = (0..160).map(|n| amplitude * wave(n)).collect();
        encoder.encode_vec_float(&pcm, 1_500).unwrap()
    }

    #[test]
    fn packets_with_silence_in_them_are_no_sound() {
        let start = Instant::now();
        let mut ear = Ear::new(start).unwrap();
        let at = |millis| start + Duration::from_millis(millis);
        for frame in 0..50 {
            ear.hears(at(20 * frame), &packet(0.25));
        }
        assert!(ear.sounds(at(1_000)));
        assert!(ear.longest_silence(at(1_000)) < Duration::from_millis(100));
        // What the decoder still says of the tone fades within some frames.
        for frame in 50..200 {
            ear.hears(at(20 * frame), &packet(0.0));
        }
        assert!(!ear.sounds(at(4_000)));
        let silent = ear.silent_for(at(4_000));
        assert!(silent > Duration::from_millis(2_800), "{silent:?}");
        ear.hears(at(4_000), &packet(0.25));
        assert!(ear.sounds(at(4_010)));
        assert!(ear.longest_silence(at(4_010)) > Duration::from_millis(2_800));
        assert!(ear.longest_silence(at(4_020)) < Duration::from_millis(100));
    }
}
