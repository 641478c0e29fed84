//! Talk and silence: which frames need to be encoded at all.
//!
//! The encoder is nearly all of what a call costs, and on a telephone line each side is silent more than half of the
//! time. libopus's own DTX saves packets but still runs the encoder; this gate stands in front of it. It costs a
//! hundredth of a frame's encoding. It is public for the example that measured the settings (`docs/opus.md`).

use crate::codec::{FRAME, Frame};

/// Frames after the last talk that are still sent: the end of a word is quiet, and the decoder learns from them what
/// the line's silence sounds like.
const HANGOVER: u8 = 12;
/// In silence a frame is encoded this often, so that the decoder's comfort noise follows the line; it is libopus's
/// own figure (400 ms).
const REFRESH: u8 = 20;
/// A frame this much above the noise floor is talk (6 dB).
const ABOVE: f32 = 4.0;
/// The floor rises by 2 dB a second, and falls to a quieter frame within some frames.
const RISE: f32 = 1.0093;
const FALL: f32 = 0.3;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is encoded and sent.
    Speak,
    /// It is silence, encoded and sent all the same, so that the receiver knows how the line's silence sounds by now.
    Refresh,
    /// It is encoded and sent, and the frame before it first: the onset of a word begins below the threshold.
    Spurt {
        /// The one before is there.
        before: bool,
    },
    /// It is silence, and the receiver is told so.
    Hush,
    /// It is silence, and the receiver knows.
    Skip,
}

/// Decides frame by frame.
#[derive(Debug)]
pub struct SilenceGate {
    level: Floor,
    /// The same of the differences between samples: hissing consonants are weak but rich in high frequencies.
    edge: Floor,
    state: State,
    before: Frame,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many frames of silence since the last talk.
    Talk { quiet: u8 },
    /// So many frames since the receiver was told.
    Silence { since: u8 },
}

impl Default for SilenceGate {
    fn default() -> Self {
        SilenceGate {
            level: Floor::new(200.0),
            edge: Floor::new(400.0),
            state: State::Talk { quiet: 0 },
            before: [0; FRAME],
        }
    }
}

impl SilenceGate {
    /// Takes the next frame in.
    pub fn judge(&mut self, pcm: &Frame) -> Turn {
        let (level, edge) = energies(pcm);
        // Both floors must learn from every frame.
        let is_talk = self.level.is_exceeded(level) | self.edge.is_exceeded(edge);
        let (turn, state) = match self.state {
            State::Talk { .. } if is_talk => (Turn::Speak, State::Talk { quiet: 0 }),
            State::Talk { quiet } if quiet < HANGOVER => {
                (Turn::Speak, State::Talk { quiet: quiet + 1 })
            }
            State::Talk { .. } => (Turn::Hush, State::Silence { since: 0 }),
            State::Silence { since } if is_talk => {
                let before = (1..REFRESH).contains(&since);
                (Turn::Spurt { before }, State::Talk { quiet: 0 })
            }
            State::Silence { since: REFRESH } => (Turn::Hush, State::Silence { since: 0 }),
            State::Silence { since } => {
                let turn = if since + 1 == REFRESH {
                    Turn::Refresh
                } else {
                    Turn::Skip
                };
                (turn, State::Silence { since: since + 1 })
            }
        };
        self.state = state;
        if turn == Turn::Skip {
            self.before = *pcm;
        }
        turn
    }

    /// The frame that was skipped last.
    pub fn before(&self) -> &Frame {
        &self.before
    }
}

/// Mean square of the samples and of their differences.
fn energies(pcm: &Frame) -> (f32, f32) {
    let level: i64 = pcm.iter().map(|s| i64::from(*s) * i64::from(*s)).sum();
    let steps = pcm.iter().zip(&pcm[1..]);
    let edge: i64 = steps
        .map(|(one, next)| i64::from(i32::from(*next) - i32::from(*one)).pow(2))
        .sum();
    (level as f32 / FRAME as f32, edge as f32 / FRAME as f32)
}

/// Follows the quietest of what was heard lately, which is the line's own noise.
#[derive(Debug)]
struct Floor {
    noise: f32,
    /// Energy that is never talk: the last bit of G.711 flickering.
    idle: f32,
}

impl Floor {
    /// -45 dBov: noise more than 6 dB above this is sent as it is, and so is every tone (ringback, fax), which steady
    /// as it is would otherwise be taken for noise.
    const LOUDEST: f32 = 34_000.0;
    /// -75 dBov.
    const QUIETEST: f32 = 34.0;

    fn new(idle: f32) -> Self {
        Floor {
            noise: Self::LOUDEST,
            idle,
        }
    }

    fn is_exceeded(&mut self, energy: f32) -> bool {
        let is_exceeded = energy > self.idle.max(ABOVE * self.noise);
        let next = if energy < self.noise {
            self.noise + FALL * (energy - self.noise)
        } else {
            (self.noise * RISE).min(energy)
        };
        self.noise = next.clamp(Self::QUIETEST, Self::LOUDEST);
        is_exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    /// Noise of an amplitude: reproducible, about white.
    fn noise(amplitude: i32, seed: &mut u32) -> Frame {
        std::array::from_fn(|_| {
            *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (((*seed >> 16) as i32 - 32_768) * amplitude / 32_768) as i16
        })
    }

    fn tone(amplitude: f64, frame: usize) -> Frame {
        std::array::from_fn(|n| {
            let time = (frame * FRAME + n) as f64 / 8000.0;
            ((time * 425.0 * TAU).sin() * amplitude) as i16
        })
    }

    fn hushed(amplitude: i32, frames: usize) -> (SilenceGate, Vec<Turn>, u32) {
        let (mut gate, mut seed) = (SilenceGate::default(), 1);
        let turns = (0..frames).map(|_| gate.judge(&noise(amplitude, &mut seed)));
        let turns = turns.collect();
        (gate, turns, seed)
    }

    #[test]
    fn silence_is_sent_for_a_while_then_told_then_refreshed_every_400_ms() {
        for amplitude in [0, 8, 60, 200] {
            let (_, turns, _) = hushed(amplitude, 200);
            let first = turns.iter().position(|turn| *turn == Turn::Hush).unwrap();
            assert!((12..25).contains(&first), "{amplitude}: after {first}");
            assert!(turns[..first].iter().all(|turn| *turn == Turn::Speak));
            assert!(
                turns[first + 1..first + 20]
                    .iter()
                    .all(|t| *t == Turn::Skip)
            );
            assert_eq!(turns[first + 20..first + 22], [Turn::Refresh, Turn::Hush]);
        }
    }

    #[test]
    fn talk_begins_with_the_frame_before_it() {
        let (mut gate, turns, mut seed) = hushed(60, 50);
        assert_eq!(turns.last(), Some(&Turn::Skip));
        let onset = noise(60, &mut seed);
        assert_eq!(gate.judge(&onset), Turn::Skip);
        assert_eq!(gate.judge(&tone(2000.0, 0)), Turn::Spurt { before: true });
        assert_eq!(gate.before(), &onset);
        assert_eq!(gate.judge(&tone(2000.0, 1)), Turn::Speak);
    }

    #[test]
    fn the_frame_that_was_told_or_sent_already_is_not_sent_again() {
        let (_, turns, _) = hushed(0, 60);
        let first = turns.iter().position(|turn| *turn == Turn::Hush).unwrap();
        for frames in [first + 1, first + 21] {
            let (mut gate, _, _) = hushed(0, frames);
            assert_eq!(gate.judge(&tone(2000.0, 0)), Turn::Spurt { before: false });
        }
    }

    /// A ringing tone or a fax is as steady as noise.
    #[test]
    fn a_steady_tone_is_never_silence() {
        let mut gate = SilenceGate::default();
        for frame in 0..3000 {
            assert_eq!(gate.judge(&tone(1500.0, frame)), Turn::Speak, "at {frame}");
        }
    }

    #[test]
    fn noise_that_grows_is_silence_again_soon() {
        let (mut gate, _, mut seed) = hushed(60, 100);
        let turns: Vec<_> = (0..500)
            .map(|_| gate.judge(&noise(240, &mut seed)))
            .collect();
        assert!(matches!(turns[0], Turn::Spurt { .. }));
        assert!(turns[400..].contains(&Turn::Hush));
    }

    #[test]
    fn a_weak_hiss_is_talk() {
        let (mut gate, _, mut seed) = hushed(30, 100);
        let mut hiss = noise(52, &mut seed);
        for pair in hiss.chunks_exact_mut(2) {
            pair[1] = -pair[0];
        }
        assert!(matches!(gate.judge(&hiss), Turn::Spurt { .. }));
    }

    #[test]
    fn nothing_overflows() {
        let mut gate = SilenceGate::default();
        let loudest = std::array::from_fn(|n| if n % 2 == 0 { i16::MIN } else { i16::MAX });
        assert_eq!(gate.judge(&loudest), Turn::Speak);
        assert_eq!(gate.judge(&[i16::MIN; FRAME]), Turn::Speak);
    }
}
