//! A simulated browser: str0m as the peer, and Opus as Chromium sends it: 48 kHz, in-band error correction steered by
//! the receiver's reports, nothing sent in silence.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use opus::{Application, Bitrate, Channels};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::playout::{Heard, Piece, Playout};
use crate::judge::Sound;

pub(super) const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 2], 50_000);

/// Samples of 20 ms at 48 kHz.
const FRAME: usize = 960;
const FRAME_TIME: Duration = Duration::from_millis(20);
/// The payload type of Opus in its offer.
const OPUS: u8 = 111;
/// What Chromium uses for one channel of speech.
const BITRATE: i32 = 32_000;
const COMPLEXITY: i32 = 9;
/// Packets this short say that nothing need be sent (RFC 6716 section 2.1.9).
const DTX: usize = 2;
/// How much a report changes what the encoder expects to be lost.
const TRUST: f32 = 0.3;
/// A jitter buffer that has seen the worst of the link waits this long.
const PLAYOUT: Duration = Duration::from_millis(150);
/// 20 ms at 8 kHz, where what is heard is decoded to.
const HEARD_FRAME: usize = 160;

/// The browser and the person at it.
pub struct Browser {
    start: Instant,
    rtc: Rtc,
    mid: Option<Mid>,
    pending: Option<SdpPendingOffer>,
    timeout: Option<Instant>,
    sent: Vec<Vec<u8>>,
    voice: Voice,
    ppm: f64,
    frames: u64,
    connected: bool,
    playout: Playout<Vec<u8>>,
}

/// What the person says, as packets.
struct Voice {
    encoder: opus::Encoder,
    says: Says,
    expected_loss: f32,
    silent: bool,
    sequence: u64,
    timestamp: u32,
}

enum Says {
    /// Encoded as it is said.
    Live { pcm: Vec<i16>, at: usize },
    /// Encoded once and said again and again, which costs next to nothing.
    Over { packets: Vec<Vec<u8>>, at: usize },
}

impl Browser {
    pub(super) fn new(start: Instant, ppm: f64) -> anyhow::Result<Self> {
        let mut rtc = RtcConfig::new()
            .clear_codecs()
            .set_rtp_mode(true)
            .enable_opus(true, true)
            .set_stats_interval(Some(Duration::from_secs(1)))
            .build(start);
        rtc.add_local_candidate(Candidate::host(ADDRESS.into(), Protocol::Udp)?);
        Ok(Self {
            start,
            rtc,
            mid: None,
            pending: None,
            timeout: None,
            sent: Vec::new(),
            voice: Voice {
                encoder: encoder()?,
                says: Says::Live {
                    pcm: Vec::new(),
                    at: 0,
                },
                expected_loss: 0.0,
                silent: false,
                sequence: 1_000,
                timestamp: 77_000,
            },
            ppm,
            frames: 0,
            connected: false,
            playout: Playout::new(6),
        })
    }

    pub(super) fn offer(&mut self) -> anyhow::Result<String> {
        let mut api = self.rtc.sdp_api();
        self.mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        let (offer, pending) = api.apply().context("there is something to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    pub(super) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(answer)?;
        let pending = self.pending.take().context("an offer is out")?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        self.drain(self.start);
        Ok(())
    }

    /// When its engine wants to be called.
    pub(super) fn timeout(&self) -> Option<Instant> {
        self.timeout
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.input(now, Input::Timeout(now));
    }

    pub(super) fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        // What the engine cannot read it drops, as a browser does.
        if let Ok(received) = Receive::new(Protocol::Udp, from, ADDRESS.into(), datagram) {
            self.input(now, Input::Receive(now, received));
        }
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
        let pcm = sound.at_48_khz();
        self.voice.says = Says::Live { pcm, at: 0 };
        self.next_frame()
    }

    /// Says this again and again until told otherwise.
    ///
    /// # Errors
    /// When libopus refuses a frame.
    pub fn say_over(&mut self, sound: &Sound) -> anyhow::Result<()> {
        let mut encoder = encoder()?;
        let pcm = sound.at_48_khz();
        let frames = pcm.chunks_exact(FRAME);
        let packets: Result<Vec<_>, _> = frames
            .map(|frame| encoder.encode_vec(frame, 1_000))
            .collect();
        self.voice.says = Says::Over {
            packets: packets?,
            at: 0,
        };
        Ok(())
    }

    pub(super) fn frame(&mut self, now: Instant) {
        self.frames += 1;
        let Some((sequence, timestamp, payload)) = self.voice.next() else {
            return;
        };
        let Some(mid) = self.mid.filter(|_| self.connected) else {
            return;
        };
        let write = RtpWrite::new(OPUS.into(), sequence.into(), timestamp, now, payload);
        let mut direct = self.rtc.direct_api();
        if let Some(stream) = direct.stream_tx_by_mid(mid, None) {
            stream.set_unpaced(true);
            stream.write_rtp(write);
        }
        self.input(now, Input::Timeout(now));
    }

    fn input(&mut self, now: Instant, input: Input<'_>) {
        // A fault of the engine would be heard: nothing comes any more.
        if self.rtc.handle_input(input).is_ok() {
            self.drain(now);
        }
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(timeout)) => {
                    self.timeout = Some(timeout);
                    return;
                }
                Ok(Output::Transmit(transmit)) => self.sent.push(transmit.contents.to_vec()),
                Ok(Output::Event(event)) => self.happened(now, event),
                Err(_) => return,
            }
        }
    }

    fn happened(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::RtpPacket(packet) if *packet.header.payload_type == OPUS => {
                let at = now.saturating_duration_since(self.start);
                let timestamp = packet.header.timestamp;
                self.playout.receive(at, timestamp, packet.payload.to_vec());
            }
            Event::MediaEgressStats(stats) => {
                if let Some(loss) = stats.loss {
                    self.voice.expect_loss(loss);
                }
            }
            _ => {}
        }
    }

    /// Forgets what was heard until now.
    pub fn listen(&mut self) {
        self.playout = Playout::new(6);
    }

    /// What was heard since, by a jitter buffer that knows the link: it waits 150 ms, uses redundancy where the next
    /// packet has it, and libopus conceals the rest.
    ///
    /// # Errors
    /// When there is no decoder.
    pub fn heard(&self) -> anyhow::Result<Heard> {
        let mut decoder = opus::Decoder::new(8_000, Channels::Mono)?;
        Ok(self.playout.heard(PLAYOUT, |pieces| {
            let mut pcm = Vec::new();
            for piece in pieces {
                let mut frame = [0; HEARD_FRAME];
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
}

impl Voice {
    /// The next frame's packet; `None` where nothing need be sent.
    fn next(&mut self) -> Option<(u64, u32, Vec<u8>)> {
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        let payload = match &mut self.says {
            Says::Live { pcm, at } => {
                let rest = pcm.get(*at..).unwrap_or_default();
                let frame = rest.iter().copied().chain(std::iter::repeat(0)).take(FRAME);
                let frame: Vec<i16> = frame.collect();
                *at += FRAME;
                self.encoder.encode_vec(&frame, 1_000).ok()?
            }
            Says::Over { packets, at } => {
                let packet = packets.get(*at % packets.len().max(1))?.clone();
                *at += 1;
                packet
            }
        };
        // The first empty packet of a silence is sent, so that the receiver knows.
        let was_silent = std::mem::replace(&mut self.silent, payload.len() <= DTX);
        if self.silent && was_silent {
            return None;
        }
        self.sequence += 1;
        Some((self.sequence, self.timestamp, payload))
    }

    fn expect_loss(&mut self, reported: f32) {
        self.expected_loss += TRUST * (reported - self.expected_loss);
        let percent = (self.expected_loss * 100.0).round() as i32;
        // It only steers how much redundancy is added.
        let _ = self.encoder.set_packet_loss_perc(percent.clamp(0, 100));
    }
}

fn encoder() -> anyhow::Result<opus::Encoder> {
    let mut encoder = opus::Encoder::new(48_000, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::Bits(BITRATE))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_inband_fec(true)?;
    encoder.set_dtx(true)?;
    Ok(encoder)
}

/// When the `n`th frame is due on a clock that runs fast by `ppm`.
pub(super) fn frame_time(n: u64, ppm: f64) -> Duration {
    // Seven ms after the gateway's own frames, so that nothing coincides by luck.
    let phase = Duration::from_millis(7);
    phase + Duration::from_secs_f64(n as f64 * FRAME_TIME.as_secs_f64() / (1.0 + ppm * 1e-6))
}
