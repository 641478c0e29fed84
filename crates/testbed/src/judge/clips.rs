//! The clips that calls carry: real voices, put together anew for every run.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

use super::align::{FRAME, level_db, speaking_frames};
use super::{JudgeError, Pesq, Sound};

/// Where each voice's sentences lie under the provisioned prefix.
const VOICES: [(&str, &str); 3] = [
    ("english", "usr/share/asterisk/sounds/en_US_f_Allison"),
    ("french", "usr/share/asterisk/sounds/fr_CA_f_June"),
    ("codec2", "usr/share/codec2/wav"),
];

/// Recordings in those folders that are music, noise, radio or coded speech.
const NO_PLAIN_SPEECH: [&str; 10] = [
    "all",
    "cross",
    "f2400",
    "m2400",
    "ve9qrp",
    "vk2tpm_004",
    "vk5qi",
    "david4",
    "wia_16kHz",
    "beep",
];

/// Sentences from this length on (ms); shorter ones are single words.
const SHORTEST_SENTENCE: usize = 1_400;

/// Sentences up to this length (ms).
const LONGEST_SENTENCE: usize = 6_000;

/// A clip is complete once it lasts this long (ms).
const CLIP: usize = 8_000;

/// The active speech level of every clip in dB against full scale: loud, not clipped.
const LEVEL_DB: f32 = -20.0;

/// What a clip scores at least after G.711 alone. Some sentences, noisy from the studio
/// on, lose half a point to µ-law itself: they would judge the codec, not the call.
const LEAST_BARE_PESQ: f64 = 4.2;

/// Some seconds of one real voice, under a name that no other run uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// The clip's name, also fit for a file name.
    pub name: String,
    /// What is said.
    pub sound: Sound,
}

/// The voices at hand, each sentence of which is given out once.
#[derive(Debug)]
pub struct Voices {
    chance: StdRng,
    voices: Vec<Voice>,
}

#[derive(Debug)]
struct Voice {
    name: &'static str,
    sentences: Vec<PathBuf>,
}

impl Voices {
    /// The voices unpacked under `prefixes`, shuffled by `seed`.
    ///
    /// # Errors
    /// [`JudgeError::NoVoice`] when there is no sentence under any of them.
    pub fn under(prefixes: &[PathBuf], seed: u64) -> Result<Self, JudgeError> {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut voices: Vec<Voice> = VOICES
            .iter()
            .map(|(name, folder)| Voice {
                name,
                sentences: prefixes
                    .iter()
                    .flat_map(|prefix| sentences(&prefix.join(folder)))
                    .collect(),
            })
            .filter(|voice| !voice.sentences.is_empty())
            .collect();
        if voices.is_empty() {
            return Err(JudgeError::NoVoice {
                prefixes: prefixes.to_vec(),
            });
        }
        for voice in &mut voices {
            voice.sentences.shuffle(&mut chance);
        }
        voices.shuffle(&mut chance);
        Ok(Self { chance, voices })
    }

    /// The next clip: whole sentences of one voice with natural pauses, 8 to 15 s, that
    /// come through G.711 alone with a score of 4.2 or more.
    ///
    /// Voices take turns; no sentence is used twice.
    ///
    /// # Errors
    /// [`JudgeError::VoicesSpent`] when too few sentences are left, [`JudgeError::Wav`]
    /// and [`JudgeError::Rate`] when one cannot be read, [`JudgeError::Pesq`] when the
    /// scorer fails.
    pub fn clip(&mut self, pesq: &Pesq) -> Result<Clip, JudgeError> {
        loop {
            let clip = self.any_clip()?;
            let bare = pesq.score(&clip.sound, &clip.sound.through_g711())?;
            if bare.is_some_and(|score| score >= LEAST_BARE_PESQ) {
                return Ok(clip);
            }
        }
    }

    fn any_clip(&mut self) -> Result<Clip, JudgeError> {
        while !self.voices.is_empty() {
            let mut voice = self.voices.remove(0);
            let clip = compose(&mut voice, &mut self.chance)?;
            if let Some(sound) = clip {
                let number: u32 = self.chance.random();
                let name = format!("{}-{number:08x}", voice.name);
                self.voices.push(voice);
                return Ok(Clip { name, sound });
            }
            // This voice has too little left to say; the next one has its turn.
        }
        Err(JudgeError::VoicesSpent)
    }
}

/// Puts sentences together until the clip is long enough; `None` when they run out.
fn compose(voice: &mut Voice, chance: &mut StdRng) -> Result<Option<Sound>, JudgeError> {
    let mut sound = Sound::default();
    while sound.millis() < CLIP {
        let Some(path) = voice.sentences.pop() else {
            return Ok(None);
        };
        let sentence = Sound::read(&path)?;
        if !(SHORTEST_SENTENCE..=LONGEST_SENTENCE).contains(&sentence.millis()) {
            continue;
        }
        if sound.millis() > 0 {
            sound.pause(chance.random_range(250..600));
        }
        sound.append(&levelled(&sentence));
    }
    Ok(Some(sound))
}

/// The sentence at [`LEVEL_DB`], pauses not counted.
fn levelled(sentence: &Sound) -> Sound {
    let spoken: Vec<f32> = sentence
        .samples()
        .chunks_exact(FRAME)
        .zip(speaking_frames(sentence.samples()))
        .filter(|(_, speaks)| *speaks)
        .flat_map(|(frame, _)| frame.iter().copied())
        .collect();
    sentence.louder(LEVEL_DB - level_db(&spoken))
}

fn sentences(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "wav") && is_speech(path))
        .collect();
    // The folder's own order differs between machines; a seed must mean the same on all.
    paths.sort();
    paths
}

fn is_speech(path: &Path) -> bool {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .is_some_and(|stem| !stem.starts_with("tt-") && !NO_PLAIN_SPEECH.contains(&stem))
}
