//! What a person at a browser says, as packets: Opus as Chromium sends it, 48 kHz, in-band error correction steered by
//! the receiver's reports, nothing sent in silence where the peer asks for that.

use opus::{Application, Bitrate, Channels};

use crate::judge::Sound;

/// Samples of 20 ms at 48 kHz.
const FRAME: usize = 960;
/// What Chromium uses for one channel of speech.
const BITRATE: i32 = 32_000;
const COMPLEXITY: i32 = 9;
/// Packets this short say that nothing need be sent (RFC 6716 section 2.1.9).
const DTX: usize = 2;
/// How much a report changes what the encoder expects to be lost.
const TRUST: f32 = 0.3;

/// The person.
#[derive(Debug)]
pub(crate) struct Speaker {
    encoder: opus::Encoder,
    says: Says,
    expected_loss: f32,
    silent: bool,
    sequence: u64,
    timestamp: u32,
}

/// A packet that is due.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) sequence: u64,
    pub(crate) timestamp: u32,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
enum Says {
    /// Encoded as it is said.
    Live { pcm: Vec<i16>, at: usize },
    /// Encoded once and said again and again, which costs next to nothing.
    Over { packets: Vec<Vec<u8>>, at: usize },
}

impl Speaker {
    /// One that is silent.
    ///
    /// # Errors
    /// When libopus refuses a setting.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            encoder: encoder()?,
            says: Says::Live {
                pcm: Vec::new(),
                at: 0,
            },
            expected_loss: 0.0,
            silent: false,
            sequence: 1_000,
            timestamp: 77_000,
        })
    }

    /// Says this from the next frame on, then nothing.
    pub(crate) fn say(&mut self, sound: &Sound) {
        let pcm = sound.at_48_khz();
        self.says = Says::Live { pcm, at: 0 };
    }

    /// Says this again and again until told otherwise.
    ///
    /// # Errors
    /// When libopus refuses a frame.
    pub(crate) fn say_over(&mut self, sound: &Sound) -> anyhow::Result<()> {
        let mut encoder = encoder()?;
        let pcm = sound.at_48_khz();
        let frames = pcm.chunks_exact(FRAME);
        let packets: Result<Vec<_>, _> = frames
            .map(|frame| encoder.encode_vec(frame, 1_000))
            .collect();
        self.says = Says::Over {
            packets: packets?,
            at: 0,
        };
        Ok(())
    }

    /// Whether nothing is sent in silence; at first it is so. Chromium does that where the peer's description has
    /// `usedtx=1` (RFC 7587 section 6.1).
    pub(crate) fn pauses(&mut self, dtx: bool) {
        // Refused, it only sends more than it need.
        let _ = self.encoder.set_dtx(dtx);
    }

    /// The next frame's packet; `None` where nothing need be sent.
    pub(crate) fn next(&mut self) -> Option<Spoken> {
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
        Some(Spoken {
            sequence: self.sequence,
            timestamp: self.timestamp,
            payload,
        })
    }

    /// The peer reports so much loss, 0.0 to 1.0.
    pub(crate) fn expect_loss(&mut self, reported: f32) {
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
