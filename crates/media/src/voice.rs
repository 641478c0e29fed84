//! The sending side of a browser leg: frames into packets with sequence numbers and timestamps, most of them Opus.

use std::time::Instant;

use crate::codec::{Codec, FRAME, Frame, Law, OPUS_TICKS, OpusSettings, opus_encoder};
use crate::error::MediaError;
use crate::fec::{FecControl, LossWatch, Reception};
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
        prepare_for_loss(&mut encoder, fec.initial())?;
        Ok(Voice {
            encoder,
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
            prepare_for_loss(&mut self.encoder, self.fec.percent(&self.watch))?;
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

/// `None`: no in-band FEC. libopus sends none either where it is told of no loss.
fn prepare_for_loss(encoder: &mut opus::Encoder, percent: Option<u8>) -> Result<(), MediaError> {
    encoder.set_inband_fec(percent.is_some())?;
    encoder.set_packet_loss_perc(i32::from(percent.unwrap_or(0)))?;
    Ok(())
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

    fn voice(dtx: bool) -> Voice {
        let settings = OpusSettings {
            dtx,
            ..OpusSettings::default()
        };
        Voice::new(&settings, 0, 1000).unwrap()
    }

    fn frame(pcm: Frame, at: i64, lost_before: u16) -> DirectFrame {
        DirectFrame {
            pcm,
            at,
            lost_before,
        }
    }

    /// Loud enough to be talk.
    fn talk(n: usize) -> Frame {
        std::array::from_fn(|sample| {
            let angle = (n * FRAME + sample) as f64 * 0.7;
            (angle.sin() * 8000.0) as i16
        })
    }

    /// Sequence number, timestamp, marker and length.
    type Stamp = (u64, u32, bool, usize);

    fn stamp(packet: &VoicePacket<'_>) -> Stamp {
        (
            packet.sequence,
            packet.timestamp,
            packet.marker,
            packet.payload.len(),
        )
    }

    fn stamps(frames: &[(u32, i64, u16)]) -> Vec<(u64, u32, bool)> {
        let start = origin();
        let mut voice = voice(false);
        let mut stamps = Vec::new();
        for (tick, at, lost) in frames {
            let frame = frame([0; FRAME], *at, *lost);
            let send = |packet: VoicePacket<'_>| {
                stamps.push((packet.sequence, packet.timestamp, packet.marker));
            };
            voice.take(start + TICK * *tick, &frame, send).unwrap();
        }
        stamps
    }

    #[test]
    fn a_source_that_is_new_and_behind_its_own_beginning_is_no_overflow() {
        let mut voice = voice(false);
        let now = origin();
        voice.take(now, &frame([0; FRAME], 0, 0), |_| {}).unwrap();
        voice.forget_source();
        let behind = frame([0; FRAME], -160, 0);
        assert!(voice.take(now + TICK, &behind, |_| {}).is_ok());
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

    /// What goes out for frames that talk or do not, the frame's number beside each packet.
    fn spoken(frames: &[(bool, u16)]) -> Vec<(usize, Stamp)> {
        let start = origin();
        let mut voice = voice(true);
        let mut out = Vec::new();
        for (n, (talks, lost)) in frames.iter().enumerate() {
            let pcm = if *talks { talk(n) } else { [0; FRAME] };
            let frame = frame(pcm, (n * FRAME) as i64, *lost);
            let send = |packet: VoicePacket<'_>| out.push((n, stamp(&packet)));
            voice.take(start + TICK * n as u32, &frame, send).unwrap();
        }
        out
    }

    #[test]
    fn a_silent_phone_costs_two_packets_in_420_ms_and_no_gap_in_the_sequence() {
        let mut frames = [(true, 0); 200];
        frames[50..150].fill((false, 0));
        let out = spoken(&frames);
        let numbers: Vec<u64> = out.iter().map(|(_, stamp)| stamp.0).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        let told: Vec<usize> = out.iter().filter(|o| o.1.3 == 1).map(|o| o.0).collect();
        assert_eq!(told, [62, 83, 104, 125, 146]);
        let silent = out.iter().filter(|(n, _)| (62..150).contains(n)).count();
        assert_eq!(silent, 5 + 4);
        for (n, stamp) in &out[..60] {
            assert_eq!(stamp.1, 1960 + 960 * *n as u32);
        }
    }

    #[test]
    fn a_spurt_begins_with_the_frame_before_and_a_marker() {
        let mut frames = [(true, 0); 200];
        frames[50..150].fill((false, 0));
        let out = spoken(&frames);
        let onset: Vec<_> = out.iter().filter(|o| o.0 == 150).map(|o| o.1).collect();
        assert_eq!(onset.len(), 2);
        assert_eq!(onset[0].1, 1960 + 960 * 149);
        assert_eq!(onset[1].1, 1960 + 960 * 150);
        let marked: Vec<usize> = out.iter().filter(|o| o.1.2).map(|o| o.0).collect();
        assert_eq!(marked, [0, 150]);
    }

    #[test]
    fn loss_in_a_silence_leaves_no_gap() {
        let mut frames = [(true, 0); 120];
        frames[50..100].fill((false, 0));
        frames[80].1 = 1;
        frames[100].1 = 1;
        let numbers: Vec<u64> = spoken(&frames).iter().map(|o| o.1.0).collect();
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    /// Whether the packets of ten frames carry redundancy: libopus sets a bit for it in the SILK header.
    fn has_fec(voice: &mut Voice, from: usize) -> bool {
        let start = origin();
        let mut flagged = 0;
        for n in from..from + 10 {
            let frame = frame(talk(n), (n * FRAME) as i64, 0);
            let send = |packet: VoicePacket<'_>| {
                // RFC 6716 section 4.2.3: the VAD bit, then the LBRR bit of the one frame.
                flagged += usize::from(packet.payload[1] & 0x40 != 0);
            };
            voice.take(start + TICK * n as u32, &frame, send).unwrap();
        }
        flagged >= 8
    }

    /// At a low complexity libopus takes some persuading.
    #[test]
    fn light_loss_turns_redundancy_on_at_every_complexity() {
        for complexity in 0..=10 {
            let settings = OpusSettings {
                complexity,
                dtx: false,
                ..OpusSettings::default()
            };
            let mut voice = Voice::new(&settings, 0, 1000).unwrap();
            let _ = has_fec(&mut voice, 0);
            let highest = 10;
            voice.report(Reception { highest, lost: 1 }).unwrap();
            assert!(has_fec(&mut voice, 10), "at complexity {complexity}");
        }
    }

    #[test]
    fn reported_loss_turns_redundancy_on_and_reports_of_our_own_gaps_do_not() {
        let mut voice = voice(false);
        assert!(!has_fec(&mut voice, 0));
        voice
            .report(Reception {
                highest: 10,
                lost: 2,
            })
            .unwrap();
        assert!(has_fec(&mut voice, 10));
        assert_eq!(voice.lost(), 2);
    }

    #[test]
    fn complexity_may_change_while_the_encoder_runs() {
        let mut voice = voice(false);
        assert!(!has_fec(&mut voice, 0));
        for complexity in [0, 10, 255] {
            voice.set_encoder_complexity(complexity).unwrap();
        }
        assert_eq!(voice.encoder.get_complexity().unwrap(), 10);
    }
}
