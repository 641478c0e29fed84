//! Where a clip lies in a recording: correlation of the wave itself, block by block.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

use super::sound::{RATE, Sound, cut};

/// Length of one block of the clip, in samples (0.4 s: a few syllables).
const BLOCK: usize = RATE as usize * 2 / 5;

/// How far a block may lie from where the whole clip lies, in samples (0.4 s). A call
/// slips by packets (20 ms each) as jitter buffers breathe, never by this much.
const REACH: usize = RATE as usize * 2 / 5;

/// A block counts as found from this correlation on. A voice coder's own noise leaves
/// 0.8 and more; another sentence of the same voice stays under 0.4.
const FOUND: f32 = 0.55;

/// Frames this far under the clip's loud ones are pauses, in dB.
const PAUSE_DEPTH_DB: f32 = 25.0;

/// Length of a frame for levels and pauses, in samples (10 ms).
pub(super) const FRAME: usize = RATE as usize / 100;

/// Where one block of the clip was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Block {
    /// First sample of the block in the clip.
    pub(super) start: usize,
    /// Samples in the block.
    pub(super) length: usize,
    /// Add to a position in the clip to get the position in the recording.
    pub(super) lag: isize,
    /// Whether the block itself was found; else `lag` is a neighbour's.
    pub(super) found: bool,
}

/// Where a clip lies in a recording.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Alignment {
    /// The speaking blocks of the clip, in order.
    pub(super) blocks: Vec<Block>,
    /// Median lag of the blocks found, else that of the whole clip, in samples.
    pub(super) lag: isize,
    /// Share of speaking blocks found, 0.0 ..= 1.0.
    pub(super) coverage: f32,
    /// Largest difference between the lags of two found blocks, in samples.
    pub(super) slip: usize,
}

impl Alignment {
    /// Finds `clip` in `recording`.
    pub(super) fn find(clip: &Sound, recording: &Sound) -> Self {
        let clip = clip.samples();
        let recording = recording.samples();
        let coarse = best_lag(clip, recording);
        let speaking = speaking_frames(clip);
        let mut blocks: Vec<Block> = (0..clip.len())
            .step_by(BLOCK)
            .map(|start| (start, BLOCK.min(clip.len() - start)))
            .filter(|&(start, length)| speaks(&speaking, start, length))
            .map(|(start, length)| find_block(clip, recording, start, length, coarse))
            .collect();
        let mut lags: Vec<isize> = found(&blocks).collect();
        lags.sort_unstable();
        let lag = lags.get(lags.len() / 2).copied().unwrap_or(coarse);
        let slip = match (lags.first(), lags.last()) {
            (Some(first), Some(last)) => last.abs_diff(*first),
            _ => 0,
        };
        let coverage = lags.len() as f32 / blocks.len().max(1) as f32;
        lend_lags(&mut blocks, lag);
        Self {
            blocks,
            lag,
            coverage,
            slip,
        }
    }
}

/// For each whole frame of `samples`, its level in dB below full scale.
pub(super) fn frame_levels(samples: &[f32]) -> Vec<f32> {
    samples.chunks_exact(FRAME).map(level_db).collect()
}

/// The RMS level of `samples` in dB; silence is −200.
pub(super) fn level_db(samples: &[f32]) -> f32 {
    let power = samples.iter().map(|s| s * s).sum::<f32>() / samples.len().max(1) as f32;
    10.0 * power.max(1e-20).log10()
}

/// For each whole frame, whether somebody speaks in it.
pub(super) fn speaking_frames(samples: &[f32]) -> Vec<bool> {
    let levels = frame_levels(samples);
    let mut sorted = levels.clone();
    sorted.sort_by(f32::total_cmp);
    let loud = sorted
        .get(sorted.len() * 95 / 100)
        .copied()
        .unwrap_or(-200.0);
    levels
        .iter()
        .map(|level| *level > loud - PAUSE_DEPTH_DB)
        .collect()
}

/// Whether at least half of a block is speech.
fn speaks(speaking: &[bool], start: usize, length: usize) -> bool {
    let frames = start / FRAME..((start + length) / FRAME).min(speaking.len());
    let all = frames.len();
    let spoken = speaking[frames].iter().filter(|s| **s).count();
    all > 0 && spoken * 2 >= all
}

fn found(blocks: &[Block]) -> impl Iterator<Item = isize> + '_ {
    blocks.iter().filter(|b| b.found).map(|b| b.lag)
}

/// Gives blocks that were not found the lag of the found block before them.
fn lend_lags(blocks: &mut [Block], median: isize) {
    let mut last = found(blocks).next().unwrap_or(median);
    for block in blocks {
        if block.found {
            last = block.lag;
        } else {
            block.lag = last;
        }
    }
}

fn find_block(
    clip: &[f32],
    recording: &[f32],
    start: usize,
    length: usize,
    coarse: isize,
) -> Block {
    let expected = start as isize + coarse;
    let window = cut(recording, expected - REACH as isize, length + 2 * REACH);
    let (offset, score) = best_match(&clip[start..start + length], &window);
    Block {
        start,
        length,
        lag: coarse + offset as isize - REACH as isize,
        found: score >= FOUND,
    }
}

/// The lag at which the two correlate most, positive when `recording` begins earlier.
fn best_lag(clip: &[f32], recording: &[f32]) -> isize {
    let correlation = Correlator::new(clip.len() + recording.len()).correlate(clip, recording);
    let best = correlation
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1))
        .map_or(0, |(index, _)| index);
    if best < recording.len() {
        best as isize
    } else {
        // Circular: the upper end holds the negative lags.
        best as isize - correlation.len() as isize
    }
}

/// Where in `window` the `block` fits best, and the normalised correlation there.
fn best_match(block: &[f32], window: &[f32]) -> (usize, f32) {
    let correlation = Correlator::new(block.len() + window.len()).correlate(block, window);
    let own: f32 = block.iter().map(|s| s * s).sum();
    let mut energy: f64 = window[..block.len()].iter().map(|s| f64::from(s * s)).sum();
    let mut best = (0, 0.0);
    for offset in 0..=window.len() - block.len() {
        let scale = (f64::from(own) * energy.max(1e-9)).sqrt() as f32;
        let score = correlation[offset] / scale.max(1e-9);
        if score > best.1 {
            best = (offset, score);
        }
        if let Some(next) = window.get(offset + block.len()) {
            energy += f64::from(next * next) - f64::from(window[offset] * window[offset]);
        }
    }
    best
}

/// Circular cross-correlation through the Fourier transform.
struct Correlator {
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
    length: usize,
}

impl Correlator {
    fn new(at_least: usize) -> Self {
        let length = at_least.max(2).next_power_of_two();
        let mut planner = RealFftPlanner::<f32>::new();
        Self {
            forward: planner.plan_fft_forward(length),
            inverse: planner.plan_fft_inverse(length),
            length,
        }
    }

    /// `result[lag]` is the sum of `a[i] * b[i + lag]`, negative lags wrapped around.
    fn correlate(&self, a: &[f32], b: &[f32]) -> Vec<f32> {
        let mut product = self.spectrum(b);
        for (bin, of_a) in product.iter_mut().zip(self.spectrum(a)) {
            *bin *= of_a.conj();
        }
        // A real signal has real first and last bins; rounding must not say otherwise.
        if let Some(first) = product.first_mut() {
            first.im = 0.0;
        }
        if let Some(last) = product.last_mut() {
            last.im = 0.0;
        }
        let mut lags = self.inverse.make_output_vec();
        self.inverse
            .process(&mut product, &mut lags)
            .expect("both buffers were made by this plan and the outer bins are real");
        let scale = 1.0 / self.length as f32;
        lags.iter_mut().for_each(|lag| *lag *= scale);
        lags
    }

    fn spectrum(&self, samples: &[f32]) -> Vec<Complex<f32>> {
        let mut padded = self.forward.make_input_vec();
        padded[..samples.len()].copy_from_slice(samples);
        let mut spectrum = self.forward.make_output_vec();
        self.forward
            .process(&mut padded, &mut spectrum)
            .expect("both buffers were made by this plan");
        spectrum
    }
}
