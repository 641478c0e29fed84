//! The pauses of a browser that sends nothing in them (DTX): noise in the likeness of its background.
//!
//! libopus makes such noise too, at the price of a decoded frame (`silk_CNG`, `silk_PLC`: a seventh of what a
//! conversation cost). It is asked at the beginning of a pause only, until it is known how the background sounds.

use super::noise::{ComfortNoise, ORDER};

/// So much of libopus's noise is learnt from, in samples: 120 ms.
const LEARNT: usize = 960;
/// What a frame that the browser sends in a pause (every 400 ms) weighs against all that was learnt before.
const RENEWED: f32 = 0.25;
/// After so many packets the browser has talked, and its background is learnt anew.
const TALK: u32 = 25;

/// How the background sounds, and noise like it.
#[derive(Debug, Default)]
pub(super) struct Lull {
    /// Autocorrelation for each sample, of so many samples.
    background: [f32; ORDER + 1],
    learnt: usize,
    /// That of the first packet after a pause, which is background too if the pause goes on after it.
    first: Option<[f32; ORDER + 1]>,
    packets: u32,
    noise: ComfortNoise,
}

impl Lull {
    /// A packet with sound in it was decoded to `pcm`.
    pub(super) fn hear(&mut self, pcm: &[i16]) {
        if self.packets == 0 && self.is_learnt() {
            self.first = Some(autocorrelation(pcm));
        }
        self.packets = self.packets.saturating_add(1);
    }

    /// The browser said that it is silent.
    pub(super) fn begin(&mut self) {
        let first = self.first.take();
        match std::mem::take(&mut self.packets) {
            TALK.. => self.learnt = 0,
            1 => {
                let Some(first) = first else { return };
                for (known, heard) in self.background.iter_mut().zip(first) {
                    *known += (heard - *known) * RENEWED;
                }
                self.noise.be_like(&self.background);
            }
            _ => {}
        }
    }

    /// libopus made this noise.
    pub(super) fn learn(&mut self, pcm: &[i16]) {
        if self.is_learnt() || pcm.is_empty() {
            return;
        }
        let known = self.learnt as f32;
        let all = known + pcm.len() as f32;
        for (sum, heard) in self.background.iter_mut().zip(autocorrelation(pcm)) {
            *sum = (*sum * known + heard * pcm.len() as f32) / all;
        }
        self.learnt += pcm.len();
        if self.is_learnt() {
            self.noise.be_like(&self.background);
        }
    }

    /// Fills `out` with noise, if it is known by now how it should sound.
    pub(super) fn make_up(&mut self, out: &mut [i16]) -> Option<usize> {
        if !self.is_learnt() {
            return None;
        }
        out.fill(0);
        self.noise.add_to(out, |_| 1.0);
        Some(out.len())
    }

    fn is_learnt(&self) -> bool {
        self.learnt >= LEARNT
    }
}

/// For each sample, at lags from nothing to the noise's order.
fn autocorrelation(pcm: &[i16]) -> [f32; ORDER + 1] {
    std::array::from_fn(|lag| {
        let pairs = pcm.iter().zip(pcm.iter().skip(lag));
        let sum: f32 = pairs.map(|(a, b)| f32::from(*a) * f32::from(*b)).sum();
        sum / pcm.len().max(1) as f32
    })
}

#[cfg(test)]
mod tests {
    use super::super::stretch::{likeness, power};
    use super::*;

    /// Noise whose neighbours are as alike as these coefficients of comfort noise make them.
    fn background(level: u8, coefficient: u8) -> Vec<i16> {
        let mut noise = ComfortNoise::default();
        noise.describe(&[level, coefficient]).unwrap();
        let mut pcm = vec![0; 1600];
        noise.add_to(&mut pcm, |_| 1.0);
        pcm
    }

    fn heard_after(pcm: &[i16]) -> Vec<i16> {
        let mut lull = Lull::default();
        lull.begin();
        let mut out = vec![0; 16_000];
        assert_eq!(lull.make_up(&mut out), None, "it cannot know yet");
        pcm.chunks(160).for_each(|frame| lull.learn(frame));
        assert_eq!(lull.make_up(&mut out), Some(16_000));
        out
    }

    fn neighbours(pcm: &[i16]) -> f32 {
        likeness(&pcm[1..], &pcm[..pcm.len() - 1])
    }

    fn decibels_apart(one: &[i16], other: &[i16]) -> f32 {
        10.0 * (power(one) / power(other)).log10()
    }

    #[test]
    fn noise_is_as_loud_and_as_coloured_as_the_background() {
        for coefficient in [127 - 90, 127, 127 + 60] {
            let learnt = background(45, coefficient);
            let heard = heard_after(&learnt);
            let apart = decibels_apart(&heard, &learnt);
            assert!(apart.abs() < 1.0, "{coefficient}: {apart} dB");
            let (was, is) = (neighbours(&learnt), neighbours(&heard));
            assert!((was - is).abs() < 0.1, "{coefficient}: {was} and {is}");
        }
    }

    #[test]
    fn a_background_that_grows_in_a_pause_is_followed() {
        let mut lull = Lull::default();
        lull.begin();
        background(60, 127)
            .chunks(160)
            .for_each(|frame| lull.learn(frame));
        let louder = background(40, 127);
        for frame in louder.chunks(160).cycle().take(20) {
            lull.hear(frame);
            lull.begin();
        }
        let mut out = vec![0; 8000];
        lull.make_up(&mut out).expect("it is learnt");
        let apart = decibels_apart(&out, &louder);
        assert!(apart.abs() < 1.0, "{apart} dB");
    }

    #[test]
    fn a_word_between_two_pauses_is_no_background_and_after_talk_it_is_learnt_anew() {
        let quiet = background(60, 127);
        let voice = background(20, 127);
        let mut lull = Lull::default();
        lull.begin();
        quiet.chunks(160).for_each(|frame| lull.learn(frame));
        voice.chunks(160).take(3).for_each(|frame| lull.hear(frame));
        lull.begin();
        let mut out = vec![0; 8000];
        lull.make_up(&mut out).expect("it is still learnt");
        assert!(decibels_apart(&out, &quiet).abs() < 1.0);
        voice
            .chunks(160)
            .cycle()
            .take(30)
            .for_each(|frame| lull.hear(frame));
        lull.begin();
        assert_eq!(lull.make_up(&mut out), None);
    }

    #[test]
    fn digital_silence_stays_silent() {
        assert!(heard_after(&[0; 1600]).iter().all(|sample| *sample == 0));
    }
}
