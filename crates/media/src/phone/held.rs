//! The beginning of an announcement, kept until the one who calls can hear it: their browser connects only after our
//! answer, and the first words would be over by then. What is kept goes on with the delay that it has; nobody talks back
//! yet, so that nobody notices. When somebody picks up, the rest is skipped.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::codec::{Codec, LONGEST_OPUS};
use crate::receiver::Stamp;

/// A browser that takes longer to connect misses the beginning. After a refusal it is heard out within
/// `mxtrunk_call::Timings::last_words`, which must be longer.
const LONGEST: Duration = Duration::from_secs(3);
/// Packets in that time, of 10 ms at the shortest.
const PACKETS: usize = 300;
/// Bytes in that time, at 64 kbit/s, and one packet.
const BYTES: usize = 24_000 + LONGEST_OPUS;
/// Packets kept of what came before the first sound: the onset of a word is too soft to be told from silence.
const BEFORE_SOUND: usize = 5;

/// What a packet holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Audio(Codec),
    /// Comfort noise.
    Noise,
}

#[derive(Debug)]
struct Head {
    arrived: Instant,
    stamp: Stamp,
    kind: Kind,
    len: usize,
}

/// Packets in the order in which they came. Its memory is taken once, with the first description.
#[derive(Debug)]
pub(super) struct Held {
    heads: VecDeque<Head>,
    bytes: VecDeque<u8>,
    /// How long after its arrival a packet is heard; `None`: nobody can hear yet.
    delay: Option<Duration>,
}

impl Default for Held {
    fn default() -> Self {
        Held {
            heads: VecDeque::with_capacity(PACKETS),
            bytes: VecDeque::with_capacity(BYTES),
            delay: None,
        }
    }
}

impl Held {
    pub(super) fn push(&mut self, now: Instant, stamp: Stamp, kind: Kind, payload: &[u8]) {
        let len = payload.len();
        if len > LONGEST_OPUS {
            return;
        }
        while self.heads.len() == PACKETS
            || self.bytes.len() + len > BYTES
            || self.oldest().is_some_and(|at| at + LONGEST < now)
        {
            self.forget_oldest();
        }
        self.bytes.extend(payload);
        self.heads.push_back(Head {
            arrived: now,
            stamp,
            kind,
            len,
        });
    }

    /// Nothing of it was sound so far.
    pub(super) fn keep_only_the_last(&mut self) {
        while self.heads.len() > BEFORE_SOUND {
            self.forget_oldest();
        }
    }

    fn oldest(&self) -> Option<Instant> {
        self.heads.front().map(|head| head.arrived)
    }

    fn forget_oldest(&mut self) {
        if let Some(head) = self.heads.pop_front() {
            self.bytes.drain(..head.len);
        }
    }

    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
    }

    /// From now on somebody hears it.
    pub(super) fn begin(&mut self, now: Instant) {
        let kept = self.oldest().map(|at| now.saturating_duration_since(at));
        self.delay.get_or_insert(kept.unwrap_or_default());
    }

    /// When what came `at` a time is heard; `None` while nobody can hear anything.
    pub(super) fn heard_at(&self, at: Instant) -> Option<Instant> {
        Some(at + self.delay?)
    }

    /// When the next packet is to be heard.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.oldest()? + self.delay?)
    }

    /// Takes the oldest packet out.
    pub(super) fn pop<'a>(
        &mut self,
        room: &'a mut [u8; LONGEST_OPUS],
    ) -> Option<(Stamp, Kind, &'a [u8])> {
        let head = self.heads.pop_front()?;
        let room = room.get_mut(..head.len)?;
        for (byte, kept) in room.iter_mut().zip(self.bytes.drain(..head.len)) {
            *byte = kept;
        }
        Some((head.stamp, head.kind, room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;

    fn held(now: Instant, packets: u16) -> Held {
        let mut held = Held::default();
        for n in 0..packets {
            let stamp = Stamp {
                ssrc: 1,
                sequence: n,
                timestamp: u32::from(n) * 160,
                marker: false,
            };
            let at = now + Duration::from_millis(20) * u32::from(n);
            held.push(at, stamp, Kind::Audio(Codec::Pcmu), &[n as u8; 160]);
        }
        held
    }

    #[test]
    fn what_is_kept_comes_out_in_order_with_the_delay_that_it_has() {
        let start = origin();
        let mut held = held(start, 30);
        assert_eq!(held.due(), None);
        let up = start + Duration::from_millis(600);
        held.begin(up);
        held.begin(up + Duration::from_secs(1));
        assert_eq!(held.heard_at(start), Some(up));
        let mut room = [0; LONGEST_OPUS];
        for n in 0..30u16 {
            assert_eq!(
                held.due(),
                Some(up + Duration::from_millis(20) * u32::from(n))
            );
            let (stamp, kind, payload) = held.pop(&mut room).expect("it was kept");
            assert_eq!((stamp.sequence, kind), (n, Kind::Audio(Codec::Pcmu)));
            assert_eq!(payload, [n as u8; 160]);
        }
        assert!(held.pop(&mut room).is_none());
    }

    #[test]
    fn no_more_than_three_seconds_are_kept_in_the_memory_that_was_taken() {
        let start = origin();
        let mut held = held(start, 1000);
        let end = start + Duration::from_millis(20) * 999;
        assert!(held.oldest().is_some_and(|at| end - at <= LONGEST));
        assert!(held.heads.capacity() < 2 * PACKETS && held.bytes.capacity() < 2 * BYTES);
        held.keep_only_the_last();
        assert_eq!(held.heads.len(), BEFORE_SOUND);
        assert_eq!(held.bytes.len(), BEFORE_SOUND * 160);
        held.clear();
        assert_eq!((held.oldest(), held.bytes.len()), (None, 0));
    }
}
