//! The listeners: what is heard of the packets that came, the same for every system.

use std::collections::BTreeMap;
use std::time::Duration;

use audio_codec_algorithms::decode_ulaw;

use crate::judge::Sound;
use crate::load::speech::FRAME;
use crate::load::talk::{Arrival, Ear};
use crate::simulated::{Heard, Playout, heard_by_browser};

/// What a desk phone's jitter buffer has in hand.
const IN_HAND: u32 = 60_000;
/// 20 ms in µs, like all times here.
const FRAME_TIME: u32 = 20_000;
/// A packet so far from its place, in RTP clock ticks, is of another timeline: a second.
const LEAP: i32 = 8_000;
/// With more packets in the buffer than this a phone waits for none that is missing.
const MOST_WAITING: usize = 10;
/// A phone repeats the last packet so many times where one is missing, each time more softly, then falls silent.
const REPEATS: i32 = 3;

/// By a browser that has seen the worst of the link: it waits 150 ms, uses redundancy, and conceals as libopus does.
pub(super) fn at_browser(ear: &Ear) -> anyhow::Result<Heard> {
    let mut playout = Playout::new(6);
    for arrival in &ear.arrivals {
        let at = Duration::from_micros(arrival.at.into());
        playout.receive(at, arrival.timestamp, ear.payload(arrival).to_vec());
    }
    heard_by_browser(&playout)
}

/// By a desk phone that begins 60 ms after the first packet. Its buffer plays by timestamps; where it runs dry it
/// conceals and plays on later, so that a stream whose timestamps leave out what was lost is followed as well.
pub(super) fn at_phone(ear: &Ear) -> Heard {
    let Some(first) = ear.arrivals.first() else {
        return Heard {
            began: Duration::ZERO,
            sound: Sound::default(),
        };
    };
    let mut buffer = Buffer {
        first: first.timestamp,
        next: 0,
        waiting: BTreeMap::new(),
    };
    let (mut concealer, mut pcm) = (Concealer::default(), Vec::new());
    let mut arrivals = ear.arrivals.iter().peekable();
    let mut now = first.at + IN_HAND;
    while arrivals.peek().is_some() || !buffer.waiting.is_empty() {
        while let Some(came) = arrivals.next_if(|came| came.at <= now) {
            buffer.take(came);
        }
        pcm.extend(match buffer.play() {
            Some(arrival) => concealer.hear(ear.payload(arrival)),
            None => concealer.conceal(),
        });
        now += FRAME_TIME;
    }
    let samples: Vec<f32> = pcm.iter().map(|s| f32::from(*s) / 32_768.0).collect();
    Heard {
        began: Duration::from_micros(first.at.into()),
        sound: Sound::from(samples),
    }
}

/// A desk phone's jitter buffer. Places are RTP clock ticks from the first packet on.
struct Buffer<'a> {
    first: u32,
    /// The place that is played next.
    next: i32,
    waiting: BTreeMap<i32, &'a Arrival>,
}

impl<'a> Buffer<'a> {
    fn take(&mut self, came: &'a Arrival) {
        let place = came.timestamp.wrapping_sub(self.first) as i32;
        if (place - self.next).abs() > LEAP {
            self.waiting.clear();
            self.next = place;
        }
        // What has been concealed already comes too late.
        if place >= self.next {
            self.waiting.insert(place, came);
        }
    }

    /// The next frame; `None` is to be concealed.
    fn play(&mut self) -> Option<&'a Arrival> {
        let (&place, _) = self.waiting.first_key_value()?;
        if self.waiting.len() > MOST_WAITING {
            self.next = place;
        }
        // One that is off the grid is played when its time has begun.
        if place < self.next + FRAME as i32 {
            self.next = place;
        }
        let played = self.waiting.remove(&self.next);
        self.next += FRAME as i32;
        played
    }
}

#[derive(Default)]
struct Concealer {
    last: Vec<i16>,
    repeated: i32,
}

impl Concealer {
    fn hear(&mut self, payload: &[u8]) -> [i16; FRAME] {
        let mut frame = [0; FRAME];
        let samples = frame.iter_mut().zip(payload);
        samples.for_each(|(sample, coded)| *sample = decode_ulaw(*coded));
        self.last = frame.to_vec();
        self.repeated = 0;
        frame
    }

    fn conceal(&mut self) -> [i16; FRAME] {
        let mut frame = [0; FRAME];
        if self.repeated < REPEATS {
            self.repeated += 1;
            let louder = frame.iter_mut().zip(&self.last);
            louder.for_each(|(sample, last)| *sample = *last >> self.repeated);
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use audio_codec_algorithms::encode_ulaw;

    /// Packets of one loudness, by their number and how many ms late they come.
    fn heard(packets: &[(u32, u32)]) -> Vec<f32> {
        let mut ear = Ear::default();
        let mut arrivals: Vec<(u32, u32)> = packets
            .iter()
            .map(|(number, late)| (20_000 * number + 1_000 * late, *number))
            .collect();
        arrivals.sort_unstable();
        for (at, number) in arrivals {
            let payload = [encode_ulaw(8_000); FRAME];
            ear.hear(at, number as u16, 160 * number, &payload);
        }
        let heard = at_phone(&ear).sound;
        let frames = heard.samples().chunks(FRAME);
        frames.map(|frame| frame[0] * 32_768.0).collect()
    }

    fn near(heard: &[f32], expected: &[f32]) {
        let pairs = heard.iter().zip(expected);
        let all = heard.len() == expected.len()
            && pairs
                .into_iter()
                .all(|(one, other)| (one - other).abs() < 300.0);
        assert!(all, "{heard:?} instead of {expected:?}");
    }

    #[test]
    fn a_phone_repeats_what_is_missing_more_and_more_softly_and_then_falls_silent() {
        // Dry at first, it waits; then it knows that three more are missing.
        let heard = heard(&[(0, 0), (5, 0)]);
        near(&heard, &[8e3, 4e3, 2e3, 1e3, 0.0, 0.0, 8e3]);
    }

    #[test]
    fn a_phone_waits_60_ms_and_no_longer() {
        near(&heard(&[(0, 0), (1, 59), (2, 0)]), &[8e3; 3]);
        near(&heard(&[(0, 0), (1, 61), (2, 0)]), &[8e3, 4e3, 8e3]);
    }

    #[test]
    fn a_stream_that_comes_later_and_later_is_followed() {
        let late: Vec<(u32, u32)> = (0..20).map(|number| (number, number / 2 * 20)).collect();
        let heard = heard(&late);
        let loud = heard.iter().filter(|sample| **sample > 7_000.0).count();
        assert_eq!(loud, 20, "{heard:?}");
    }
}
