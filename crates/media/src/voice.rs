//! The sending side of a browser leg: frames into packets with sequence numbers and timestamps, most of them Opus.

use std::time::Instant;

use crate::codec::{Codec, FRAME, Frame, Law, OPUS_TICKS, OpusSettings, opus_encoder};
use crate::error::MediaError;
use crate::relay::{Placed, Standing};

/// Room for one encoded frame; libopus is told so and keeps to it.
const LONGEST: usize = 400;
/// When media time and the clock disagree by more than this (1/8000 s), the source's timeline jumped.
const JUMP: i64 = 8000;

/// Encodes what the bridged leg heard.
#[derive(Debug)]
pub(crate) struct Voice {
    encoder: opus::Encoder,
    packet: [u8; LONGEST],
    sequence: u64,
    timestamp: u32,
    /// RTP clock ticks per 1/8000 s of the codec that is spoken.
    ticks: i64,
    last: Option<Last>,
}

#[derive(Debug, Clone, Copy)]
struct Last {
    when: Instant,
    /// Media time of the last frame on the source's timeline, 1/8000 s.
    at: i64,
}

/// One packet ready for SRTP.
#[derive(Debug)]
pub(crate) struct VoicePacket<'a> {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: &'a [u8],
}

impl Voice {
    /// `sequence` and `timestamp` are where the stream begins.
    pub(crate) fn new(
        settings: &OpusSettings,
        sequence: u16,
        timestamp: u32,
    ) -> Result<Self, MediaError> {
        Ok(Voice {
            encoder: opus_encoder(settings)?,
            packet: [0; LONGEST],
            // The SRTP roll-over counter is not signalled, so the first number stays in its first half.
            sequence: u64::from(sequence >> 1),
            timestamp,
            ticks: OPUS_TICKS,
            last: None,
        })
    }

    /// Encodes one frame. `at` is its media time on the source's timeline; `lost_before` frames before it never
    /// came, and leave a gap that the browser conceals.
    pub(crate) fn encode(
        &mut self,
        now: Instant,
        pcm: &Frame,
        at: i64,
        lost_before: u16,
    ) -> Result<VoicePacket<'_>, MediaError> {
        let marker = self.advance(now, at, lost_before, Codec::Opus);
        let len = self.encoder.encode(pcm, &mut self.packet)?;
        Ok(VoicePacket {
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker,
            payload: &self.packet[..len],
        })
    }

    /// The same in G.711, for a browser that is to speak it.
    pub(crate) fn encode_law(
        &mut self,
        now: Instant,
        law: Law,
        pcm: &Frame,
        at: i64,
        lost_before: u16,
    ) -> VoicePacket<'_> {
        let marker = self.advance(now, at, lost_before, law.codec());
        self.packet[..FRAME].copy_from_slice(&law.encode(pcm));
        VoicePacket {
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker,
            payload: &self.packet[..FRAME],
        }
    }

    /// Moves on by one frame and what was lost before it; says whether it begins a talk spurt.
    fn advance(&mut self, now: Instant, at: i64, lost_before: u16, codec: Codec) -> bool {
        self.ticks = codec.ticks();
        let (step, lost, marker) = self.step(now, at, lost_before);
        self.timestamp = self.timestamp.wrapping_add(step);
        self.sequence += u64::from(lost) + 1;
        self.last = Some(Last { when: now, at });
        marker
    }

    fn step(&self, now: Instant, at: i64, lost_before: u16) -> (u32, u16, bool) {
        let Some(last) = self.last else {
            return ((FRAME as i64 * self.ticks) as u32, 0, true);
        };
        let step = at.saturating_sub(last.at);
        let elapsed = ticks_8k(now, last.when);
        if step <= 0 || (step - elapsed).abs() > JUMP {
            let step = elapsed.max(FRAME as i64);
            return ((step * self.ticks) as u32, 0, true);
        }
        let marker = step > FRAME as i64 && lost_before == 0;
        ((step * self.ticks) as u32, lost_before, marker)
    }

    /// The complexity of frames to come, 0 to 10.
    pub(crate) fn set_encoder_complexity(&mut self, complexity: u8) -> Result<(), MediaError> {
        Ok(self.encoder.set_complexity(i32::from(complexity.min(10)))?)
    }

    #[cfg(test)]
    pub(crate) fn encoder_complexity(&mut self) -> i32 {
        self.encoder.get_complexity().expect("an encoder knows it")
    }

    /// Audio comes from another leg now: its timeline has nothing to do with the last one's.
    pub(crate) fn forget_source(&mut self) {
        if let Some(last) = &mut self.last {
            last.at = i64::MAX;
        }
    }

    /// The timestamp of this moment, for a telephone-event.
    pub(crate) fn timestamp(&self, now: Instant) -> u32 {
        let elapsed = self.last.map_or(0, |last| ticks_8k(now, last.when));
        self.timestamp.wrapping_add((elapsed * self.ticks) as u32)
    }

    /// Where packets of `codec` go on that are passed on as they are.
    pub(crate) fn standing(&self, now: Instant, codec: Codec) -> Standing {
        let elapsed = self.last.map_or(0, |last| ticks_8k(now, last.when));
        let step = elapsed.max(FRAME as i64) * codec.ticks();
        Standing {
            sequence: self.sequence + 1,
            timestamp: self.timestamp.wrapping_add(step as u32),
        }
    }

    /// Such a packet has gone out as the newest.
    pub(crate) fn passed(&mut self, now: Instant, codec: Codec, placed: Placed) {
        self.ticks = codec.ticks();
        self.sequence = placed.sequence;
        self.timestamp = placed.timestamp;
        self.last = Some(Last {
            when: now,
            at: i64::MAX,
        });
    }

    /// What is spoken from now on, before the first packet.
    pub(crate) fn set_codec(&mut self, codec: Codec) {
        if self.last.is_none() {
            self.ticks = codec.ticks();
        }
    }

    /// The sequence number for a packet that is no audio.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

fn ticks_8k(now: Instant, then: Instant) -> i64 {
    (now.saturating_duration_since(then).as_micros() * 8 / 1000) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;
    use std::time::Duration;

    const TICK: Duration = Duration::from_millis(20);

    fn voice() -> Voice {
        Voice::new(&OpusSettings::default(), 0, 1000).unwrap()
    }

    #[test]
    fn a_source_that_is_new_and_behind_its_own_beginning_is_no_overflow() {
        let mut voice = voice();
        let now = origin();
        voice.encode(now, &[0; FRAME], 0, 0).unwrap();
        voice.forget_source();
        assert!(voice.encode(now + TICK, &[0; FRAME], -160, 0).is_ok());
    }

    fn stamps(frames: &[(u32, i64, u16)]) -> Vec<(u64, u32, bool)> {
        let start = origin();
        let mut voice = voice();
        frames
            .iter()
            .map(|(tick, at, lost)| {
                let packet = voice
                    .encode(start + TICK * *tick, &[0; FRAME], *at, *lost)
                    .unwrap();
                (packet.sequence, packet.timestamp, packet.marker)
            })
            .collect()
    }

    #[test]
    fn a_steady_source_steps_by_one_packet_and_960_ticks() {
        let stamps = stamps(&[(0, 50, 0), (1, 210, 0), (2, 370, 0)]);
        assert_eq!(
            stamps,
            [(1, 1960, true), (2, 2920, false), (3, 3880, false)]
        );
    }

    #[test]
    fn a_lost_packet_stays_a_gap_in_sequence_and_time() {
        let stamps = stamps(&[(0, 0, 0), (2, 320, 1)]);
        assert_eq!(stamps[1], (3, 1960 + 1920, false));
    }

    #[test]
    fn a_silence_of_the_sender_is_a_gap_in_time_only() {
        let stamps = stamps(&[(0, 0, 0), (10, 1600, 0)]);
        assert_eq!(stamps[1], (2, 1960 + 9600, true));
    }

    #[test]
    fn a_jump_of_the_source_does_not_reach_the_browser() {
        let stamps = stamps(&[(0, 0, 0), (1, 9_000_000, 0), (2, 9_000_160, 0), (3, 5, 0)]);
        let times: Vec<_> = stamps.iter().map(|stamp| stamp.1).collect();
        assert_eq!(times, [1960, 2920, 3880, 4840]);
    }
}
