//! The generator: one thread that paces all browsers and phones, and notes what comes when.

use std::io::ErrorKind;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mio::{Events, Poll, Token};

use super::Voice;
use super::account::{cpu, memory};
use super::browser::Browser;
use super::phone::Phone;
use super::speech::Speech;
use super::system::System;
use crate::judge::Sound;
use crate::link::Weather;
use crate::simulated::Speaker;

/// Calls speak in this many turns within 20 ms, so that their packets do not come in one burst.
const TURNS: usize = 20;
const TURN: Duration = Duration::from_millis(1);
/// Turns between those of a call's browser and of its phone.
const APART: usize = 7;
/// How long all browsers together may take to connect, after the last one offered.
const PATIENCE: Duration = Duration::from_secs(10);
/// Talk before what is measured begins.
const SETTLES: Duration = Duration::from_secs(3);
/// How long, and how often in a row, a system must do next to nothing before it counts as started: the gateway makes the
/// telephony rooms of its lines first.
const LOOK: Duration = Duration::from_millis(500);
const LOOKS: u32 = 4;
/// How long that may take.
const STARTS: Duration = Duration::from_secs(120);
/// After the last word, until nothing is under way any more.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// Calls begun per second, where that is not what is measured.
pub(super) const CALM: f64 = 10.0;
/// Frames of the loop between the places where two calls begin: their pauses do not coincide.
pub(super) const SHIFT: usize = 37;

/// What one run is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) calls: usize,
    /// Calls begun per second.
    pub(super) rate: f64,
    /// How long is measured.
    pub(super) seconds: u64,
}

/// What the two ends of a call say.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a> {
    pub(super) voice: Voice,
    pub(super) browser: Words<'a>,
    /// By frames of 20 ms.
    pub(super) phone: &'a [Option<Vec<u8>>],
}

impl<'a> Lines<'a> {
    /// Both loops, encoded beforehand.
    pub(super) fn of(speech: &'a Speech) -> Self {
        Self {
            voice: speech.voice,
            browser: Words::Encoded(&speech.browser.packets),
            phone: &speech.phone.packets,
        }
    }
}

/// What a browser says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Words<'a> {
    /// Encoded beforehand, by frames of 20 ms, in a loop.
    Encoded(&'a [Option<Vec<u8>>]),
    /// Encoded as it is said, with the redundancy that the system's reports ask for.
    Live(&'a Sound),
}

/// Calls whose way has weather.
#[derive(Clone, Debug)]
pub(super) struct Script<'a> {
    /// One for each call.
    pub(super) lines: Vec<Lines<'a>>,
    /// How long they talk.
    pub(super) length: Duration,
    pub(super) place: Place,
    pub(super) weather: Weather,
    /// How fast the clocks of those run who have the weather, in parts per million.
    pub(super) ppm: f64,
    /// Chooses the chances of the weather.
    pub(super) seed: u64,
}

/// Who has the weather, on all that goes there and comes from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Browser,
    Phone,
}

/// What was noted in one run.
pub(super) struct Measured {
    pub(super) browsers: Vec<Browser>,
    pub(super) phones: Vec<Phone>,
    pub(super) window: Duration,
    pub(super) cpu: Duration,
    /// CPU until all calls stood, and nobody spoke yet.
    pub(super) set_up_cpu: Duration,
    pub(super) memory: u64,
    /// The generator's own CPU in the window.
    pub(super) own_cpu: Duration,
    /// What came in this time is listened to, in µs of the run: once all have settled, and until the last word.
    pub(super) heard: Range<u32>,
}

/// All calls, with their ends.
pub(super) struct Generator<'a> {
    origin: Instant,
    turn: u32,
    /// The clocks of the browsers and of the phones.
    clocks: [Clock; 2],
    lines: Vec<Lines<'a>>,
    /// Frames of the loop between the places where two calls begin.
    shift: usize,
    has_weather: bool,
    pub(super) browsers: Vec<Browser>,
    pub(super) phones: Vec<Phone>,
    poll: Poll,
    events: Events,
    talking: bool,
}

/// Counts turns, faster or slower than time passes.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    ppm: f64,
    turns: usize,
}

/// Sets up all calls, lets them talk, and ends them by dropping their ends.
pub(super) fn run(plan: Plan, speech: &Speech, system: &mut System) -> anyhow::Result<Measured> {
    let mut generator = Generator::new(vec![Lines::of(speech); plan.calls], SHIFT)?;
    let process = system.process();
    come_to_rest(process)?;
    let (before, memory_before) = (cpu(process)?, memory(process)?);
    generator.set_up(plan.calls, plan.rate, system)?;
    let set_up_cpu = cpu(process)?.saturating_sub(before);
    generator.talk();
    generator.run_for(SETTLES)?;
    let since = generator.now();
    let begun = Instant::now();
    let (from, own) = (cpu(process)?, cpu(std::process::id())?);
    generator.run_for(Duration::from_secs(plan.seconds))?;
    let (to, window) = (cpu(process)?, begun.elapsed());
    let heard = since..generator.now();
    generator.fall_silent()?;
    Ok(Measured {
        window,
        cpu: to.saturating_sub(from),
        own_cpu: cpu(std::process::id())?.saturating_sub(own),
        set_up_cpu,
        memory: memory(process)?.saturating_sub(memory_before),
        heard,
        browsers: generator.browsers,
        phones: generator.phones,
    })
}

/// Waits until a system has started up, lest that count among its calls: it answers before it is done with everything.
fn come_to_rest(process: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut at_rest = 0;
    while begun.elapsed() < STARTS {
        let before = cpu(process)?;
        std::thread::sleep(LOOK);
        // What is counted in ticks of 10 ms.
        match cpu(process)?.saturating_sub(before) <= LOOK / 50 {
            true => at_rest += 1,
            false => at_rest = 0,
        }
        if at_rest == LOOKS {
            return Ok(());
        }
    }
    anyhow::bail!("the system has not come to rest within {STARTS:?} of its start")
}

/// Sets up all calls in fine weather, lets each say its lines once while the weather rages, and ends them.
pub(super) fn converse(
    script: &Script<'_>,
    system: &mut System,
) -> anyhow::Result<(Vec<Browser>, Vec<Phone>)> {
    let mut generator = Generator::new(script.lines.clone(), 0)?;
    generator.set_up(script.lines.len(), CALM, system)?;
    generator.weather_turns(script);
    generator.talk();
    generator.run_for(script.length + UNDER_WAY)?;
    Ok((generator.browsers, generator.phones))
}

impl<'a> Generator<'a> {
    /// Calls that will say these lines; each but the first begins `shift` frames later in the loop than the one before.
    pub(super) fn new(lines: Vec<Lines<'a>>, shift: usize) -> anyhow::Result<Self> {
        Ok(Self {
            origin: Instant::now(),
            turn: 0,
            clocks: [Clock::default(); 2],
            lines,
            shift,
            has_weather: false,
            browsers: Vec::new(),
            phones: Vec::new(),
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            talking: false,
        })
    }

    /// µs since the start.
    fn now(&self) -> u32 {
        self.origin.elapsed().as_micros() as u32
    }

    /// Begins `rate` calls per second until there are `calls`, and waits until all browsers are connected.
    pub(super) fn set_up(
        &mut self,
        calls: usize,
        rate: f64,
        system: &mut System,
    ) -> anyhow::Result<()> {
        let interval = Duration::from_secs_f64(1.0 / rate);
        while self.browsers.len() < calls {
            self.begin(system)?;
            self.run_for(interval)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.connected() < calls {
            ensure!(
                Instant::now() < deadline,
                "only {} of {} browsers connected",
                self.connected(),
                calls
            );
            self.run_for(TURN * TURNS as u32)?;
        }
        // What is still under way belongs to the handshakes.
        self.run_for(Duration::from_millis(500))
    }

    /// Begins the next call. Returns how long its signalling took.
    pub(super) fn begin(&mut self, system: &mut System) -> anyhow::Result<Duration> {
        let call = self.browsers.len();
        let lines = *self.lines.get(call).context("lines for one call more")?;
        let from = call * self.shift;
        let mut browser = Browser::new(call, from, lines.voice, system.has_webrtc())?;
        let mut phone = Phone::new(call, from)?;
        let registry = self.poll.registry();
        browser.register(registry, Token(2 * call))?;
        phone.register(registry, Token(2 * call + 1))?;
        if let Words::Live(sound) = lines.browser {
            let mut speaker = Speaker::new()?;
            speaker.say(sound);
            browser.speaks_as(speaker);
        }
        let begun = Instant::now();
        system
            .join(call, &mut browser, &mut phone)
            .with_context(|| format!("call {call}"))?;
        self.browsers.push(browser);
        self.phones.push(phone);
        Ok(begun.elapsed())
    }

    pub(super) fn connected(&self) -> usize {
        let connected = self
            .browsers
            .iter()
            .filter(|browser| browser.connected.is_some());
        connected.count()
    }

    fn weather_turns(&mut self, script: &Script<'_>) {
        self.has_weather = true;
        let Script { weather, seed, .. } = *script;
        // No two ways share their luck.
        let seeds = seed.wrapping_mul(1_000)..;
        match script.place {
            Place::Browser => {
                let browsers = self.browsers.iter_mut().zip(seeds);
                browsers.for_each(|(browser, seed)| browser.weather_turns(seed, weather));
            }
            Place::Phone => {
                let phones = self.phones.iter_mut().zip(seeds);
                phones.for_each(|(phone, seed)| phone.weather_turns(seed, weather));
            }
        }
        self.clocks[script.place as usize].ppm = script.ppm;
    }

    /// From now on all say their lines, and what comes is noted.
    pub(super) fn talk(&mut self) {
        self.talking = true;
        self.browsers
            .iter_mut()
            .for_each(|browser| browser.ear.clear());
        self.phones.iter_mut().for_each(|phone| phone.ear.clear());
    }

    /// Nobody says anything any more, and what was under way has come.
    pub(super) fn fall_silent(&mut self) -> anyhow::Result<()> {
        self.talking = false;
        self.run_for(UNDER_WAY)
    }

    /// Lets the calls go on for this time.
    pub(super) fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            while self.origin + TURN * self.turn <= Instant::now() {
                self.take_turn();
            }
            self.listen()?;
        }
        Ok(())
    }

    fn take_turn(&mut self) {
        self.turn += 1;
        while let Some(turn) = self.clocks[Place::Browser as usize].next(self.turn) {
            self.browsers_speak(turn % TURNS);
        }
        while let Some(turn) = self.clocks[Place::Phone as usize].next(self.turn) {
            self.phones_speak((turn + APART) % TURNS);
        }
        if self.has_weather {
            self.deliver();
        }
    }

    fn browsers_speak(&mut self, turn: usize) {
        for call in (turn..self.browsers.len()).step_by(TURNS) {
            let now = self.now();
            let browser = &mut self.browsers[call];
            match (self.talking, self.lines[call].browser) {
                (true, Words::Encoded(packets)) => browser.speak(now, packets),
                (true, Words::Live(_)) => browser.speak(now, &[]),
                (false, _) => browser.advance(now),
            }
        }
    }

    fn phones_speak(&mut self, turn: usize) {
        if self.talking {
            for call in (turn..self.phones.len()).step_by(TURNS) {
                let now = self.now();
                self.phones[call].speak(now, self.lines[call].phone);
            }
        }
    }

    /// What the weather has held up is let go on when its time has come.
    fn deliver(&mut self) {
        let origin = self.origin;
        let now = || origin.elapsed().as_micros() as u32;
        for browser in &mut self.browsers {
            browser.flush();
            browser.receive(now);
        }
        for phone in &mut self.phones {
            phone.flush();
            phone.receive(now);
        }
    }

    /// Waits for datagrams until the next turn.
    fn listen(&mut self) -> anyhow::Result<()> {
        let next = self.origin + TURN * self.turn;
        let wait = next.saturating_duration_since(Instant::now());
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let origin = self.origin;
        let now = || origin.elapsed().as_micros() as u32;
        for event in &self.events {
            let (call, is_phone) = (event.token().0 / 2, event.token().0 % 2 == 1);
            if is_phone && let Some(phone) = self.phones.get_mut(call) {
                phone.receive(now);
            } else if let Some(browser) = self.browsers.get_mut(call) {
                browser.receive(now);
            }
        }
        Ok(())
    }
}

impl Clock {
    /// The next turn that has come when `turn` turns of time have.
    fn next(&mut self, turn: u32) -> Option<usize> {
        let passed = f64::from(turn) * (1.0 + self.ppm * 1e-6);
        if self.turns as f64 >= passed {
            return None;
        }
        self.turns += 1;
        Some(self.turns - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_fast_by_1000_ppm_counts_a_turn_more_in_a_thousand() {
        for (ppm, turns) in [(0.0, 10_000), (1_000.0, 10_010), (-1_000.0, 9_990)] {
            let mut clock = Clock { ppm, turns: 0 };
            let mut counted = Vec::new();
            for turn in 1..=10_000 {
                counted.extend(std::iter::from_fn(|| clock.next(turn)));
            }
            assert!(counted.into_iter().eq(0..turns), "{ppm}");
        }
    }
}
