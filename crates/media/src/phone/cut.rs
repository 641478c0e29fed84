//! Another packet length on the phone's side: bytes of a codec of 64 kbit/s, cut anew.

use crate::codec::LONGEST_OPUS;

/// A packet of the longest kind beside a rest of another.
const ROOM: usize = 2 * LONGEST_OPUS;

/// Far from every number that a packet may have.
const FIRST: u64 = 1 << 40;

/// What of a passed stream has not gone out yet, because it does not fill a packet.
#[derive(Debug)]
pub(super) struct Cut {
    bytes: Box<[u8; ROOM]>,
    len: usize,
    /// The number that the sent stream goes on with, unless somebody else sends.
    pub(super) next: Option<u16>,
    /// Counts what came, for [`crate::relay::Relay`].
    pub(super) count: u64,
}

impl Default for Cut {
    fn default() -> Self {
        Cut {
            bytes: Box::new([0; ROOM]),
            len: 0,
            next: None,
            count: FIRST,
        }
    }
}

impl Cut {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Somebody else has sent: what waits is too late, and no number follows the last one.
    pub(super) fn begin(&mut self) {
        self.len = 0;
        self.count += 1000;
    }

    /// Appends as much as there is room for: callers take out whatever fills a packet.
    pub(super) fn push(&mut self, payload: &[u8]) {
        let room = &mut self.bytes[self.len..];
        let len = payload.len().min(room.len());
        room[..len].copy_from_slice(&payload[..len]);
        self.len += len;
    }

    /// Takes the oldest bytes out, into `packet`; false if there are not so many.
    pub(super) fn take(&mut self, packet: &mut [u8]) -> bool {
        let len = packet.len();
        if self.len < len {
            return false;
        }
        packet.copy_from_slice(&self.bytes[..len]);
        self.bytes.copy_within(len..self.len, 0);
        self.len -= len;
        true
    }
}
