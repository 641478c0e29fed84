//! Tones to send and to recognise.

use std::f64::consts::TAU;

/// Amplitude of every test tone, about -12 dBov.
pub(crate) const AMPLITUDE: f64 = 8000.0;

/// `len` samples of a tone from sample `start` on.
pub(crate) fn tone(hertz: f64, rate: u32, start: usize, len: usize) -> Vec<i16> {
    (start..start + len)
        .map(|n| ((n as f64 * hertz * TAU / f64::from(rate)).sin() * AMPLITUDE) as i16)
        .collect()
}

/// How loud a tone is in a recording, in dB relative to [`AMPLITUDE`]: the mean over blocks of 50 ms (Goertzel), so
/// that a shift in phase, which concealment makes, does not count.
pub(crate) fn tone_level(hertz: f64, rate: u32, pcm: &[i16]) -> f64 {
    let blocks = pcm.chunks_exact(rate as usize / 20);
    let count = blocks.len() as f64;
    let amplitude: f64 = blocks.map(|block| amplitude(hertz, rate, block)).sum();
    20.0 * (amplitude / count / AMPLITUDE).log10()
}

fn amplitude(hertz: f64, rate: u32, block: &[i16]) -> f64 {
    let turn = hertz * TAU / f64::from(rate);
    let (mut re, mut im) = (0.0, 0.0);
    for (n, sample) in block.iter().enumerate() {
        let angle = turn * n as f64;
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    2.0 * (re * re + im * im).sqrt() / block.len() as f64
}

/// How loud a recording is altogether, in dB relative to a tone of [`AMPLITUDE`].
pub(crate) fn level(pcm: &[i16]) -> f64 {
    let squares: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let rms = (squares / pcm.len() as f64).sqrt();
    20.0 * (rms * 2.0_f64.sqrt() / AMPLITUDE).log10()
}

/// The longest run of samples that are next to nothing, in samples.
pub(crate) fn longest_silence(pcm: &[i16]) -> usize {
    pcm.split(|sample| sample.unsigned_abs() > 100)
        .map(<[i16]>::len)
        .max()
        .unwrap_or(0)
}
