//! Payloads as they come, and as they wait.

use std::sync::Arc;

use crate::codec::{Law, OPUS_TICKS};

/// The most G.711 that one packet may hold when it has to wait in the jitter buffer: 60 ms.
pub(crate) const LONGEST_LAW: usize = 480;

/// A payload that waits for its turn.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation per packet; the ring is made once a leg"
)]
pub(super) enum Payload {
    Opus(Arc<[u8]>),
    Law {
        law: Law,
        bytes: [u8; LONGEST_LAW],
        len: usize,
    },
}

/// A received payload, still in the datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coded<'a> {
    Opus(&'a Arc<[u8]>),
    Law(Law, &'a [u8]),
}

impl Coded<'_> {
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

impl Payload {
    /// `None` if it is longer than a packet that waits may be.
    pub(super) fn keep(coded: Coded<'_>) -> Option<Self> {
        match coded {
            Coded::Opus(payload) => Some(Payload::Opus(Arc::clone(payload))),
            Coded::Law(law, payload) => {
                let mut bytes = [0; LONGEST_LAW];
                bytes.get_mut(..payload.len())?.copy_from_slice(payload);
                Some(Payload::Law {
                    law,
                    bytes,
                    len: payload.len(),
                })
            }
        }
    }

    pub(super) fn coded(&self) -> Coded<'_> {
        match self {
            Payload::Opus(payload) => Coded::Opus(payload),
            Payload::Law { law, bytes, len } => Coded::Law(*law, &bytes[..*len]),
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
