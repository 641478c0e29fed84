//! Ringback of our own, for whoever waits where early media was heard and has stopped.

use std::time::{Duration, Instant};

use crate::codec::{FRAME, Frame, RATE};
use crate::receiver::DirectFrame;

/// As loud as a person who talks: each of one or two tones, of a full scale of 32,767.
const AMPLITUDE: f32 = 3000.0;
const FRAME_TIME: Duration = Duration::from_millis(20);
/// Whoever overslept by more than this leaves the rest out.
const CATCH_UP: Duration = Duration::from_millis(60);

/// How a telephone that rings sounds to the one who calls, which differs by country (ITU-T E.180 supplement 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ringback {
    /// One tone, or two at once, Hz.
    hertz: &'static [f32],
    /// Frames of 20 ms with and without tone, in turns.
    cadence: &'static [u32],
}

impl Ringback {
    /// Of the country with this calling code, without `+`.
    pub fn of_country(code: &str) -> Self {
        let (hertz, cadence): (&[f32], &[u32]) = match code {
            "33" => (&[440.0], &[75, 175]),
            "44" => (&[400.0, 450.0], &[20, 10, 20, 100]),
            "1" => (&[440.0, 480.0], &[100, 200]),
            // Germany, and what E.180 recommends to whoever has no tone of their own.
            _ => (&[425.0], &[50, 200]),
        };
        Ringback { hertz, cadence }
    }

    /// The `n`th frame since it began.
    fn frame(&self, n: u64) -> Frame {
        let mut frame = [0; FRAME];
        if !self.sounds(n) {
            return frame;
        }
        let begin = n * FRAME as u64;
        for (sample, at) in frame.iter_mut().zip(begin..) {
            // Within a second, so that the angle stays precise: all tones are of whole Hz.
            let seconds = (at % u64::from(RATE)) as f32 / RATE as f32;
            let wave = |hertz: &f32| (hertz * seconds * std::f32::consts::TAU).sin();
            let sum: f32 = self.hertz.iter().map(wave).sum();
            *sample = (sum * AMPLITUDE) as i16;
        }
        frame
    }

    fn sounds(&self, n: u64) -> bool {
        let period: u32 = self.cadence.iter().sum();
        let mut left = (n % u64::from(period.max(1))) as u32;
        for (index, frames) in self.cadence.iter().enumerate() {
            if left < *frames {
                return index % 2 == 0;
            }
            left -= frames;
        }
        false
    }
}

impl Default for Ringback {
    /// That of France.
    fn default() -> Self {
        Ringback::of_country("33")
    }
}

/// Plays it, a frame every 20 ms.
#[derive(Debug)]
pub(crate) struct Player {
    tone: Ringback,
    /// When the next frame is due; `None`: it does not play.
    next: Option<Instant>,
    /// Frames since it began.
    played: u64,
    made: Option<Frame>,
    changed: bool,
}

impl Player {
    pub(crate) fn new(tone: Ringback) -> Self {
        Player {
            tone,
            next: None,
            played: 0,
            made: None,
            changed: false,
        }
    }

    pub(crate) fn plays(&self) -> bool {
        self.next.is_some()
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn begin(&mut self, now: Instant) {
        if self.next.is_none() {
            self.next = Some(now);
            self.played = 0;
            self.changed = true;
        }
    }

    pub(crate) fn stop(&mut self) {
        if self.next.take().is_some() {
            self.made = None;
            self.changed = true;
        }
    }

    /// Makes the frame that is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let Some(due) = self.next.filter(|due| *due <= now) else {
            return;
        };
        let behind = now.saturating_duration_since(due).saturating_sub(CATCH_UP);
        let skipped = behind.as_millis().div_ceil(FRAME_TIME.as_millis()) as u32;
        self.played += u64::from(skipped);
        self.made = Some(self.tone.frame(self.played));
        self.played += 1;
        self.next = Some(due + FRAME_TIME * (skipped + 1));
    }

    /// The frame that was made last, once.
    pub(crate) fn take(&mut self) -> Option<DirectFrame> {
        let pcm = self.made.take()?;
        Some(DirectFrame {
            pcm,
            at: (self.played as i64 - 1) * FRAME as i64,
            lost_before: 0,
        })
    }

    /// Whether it has begun or ended since this was asked last: another source is heard from here on.
    pub(crate) fn has_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::origin;

    fn level(frame: &Frame) -> f64 {
        let energy: f64 = frame.iter().map(|s| f64::from(*s).powi(2)).sum();
        (energy / FRAME as f64).sqrt()
    }

    /// Milliseconds with and without tone, in turns, of the first so many seconds.
    fn cadence(tone: Ringback, seconds: u64) -> Vec<u64> {
        let mut turns: Vec<(bool, u64)> = Vec::new();
        for n in 0..seconds * 50 {
            let sounds = level(&tone.frame(n)) > 1000.0;
            match turns.last_mut() {
                Some((last, ms)) if *last == sounds => *ms += 20,
                _ => turns.push((sounds, 20)),
            }
        }
        turns.into_iter().map(|(_, ms)| ms).collect()
    }

    #[test]
    fn each_country_rings_in_its_own_way() {
        for (code, turns) in [
            ("33", vec![1500, 3500, 1500, 3500]),
            ("49", vec![1000, 4000, 1000, 4000]),
            (
                "44",
                vec![
                    400, 200, 400, 2000, 400, 200, 400, 2000, 400, 200, 400, 2000,
                ],
            ),
            ("1", vec![2000, 4000, 2000, 2000]),
            ("999", vec![1000, 4000, 1000, 4000]),
        ] {
            let heard = cadence(Ringback::of_country(code), 10);
            let whole = heard.len().min(turns.len());
            assert_eq!(heard[..whole - 1], turns[..whole - 1], "{code}");
        }
    }

    #[test]
    fn a_tone_has_its_pitch_and_goes_on_from_frame_to_frame() {
        let tone = Ringback::default();
        let pcm: Vec<i16> = (0..50).flat_map(|n| tone.frame(n)).collect();
        let crossings = pcm.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0);
        let crossings = crossings.count();
        assert!(
            (438..=441).contains(&crossings),
            "{crossings} periods in a second"
        );
        let steps = pcm
            .windows(2)
            .map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs());
        assert!(steps.max().unwrap() < 1100, "no step between frames");
    }

    #[test]
    fn whoever_oversleeps_leaves_frames_out_and_keeps_the_cadence() {
        let start = origin();
        let mut player = Player::new(Ringback::default());
        player.begin(start);
        assert!(player.has_changed() && !player.has_changed());
        player.handle_timeout(start);
        assert_eq!(player.take().map(|frame| frame.at), Some(0));
        assert_eq!(player.take(), None);
        let late = start + Duration::from_secs(1);
        player.handle_timeout(late);
        let at = player.take().expect("one frame").at;
        assert!((7_000..8_000).contains(&at), "{at}");
        player.stop();
        assert!(player.has_changed() && player.due().is_none());
    }
}
