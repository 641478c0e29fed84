//! Payloads while they wait for their turn in the jitter buffer.

use std::sync::Arc;

use super::noise::LONGEST_NOISE;
use super::payload::{Coded, LONGEST};
use crate::codec::Codec;

/// Room for G.711 that waits: a second of it, more than the buffer ever holds.
const ROOM: usize = 8 * 1024;

/// A payload that waits.
#[derive(Debug)]
pub(super) enum Waiting {
    Opus(Arc<[u8]>),
    /// Where it is kept in the [`Store`].
    Plain {
        codec: Codec,
        start: usize,
        len: usize,
    },
    /// Comfort noise (RFC 3389).
    Noise {
        bytes: [u8; LONGEST_NOISE],
        len: usize,
    },
}

impl Waiting {
    /// Coefficients beyond those that we use are cut off.
    pub(super) fn noise(payload: &[u8]) -> Self {
        let mut bytes = [0; LONGEST_NOISE];
        let len = payload.len().min(LONGEST_NOISE);
        bytes[..len].copy_from_slice(&payload[..len]);
        Waiting::Noise { bytes, len }
    }
}

/// The bytes of a phone's packets that wait: a ring, made when the first one comes.
#[derive(Debug, Default)]
pub(super) struct Store {
    bytes: Vec<u8>,
    end: usize,
}

impl Store {
    /// `None` if the packet is longer than one that waits may be.
    pub(super) fn keep(&mut self, coded: Coded<'_>) -> Option<Waiting> {
        let (codec, payload) = match coded {
            Coded::Opus(payload) => return Some(Waiting::Opus(Arc::clone(payload))),
            Coded::Plain(codec, payload) => (codec, payload),
        };
        let len = payload.len();
        if len > LONGEST {
            return None;
        }
        self.bytes.resize(ROOM, 0);
        if self.end + len > ROOM {
            self.end = 0;
        }
        let start = self.end;
        self.end += len;
        self.bytes[start..self.end].copy_from_slice(payload);
        Some(Waiting::Plain { codec, start, len })
    }

    pub(super) fn payload(&self, start: usize, len: usize) -> &[u8] {
        &self.bytes[start..start + len]
    }
}
