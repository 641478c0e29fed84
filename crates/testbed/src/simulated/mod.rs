//! A call in virtual time: a browser and a desk phone, joined by the gateway's own media legs over links with
//! weather. Minutes pass in a second, and the same seed brings the same losses.

mod browser;
mod phone;
mod playout;
mod speaker;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mxtrunk_media::{Epoch, Happened, LegId, LegStats, Legs, PhoneProfile, Settings, Socket};

use crate::link::{Way, Weather};

pub use browser::Browser;
pub(crate) use browser::heard as heard_by_browser;
pub use phone::Phone;
pub use playout::Heard;
pub(crate) use playout::Playout;
pub(crate) use speaker::{Speaker, Spoken};

const GATEWAY: ([u8; 4], u16) = ([127, 0, 0, 1], 40_000);
const GATEWAY_RTP: ([u8; 4], u16) = ([127, 0, 0, 1], 20_000);
const BROWSER: LegId = LegId(1);
const PHONE: LegId = LegId(2);

/// Virtual time passes in steps of this length, or longer ones where nothing happens.
const STEP: Duration = Duration::from_millis(1);

/// What the shortest way takes; in no weather is a datagram there at once.
const NEARBY: Duration = Duration::from_millis(1);

/// How long a browser may take to connect.
const PATIENCE: Duration = Duration::from_secs(10);

/// One way of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hop {
    /// Over the internet, with what the person at the browser says.
    FromBrowser,
    /// Over the internet, with what that person hears.
    ToBrowser,
    /// Over the company's network, with what the person at the telephone says.
    FromPhone,
    /// Over the company's network, with what that person hears.
    ToPhone,
}

/// A datagram under way. Ordered by arrival, then by departure.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    at: Duration,
    number: u64,
    hop: Hop,
    datagram: Vec<u8>,
}

/// The call.
pub struct Call {
    start: Instant,
    now: Duration,
    legs: Legs,
    browser: Browser,
    phone: Phone,
    ways: [Way; 4],
    flying: BinaryHeap<Reverse<Flight>>,
    departures: u64,
    happened: Vec<(LegId, Happened)>,
}

impl Call {
    /// A browser calls, a phone answers, both are connected, in fine weather. The peers' clocks run fast by so many
    /// parts per million (slow if negative).
    ///
    /// # Errors
    /// When the two are not joined within 10 s.
    pub fn connect(seed: u64, browser_ppm: f64, phone_ppm: f64) -> anyhow::Result<Self> {
        let start = Instant::now();
        let epoch = Epoch {
            instant: start,
            since_unix: Duration::from_secs(1_800_000_000),
        };
        let settings = Settings::new(vec![GATEWAY.into()]);
        let way = |number: u64| Way::new(seed.wrapping_mul(8) + number);
        let mut call = Self {
            start,
            now: Duration::ZERO,
            legs: Legs::new(settings, epoch, seed),
            browser: Browser::new(start, browser_ppm)?,
            phone: Phone::new(phone_ppm),
            ways: [0, 1, 2, 3].map(way),
            flying: BinaryHeap::new(),
            departures: 0,
            happened: Vec::new(),
        };
        call.set_up()?;
        Ok(call)
    }

    fn set_up(&mut self) -> anyhow::Result<()> {
        let offer = self.browser.offer()?;
        self.legs
            .open_browser(self.instant(), BROWSER, Some(&offer));
        let answer = self.description(BROWSER)?;
        self.browser.accept(&answer)?;
        let rtp = SocketAddr::from(GATEWAY_RTP);
        let profile = PhoneProfile::default();
        self.legs
            .open_phone(self.instant(), PHONE, rtp, &profile, None);
        self.description(PHONE)?;
        let answer = self.phone.description();
        self.legs.apply_answer(self.instant(), PHONE, &answer);
        self.drain();
        self.legs.bridge(self.instant(), BROWSER, PHONE);
        self.drain();
        let connected = (BROWSER, Happened::Connected);
        while !self.happened.contains(&connected) {
            ensure!(self.now < PATIENCE, "not connected: {:?}", self.happened);
            self.run(STEP);
        }
        Ok(())
    }

    fn description(&mut self, leg: LegId) -> anyhow::Result<String> {
        self.drain();
        let found = self
            .happened
            .iter()
            .rev()
            .find_map(|(of, what)| match what {
                Happened::LocalDescription { sdp } if *of == leg => Some(sdp.clone()),
                _ => None,
            });
        found.with_context(|| format!("no description: {:?}", self.happened))
    }

    /// The time since the call began to be set up.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    fn instant(&self) -> Instant {
        self.start + self.now
    }

    /// The weather on one way changes.
    pub fn weather(&mut self, hop: Hop, weather: Weather) {
        self.ways[hop as usize].turns(self.now, weather);
    }

    /// The person at the browser. Who listens has to be told to, see [`Browser::listen`].
    pub fn browser(&mut self) -> &mut Browser {
        &mut self.browser
    }

    /// The person at the phone.
    pub fn phone(&mut self) -> &mut Phone {
        &mut self.phone
    }

    /// Lets so much time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let due = self.next_due().unwrap_or(end).min(end);
            self.now = rounded_up(due.max(self.now + STEP));
            self.step();
        }
    }

    fn next_due(&self) -> Option<Duration> {
        let engine = [
            self.legs.poll_timeout().map(|(at, _)| at),
            self.browser.timeout(),
        ];
        let engine = engine.into_iter().flatten();
        let engine = engine.map(|at| at.saturating_duration_since(self.start));
        let flight = self.flying.peek().map(|Reverse(flight)| flight.at);
        let frames = [self.browser.next_frame(), self.phone.next_frame()];
        engine.chain(flight).chain(frames).min()
    }

    fn step(&mut self) {
        let now = self.instant();
        while let Some(Reverse(flight)) = self.flying.peek()
            && flight.at <= self.now
        {
            if let Some(Reverse(flight)) = self.flying.pop() {
                self.arrive(flight);
            }
        }
        if self.browser.timeout().is_some_and(|at| at <= now) {
            self.browser.advance(now);
        }
        if self.browser.next_frame() <= self.now {
            self.browser.frame(now);
        }
        if self.phone.next_frame() <= self.now
            && let Some(datagram) = self.phone.frame()
        {
            self.depart(Hop::FromPhone, datagram);
        }
        for datagram in self.browser.take_sent() {
            self.depart(Hop::FromBrowser, datagram);
        }
        if self.legs.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.legs.handle_timeout(now);
        }
        self.drain();
    }

    fn arrive(&mut self, flight: Flight) {
        let now = self.instant();
        let datagram = &flight.datagram;
        match flight.hop {
            Hop::FromBrowser => {
                self.legs
                    .handle(now, Socket::Browsers(0), browser::ADDRESS.into(), datagram);
                self.drain();
            }
            Hop::FromPhone => {
                self.legs
                    .handle(now, Socket::Rtp(PHONE), phone::ADDRESS.into(), datagram);
                self.drain();
            }
            Hop::ToBrowser => self.browser.receive(now, GATEWAY.into(), datagram),
            Hop::ToPhone => self.phone.receive(self.now, datagram),
        }
    }

    /// Takes out what the legs have to send and to say.
    fn drain(&mut self) {
        let mut leaving = Vec::new();
        while let Some(transmit) = self.legs.poll_transmit() {
            let hop = match transmit.socket {
                Socket::Browsers(_) | Socket::Streams(_) => Hop::ToBrowser,
                Socket::Rtp(_) => Hop::ToPhone,
                // This phone does not read reports.
                Socket::Rtcp(_) => continue,
            };
            leaving.push((hop, transmit.payload.to_vec()));
        }
        for (hop, datagram) in leaving {
            self.depart(hop, datagram);
        }
        while let Some(event) = self.legs.poll_event() {
            self.happened.push((event.leg, event.what));
        }
    }

    fn depart(&mut self, hop: Hop, datagram: Vec<u8>) {
        for at in self.ways[hop as usize].send(self.now, &datagram) {
            self.departures += 1;
            self.flying.push(Reverse(Flight {
                at: at + NEARBY,
                number: self.departures,
                hop,
                datagram: datagram.clone(),
            }));
        }
    }

    /// Hangs up; returns what the gateway counted on the browser's leg and on the phone's.
    ///
    /// # Errors
    /// When a leg has failed before.
    pub fn hang_up(mut self) -> anyhow::Result<(LegStats, LegStats)> {
        let mut counted = [BROWSER, PHONE].map(|leg| {
            self.legs.close(leg);
            self.drain();
            self.happened.iter().find_map(|(of, what)| match what {
                Happened::Closed { stats } if *of == leg => Some(stats.clone()),
                _ => None,
            })
        });
        let [browser, phone] = [counted[0].take(), counted[1].take()];
        let (browser, phone) = (browser.context("browser"), phone.context("phone"));
        Ok((browser?, phone?))
    }
}

fn rounded_up(time: Duration) -> Duration {
    Duration::from_millis(time.as_micros().div_ceil(1_000) as u64)
}
