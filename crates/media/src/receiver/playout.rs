//! Decoded samples between packets and frames, stretched or squeezed by a pitch period where the delay must change.

use super::stretch::{best_lag, fade_over, likeness, power};
use crate::codec::{FRAME, Frame, LONGEST_OPUS};

/// Samples kept after they were taken, 50 ms: concealment and stretching continue them.
pub(super) const HISTORY: usize = 400;
/// Samples decoded and not yet taken: one packet of the longest kind beside what a change of the delay wants.
const ROOM: usize = LONGEST_OPUS + 640;
/// Lags that a change of the delay may have: 2.5 to 15 ms, the pitch of all voices.
const SHORTEST: usize = 20;
const LONGEST: usize = 120;
/// Over so many samples, 10 ms, one period fades into another.
const FADE: usize = 80;
/// Mean square below which sound is quiet (-45 dBov): a change there is not heard, whatever the lag.
const QUIET: f32 = 34_000.0;

#[derive(Debug)]
pub(super) struct Playout {
    /// The history, then what is to be taken.
    samples: Box<[i16; HISTORY + ROOM]>,
    end: usize,
}

impl Default for Playout {
    fn default() -> Self {
        Playout {
            samples: Box::new([0; HISTORY + ROOM]),
            end: HISTORY,
        }
    }
}

impl Playout {
    /// Samples that can be taken.
    pub(super) fn len(&self) -> usize {
        self.end - HISTORY
    }

    /// The last [`HISTORY`] samples, taken or not.
    pub(super) fn tail(&self) -> &[i16; HISTORY] {
        self.samples[..self.end]
            .last_chunk()
            .expect("the history is always there")
    }

    /// Adds what `write` puts into the free room and says the length of; returns it.
    pub(super) fn fill(
        &mut self,
        write: impl FnOnce(&mut [i16]) -> Option<usize>,
    ) -> Option<usize> {
        let room = &mut self.samples[self.end..];
        let free = room.len();
        let written = write(room)?.min(free);
        self.end += written;
        Some(written)
    }

    /// The newest samples, to be mended or looked at.
    pub(super) fn newest(&mut self, samples: usize) -> &mut [i16] {
        &mut self.samples[self.end - samples..self.end]
    }

    /// The oldest frame, if one is complete.
    pub(super) fn take(&mut self) -> Option<Frame> {
        let frame = *self.samples[HISTORY..self.end].first_chunk::<FRAME>()?;
        self.samples.copy_within(FRAME..self.end, 0);
        self.end -= FRAME;
        Some(frame)
    }

    /// How many samples [`Self::shorten`] would like to see.
    pub(super) fn wanted_to_shorten(by: usize) -> usize {
        by.min(LONGEST) + FADE
    }

    /// Takes up to `by` samples out where the sound repeats itself, if it is quiet or at least `demand` alike there.
    /// Returns how many.
    pub(super) fn shorten(&mut self, by: usize, demand: f32) -> usize {
        let sound = &mut self.samples[HISTORY..self.end];
        let longest = by.min(LONGEST).min(sound.len().saturating_sub(FADE));
        let alike = |lag: usize| likeness(&sound[..FADE], &sound[lag..lag + FADE]);
        let Some((lag, likeness)) = best_lag(SHORTEST..=longest, alike) else {
            return 0;
        };
        if likeness < demand && power(&sound[..lag + FADE]) > QUIET {
            return 0;
        }
        let (first, second) = sound.split_at_mut(lag);
        match first.len() {
            // The two overlap where a period is shorter than the fade.
            short if short < FADE => fade_over(first, &second[..short]),
            _ => fade_over(&mut first[..FADE], &second[..FADE]),
        }
        let faded = lag.min(FADE);
        self.samples
            .copy_within(HISTORY + faded + lag..self.end, HISTORY + faded);
        self.end -= lag;
        lag
    }

    /// Puts a period in, as [`Self::shorten`] takes one out. Returns how many samples.
    pub(super) fn lengthen(&mut self, demand: f32) -> usize {
        let longest = LONGEST.min(self.len());
        let (history, sound) = self.samples[..self.end].split_at(HISTORY);
        let alike = |lag: usize| {
            let compared = lag.min(FADE);
            let before = &history[HISTORY - lag..];
            likeness(&sound[..compared], &before[..compared])
        };
        let Some((lag, likeness)) = best_lag(SHORTEST..=longest, alike) else {
            return 0;
        };
        let quiet = power(&sound[..lag]) <= QUIET && power(&history[HISTORY - lag..]) <= QUIET;
        if (likeness < demand && !quiet) || self.end + lag > self.samples.len() {
            return 0;
        }
        // What is put in begins as what follows and ends as what came before.
        let mut period = [0; LONGEST];
        let period = &mut period[..lag];
        period.copy_from_slice(&sound[..lag]);
        fade_over(period, &history[HISTORY - lag..]);
        self.samples.copy_within(HISTORY..self.end, HISTORY + lag);
        self.samples[HISTORY..HISTORY + lag].copy_from_slice(period);
        self.end += lag;
        lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// 80 ms of a tone, half of it heard already.
    fn playout(hertz: f64) -> Playout {
        let mut playout = Playout::default();
        playout.fill(|room| {
            for (n, sample) in room[..720].iter_mut().enumerate() {
                *sample = ((n as f64 * hertz * TAU / 8000.0).sin() * 8000.0) as i16;
            }
            Some(720)
        });
        for _ in 0..2 {
            playout.take().expect("there is more than a frame");
        }
        playout
    }

    /// The largest departure from a pure tone, the beginning of the history apart.
    fn click(hertz: f64, playout: &Playout) -> f64 {
        let factor = 2.0 * (hertz * TAU / 8000.0).cos();
        let sound = &playout.samples[HISTORY - 240..playout.end];
        let departure =
            |w: &[i16]| (f64::from(w[2]) - factor * f64::from(w[1]) + f64::from(w[0])).abs();
        sound.windows(3).map(departure).fold(0.0, f64::max)
    }

    #[test]
    fn a_period_taken_out_or_put_in_makes_no_click() {
        // Periods of 40 samples, and of many that are not whole.
        for hertz in [200.0, 203.7, 391.3, 440.0, 777.7] {
            for by in [50, 110, 600] {
                let mut playout = playout(hertz);
                let before = playout.len();
                let cut = playout.shorten(by, 0.8);
                assert!(
                    (SHORTEST..=by).contains(&cut),
                    "{cut} of {by} at {hertz} Hz"
                );
                assert_eq!(playout.len(), before - cut);
                let click = click(hertz, &playout);
                assert!(
                    click < 40.0,
                    "{click} at {hertz} Hz, {cut} of {by} taken out"
                );
            }
            let mut playout = playout(hertz);
            let before = playout.len();
            let put = playout.lengthen(0.8);
            assert!((SHORTEST..=LONGEST).contains(&put), "{put} at {hertz} Hz");
            assert_eq!(playout.len(), before + put);
            let click = click(hertz, &playout);
            assert!(click < 40.0, "{click} at {hertz} Hz, {put} put in");
        }
    }

    #[test]
    fn sound_that_does_not_repeat_itself_is_left_alone_unless_it_is_quiet() {
        for (loudness, changed) in [(8000, false), (100, true)] {
            let mut noise = 1u32;
            let mut playout = Playout::default();
            playout.fill(|room| {
                for sample in &mut room[..720] {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    *sample = ((noise >> 16) as i16) / (32_767 / loudness);
                }
                Some(720)
            });
            playout.take();
            playout.take();
            assert_eq!(playout.lengthen(0.9) > 0, changed);
            assert_eq!(playout.shorten(110, 0.9) > 0, changed);
        }
    }
}
