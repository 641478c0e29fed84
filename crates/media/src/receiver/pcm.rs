//! Samples between packets and frames, and frames made up where packets are missing.

use crate::codec::{FRAME, Frame, LONGEST_OPUS};

/// Samples decoded and not yet taken: one packet of the longest kind beside a rest.
const ROOM: usize = 2 * LONGEST_OPUS;
/// Lost G.711 fades out over so many frames.
const FADE: i16 = 5;

/// One frame out of two: the first fades into the second.
pub(super) fn crossfade(first: &mut Frame, second: &Frame) {
    for (n, (out, next)) in first.iter_mut().zip(second).enumerate() {
        let weight = n as i32;
        let mixed = i32::from(*out) * (FRAME as i32 - weight) + i32::from(*next) * weight;
        *out = (mixed / FRAME as i32) as i16;
    }
}

/// Decoded samples between packets and frames.
#[derive(Debug)]
pub(super) struct Pcm {
    samples: Box<[i16; ROOM]>,
    len: usize,
}

impl Default for Pcm {
    fn default() -> Self {
        Pcm {
            samples: Box::new([0; ROOM]),
            len: 0,
        }
    }
}

impl Pcm {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Adds what `write` puts into the free room and says the length of.
    pub(super) fn fill(
        &mut self,
        write: impl FnOnce(&mut [i16]) -> Option<usize>,
    ) -> Option<usize> {
        let written = write(&mut self.samples[self.len..])?;
        self.len += written;
        Some(written)
    }

    pub(super) fn push(&mut self, frame: &Frame) {
        self.samples[self.len..self.len + FRAME].copy_from_slice(frame);
        self.len += FRAME;
    }

    pub(super) fn newest(&self, samples: usize) -> &[i16] {
        &self.samples[self.len - samples..self.len]
    }

    /// The oldest frame, if one is complete.
    pub(super) fn take(&mut self) -> Option<Frame> {
        let frame = *self.samples[..self.len].first_chunk::<FRAME>()?;
        self.samples.copy_within(FRAME..self.len, 0);
        self.len -= FRAME;
        Some(frame)
    }
}

/// Concealment of lost G.711 on the way from phone to phone: the last frame again, fading out over five frames.
#[derive(Debug)]
pub(super) struct LawConcealer {
    last: Frame,
    run: i16,
}

impl Default for LawConcealer {
    fn default() -> Self {
        LawConcealer {
            last: [0; FRAME],
            run: FADE,
        }
    }
}

impl LawConcealer {
    pub(super) fn remember(&mut self, heard: &[i16]) {
        let Some(last) = heard.last_chunk::<FRAME>() else {
            return;
        };
        self.last = *last;
        self.run = 0;
    }

    pub(super) fn next(&mut self) -> Frame {
        self.run = (self.run + 1).min(FADE);
        let gain = FADE - self.run;
        self.last.map(|sample| sample / FADE * gain)
    }
}
