//! What is said in a run: real voices, each call at a place of its own.

use std::time::{Duration, SystemTime};

use audio_codec_algorithms::encode_ulaw;

use super::{Condition, speech};
use crate::judge::{Clip, Judge, Pesq, Recording, Sound, Voices};
use crate::load::generator::{Lines, Script, Words};
use crate::load::speech::FRAME;
use crate::load::{Codec, Voice};

/// Quiet between clips.
const PAUSE: usize = 500;
/// Quiet after the last one, in ms: until it is heard.
const AFTER: usize = 1_000;

/// Everything that is said, by all calls.
#[derive(Debug)]
pub(super) struct Tracks {
    calls: usize,
    clips: Vec<Clip>,
    /// What is said before, for buffers to settle and encoders to hear of losses: first what `Condition::settles`
    /// asks for usually, then what it asks for under drift.
    tracks: Vec<Track>,
}

/// What one side of a call says, by how long it settles.
#[derive(Debug)]
struct Track {
    settles: Duration,
    call: usize,
    browser: Sound,
    phone: Vec<Option<Vec<u8>>>,
}

/// PESQ of the bare chain of codecs on the same clips, the mean.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Bare {
    /// From the phone to the browser.
    pub to_browser: f64,
    /// From the browser to the phone.
    pub to_phone: f64,
}

impl Tracks {
    pub(super) fn new(voices: &mut Voices, pesq: &Pesq, calls: usize) -> anyhow::Result<Self> {
        let count = calls.max(2);
        let clips = (0..count).map(|_| voices.clip(pesq));
        let mut tracks = Self {
            calls,
            clips: clips.collect::<Result<_, _>>()?,
            tracks: Vec::new(),
        };
        let mut settles: Vec<_> = Condition::all().iter().map(Condition::settles).collect();
        settles.dedup();
        settles.sort();
        settles.dedup();
        for settles in settles {
            for call in 0..calls {
                tracks.add(settles, call);
            }
        }
        Ok(tracks)
    }

    fn add(&mut self, settles: Duration, call: usize) {
        let browser = self.track(settles, call, self.to_phone(call));
        let phone = self.track(settles, call + 1, self.to_browser(call));
        let coded: Vec<u8> = phone.pcm().map(encode_ulaw).collect();
        let packets = coded.chunks_exact(FRAME);
        self.tracks.push(Track {
            settles,
            call,
            browser,
            phone: packets.map(|packet| Some(packet.to_vec())).collect(),
        });
    }

    /// Other clips until it has settled, then the one that is judged.
    fn track(&self, settles: Duration, first: usize, judged: &Clip) -> Sound {
        let mut sound = Sound::default();
        for clip in self.clips.iter().cycle().skip(first + 1) {
            if sound.millis() >= millis(settles) {
                break;
            }
            sound.append(&clip.sound);
            sound.pause(PAUSE);
        }
        let mut sound = sound.cut(0, samples(settles));
        sound.append(&judged.sound);
        sound.pause(AFTER);
        sound
    }

    /// The clip that is judged at the phone of a call.
    pub(super) fn to_phone(&self, call: usize) -> &Clip {
        &self.clips[call % self.clips.len()]
    }

    /// The clip that is judged at the browser of a call.
    pub(super) fn to_browser(&self, call: usize) -> &Clip {
        &self.clips[(call + self.clips.len() / 2) % self.clips.len()]
    }

    pub(super) fn script(&self, condition: &Condition, seed: u64) -> Script<'_> {
        let settles = condition.settles();
        let tracks = self.tracks.iter();
        let tracks = tracks.filter(|track| track.settles == settles);
        let longest = tracks
            .clone()
            .flat_map(|track| [track.browser.millis(), track.phone.len() * 20]);
        let longest = longest.max().unwrap_or_default();
        debug_assert!(tracks.clone().map(|track| track.call).eq(0..self.calls));
        Script {
            lines: tracks
                .map(|track| Lines {
                    voice: Voice::Opus,
                    browser: Words::Live(&track.browser),
                    phone: &track.phone,
                })
                .collect(),
            length: Duration::from_millis(longest as u64),
            place: condition.place,
            weather: condition.weather,
            ppm: condition.ppm,
            seed,
        }
    }

    /// What the codecs alone make of the clips.
    pub(super) fn bare(&self, judge: &Judge, codec: &Codec) -> anyhow::Result<Bare> {
        let mut sums = [0.0, 0.0];
        for clip in &self.clips {
            let padded = whole_frames(&clip.sound);
            let through = [
                speech::phone_side(padded.clone(), codec)?,
                speech::browser_side(padded, false)?,
            ];
            for (sum, side) in sums.iter_mut().zip(through) {
                let recording = Recording {
                    sound: side.bare,
                    made: SystemTime::UNIX_EPOCH,
                };
                let verdict = judge.verdict(clip, &recording, SystemTime::UNIX_EPOCH)?;
                *sum += verdict.figures.pesq.unwrap_or(1.0) / self.clips.len() as f64;
            }
        }
        let [to_browser, to_phone] = sums;
        Ok(Bare {
            to_browser,
            to_phone,
        })
    }
}

fn whole_frames(sound: &Sound) -> Sound {
    sound.cut(0, sound.samples().len().next_multiple_of(FRAME))
}

fn millis(time: Duration) -> usize {
    time.as_millis() as usize
}

/// A time in samples at 8 kHz.
fn samples(time: Duration) -> usize {
    millis(time) * 8
}
