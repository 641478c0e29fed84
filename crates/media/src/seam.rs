//! Where one source of sound follows another, without a click.

use crate::codec::{FRAME, Frame};

/// A step at the seam fades within 5 ms: too slow for a click, too fast to be heard as anything else.
const FADE: usize = FRAME / 4;

/// The end of what was played, and whether another source follows it.
#[derive(Debug, Default)]
pub(crate) struct Seam {
    last: i16,
    open: bool,
}

impl Seam {
    /// The next frame has nothing to do with the last one.
    pub(crate) fn open(&mut self) {
        self.open = true;
    }

    /// Lets `frame` begin where the last one ended, if another source begins with it.
    pub(crate) fn join(&mut self, frame: &mut Frame) {
        if std::mem::take(&mut self.open) {
            let step = i32::from(self.last) - i32::from(frame[0]);
            for (n, sample) in frame.iter_mut().take(FADE).enumerate() {
                let rest = step * (FADE - n) as i32 / FADE as i32;
                let joined = i32::from(*sample) + rest;
                *sample = joined.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
            }
        }
        self.last = frame[FRAME - 1];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest_step(before: i16, frame: &Frame) -> i32 {
        let mut last = i32::from(before);
        let steps = frame.iter().map(|sample| {
            let step = (i32::from(*sample) - last).abs();
            last = i32::from(*sample);
            step
        });
        steps.max().unwrap()
    }

    #[test]
    fn a_source_that_follows_another_begins_where_that_one_ended() {
        for (before, after) in [(0, 8000), (-8000, 8000), (i16::MAX, i16::MIN)] {
            let mut seam = Seam::default();
            seam.join(&mut [before; FRAME]);
            let mut untouched = [after; FRAME];
            seam.join(&mut untouched);
            assert_eq!(untouched, [after; FRAME], "the same source goes on");
            seam.join(&mut [before; FRAME]);
            seam.open();
            let mut frame = [after; FRAME];
            seam.join(&mut frame);
            let whole = (i32::from(before) - i32::from(after)).abs();
            assert!(largest_step(before, &frame) <= whole / FADE as i32 + 1);
            assert_eq!(frame[FADE..], [after; FRAME - FADE]);
        }
    }
}
