//! Comfort noise (RFC 3389), as a sender describes it or as loud as the background was.

/// The most reflection coefficients that are used.
pub(super) const ORDER: usize = 10;
/// A payload that is kept: the level and a coefficient a byte.
pub(super) const LONGEST_NOISE: usize = 1 + ORDER;
/// Full scale, 0 dBov, as root mean square.
const FULL_SCALE: f32 = 32_768.0;
/// The largest reflection coefficient that is used.
const STEEPEST: f32 = 0.95;
/// Standard deviation of what `random` yields, uniform between -1 and 1.
const DEVIATION: f32 = 0.577_35;

#[derive(Debug)]
pub(super) struct ComfortNoise {
    seed: u32,
    /// Root mean square of the noise to make.
    rms: f32,
    reflection: [f32; ORDER],
    /// The lattice filter's state.
    backward: [f32; ORDER],
}

impl Default for ComfortNoise {
    fn default() -> Self {
        ComfortNoise {
            seed: 1,
            rms: 0.0,
            reflection: [0.0; ORDER],
            backward: [0.0; ORDER],
        }
    }
}

impl ComfortNoise {
    /// As a packet of payload type 13 describes it. `None` if it is empty.
    pub(super) fn describe(&mut self, payload: &[u8]) -> Option<()> {
        let (level, coefficients) = payload.split_first()?;
        self.rms = FULL_SCALE * 10f32.powf(-f32::from(level & 0x7f) / 20.0);
        self.reflection = [0.0; ORDER];
        for (reflection, byte) in self.reflection.iter_mut().zip(coefficients) {
            // RFC 3389 section 3.2; the bound keeps the filter stable.
            let read = f32::from(i16::from(*byte) - 127) * 258.0 / FULL_SCALE;
            *reflection = read.clamp(-STEEPEST, STEEPEST);
        }
        Some(())
    }

    /// White, and so loud (mean square).
    pub(super) fn be_white(&mut self, power: f32) {
        self.rms = power.sqrt();
        self.reflection = [0.0; ORDER];
    }

    /// Like a background with this autocorrelation for each sample, at lags from nothing on (Levinson's recursion).
    pub(super) fn be_like(&mut self, correlation: &[f32; ORDER + 1]) {
        self.rms = correlation[0].max(0.0).sqrt();
        self.reflection = [0.0; ORDER];
        let mut predictor = [0.0; ORDER];
        let mut left = correlation[0];
        for order in 0..ORDER {
            if left <= 0.0 {
                return;
            }
            let known = predictor[..order].iter();
            let lags = correlation[1..=order].iter().rev();
            let predicted: f32 = known.zip(lags).map(|(a, r)| a * r).sum();
            // The bound keeps the filter stable.
            let k = (-(correlation[order + 1] + predicted) / left).clamp(-STEEPEST, STEEPEST);
            let before = predictor;
            for (a, mirrored) in predictor[..order]
                .iter_mut()
                .zip(before[..order].iter().rev())
            {
                *a += k * mirrored;
            }
            predictor[order] = k;
            self.reflection[order] = k;
            left *= 1.0 - k * k;
        }
    }

    /// The next samples, added to what is there.
    pub(super) fn add_to(&mut self, out: &mut [i16], gain: impl Fn(usize) -> f32) {
        let passed: f32 = self.reflection.iter().map(|k| 1.0 - k * k).product();
        let excitation = self.rms * passed.max(0.0).sqrt() / DEVIATION;
        for (n, sample) in out.iter_mut().enumerate() {
            let excited = self.random() * excitation;
            let noise = self.filter(excited);
            *sample = (f32::from(*sample) + noise * gain(n)) as i16;
        }
    }

    /// The all-pole lattice of the reflection coefficients.
    fn filter(&mut self, excitation: f32) -> f32 {
        let mut forward = excitation;
        for stage in (0..ORDER).rev() {
            forward -= self.reflection[stage] * self.backward[stage];
            let passed = self.backward[stage] + self.reflection[stage] * forward;
            if let Some(next) = self.backward.get_mut(stage + 1) {
                *next = passed;
            }
        }
        self.backward[0] = forward;
        forward
    }

    /// Between -1 and 1. A linear congruence is noise enough for the ear, and the same in each run.
    fn random(&mut self) -> f32 {
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        self.seed as i32 as f32 / i32::MAX as f32
    }
}

/// How loud the background is when nobody talks: the quietest of late, rising slowly.
#[derive(Debug)]
pub(super) struct Background {
    power: f32,
}

/// At the beginning (-65 dBov), and the loudest background that is believed (-45 dBov).
const ASSUMED: f32 = 340.0;
const LOUDEST: f32 = 34_000.0;
/// By which the floor rises for each packet that is louder: 1 dB/s.
const RISE: f32 = 1.005;

impl Default for Background {
    fn default() -> Self {
        Background { power: ASSUMED }
    }
}

impl Background {
    pub(super) fn hear(&mut self, power: f32) {
        self.power = if power < self.power {
            self.power + (power - self.power) / 4.0
        } else {
            // From digital silence too there is a way up.
            (self.power.max(1.0) * RISE).min(power).min(LOUDEST)
        };
    }

    /// Mean square.
    pub(super) fn power(&self) -> f32 {
        self.power
    }
}

#[cfg(test)]
mod tests {
    use super::super::stretch::{likeness, power};
    use super::*;

    fn noise(payload: &[u8]) -> Vec<i16> {
        let mut noise = ComfortNoise::default();
        noise.describe(payload).unwrap();
        let mut pcm = vec![0; 16_000];
        noise.add_to(&mut pcm, |_| 1.0);
        pcm
    }

    fn dbov(pcm: &[i16]) -> f32 {
        10.0 * power(pcm).log10() - 20.0 * FULL_SCALE.log10()
    }

    #[test]
    fn noise_is_as_loud_as_it_is_described() {
        for level in [30u8, 50, 65] {
            let heard = dbov(&noise(&[level]));
            assert!((heard + f32::from(level)).abs() < 1.0, "{level}: {heard}");
            let coloured = dbov(&noise(&[level, 127 - 90, 127 + 30]));
            assert!(
                (coloured + f32::from(level)).abs() < 1.5,
                "{level}: {coloured}"
            );
        }
    }

    #[test]
    fn reflection_coefficients_colour_it() {
        let neighbours = |pcm: &[i16]| likeness(&pcm[1..], &pcm[..pcm.len() - 1]);
        assert!(neighbours(&noise(&[40])).abs() < 0.05);
        assert!(neighbours(&noise(&[40, 127 - 90])) > 0.5);
        assert!(neighbours(&noise(&[40, 127 + 90])) < -0.5);
    }

    #[test]
    fn an_empty_description_is_none() {
        assert_eq!(ComfortNoise::default().describe(&[]), None);
    }

    #[test]
    fn extreme_coefficients_do_not_explode() {
        for coefficients in [
            &[255, 255][..],
            &[0, 254],
            &[254, 0, 254, 0, 254, 0, 254, 0, 254, 0, 9, 9],
        ] {
            let heard = dbov(&noise(&[&[40], coefficients].concat()));
            assert!(
                (-60.0..-30.0).contains(&heard),
                "{coefficients:?}: {heard} dBov"
            );
        }
    }

    #[test]
    fn the_background_is_what_is_heard_between_words() {
        let mut background = Background::default();
        for n in 0..500 {
            background.hear(if n % 50 < 40 { 4_000_000.0 } else { 2000.0 });
        }
        let power = background.power();
        assert!((1500.0..4000.0).contains(&power), "{power}");
    }
}
