//! The sending side of a browser leg: frames into packets with sequence numbers and timestamps, most of them Opus.

use std::time::Instant;

use crate::codec::{Codec, FRAME, Frame, Law, OPUS_TICKS, OpusSettings, opus_encoder, set_bitrate};
use crate::error::MediaError;
use crate::fec::{FecControl, LossWatch, Reception};
use crate::g722::LowerBand;
use crate::receiver::DirectFrame;
use crate::relay::{Placed, Standing};
use crate::seam::Seam;
use crate::silence::{SilenceGate, Turn};

/// Room for one encoded frame; libopus is told so and keeps to it.
const LONGEST: usize = 400;
/// When media time and the clock disagree by more than this (1/8000 s), the source's timeline jumped.
const JUMP: i64 = 8000;
/// The bits of an Opus packet's first byte that tell how many frames it holds (RFC 6716 section 3.1).
const FRAME_COUNT: u8 = 0b11;

/// Encodes what the bridged leg heard.
#[derive(Debug)]
pub(crate) struct Voice {
    encoder: opus::Encoder,
    /// In bit/s, without redundancy.
    bitrate: u32,
    /// Made where the browser is to have that.
    g722: Option<Box<LowerBand>>,
    seam: Seam,
    /// `None`: silence is encoded like talk.
    gate: Option<SilenceGate>,
    watch: LossWatch,
    fec: FecControl,
    packet: [u8; LONGEST],
    sequence: u64,
    timestamp: u32,
    /// RTP clock ticks per 1/8000 s of the codec that is spoken.
    ticks: i64,
    last: Option<Last>,
    /// The next packet begins a talk spurt.
    spurt: bool,
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
        let fec = FecControl::new(settings.fec);
        let mut encoder = opus_encoder(settings)?;
        let bitrate = settings.bitrate;
        prepare_for_loss(&mut encoder, bitrate, fec.initial())?;
        Ok(Voice {
            encoder,
            bitrate,
            g722: None,
            seam: Seam::default(),
            gate: settings.dtx.then(SilenceGate::default),
            watch: LossWatch::new(),
            fec,
            packet: [0; LONGEST],
            // The SRTP roll-over counter is not signalled, so the first number stays in its first half.
            sequence: u64::from(sequence >> 1),
            timestamp,
            ticks: OPUS_TICKS,
            last: None,
            spurt: true,
        })
    }

    /// Takes a frame in, and hands to `send` the packets that come of it: none in silence, two at an onset. Frames
    /// that never came leave a gap that the browser conceals.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        frame: &DirectFrame,
        mut send: impl FnMut(VoicePacket<'_>),
    ) -> Result<(), MediaError> {
        let turn = match &mut self.gate {
            Some(gate) => gate.judge(&frame.pcm),
            None => Turn::Speak,
        };
        match turn {
            Turn::Skip => return Ok(()),
            Turn::Hush => send(self.hush(now, frame)),
            Turn::Speak => send(self.speak(now, &frame.pcm, frame.at, frame.lost_before)?),
            Turn::Refresh => {
                let packet = self.speak(now, &frame.pcm, frame.at, 0)?;
                send(VoicePacket {
                    marker: false,
                    ..packet
                });
            }
            Turn::Spurt { before } => {
                self.spurt = true;
                // What got lost in a silence is not missed.
                if before
                    && frame.lost_before == 0
                    && let Some(gate) = &self.gate
                {
                    let before = *gate.before();
                    send(self.speak(now, &before, frame.at - FRAME as i64, 0)?);
                }
                send(self.speak(now, &frame.pcm, frame.at, 0)?);
            }
        }
        Ok(())
    }

    fn speak(
        &mut self,
        now: Instant,
        pcm: &Frame,
        at: i64,
        lost_before: u16,
    ) -> Result<VoicePacket<'_>, MediaError> {
        let marker = self.advance(now, at, lost_before, Codec::Opus);
        let mut pcm = *pcm;
        self.seam.join(&mut pcm);
        let len = self.encoder.encode(&pcm, &mut self.packet)?;
        Ok(self.packet(marker, len))
    }

    /// Tells the receiver that silence begins: a packet without a frame (RFC 6716 section 3.2.1), upon which it makes
    /// comfort noise from what it last heard.
    fn hush(&mut self, now: Instant, frame: &DirectFrame) -> VoicePacket<'_> {
        let marker = self.advance(now, frame.at, frame.lost_before, Codec::Opus);
        self.packet[0] &= !FRAME_COUNT;
        self.packet(marker, 1)
    }

    fn packet(&self, marker: bool, len: usize) -> VoicePacket<'_> {
        VoicePacket {
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker,
            payload: &self.packet[..len],
        }
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
        self.packet(marker, FRAME)
    }

    /// The same in G.722, for a browser that has agreed to nothing else.
    pub(crate) fn encode_g722(
        &mut self,
        now: Instant,
        pcm: &Frame,
        at: i64,
        lost_before: u16,
    ) -> VoicePacket<'_> {
        let marker = self.advance(now, at, lost_before, Codec::G722);
        let payload = self.g722.get_or_insert_default().encode(pcm);
        self.packet[..FRAME].copy_from_slice(&payload);
        self.packet(marker, FRAME)
    }

    /// Moves on by one frame and what was lost before it; says whether it begins a talk spurt.
    fn advance(&mut self, now: Instant, at: i64, lost_before: u16, codec: Codec) -> bool {
        self.ticks = codec.ticks();
        let (step, lost, marker) = self.step(now, at, lost_before);
        self.timestamp = self.timestamp.wrapping_add(step);
        self.sequence += u64::from(lost) + 1;
        self.watch.sent(self.sequence);
        self.last = Some(Last { when: now, at });
        std::mem::take(&mut self.spurt) || marker
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
        self.seam.open();
        if let Some(last) = &mut self.last {
            last.at = i64::MAX;
        }
        if let Some(gate) = &mut self.gate {
            *gate = SilenceGate::default();
        }
    }

    /// What the browser reports about our packets.
    pub(crate) fn report(&mut self, report: Reception) -> Result<(), MediaError> {
        if self.watch.report(report) {
            let percent = self.fec.percent(&self.watch);
            prepare_for_loss(&mut self.encoder, self.bitrate, percent)?;
        }
        Ok(())
    }

    /// Packets lost on the way to the browser, as far as it reported.
    pub(crate) fn lost(&self) -> u64 {
        self.watch.lost()
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
        if self.last.is_none_or(|last| last.at != i64::MAX)
            && let Some(gate) = &mut self.gate
        {
            // What it kept of before is not to be heard after.
            *gate = SilenceGate::default();
        }
        self.ticks = codec.ticks();
        self.sequence = placed.sequence;
        self.watch.sent(self.sequence);
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
        self.watch.sent(self.sequence);
        self.sequence
    }
}

/// `None`: no in-band FEC. libopus sends none either where it is told of no loss. What redundancy takes is not to be
/// missing in the sound, so it is given a third more.
fn prepare_for_loss(
    encoder: &mut opus::Encoder,
    bitrate: u32,
    percent: Option<u8>,
) -> Result<(), MediaError> {
    let bitrate = match percent {
        Some(_) => bitrate.saturating_add(bitrate / 3),
        None => bitrate,
    };
    set_bitrate(encoder, bitrate)?;
    encoder.set_inband_fec(percent.is_some())?;
    encoder.set_packet_loss_perc(i32::from(percent.unwrap_or(0)))?;
    Ok(())
}

fn ticks_8k(now: Instant, then: Instant) -> i64 {
    (now.saturating_duration_since(then).as_micros() * 8 / 1000) as i64
}

#[cfg(test)]
mod tests;
