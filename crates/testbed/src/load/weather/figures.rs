//! The figures of one run.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::Condition;
use super::listen::{at_browser, at_phone};
use super::track::Tracks;
use crate::judge::{Clip, Judge, Recording};
use crate::load::browser::Browser;
use crate::load::figures::percentile;
use crate::load::generator::Place;
use crate::load::phone::Phone;
use crate::load::report::Spread;
use crate::load::talk::{Ear, Mouth};
use crate::simulated::Heard;

/// How far around its place a clip is looked for, before and after.
const BEFORE: Duration = Duration::from_millis(200);
const AFTER: Duration = Duration::from_millis(800);
/// One frame.
const FRAME: Duration = Duration::from_millis(20);

/// What one run of one system showed.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What browsers heard.
    pub to_browser: Direction,
    /// What phones heard.
    pub to_phone: Direction,
    /// How late the generator's frames left by its own clock, 99th percentile, in ms: a busy machine shows here.
    pub generator_late_ms: f64,
}

/// What one direction showed: one value for each call.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Direction {
    /// PESQ (narrow band); who hears nobody gives the worst mark.
    pub pesq: Vec<f64>,
    /// Level against what was said, in dB.
    pub level_db: Vec<f64>,
    /// From the speaker's packet to the listener's, in ms; the listener's own buffer is not in it.
    pub delay_ms: Vec<f64>,
    /// The longest hole in the speech, in ms.
    pub hole_ms: Vec<f64>,
    /// Packets that came.
    pub packets: Vec<usize>,
}

impl Figures {
    pub(super) fn of(
        browsers: &[Browser],
        phones: &[Phone],
        tracks: &Tracks,
        judge: &Judge,
        condition: &Condition,
    ) -> anyhow::Result<Self> {
        let (mut to_browser, mut to_phone) = (Direction::default(), Direction::default());
        let settles = condition.settles();
        let (mut browsers_ppm, mut phones_ppm) = (0.0, 0.0);
        match condition.place {
            Place::Browser => browsers_ppm = condition.ppm,
            Place::Phone => phones_ppm = condition.ppm,
        }
        let mut late = Vec::new();
        for (call, (browser, phone)) in browsers.iter().zip(phones).enumerate() {
            let said = |mouth: &Mouth, ppm: f64| spoken(mouth, settles.div_f64(1.0 + ppm * 1e-6));
            let heard = at_phone(&phone.ear);
            let clip = tracks.to_phone(call);
            to_phone.add(
                judge,
                clip,
                said(&browser.mouth, browsers_ppm),
                &heard,
                &phone.ear,
            )?;
            let heard = at_browser(&browser.ear)?;
            let clip = tracks.to_browser(call);
            to_browser.add(
                judge,
                clip,
                said(&phone.mouth, phones_ppm),
                &heard,
                &browser.ear,
            )?;
            late.extend(lateness(&browser.mouth, browsers_ppm));
            late.extend(lateness(&phone.mouth, phones_ppm));
        }
        Ok(Self {
            to_browser,
            to_phone,
            generator_late_ms: percentile(&late, 0.99),
        })
    }

    /// One line for the terminal.
    pub(super) fn line(&self, condition: &Condition, system: &str) -> String {
        let said = |to: &Direction| {
            let Spread { min, max, .. } = to.spread(|to| &to.pesq);
            let middle = |of: fn(&Direction) -> &Vec<f64>| to.spread(of).median;
            format!(
                "PESQ {:.2} ({min:.2} to {max:.2})  level {:+.1} dB  delay {:.0} ms  hole {:.0} ms",
                to.mean_pesq(),
                middle(|to| &to.level_db),
                middle(|to| &to.delay_ms),
                middle(|to| &to.hole_ms),
            )
        };
        format!(
            "{condition:28} {system:10} to phone   {}\n{:40}to browser {}",
            said(&self.to_phone),
            "",
            said(&self.to_browser)
        )
    }
}

impl Direction {
    /// Over the calls.
    #[must_use]
    pub fn mean_pesq(&self) -> f64 {
        self.pesq.iter().sum::<f64>() / self.pesq.len() as f64
    }

    /// Of one figure over the calls.
    pub fn spread(&self, figure: impl Fn(&Self) -> &Vec<f64>) -> Spread {
        Spread::of(figure(self).clone())
    }

    fn add(
        &mut self,
        judge: &Judge,
        clip: &Clip,
        said: Duration,
        heard: &Heard,
        ear: &Ear,
    ) -> anyhow::Result<()> {
        let place = samples(said) - samples(heard.began) - samples(BEFORE);
        let window = clip.sound.samples().len() + (samples(BEFORE) + samples(AFTER)) as usize;
        let recording = Recording {
            sound: heard.sound.cut(place, window),
            made: SystemTime::UNIX_EPOCH,
        };
        let verdict = judge.verdict(clip, &recording, SystemTime::UNIX_EPOCH)?;
        let figures = verdict.figures;
        self.pesq.push(figures.pesq.unwrap_or(1.0));
        self.level_db.push(f64::from(figures.level_db));
        self.delay_ms
            .push(figures.lag_ms as f64 - BEFORE.as_millis() as f64);
        self.hole_ms.push(figures.gap_ms as f64);
        self.packets.push(ear.arrivals.len());
        Ok(())
    }
}

/// When what is said `after` the first frame leaves, since the start of the run.
fn spoken(mouth: &Mouth, after: Duration) -> Duration {
    let began = mouth.left.first().copied().unwrap_or_default();
    Duration::from_micros(began.into()) + after
}

/// How much later than the quickest each frame left, in ms, by a clock that is fast by `ppm`.
fn lateness(mouth: &Mouth, ppm: f64) -> Vec<f64> {
    let frame = FRAME.as_secs_f64() * 1_000.0 / (1.0 + ppm * 1e-6);
    let left = mouth.left.iter().enumerate();
    let left: Vec<f64> = left
        .map(|(number, left)| f64::from(*left) / 1_000.0 - frame * number as f64)
        .collect();
    let quickest = left.iter().copied().fold(f64::INFINITY, f64::min);
    left.into_iter().map(|left| left - quickest).collect()
}

/// A time in samples at 8 kHz.
fn samples(time: Duration) -> isize {
    (time.as_micros() / 125) as isize
}
