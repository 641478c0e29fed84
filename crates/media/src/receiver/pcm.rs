//! Samples between packets and frames, for a browser.

use crate::codec::{FRAME, Frame, LONGEST_OPUS};

/// Samples decoded and not yet taken: one packet of the longest kind beside a rest.
const ROOM: usize = 2 * LONGEST_OPUS;

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
