//! The judge of sound: given the clip that was spoken and the recording of what
//! arrived, says whether a person would have heard it well.
//!
//! PESQ alone does not do: it forgives a wrong level and small slips, and it gives a
//! number even for a stranger's voice. So the judge first asks which clip the recording
//! holds, then how well it is kept.

mod align;
mod clips;
mod pesq;
mod sound;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

pub use clips::{Clip, Voices};
pub use pesq::Pesq;
pub use sound::{RATE, Sound};

use align::{Alignment, Block, FRAME, frame_levels, speaking_frames};

/// The least PESQ score that passes. G.711 alone scores 4.2 to 4.47.
pub const LEAST_PESQ: f64 = 3.8;

/// The largest difference in level that passes, in dB, either way.
pub const LEVEL_TOLERANCE_DB: f32 = 3.0;

/// The longest hole in the speech that passes, in ms.
pub const LONGEST_GAP_MS: usize = 60;

/// The share of a clip's speech that must be found for the recording to be that clip.
const RIGHT_CLIP: f32 = 0.8;

/// Speech this much under its reference is a hole, in dB.
const HOLE_DEPTH_DB: f32 = 20.0;

/// Frames of a pause in the clip that a hole may bridge and still be one hole.
const BRIDGED_FRAMES: usize = 2;

/// What can go wrong while judging (not what can be wrong with the sound: see [`Fault`]).
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    /// A file could not be read or written as WAV.
    #[error("{path}: {source}", path = path.display())]
    Wav {
        /// The file.
        path: PathBuf,
        /// Why.
        source: hound::Error,
    },
    /// A sampling rate that the judge does not convert from.
    #[error("a sampling rate of {rate} Hz is no multiple of 8 kHz")]
    Rate {
        /// The rate, in Hz.
        rate: u32,
    },
    /// The PESQ scorer failed.
    #[error("PESQ gave no score: {said}")]
    Pesq {
        /// What the scorer wrote on its error stream.
        said: String,
    },
    /// A file or a process could not be used.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// No voices were provisioned.
    #[error("no recorded voice under {prefixes:?}: run `cargo xtask setup`")]
    NoVoice {
        /// Where they were looked for.
        prefixes: Vec<PathBuf>,
    },
    /// All sentences were given out.
    #[error("the voices have no sentence left that this run has not used")]
    VoicesSpent,
}

/// What was recorded at one end of a call, and when.
#[derive(Clone, Debug)]
pub struct Recording {
    /// What was heard.
    pub sound: Sound,
    /// When the recording was finished.
    pub made: SystemTime,
}

impl Recording {
    /// Reads a recording that a peer left as a WAV file.
    ///
    /// # Errors
    /// [`JudgeError::Io`] when there is no such file, else as [`Sound::read`].
    pub fn read(path: &Path) -> Result<Self, JudgeError> {
        let made = std::fs::metadata(path)?.modified()?;
        let sound = Sound::read(path)?;
        Ok(Self { sound, made })
    }
}

/// What was measured on a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The clip the recording holds, if any.
    pub heard: Option<String>,
    /// Share of the expected clip's speech that was found, 0.0 ..= 1.0.
    pub coverage: f32,
    /// Narrow-band PESQ score; `None` when nobody speaks.
    pub pesq: Option<f64>,
    /// Level of the recorded speech against the clip's, in dB.
    pub level_db: f32,
    /// The longest hole in the speech, in ms.
    pub gap_ms: usize,
    /// Where in the recording the clip begins, in ms.
    pub lag_ms: i64,
    /// How far parts of the clip moved against each other, in ms.
    pub slip_ms: usize,
}

/// What is wrong with a recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It was made before the call began: left over from another one.
    LeftOver,
    /// It holds another clip, or none that is known.
    WrongClip,
    /// PESQ is under [`LEAST_PESQ`], or nobody speaks.
    Quality,
    /// The level is off by more than [`LEVEL_TOLERANCE_DB`].
    Level,
    /// There is a hole longer than [`LONGEST_GAP_MS`].
    Gap,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeftOver => "left over",
            Self::WrongClip => "wrong clip",
            Self::Quality => "quality",
            Self::Level => "level",
            Self::Gap => "gap",
        })
    }
}

/// The judge's word on one recording.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The clip that was spoken.
    pub expected: String,
    /// What was measured.
    pub figures: Figures,
    /// What is wrong; empty when the recording passes.
    pub faults: Vec<Fault>,
}

impl Verdict {
    /// Whether a person would have heard the clip well.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.faults.is_empty()
    }
}

/// Knows every clip of a run, so that it can tell a swapped one.
#[derive(Clone, Debug)]
pub struct Judge {
    pesq: Pesq,
    clips: Vec<Clip>,
}

impl Judge {
    /// A judge that knows `clips`.
    #[must_use]
    pub fn new(pesq: Pesq, clips: Vec<Clip>) -> Self {
        Self { pesq, clips }
    }

    /// Judges `recording` of a call that began at `call_began` and carried `expected`.
    ///
    /// # Errors
    /// Only when judging itself fails; a bad recording is a [`Verdict`] with faults.
    pub fn verdict(
        &self,
        expected: &Clip,
        recording: &Recording,
        call_began: SystemTime,
    ) -> Result<Verdict, JudgeError> {
        let alignment = Alignment::find(&expected.sound, &recording.sound);
        let heard = recording
            .sound
            .cut(alignment.lag, expected.sound.samples().len());
        let figures = Figures {
            heard: self.heard(expected, &alignment, &recording.sound),
            coverage: alignment.coverage,
            pesq: self.pesq.score(&expected.sound, &heard)?,
            level_db: level_difference(&expected.sound, &recording.sound, &alignment.blocks),
            gap_ms: longest_gap(&expected.sound, &recording.sound, &alignment.blocks),
            lag_ms: alignment.lag as i64 * 1_000 / i64::from(RATE),
            slip_ms: alignment.slip * 1_000 / RATE as usize,
        };
        let mut faults = faults(expected, &figures);
        if recording.made < call_began {
            faults.insert(0, Fault::LeftOver);
        }
        Ok(Verdict {
            expected: expected.name.clone(),
            figures,
            faults,
        })
    }

    /// Which of the known clips the recording holds.
    fn heard(&self, expected: &Clip, own: &Alignment, recording: &Sound) -> Option<String> {
        let others = self
            .clips
            .iter()
            .filter(|clip| clip.name != expected.name)
            .map(|clip| (clip, Alignment::find(&clip.sound, recording).coverage));
        std::iter::once((expected, own.coverage))
            .chain(others)
            .filter(|(_, coverage)| *coverage >= RIGHT_CLIP)
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .map(|(clip, _)| clip.name.clone())
    }
}

fn faults(expected: &Clip, figures: &Figures) -> Vec<Fault> {
    let rules = [
        (
            Fault::WrongClip,
            figures.heard.as_ref() == Some(&expected.name),
        ),
        (
            Fault::Quality,
            figures.pesq.is_some_and(|score| score >= LEAST_PESQ),
        ),
        (Fault::Level, figures.level_db.abs() <= LEVEL_TOLERANCE_DB),
        (Fault::Gap, figures.gap_ms <= LONGEST_GAP_MS),
    ];
    rules
        .into_iter()
        .filter(|(_, kept)| !kept)
        .map(|(fault, _)| fault)
        .collect()
}

/// One frame of the clip and the frame of the recording that should equal it, in dB.
struct FramePair {
    speaks: bool,
    clip_db: f32,
    recorded_db: f32,
}

fn frame_pairs(clip: &Sound, recording: &Sound, blocks: &[Block]) -> Vec<FramePair> {
    let clip_levels = frame_levels(clip.samples());
    let speaking = speaking_frames(clip.samples());
    let lag_at = |position: usize| {
        let next = blocks.partition_point(|block| block.start <= position);
        blocks
            .get(next.saturating_sub(1))
            .map_or(0, |block| block.lag)
    };
    clip_levels
        .into_iter()
        .zip(speaking)
        .enumerate()
        .map(|(frame, (clip_db, speaks))| {
            let position = frame * FRAME;
            let start = position as isize + lag_at(position);
            let recorded = sound::cut(recording.samples(), start, FRAME);
            FramePair {
                speaks,
                clip_db,
                recorded_db: align::level_db(&recorded),
            }
        })
        .collect()
}

/// How much louder the recording speaks than the clip, in dB.
fn level_difference(clip: &Sound, recording: &Sound, blocks: &[Block]) -> f32 {
    let pairs = frame_pairs(clip, recording, blocks);
    let power = |level: fn(&FramePair) -> f32| -> f32 {
        pairs
            .iter()
            .filter(|pair| pair.speaks)
            .map(|pair| 10_f32.powf(level(pair) / 10.0))
            .sum()
    };
    let spoken = power(|pair| pair.clip_db).max(1e-20);
    let heard = power(|pair| pair.recorded_db).max(1e-20);
    10.0 * (heard / spoken).log10()
}

/// The longest stretch in which the clip speaks and the recording does not, in ms.
fn longest_gap(clip: &Sound, recording: &Sound, blocks: &[Block]) -> usize {
    let louder = level_difference(clip, recording, blocks).clamp(-30.0, 30.0);
    let (mut longest, mut hole, mut pause) = (0, 0, 0);
    for pair in frame_pairs(clip, recording, blocks) {
        let silent = pair.recorded_db < pair.clip_db + louder - HOLE_DEPTH_DB;
        match (pair.speaks, silent) {
            (true, true) => {
                hole += 1 + if hole > 0 { pause } else { 0 };
                pause = 0;
            }
            (false, _) if pause < BRIDGED_FRAMES => pause += 1,
            (true, false) | (false, _) => (hole, pause) = (0, 0),
        }
        longest = longest.max(hole);
    }
    longest * FRAME * 1_000 / RATE as usize
}

#[cfg(test)]
mod tests;
