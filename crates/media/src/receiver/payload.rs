//! Payloads as they come.

use std::sync::Arc;

use crate::codec::{Codec, OPUS_TICKS, opus_decoder};
use crate::g722::LowerBand;

/// The most that one packet of a phone may hold: 120 ms of G.711.
pub(super) const LONGEST: usize = 960;

/// A received payload, still in the datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coded<'a> {
    /// Opus in the WebRTC engine's own buffer, which can be kept without a copy.
    Opus(&'a Arc<[u8]>),
    /// Anything in the buffer of the socket.
    Plain(Codec, &'a [u8]),
}

impl<'a> Coded<'a> {
    pub(super) fn codec(&self) -> Codec {
        match self {
            Coded::Opus(_) => Codec::Opus,
            Coded::Plain(codec, _) => *codec,
        }
    }

    pub(super) fn payload(&self) -> &'a [u8] {
        match self {
            Coded::Opus(payload) => payload,
            Coded::Plain(_, payload) => payload,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.payload().len()
    }

    pub(super) fn clock(&self) -> u32 {
        self.codec().clock()
    }

    pub(super) fn ticks(&self) -> i64 {
        self.codec().ticks()
    }
}

/// The decoders with a memory, each made for its first packet.
#[derive(Debug, Default)]
pub(super) struct Decoders {
    pub(super) opus: Option<opus::Decoder>,
    g722: Option<Box<LowerBand>>,
}

impl Decoders {
    /// That of Opus takes 18 kB, which a leg that only ever speaks G.711 does not need. Should there be no room for one,
    /// the packet counts as undecodable and the next one asks again.
    pub(super) fn prepare_for(&mut self, coded: Coded<'_>) {
        if self.opus.is_none() && coded.ticks() == OPUS_TICKS {
            self.opus = opus_decoder().ok();
        }
    }

    /// Decodes into `room`; `None` if the payload is empty or the codec refuses it.
    pub(super) fn decode(&mut self, coded: Coded<'_>, room: &mut [i16]) -> Option<usize> {
        let payload = coded.payload();
        let samples = match (coded.codec(), coded.codec().law()) {
            (_, Some(law)) => law.decode(payload, room),
            // libopus takes an empty packet for a lost one and would conceal.
            (Codec::Opus, _) if !payload.is_empty() => {
                self.opus.as_mut()?.decode(payload, room, false).ok()?
            }
            (Codec::G722, _) => self.g722.get_or_insert_default().decode(payload, room),
            _ => return None,
        };
        (samples > 0).then_some(samples)
    }
}
