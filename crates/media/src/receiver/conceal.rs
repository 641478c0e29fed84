//! Concealment of lost G.711: the voice goes on periodically and fades into the background's noise.
//!
//! In the manner of ITU-T G.711 Appendix I: the last pitch period is repeated, from 10 ms on the last two and then
//! three in turn so that it does not buzz, fading from 10 to 60 ms; what comes then is overlapped with it.

use super::noise::{Background, ComfortNoise};
use super::playout::HISTORY;
use super::stretch::{best_lag, fade_over, likeness, power};

/// Pitch periods looked for, 5 to 15 ms, …
const SHORTEST: usize = 40;
const LONGEST: usize = 120;
/// … by comparing so many samples, 20 ms.
const COMPARED: usize = 160;
/// Less alike than this has no pitch: the longest period buzzes least.
const PITCHED: f32 = 0.3;
/// Periods repeated in turn at most.
const PERIODS: usize = 3;
/// Until here at full level, 10 ms, …
const FULL: usize = 80;
/// … and from here on nothing but the background, 60 ms.
const SILENT: usize = 480;
/// Over so many samples, 5 ms, what was made up fades into what comes then.
const JOIN: usize = 40;

#[derive(Debug)]
pub(super) struct Concealer {
    state: State,
    /// What was heard before the loss.
    source: [i16; HISTORY],
    background: Background,
    noise: ComfortNoise,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Sound came.
    Heard,
    /// Sound is made up.
    Going(Going),
    /// The sender said that it is silent, and how its background sounds.
    Quiet,
}

#[derive(Debug, Clone, Copy)]
struct Going {
    /// The pitch period, and how many of them are repeated in turn.
    lag: usize,
    periods: usize,
    /// Where in the repeated periods we are.
    at: usize,
    /// Samples made up since the loss began.
    made: usize,
}

impl Default for Concealer {
    fn default() -> Self {
        Concealer {
            state: State::Heard,
            source: [0; HISTORY],
            background: Background::default(),
            noise: ComfortNoise::default(),
        }
    }
}

impl Concealer {
    /// Sound came: its beginning is joined to what was made up before it.
    pub(super) fn hear(&mut self, pcm: &mut [i16]) {
        self.background.hear(power(pcm));
        if let State::Heard = self.state {
            return;
        }
        let mut made = [0; JOIN];
        let joined = pcm.len().min(JOIN);
        self.go_on(&mut made[..joined]);
        fade_over(&mut made[..joined], pcm);
        pcm[..joined].copy_from_slice(&made[..joined]);
        self.state = State::Heard;
    }

    /// The sender is silent now, as a packet of comfort noise says. `None` if it is empty.
    pub(super) fn fall_silent(&mut self, described: &[u8]) -> Option<()> {
        self.noise.describe(described)?;
        self.state = State::Quiet;
        Some(())
    }

    /// Makes sound up where none came. `heard`: what was heard last.
    pub(super) fn make_up(&mut self, heard: &[i16; HISTORY], out: &mut [i16]) {
        if let State::Heard = self.state {
            self.source = *heard;
            self.noise.be_white(self.background.power());
            self.state = State::Going(Going {
                lag: pitch(heard),
                periods: 1,
                at: 0,
                made: 0,
            });
        }
        self.go_on(out);
    }

    fn go_on(&mut self, out: &mut [i16]) {
        out.fill(0);
        match &mut self.state {
            State::Heard => {}
            State::Going(going) => {
                let made = going.made;
                going.go_on(&self.source, out);
                self.noise.add_to(out, |n| 1.0 - gain(made + n));
            }
            State::Quiet => self.noise.add_to(out, |_| 1.0),
        }
    }
}

impl Going {
    fn go_on(&mut self, source: &[i16; HISTORY], out: &mut [i16]) {
        for sample in out {
            let gain = gain(self.made);
            self.made = (self.made + 1).min(SILENT);
            if gain > 0.0 {
                *sample = (self.next(source) * gain) as i16;
            }
        }
    }

    /// The next sample of the repeated periods; the step where they begin anew is spread over a quarter period.
    fn next(&mut self, source: &[i16; HISTORY]) -> f32 {
        let cycle = self.lag * self.periods;
        let start = HISTORY - cycle;
        let step = f32::from(source[HISTORY - 1]) - f32::from(source[start - 1]);
        let quarter = self.lag / 4;
        let left = quarter.saturating_sub(self.at) as f32 / quarter as f32;
        let sample = f32::from(source[start + self.at]) + step * left;
        self.at += 1;
        if self.at == cycle {
            self.at = 0;
            if self.made >= FULL {
                self.periods = (self.periods + 1).min(PERIODS);
            }
        }
        sample.clamp(f32::from(i16::MIN), f32::from(i16::MAX))
    }
}

/// How much is left of the voice `made` samples after the loss began.
fn gain(made: usize) -> f32 {
    let left = SILENT.saturating_sub(made.max(FULL));
    left as f32 / (SILENT - FULL) as f32
}

fn pitch(heard: &[i16; HISTORY]) -> usize {
    let newest = &heard[HISTORY - COMPARED..];
    let alike = |lag: usize| likeness(newest, &heard[HISTORY - COMPARED - lag..HISTORY - lag]);
    match best_lag(SHORTEST..=LONGEST, alike) {
        Some((lag, likeness)) if likeness >= PITCHED => lag,
        _ => LONGEST,
    }
}
