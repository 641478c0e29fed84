//! Decoded samples between packets and frames, stretched or squeezed by a pitch period where the delay must change.

use super::stretch::{best_lag, fade_over, likeness, power};
use crate::codec::{FRAME, Frame, LONGEST_OPUS};

/// Samples kept after they were taken, 50 ms: concealment and stretching continue them.
pub(super) const HISTORY: usize = 400;
/// Samples decoded and not yet taken: one packet of the longest kind beside what a change of the delay wants.
const ROOM: usize = LONGEST_OPUS + 640;
/// Lags that a change of the delay may have: 2.5 to 15 ms, the pitch of all voices …
const SHORTEST: usize = 20;
const LONGEST: usize = 120;
/// … and up to 30 ms, several periods at once, where much is to be taken out.
const LONGEST_AT_ONCE: usize = 240;
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
        longest_cut(by) + FADE
    }

    /// Takes up to `by` samples out where the sound repeats itself, if it is quiet or at least `demand` alike there.
    /// Returns how many.
    pub(super) fn shorten(&mut self, by: usize, demand: f32) -> usize {
        let sound = &mut self.samples[HISTORY..self.end];
        let longest = longest_cut(by).min(sound.len().saturating_sub(FADE));
        let shortest = if longest > LONGEST {
            longest / 2
        } else {
            SHORTEST
        };
        let alike = |lag: usize| likeness(&sound[..FADE], &sound[lag..lag + FADE]);
        let Some((lag, likeness)) = best_lag(shortest..=longest, alike) else {
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

fn longest_cut(by: usize) -> usize {
    if by < 2 * LONGEST_AT_ONCE {
        by.min(LONGEST)
    } else {
        LONGEST_AT_ONCE
    }
}
