//! The codecs, and samples in and out of them: G.711 both laws, and Opus natively at 8 kHz (libopus resamples inside,
//! RFC 6716 section 2). G.722 is passed on as it is where that can be; its lower band is in [`crate::g722`].

use audio_codec_algorithms::{decode_alaw, decode_ulaw, encode_alaw, encode_ulaw};
use opus::{Application, Bitrate, Channels};

use crate::error::MediaError;
use crate::fec::Fec;

/// Samples per second of everything between two legs.
pub(crate) const RATE: u32 = 8000;
/// Samples in a frame of 20 ms.
pub const FRAME: usize = 160;
/// The longest Opus packet: 120 ms (RFC 6716 section 3.2.5).
pub(crate) const LONGEST_OPUS: usize = 960;
/// Media time units (1/8000 s) per tick of the 48 kHz RTP clock that Opus always uses (RFC 7587 section 4.1).
pub(crate) const OPUS_TICKS: i64 = 6;

/// One frame of 20 ms, mono, 8 kHz.
pub type Frame = [i16; FRAME];

/// An audio codec that a leg may speak. In a list the order is the preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// G.722 at 64 kbit/s: HD voice of desk phones (RFC 3551 section 4.5.2).
    G722,
    /// G.711 µ-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl Codec {
    /// The encoding name in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::G722 => "G722",
            Codec::Pcmu => "PCMU",
            Codec::Pcma => "PCMA",
        }
    }

    /// RTP clock in Hz; that of G.722 is 8000 though it samples at 16 kHz (RFC 3551 section 4.5.2).
    pub fn clock(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::G722 | Codec::Pcmu | Codec::Pcma => 8000,
        }
    }

    /// RTP clock ticks per 1/8000 s.
    pub(crate) fn ticks(self) -> i64 {
        i64::from(self.clock() / RATE)
    }

    /// How long a payload lasts, in 1/8000 s; `None` if it cannot be a payload of this codec.
    pub(crate) fn units(self, payload: &[u8]) -> Option<u32> {
        match self {
            Codec::Opus => {
                let samples = opus::packet::get_nb_samples(payload, RATE).ok()?;
                u32::try_from(samples).ok()
            }
            // All three have 64 kbit/s.
            Codec::G722 | Codec::Pcmu | Codec::Pcma => u32::try_from(payload.len()).ok(),
        }
        .filter(|units| *units > 0)
    }

    /// 20 ms of silence.
    pub(crate) fn silence(self) -> &'static [u8] {
        match self {
            // The full band's silent frame, by which every decoder comes to rest.
            Codec::Opus => &[0xf8, 0xff, 0xfe],
            // The smallest steps of both bands: predictors and step sizes decay.
            Codec::G722 => &[0xff; FRAME],
            Codec::Pcmu => &[0xff; FRAME],
            Codec::Pcma => &[0xd5; FRAME],
        }
    }

    /// The law of G.711 that it is.
    pub fn law(self) -> Option<Law> {
        match self {
            Codec::Pcmu => Some(Law::Mu),
            Codec::Pcma => Some(Law::A),
            Codec::Opus | Codec::G722 => None,
        }
    }
}

/// The two laws of G.711 (RFC 3551 section 4.5.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    /// PCMU, static payload type 0.
    Mu,
    /// PCMA, static payload type 8.
    A,
}

impl Law {
    /// The static RTP payload type.
    pub fn payload_type(self) -> u8 {
        match self {
            Law::Mu => 0,
            Law::A => 8,
        }
    }

    /// The law of a static payload type.
    pub fn of_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Law::Mu),
            8 => Some(Law::A),
            _ => None,
        }
    }

    /// The encoding name in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Law::Mu => "PCMU",
            Law::A => "PCMA",
        }
    }

    /// The codec that it is.
    pub fn codec(self) -> Codec {
        match self {
            Law::Mu => Codec::Pcmu,
            Law::A => Codec::Pcma,
        }
    }

    /// Decodes as many samples as fit into `pcm`; returns how many.
    pub fn decode(self, payload: &[u8], pcm: &mut [i16]) -> usize {
        let decode = match self {
            Law::Mu => decode_ulaw,
            Law::A => decode_alaw,
        };
        let samples = pcm.iter_mut().zip(payload);
        samples
            .map(|(sample, byte)| *sample = decode(*byte))
            .count()
    }

    /// What encodes one sample.
    pub(crate) fn encoder(self) -> fn(i16) -> u8 {
        match self {
            Law::Mu => encode_ulaw,
            Law::A => encode_alaw,
        }
    }

    /// Encodes one frame.
    pub fn encode(self, pcm: &Frame) -> [u8; FRAME] {
        pcm.map(self.encoder())
    }
}

/// How Opus towards browsers is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusSettings {
    /// 0 (cheapest) to 10 (best).
    pub complexity: u8,
    /// Bits per second.
    pub bitrate: u32,
    /// Redundancy for lost packets (in-band FEC); costs CPU, and quality at equal bit rate.
    pub fec: Fec,
    /// Encodes and sends next to nothing while the phone is silent.
    pub dtx: bool,
}

impl Default for OpusSettings {
    fn default() -> Self {
        OpusSettings {
            complexity: 1,
            bitrate: 24_000,
            fec: Fec::Auto,
            dtx: true,
        }
    }
}

/// A narrow-band encoder for a voice call, without FEC yet.
pub(crate) fn opus_encoder(settings: &OpusSettings) -> Result<opus::Encoder, MediaError> {
    let mut encoder = opus::Encoder::new(RATE, Channels::Mono, Application::Voip)?;
    encoder.set_complexity(i32::from(settings.complexity.min(10)))?;
    set_bitrate(&mut encoder, settings.bitrate)?;
    Ok(encoder)
}

/// In bit/s.
pub(crate) fn set_bitrate(encoder: &mut opus::Encoder, bitrate: u32) -> Result<(), MediaError> {
    Ok(encoder.set_bitrate(Bitrate::Bits(bitrate.clamp(6000, 510_000) as i32))?)
}

/// A decoder straight to 8 kHz mono.
pub(crate) fn opus_decoder() -> Result<opus::Decoder, MediaError> {
    Ok(opus::Decoder::new(RATE, Channels::Mono)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_law_returns_what_it_was_given_within_its_step() {
        let mut pcm = [0i16; FRAME];
        for (n, sample) in pcm.iter_mut().enumerate() {
            *sample = (n as i16 - 80) * 300;
        }
        for law in [Law::Mu, Law::A] {
            let mut back = [0; FRAME];
            assert_eq!(law.decode(&law.encode(&pcm), &mut back), FRAME);
            for (before, after) in pcm.iter().zip(back) {
                let error = (i32::from(*before) - i32::from(after)).abs();
                let step = i32::from(before.unsigned_abs()) / 16 + 16;
                assert!(error <= step, "{law:?}: {before} became {after}");
            }
        }
    }

    #[test]
    fn a_payload_longer_than_the_room_is_cut_off() {
        assert_eq!(Law::Mu.decode(&[0xff; 500], &mut [0; FRAME]), FRAME);
        assert_eq!(Law::A.decode(&[], &mut [0; FRAME]), 0);
    }

    #[test]
    fn an_encoder_accepts_every_setting() {
        for complexity in 0..=10 {
            let settings = OpusSettings {
                complexity,
                bitrate: 0,
                ..OpusSettings::default()
            };
            opus_encoder(&settings).unwrap();
        }
    }
}
