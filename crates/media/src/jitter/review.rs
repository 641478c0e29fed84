//! Whether the delay is right, judged at every frame that goes out.

use super::FRAME_UNITS;

/// The fastest packet waits at least so much longer than needed, 1 ms, …
const MARGIN: i64 = 8;
/// … and the delay shrinks only while it waits so much longer, 3 ms, and a little more where packets come unevenly.
const AMPLE: i64 = 24;
/// The delay shrinks by no less than this, 5 ms.
const LEAST_SPARE: i64 = 40;
/// It shrinks by what was to spare at each of so many frames.
const JUDGED: usize = 4;
/// How many frames a loss is remembered, 5 s.
const LOSS_MEMORY: u32 = 250;

/// What the delay should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Keep,
    /// Shrink by up to so many units.
    Shorten {
        by: i64,
    },
    Lengthen,
}

#[derive(Debug, Default)]
pub(super) struct Review {
    /// By how much the delay could have shrunk at the last frames, a ring.
    spares: [i64; JUDGED],
    judged: usize,
    losses: u32,
    /// Losses were frequent and have not ceased since.
    lossy: bool,
}

impl Review {
    pub(super) fn note_loss(&mut self) {
        self.losses = (self.losses + LOSS_MEMORY).min(3 * LOSS_MEMORY);
    }

    /// The delay has just been changed.
    pub(super) fn begin_anew(&mut self) {
        self.judged = 0;
    }

    /// While losses are frequent, the time that the packet after a lost one takes to come: it may repeat the lost one.
    pub(super) fn time_for_redundancy(&mut self, may_repeat: bool) -> i64 {
        self.losses = self.losses.saturating_sub(1);
        self.lossy = self.losses > LOSS_MEMORY || (self.lossy && self.losses > 0);
        if may_repeat && self.lossy {
            FRAME_UNITS
        } else {
            0
        }
    }

    /// The fastest packet waits so long for the frame that it is decoded for; beside that so many units are decoded
    /// already (`rest`). It would need to wait as long as `needed`.
    pub(super) fn judge(&mut self, wait: i64, rest: i64, needed: i64) -> Change {
        if wait < needed + MARGIN {
            self.judged = 0;
            return Change::Lengthen;
        }
        // A packet waits for a whole frame less, or as long as before.
        let frames = (wait - needed - needed / 16 - AMPLE).div_euclid(FRAME_UNITS);
        let spare = if frames < 0 {
            0
        } else {
            rest + frames * FRAME_UNITS
        };
        self.spares[self.judged % JUDGED] = spare;
        self.judged += 1;
        let by = self.spares.iter().copied().min().unwrap_or(0);
        if self.judged < JUDGED || by < LEAST_SPARE {
            return Change::Keep;
        }
        Change::Shorten { by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many frames of time there is for redundancy, and in how many stretches.
    fn time_given(losses: &[u32], frames: u32) -> (u32, u32) {
        let mut review = Review::default();
        let (mut given, mut stretches, mut before) = (0, 0, 0);
        for n in 0..frames {
            if losses.contains(&n) {
                review.note_loss();
            }
            let time = review.time_for_redundancy(true);
            given += u32::from(time > 0);
            stretches += u32::from(time > before);
            before = time;
        }
        (given, stretches)
    }

    #[test]
    fn a_single_loss_gives_no_time_for_redundancy() {
        assert_eq!(time_given(&[10], 2000), (0, 0));
    }

    /// Each change is heard: speech is stretched or shortened.
    #[test]
    fn losses_every_five_seconds_do_not_make_the_delay_come_and_go() {
        let losses: Vec<u32> = (0..20).map(|n| n * 240).collect();
        let (given, stretches) = time_given(&losses, 4800);
        assert_eq!(stretches, 1, "{given} frames");
    }

    #[test]
    fn time_for_redundancy_ends_when_losses_have_ceased() {
        assert_eq!(time_given(&[10, 20], 2000), (489, 1));
    }
}
