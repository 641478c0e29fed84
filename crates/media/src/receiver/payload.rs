//! Payloads as they come.

use std::sync::Arc;

use crate::codec::{Codec, Law, OPUS_TICKS};

/// The most G.711 that one packet may hold: 120 ms.
pub(super) const LONGEST_LAW: usize = 960;

/// A received payload, still in the datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coded<'a> {
    Opus(&'a Arc<[u8]>),
    Law(Law, &'a [u8]),
}

impl Coded<'_> {
    pub(super) fn codec(&self) -> Codec {
        match self {
            Coded::Opus(_) => Codec::Opus,
            Coded::Law(law, _) => law.codec(),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Coded::Opus(payload) => payload.len(),
            Coded::Law(_, payload) => payload.len(),
        }
    }

    pub(super) fn clock(&self) -> u32 {
        match self {
            Coded::Opus(_) => 48_000,
            Coded::Law(..) => 8000,
        }
    }

    pub(super) fn ticks(&self) -> i64 {
        match self {
            Coded::Opus(_) => OPUS_TICKS,
            Coded::Law(..) => 1,
        }
    }
}

/// Decodes into `room`; `None` if the payload is empty or the codec refuses it.
pub(super) fn decode(
    decoder: Option<&mut opus::Decoder>,
    coded: Coded<'_>,
    room: &mut [i16],
) -> Option<usize> {
    let samples = match coded {
        // libopus takes an empty packet for a lost one and would conceal.
        Coded::Opus(payload) if payload.is_empty() => return None,
        Coded::Opus(payload) => decoder?.decode(payload, room, false).ok()?,
        Coded::Law(law, payload) => law.decode(payload, room),
    };
    (samples > 0).then_some(samples)
}
