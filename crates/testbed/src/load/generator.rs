//! The generator: one thread that paces all browsers and phones, and notes what comes when.

use std::io::ErrorKind;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mio::{Events, Interest, Poll, Token};

use super::account::{cpu, memory};
use super::browser::Browser;
use super::phone::Phone;
use super::speech::Speech;
use super::system::System;

/// Calls speak in this many turns within 20 ms, so that their packets do not come in one burst.
const TURNS: usize = 20;
const TURN: Duration = Duration::from_millis(1);
/// Turns between those of a call's browser and of its phone.
const APART: usize = 7;
/// How long all browsers together may take to connect, after the last one offered.
const PATIENCE: Duration = Duration::from_secs(10);
/// Talk before what is measured begins.
const SETTLES: Duration = Duration::from_secs(3);
/// After the last word, until nothing is under way any more.
const UNDER_WAY: Duration = Duration::from_millis(500);
/// Frames of the loop between the places where two calls begin: their pauses do not coincide.
const SHIFT: usize = 37;

/// What one run is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) calls: usize,
    /// Calls begun per second.
    pub(super) rate: f64,
    /// How long is measured.
    pub(super) seconds: u64,
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

struct Generator<'a> {
    origin: Instant,
    turn: u32,
    speech: &'a Speech,
    browsers: Vec<Browser>,
    phones: Vec<Phone>,
    poll: Poll,
    events: Events,
    talking: bool,
}

/// Sets up all calls, lets them talk, and ends them by dropping their ends.
pub(super) fn run(plan: Plan, speech: &Speech, system: &mut System) -> anyhow::Result<Measured> {
    let mut generator = Generator::new(speech)?;
    let process = system.process();
    let (before, memory_before) = (cpu(process)?, memory(process)?);
    generator.set_up(plan, system)?;
    let set_up_cpu = cpu(process)?.saturating_sub(before);
    generator.talk();
    generator.run_for(SETTLES)?;
    let since = generator.now();
    let begun = Instant::now();
    let (from, own) = (cpu(process)?, cpu(std::process::id())?);
    generator.run_for(Duration::from_secs(plan.seconds))?;
    let (to, window) = (cpu(process)?, begun.elapsed());
    let heard = since..generator.now();
    generator.talking = false;
    generator.run_for(UNDER_WAY)?;
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

impl<'a> Generator<'a> {
    fn new(speech: &'a Speech) -> anyhow::Result<Self> {
        Ok(Self {
            origin: Instant::now(),
            turn: 0,
            speech,
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

    fn set_up(&mut self, plan: Plan, system: &mut System) -> anyhow::Result<()> {
        let interval = Duration::from_secs_f64(1.0 / plan.rate);
        for call in 0..plan.calls {
            let from = call * SHIFT;
            let mut browser = Browser::new(call, from, self.speech.voice, system.has_webrtc())?;
            let mut phone = Phone::new(call, from)?;
            let registry = self.poll.registry();
            registry.register(&mut browser.socket, Token(2 * call), Interest::READABLE)?;
            registry.register(&mut phone.socket, Token(2 * call + 1), Interest::READABLE)?;
            system
                .join(call, &mut browser, &mut phone)
                .with_context(|| format!("call {call}"))?;
            self.browsers.push(browser);
            self.phones.push(phone);
            self.run_for(interval)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while self.connected() < plan.calls {
            ensure!(
                Instant::now() < deadline,
                "only {} of {} browsers connected",
                self.connected(),
                plan.calls
            );
            self.run_for(TURN * TURNS as u32)?;
        }
        // What is still under way belongs to the handshakes.
        self.run_for(Duration::from_millis(500))
    }

    fn connected(&self) -> usize {
        let connected = self
            .browsers
            .iter()
            .filter(|browser| browser.connected.is_some());
        connected.count()
    }

    fn talk(&mut self) {
        self.talking = true;
        self.browsers
            .iter_mut()
            .for_each(|browser| browser.ear.clear());
        self.phones.iter_mut().for_each(|phone| phone.ear.clear());
    }

    fn run_for(&mut self, time: Duration) -> anyhow::Result<()> {
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
        let turn = self.turn as usize % TURNS;
        self.turn += 1;
        let speech = self.speech;
        for call in (turn..self.browsers.len()).step_by(TURNS) {
            let now = self.origin.elapsed().as_micros() as u32;
            let browser = &mut self.browsers[call];
            match self.talking {
                true => browser.speak(now, &speech.browser.packets),
                false => browser.advance(now),
            }
        }
        if self.talking {
            for call in ((turn + APART) % TURNS..self.phones.len()).step_by(TURNS) {
                let now = self.origin.elapsed().as_micros() as u32;
                self.phones[call].speak(now, &speech.phone.packets);
            }
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
        let mut buffer = [0; 2_048];
        for event in &self.events {
            let (call, is_phone) = (event.token().0 / 2, event.token().0 % 2 == 1);
            if is_phone && let Some(phone) = self.phones.get_mut(call) {
                while let Ok((length, _)) = phone.socket.recv_from(&mut buffer) {
                    let now = self.origin.elapsed().as_micros() as u32;
                    phone.receive(now, &buffer[..length]);
                }
            } else if let Some(browser) = self.browsers.get_mut(call) {
                while let Ok((length, from)) = browser.socket.recv_from(&mut buffer) {
                    let now = self.origin.elapsed().as_micros() as u32;
                    browser.receive(now, from, &mut buffer[..length]);
                }
            }
        }
        Ok(())
    }
}
