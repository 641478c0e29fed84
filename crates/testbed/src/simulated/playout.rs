//! What a receiver makes of packets: each has its place on the sender's timeline, and is played if it came in time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::judge::Sound;

/// Units of 1/8000 s in a frame of 20 ms.
const FRAME: i64 = 160;

/// What somebody heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// When the first sample could have been heard, by a receiver that waits for nothing.
    pub began: Duration,
    /// The sound.
    pub sound: Sound,
}

/// Packets of one stream by their place, in frames of 20 ms from the first one that came.
#[derive(Debug)]
pub(crate) struct Playout<P> {
    /// RTP clock ticks per 1/8000 s.
    ticks: i64,
    first: Option<u32>,
    packets: BTreeMap<i64, (Duration, P)>,
    last: Option<Duration>,
    longest_wait: Duration,
}

/// One frame's time.
pub(crate) enum Piece<'a, P> {
    /// A packet that came in time.
    Packet(&'a P),
    /// None did; the next one may hold something for this one too.
    Missing { next: Option<&'a P> },
}

impl<P> Playout<P> {
    pub(crate) fn new(ticks: i64) -> Self {
        Self {
            ticks,
            first: None,
            packets: BTreeMap::new(),
            last: None,
            longest_wait: Duration::ZERO,
        }
    }

    pub(crate) fn receive(&mut self, now: Duration, timestamp: u32, payload: P) {
        let first = *self.first.get_or_insert(timestamp);
        let units = i64::from(timestamp.wrapping_sub(first) as i32) / self.ticks;
        let place = (units + FRAME / 2).div_euclid(FRAME);
        // The first of two copies counts.
        self.packets.entry(place).or_insert((now, payload));
        if let Some(last) = self.last.replace(now) {
            self.longest_wait = self.longest_wait.max(now - last);
        }
    }

    pub(crate) fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    pub(crate) fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Plays everything, `patience` after the quickest packet; `decode` turns pieces into samples at 8 kHz.
    pub(crate) fn heard(
        &self,
        patience: Duration,
        decode: impl FnOnce(&mut dyn Iterator<Item = Piece<'_, P>>) -> Vec<i16>,
    ) -> Heard {
        let (Some((&begin, _)), Some((&end, _))) = (
            self.packets.first_key_value(),
            self.packets.last_key_value(),
        ) else {
            return Heard {
                began: Duration::ZERO,
                sound: Sound::default(),
            };
        };
        // A place may be before the first packet's, so times are reckoned from the earliest one.
        let offset = |place: i64| Duration::from_millis((place - begin) as u64 * 20);
        let began = self
            .packets
            .iter()
            .map(|(place, (came, _))| came.saturating_sub(offset(*place)))
            .min()
            .unwrap_or_default();
        let in_time = |place: i64| {
            let (came, packet) = self.packets.get(&place)?;
            (*came <= began + offset(place) + patience).then_some(packet)
        };
        let mut pieces = (begin..=end).map(|place| match in_time(place) {
            Some(packet) => Piece::Packet(packet),
            None => Piece::Missing {
                next: in_time(place + 1),
            },
        });
        let pcm = decode(&mut pieces);
        let samples: Vec<f32> = pcm.iter().map(|s| f32::from(*s) / 32_768.0).collect();
        Heard {
            began,
            sound: Sound::from(samples),
        }
    }
}
