//! Sound as the judge hears it: one channel, 8 kHz, the telephone's own band.

use std::f32::consts::PI;
use std::path::Path;

use audio_codec_algorithms::{decode_ulaw, encode_ulaw};

use super::JudgeError;

/// Samples per second of every [`Sound`].
pub const RATE: u32 = 8_000;

/// Half the length of the low-pass filter, in samples at 8 kHz.
const FILTER_REACH: usize = 24;

/// The low-pass filter's edge as a share of the new Nyquist frequency.
const FILTER_EDGE: f32 = 0.95;

/// One channel of sound at 8 kHz, samples in −1.0 ..= 1.0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sound {
    samples: Vec<f32>,
}

impl Sound {
    /// Sound from 16-bit samples taken at `rate` Hz.
    ///
    /// # Errors
    /// [`JudgeError::Rate`] when `rate` is not a whole multiple of 8 kHz.
    pub fn from_pcm(pcm: &[i16], rate: u32) -> Result<Self, JudgeError> {
        let wide: Vec<f32> = pcm.iter().map(|&s| f32::from(s) / 32_768.0).collect();
        if rate == 0 || !rate.is_multiple_of(RATE) {
            return Err(JudgeError::Rate { rate });
        }
        let factor = (rate / RATE) as usize;
        Ok(Self {
            samples: decimated(wide, factor),
        })
    }

    /// Reads a WAV file of 16-bit samples; of several channels the first is taken.
    ///
    /// # Errors
    /// [`JudgeError::Wav`] when the file cannot be read as WAV, [`JudgeError::Rate`]
    /// as in [`Sound::from_pcm`].
    pub fn read(path: &Path) -> Result<Self, JudgeError> {
        let wav_error = |source| JudgeError::Wav {
            path: path.to_owned(),
            source,
        };
        let mut reader = hound::WavReader::open(path).map_err(wav_error)?;
        let spec = reader.spec();
        let channels = usize::from(spec.channels.max(1));
        let pcm = reader
            .samples::<i16>()
            .step_by(channels)
            .collect::<Result<Vec<i16>, _>>()
            .map_err(wav_error)?;
        Self::from_pcm(&pcm, spec.sample_rate)
    }

    /// Writes the sound as a 16-bit WAV file at 8 kHz.
    ///
    /// # Errors
    /// [`JudgeError::Wav`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), JudgeError> {
        let wav_error = |source| JudgeError::Wav {
            path: path.to_owned(),
            source,
        };
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: RATE,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).map_err(wav_error)?;
        for sample in self.pcm() {
            writer.write_sample(sample).map_err(wav_error)?;
        }
        writer.finalize().map_err(wav_error)
    }

    /// The samples, −1.0 ..= 1.0.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// The samples as 16-bit integers.
    pub fn pcm(&self) -> impl Iterator<Item = i16> + '_ {
        self.samples
            .iter()
            .map(|s| (s * 32_768.0).clamp(-32_768.0, 32_767.0) as i16)
    }

    /// The samples as a sound card at 48 kHz takes them; nothing is above the telephone's band.
    #[must_use]
    pub fn at_48_khz(&self) -> Vec<i16> {
        const FACTOR: usize = 6;
        let reach = FILTER_REACH * FACTOR;
        let taps = low_pass(reach, FILTER_EDGE / FACTOR as f32);
        let samples = &self.samples;
        (0..samples.len() * FACTOR)
            .map(|at| {
                // Between the samples there are zeros, which need not be added up.
                let sum: f32 = (at.saturating_sub(reach).div_ceil(FACTOR)..=(at + reach) / FACTOR)
                    .filter_map(|n| Some(samples.get(n)? * taps[n * FACTOR + reach - at]))
                    .sum();
                (sum * FACTOR as f32 * 32_768.0).clamp(-32_768.0, 32_767.0) as i16
            })
            .collect()
    }

    /// How long it lasts, in milliseconds.
    #[must_use]
    pub fn millis(&self) -> usize {
        self.samples.len() * 1_000 / RATE as usize
    }

    /// Adds `millis` of silence at the end.
    pub fn pause(&mut self, millis: usize) {
        let silent = self.samples.len() + millis * RATE as usize / 1_000;
        self.samples.resize(silent, 0.0);
    }

    /// Adds `more` at the end.
    pub fn append(&mut self, more: &Self) {
        self.samples.extend_from_slice(&more.samples);
    }

    /// The same sound, `db` decibels louder (softer when negative).
    #[must_use]
    pub fn louder(&self, db: f32) -> Self {
        let gain = 10_f32.powf(db / 20.0);
        Self {
            samples: self.samples.iter().map(|s| s * gain).collect(),
        }
    }

    /// Its mean level in dB against full scale; -100 for digital silence.
    #[must_use]
    pub fn level_db(&self) -> f32 {
        let energy: f32 = self.samples().iter().map(|sample| sample * sample).sum();
        let mean = energy / self.samples().len().max(1) as f32;
        10.0 * mean.max(1e-10).log10()
    }

    /// The same sound after a telephone line: G.711 µ-law, there and back.
    #[must_use]
    pub fn through_g711(&self) -> Self {
        Self {
            samples: self
                .pcm()
                .map(|sample| f32::from(decode_ulaw(encode_ulaw(sample))) / 32_768.0)
                .collect(),
        }
    }

    /// The `length` samples from `start` on. What lies outside the sound is silence.
    #[must_use]
    pub fn cut(&self, start: isize, length: usize) -> Self {
        Self {
            samples: cut(&self.samples, start, length),
        }
    }
}

/// As [`Sound::cut`], on bare samples.
pub(super) fn cut(samples: &[f32], start: isize, length: usize) -> Vec<f32> {
    let mut part = vec![0.0; length];
    let skipped = start.min(0).unsigned_abs().min(length);
    let from = start.max(0).unsigned_abs().min(samples.len());
    let taken = (length - skipped).min(samples.len() - from);
    part[skipped..skipped + taken].copy_from_slice(&samples[from..from + taken]);
    part
}

impl From<Vec<f32>> for Sound {
    fn from(samples: Vec<f32>) -> Self {
        Self { samples }
    }
}

/// Keeps one sample in `factor`, after a windowed-sinc low pass at the new band's edge.
fn decimated(wide: Vec<f32>, factor: usize) -> Vec<f32> {
    if factor == 1 {
        return wide;
    }
    let reach = FILTER_REACH * factor;
    let taps = low_pass(reach, FILTER_EDGE / factor as f32);
    (0..wide.len())
        .step_by(factor)
        .map(|centre| {
            taps.iter()
                .enumerate()
                .filter_map(|(tap, weight)| {
                    let at = (centre + tap).checked_sub(reach)?;
                    wide.get(at).map(|sample| sample * weight)
                })
                .sum()
        })
        .collect()
}

/// A Hann-windowed sinc of `2 * reach + 1` taps; `edge` is a share of Nyquist.
fn low_pass(reach: usize, edge: f32) -> Vec<f32> {
    let mut taps: Vec<f32> = (0..=2 * reach)
        .map(|tap| {
            let x = tap as f32 - reach as f32;
            let sinc = if x == 0.0 {
                edge
            } else {
                (PI * edge * x).sin() / (PI * x)
            };
            let window = 0.5 + 0.5 * (PI * x / (reach as f32 + 1.0)).cos();
            sinc * window
        })
        .collect();
    let unity: f32 = taps.iter().sum();
    taps.iter_mut().for_each(|tap| *tap /= unity);
    taps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f32, rate: u32, millis: usize) -> Vec<i16> {
        (0..rate as usize * millis / 1_000)
            .map(|i| (10_000.0 * (2.0 * PI * hertz * i as f32 / rate as f32).sin()) as i16)
            .collect()
    }

    fn rms(samples: &[f32]) -> f32 {
        (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn a_browsers_48_khz_tone_keeps_its_level_and_length() {
        let sound = Sound::from_pcm(&tone(1_000.0, 48_000, 500), 48_000).unwrap();
        assert_eq!(sound.millis(), 500);
        let expected = 10_000.0 / 32_768.0 / 2_f32.sqrt();
        let heard = rms(&sound.samples()[100..3_900]);
        assert!((heard / expected - 1.0).abs() < 0.01, "{heard}");
    }

    #[test]
    fn a_sound_card_at_48_khz_plays_what_the_telephone_band_holds() {
        let narrow = Sound::from_pcm(&tone(1_000.0, 8_000, 500), 8_000).unwrap();
        let wide = narrow.at_48_khz();
        assert_eq!(wide.len(), 24_000);
        let expected = tone(1_000.0, 48_000, 500);
        let worst = wide[600..23_400].iter().zip(&expected[600..23_400]);
        let worst = worst.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst < 50, "off by {worst}");
    }

    #[test]
    fn what_the_telephone_band_cannot_carry_does_not_fold_back() {
        let sound = Sound::from_pcm(&tone(6_000.0, 48_000, 500), 48_000).unwrap();
        assert!(rms(&sound.samples()[100..3_900]) < 0.001);
    }

    #[test]
    fn a_rate_that_is_no_multiple_of_8_khz_is_refused() {
        let refused = Sound::from_pcm(&[0; 10], 44_100);
        assert!(matches!(refused, Err(JudgeError::Rate { rate: 44_100 })));
    }

    #[test]
    fn a_written_file_reads_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tone.wav");
        let sound = Sound::from_pcm(&tone(440.0, 8_000, 200), 8_000).unwrap();
        sound.write(&path).unwrap();
        assert_eq!(Sound::read(&path).unwrap(), sound);
    }

    #[test]
    fn a_cut_beyond_the_ends_is_silent_there() {
        let sound = Sound::from(vec![0.5, 0.5]);
        assert_eq!(sound.cut(-1, 4).samples(), [0.0, 0.5, 0.5, 0.0]);
    }
}
