//! Pulling a steady stream out of the jitter buffer, for a phone.

use std::time::Instant;

use super::payload::{Payload, decode};
use super::pcm::crossfade;
use super::{Path, Receiver};
use crate::codec::{FRAME, Frame, OPUS_TICKS};
use crate::jitter::{Due, JitterBuffer};
use crate::stats::LevelMeter;

/// Mean square below which a frame counts as quiet (-45 dBov): a frame is best taken out there.
const QUIET: f64 = 34_000.0;
/// Frames to wait for a quiet one before a frame is taken out anyway.
const PATIENCE: u16 = 100;
/// Opus packets this short are the silence of a sender with DTX (RFC 6716 section 2.1.9).
const DTX_LEN: usize = 2;

#[derive(Debug)]
pub(super) struct Paced {
    pub(super) buffer: JitterBuffer<Payload>,
    pub(super) dtx: bool,
    /// Frames since a spare frame was announced.
    pub(super) spare_for: u16,
}

impl Receiver {
    /// The frame that is due now, for a steady stream; `None` while there is nothing to play.
    pub(crate) fn pull(&mut self, now: Instant) -> Option<Frame> {
        let mut frame = self.pull_frame(now)?;
        let Path::Paced(paced) = &mut self.path else {
            return None;
        };
        if !paced.buffer.has_spare_frame() {
            paced.spare_for = 0;
            return Some(frame);
        }
        paced.spare_for += 1;
        let quiet = LevelMeter::default().add(&frame) < QUIET;
        if !quiet && paced.spare_for < PATIENCE {
            return Some(frame);
        }
        paced.buffer.shrink();
        if let Some(second) = self.pull_frame(now) {
            crossfade(&mut frame, &second);
        }
        Some(frame)
    }

    fn pull_frame(&mut self, now: Instant) -> Option<Frame> {
        // Bounded: every turn adds at least a sample, or returns.
        while self.pcm.len() < FRAME {
            let Path::Paced(paced) = &mut self.path else {
                return None;
            };
            let is_opus = paced.buffer.ticks() == OPUS_TICKS;
            let decoder = self.opus.as_mut();
            match paced.buffer.pull(now) {
                Due::Silence => return None,
                Due::Packet(payload) => {
                    let coded = payload.coded();
                    paced.dtx = is_opus && coded.len() <= DTX_LEN;
                    match self.pcm.fill(|room| decode(decoder, coded, room)) {
                        Some(samples) => {
                            self.level.add(self.pcm.newest(samples));
                            paced.buffer.played(samples);
                            if !is_opus {
                                self.law_concealer.remember(self.pcm.newest(samples));
                            }
                            continue;
                        }
                        None => {
                            self.drops.undecodable += 1;
                            paced.buffer.played(FRAME);
                        }
                    }
                }
                Due::Lost {
                    next: Some(Payload::Opus(next)),
                } => {
                    self.stats.concealed += 1;
                    let redundancy =
                        |room: &mut [i16]| decoder?.decode(next, &mut room[..FRAME], true).ok();
                    if self.pcm.fill(redundancy).is_some() {
                        continue;
                    }
                }
                Due::Lost { .. } => self.stats.concealed += 1,
                Due::Gap if paced.dtx => {}
                Due::Gap => self.stats.concealed += 1,
            }
            self.conceal(is_opus);
        }
        self.pcm.take()
    }

    /// Adds one frame that continues what was heard: libopus's own concealment, which is comfort noise after DTX.
    fn conceal(&mut self, is_opus: bool) {
        if !is_opus {
            let frame = self.law_concealer.next();
            self.pcm.push(&frame);
            return;
        }
        let decoder = self.opus.as_mut();
        let concealed = self
            .pcm
            .fill(|room| decoder?.decode(&[], &mut room[..FRAME], false).ok());
        if concealed.is_none() {
            self.pcm.push(&[0; FRAME]);
        }
    }
}
