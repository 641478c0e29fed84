//! How a call sounds in bad weather: real voices through the gateway's media legs in virtual time, over links that
//! do one thing each, judged as a person would hear it.

mod clause;
mod score;

use std::time::{Duration, SystemTime};

use crate::judge::{Clip, Judge, Pesq, Recording, Sound, Voices};
use crate::layout;
use crate::link::Weather;
use crate::simulated::{Call, Heard, Hop};

pub use clause::Clause;
pub use score::{HEADER, Hour, Score, Scores};

/// Chooses the clips and the losses: the figures are the same in every run.
const SEED: u64 = 17;

/// Clips judged for a clause; a minute of them where drift has to build up.
const CLIPS: usize = 2;
const CLIPS_OF_A_MINUTE: usize = 5;

/// Quiet after each clip.
const PAUSE: Duration = Duration::from_millis(500);

/// How far around its place a clip is looked for, before and after.
const BEFORE: Duration = Duration::from_millis(200);
const AFTER: Duration = Duration::from_millis(1_000);

/// Voices, and the judge who listens to them.
#[derive(Debug)]
pub struct Listener {
    judge: Judge,
    clips: Vec<Clip>,
}

/// What is said: a clip that nobody judges, for buffers to settle and encoders to hear of losses, then what is judged.
struct Track {
    sound: Sound,
    /// When the judged part begins.
    judged_from: Duration,
    judged: Clip,
}

impl Listener {
    /// Takes voices from where `cargo xtask setup` put them.
    ///
    /// # Errors
    /// When there are none.
    pub fn new() -> anyhow::Result<Self> {
        let pesq = Pesq::new(layout::venv_program("python"));
        let prefixes = [layout::debian_sid(), layout::debian_bookworm()];
        let mut voices = Voices::under(&prefixes, SEED)?;
        let clips: Result<Vec<Clip>, _> = (0..=CLIPS_OF_A_MINUTE)
            .map(|_| voices.clip(&pesq))
            .collect();
        Ok(Self {
            judge: Judge::new(pesq, Vec::new()),
            clips: clips?,
        })
    }

    /// Has two people talk under one clause, first with the weather on the internet, then on the company's network.
    ///
    /// # Errors
    /// When the call does not come about, or judging fails.
    pub fn scores(&self, clause: Clause) -> anyhow::Result<Scores> {
        let track = self.track(clause.clips());
        let mut call = Call::connect(SEED, clause.ppm(), clause.ppm())?;
        let internet = [Hop::FromBrowser, Hop::ToBrowser];
        let said = converse(&mut call, clause, &internet, &track);
        let to_phone = self.score(&track, said[0], &call.phone().heard(), clause.ppm())?;
        let to_browser = self.score(&track, said[1], &call.browser().heard()?, 0.0)?;
        let longest_wait_ms = call.phone().longest_wait().as_millis() as u64;

        let mut call = Call::connect(SEED, 0.0, clause.ppm())?;
        let said = converse(&mut call, clause, &[Hop::FromPhone], &track);
        let from_bad_lan = self.score(&track, said[1], &call.browser().heard()?, 0.0)?;
        Ok(Scores {
            clause,
            to_phone,
            to_browser,
            from_bad_lan,
            longest_wait_ms,
        })
    }

    /// Has a browser whose clock runs fast by `ppm` talk for an hour, without a pause.
    ///
    /// # Errors
    /// As [`Self::scores`].
    pub fn hour(&self, ppm: f64) -> anyhow::Result<Hour> {
        let track = self.track(1);
        let mut call = Call::connect(SEED, ppm, 0.0)?;
        call.phone().falls_silent();
        call.phone().listen();
        let said = call.browser().say(&track.sound);
        call.run(track.length());
        let first = self.score(&track, said, &call.phone().heard(), ppm)?;
        call.browser().say_over(&track.sound)?;
        call.run(Duration::from_secs(3_600) - track.length() * 2);
        let (packets, longest_wait) = (call.phone().packets(), call.phone().longest_wait());
        call.phone().listen();
        let said = call.browser().say(&track.sound);
        call.run(track.length());
        let last = self.score(&track, said, &call.phone().heard(), ppm)?;
        let packets = packets + call.phone().packets();
        let longest_wait_ms = longest_wait.max(call.phone().longest_wait()).as_millis() as u64;
        let (counted, _) = call.hang_up()?;
        Ok(Hour {
            first,
            last,
            counted,
            packets,
            longest_wait_ms,
        })
    }

    fn track(&self, count: usize) -> Track {
        let pause = PAUSE.as_millis() as usize;
        let mut said = Sound::default();
        for clip in self.clips.iter().skip(1).take(count) {
            said.append(&clip.sound);
            said.pause(pause);
        }
        let mut sound = Sound::default();
        sound.append(&self.clips[0].sound);
        sound.pause(pause);
        let judged_from = length(&sound);
        sound.append(&said);
        sound.pause(AFTER.as_millis() as usize);
        Track {
            sound,
            judged_from,
            judged: Clip {
                name: "said".to_owned(),
                sound: said,
            },
        }
    }

    /// Judges what was heard of a track that was said from `said` on, by a clock that is fast by `ppm` against the
    /// recording's. (A browser records by the clock of the telephone that speaks, so there it is none.)
    fn score(
        &self,
        track: &Track,
        said: Duration,
        heard: &Heard,
        ppm: f64,
    ) -> anyhow::Result<Score> {
        let clip = &track.judged;
        let spoken = said + track.judged_from.div_f64(1.0 + ppm * 1e-6);
        let place = samples(spoken) - samples(heard.began) - samples(BEFORE);
        let window = clip.sound.samples().len() + (samples(BEFORE) + samples(AFTER)) as usize;
        let recording = Recording {
            sound: heard.sound.cut(place, window),
            made: SystemTime::UNIX_EPOCH,
        };
        let verdict = self
            .judge
            .verdict(clip, &recording, SystemTime::UNIX_EPOCH)?;
        let figures = verdict.figures;
        Ok(Score {
            // Who hears nobody gives the worst mark.
            pesq: figures.pesq.unwrap_or(1.0),
            level_db: figures.level_db,
            delay_ms: figures.lag_ms - BEFORE.as_millis() as i64,
            gap_ms: figures.gap_ms,
        })
    }
}

impl Track {
    fn length(&self) -> Duration {
        length(&self.sound)
    }
}

/// Both say the track in the weather of the clause; returns when the browser and when the phone began.
fn converse(call: &mut Call, clause: Clause, hops: &[Hop], track: &Track) -> [Duration; 2] {
    let turns = |call: &mut Call, weather: Weather| {
        for hop in hops {
            call.weather(*hop, weather);
        }
    };
    call.run(Duration::from_secs(1));
    turns(call, clause.weather());
    call.phone().listen();
    call.browser().listen();
    let said = [
        call.browser().say(&track.sound),
        call.phone().say(&track.sound),
    ];
    let mut rest = track.length();
    if clause == Clause::Blackout {
        let blackout = Weather {
            loss: 1.0,
            ..Weather::default()
        };
        for (lasts, weather) in [(2, blackout), (3, Weather::default())] {
            let lasts = Duration::from_secs(lasts);
            call.run(lasts);
            turns(call, weather);
            rest -= lasts;
        }
    }
    call.run(rest);
    said
}

fn length(sound: &Sound) -> Duration {
    Duration::from_millis(sound.millis() as u64)
}

/// A time in samples at 8 kHz.
fn samples(time: Duration) -> isize {
    (time.as_micros() / 125) as isize
}
