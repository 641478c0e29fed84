//! A simulated browser: the WebRTC of one, and the person at it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use opus::Channels;

use super::playout::{Heard, Piece, Playout};
use super::speaker::{Speaker, Spoken};
use crate::judge::Sound;
use crate::load::Voice;
use crate::webrtc::{Outcome, WebRtc};

pub(super) const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 2], 50_000);

const FRAME_TIME: Duration = Duration::from_millis(20);
/// A jitter buffer that has seen the worst of the link waits this long.
const PLAYOUT: Duration = Duration::from_millis(150);
/// 20 ms at 8 kHz, where what is heard is decoded to.
const FRAME: usize = 160;

/// The browser and the person at it.
pub struct Browser {
    start: Instant,
    webrtc: WebRtc,
    sent: Vec<Vec<u8>>,
    speaker: Speaker,
    ppm: f64,
    frames: u64,
    connected: bool,
    playout: Playout<Vec<u8>>,
}

impl Browser {
    pub(super) fn new(start: Instant, ppm: f64) -> anyhow::Result<Self> {
        Ok(Self {
            start,
            webrtc: WebRtc::new(start, ADDRESS.into(), Voice::Opus)?,
            sent: Vec::new(),
            speaker: Speaker::new()?,
            ppm,
            frames: 0,
            connected: false,
            playout: Playout::new(6),
        })
    }

    pub(super) fn offer(&mut self) -> anyhow::Result<String> {
        self.webrtc.offer()
    }

    pub(super) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        self.webrtc.accept(answer)?;
        self.drain(self.start);
        Ok(())
    }

    /// When its engine wants to be called.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.webrtc.timeout()
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.webrtc.advance(now);
        self.drain(now);
    }

    pub(super) fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.webrtc.receive(now, from, datagram);
        self.drain(now);
    }

    pub(super) fn take_sent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.sent)
    }

    /// When the next frame is due, by its own clock.
    pub(super) fn next_frame(&self) -> Duration {
        frame_time(self.frames, self.ppm)
    }

    /// Says this from the next frame on; returns when that is sent.
    pub fn say(&mut self, sound: &Sound) -> Duration {
        self.speaker.say(sound);
        self.next_frame()
    }

    /// Says this again and again until told otherwise.
    ///
    /// # Errors
    /// When libopus refuses a frame.
    pub fn say_over(&mut self, sound: &Sound) -> anyhow::Result<()> {
        self.speaker.say_over(sound)
    }

    pub(super) fn frame(&mut self, now: Instant) {
        self.frames += 1;
        if let Some(Spoken {
            sequence,
            timestamp,
            payload,
        }) = self.speaker.next()
            && self.connected
        {
            self.webrtc.say(now, sequence, timestamp, &payload);
            self.drain(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        while let Some(outcome) = self.webrtc.poll() {
            match outcome {
                Outcome::Transmit(transmit) => self.sent.push(transmit.contents.to_vec()),
                Outcome::Connected => self.connected = true,
                Outcome::Packet(packet) => {
                    let at = now.saturating_duration_since(self.start);
                    let timestamp = packet.header.timestamp;
                    self.playout.receive(at, timestamp, packet.payload.to_vec());
                }
                Outcome::Key(_) => {}
                Outcome::Loss(reported) => self.speaker.expect_loss(reported),
            }
        }
    }

    /// Forgets what was heard until now.
    pub fn listen(&mut self) {
        self.playout = Playout::new(6);
    }

    /// What was heard since, by a jitter buffer that knows the link.
    ///
    /// # Errors
    /// When there is no decoder.
    pub fn heard(&self) -> anyhow::Result<Heard> {
        heard(&self.playout)
    }
}

/// By a jitter buffer that knows the link: it waits 150 ms, uses redundancy where the next packet has it, and libopus
/// conceals the rest.
pub(crate) fn heard(playout: &Playout<Vec<u8>>) -> anyhow::Result<Heard> {
    let mut decoder = opus::Decoder::new(8_000, Channels::Mono)?;
    Ok(playout.heard(PLAYOUT, |pieces| {
        let mut pcm = Vec::new();
        for piece in pieces {
            let mut frame = [0; FRAME];
            let decoded = match piece {
                Piece::Packet(packet) => decoder.decode(packet, &mut frame, false),
                Piece::Missing { next: Some(next) } => decoder.decode(next, &mut frame, true),
                Piece::Missing { next: None } => decoder.decode(&[], &mut frame, false),
            };
            // What cannot be decoded is heard as silence.
            let _ = decoded;
            pcm.extend(frame);
        }
        pcm
    }))
}

/// When the `n`th frame is due on a clock that runs fast by `ppm`.
pub(super) fn frame_time(n: u64, ppm: f64) -> Duration {
    // Seven ms after the gateway's own frames, so that nothing coincides by luck.
    let phase = Duration::from_millis(7);
    phase + Duration::from_secs_f64(n as f64 * FRAME_TIME.as_secs_f64() / (1.0 + ppm * 1e-6))
}
