//! Virtual time: a gateway worker, browsers and phones on a simulated network, advanced millisecond by millisecond.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mxtrunk_media::{
    CodecPolicy, Epoch, Event, Happened, IceMode, Law, LegId, LegStats, Legs, PhoneProfile,
    Settings, Socket,
};

use crate::browser::Browser;
use crate::phone::Phone;

pub(crate) const GATEWAY: ([u8; 4], u16) = ([127, 0, 0, 1], 40_000);
/// Phase of the peers' frames against the gateway's, so that nothing coincides by luck.
pub(crate) const PHASE: u64 = 7;

/// What the network does to the `n`th datagram from a browser or phone that carries media: `None` loses it.
pub(crate) type Weather = Box<dyn FnMut(usize) -> Option<u64>>;

struct InFlight {
    at: u64,
    socket: Socket,
    source: SocketAddr,
    datagram: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) ms: u64,
    pub(crate) legs: Legs,
    pub(crate) browsers: Vec<(LegId, Browser)>,
    pub(crate) phones: Vec<(LegId, Phone)>,
    pub(crate) events: Vec<Event>,
    /// Applied to media from browsers and from phones.
    pub(crate) weather: [Weather; 2],
    /// Which of the datagrams with media towards browsers get through.
    pub(crate) downlink: Box<dyn FnMut(usize) -> bool>,
    delivered: usize,
    sent: [usize; 2],
    flying: Vec<InFlight>,
}

impl World {
    pub(crate) fn new(ice: IceMode) -> Self {
        World::of(ice, CodecPolicy::default())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time has to begin somewhere"
    )]
    pub(crate) fn of(ice: IceMode, policy: CodecPolicy) -> Self {
        let start = Instant::now();
        let mut settings = Settings::new(vec![GATEWAY.into()]);
        settings.ice = ice;
        settings.policy = policy;
        let epoch = Epoch {
            instant: start,
            since_unix: Duration::from_secs(1_800_000_000),
        };
        World {
            start,
            ms: 0,
            legs: Legs::new(settings, epoch, 42),
            browsers: Vec::new(),
            phones: Vec::new(),
            events: Vec::new(),
            weather: [Box::new(|_| Some(1)), Box::new(|_| Some(1))],
            downlink: Box::new(|_| true),
            delivered: 0,
            sent: [0; 2],
            flying: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    /// A browser calls: its offer is answered.
    pub(crate) fn browser_calls(&mut self, hertz: f64, event_clock: u32) -> LegId {
        let leg = self.new_browser(hertz, event_clock);
        let offer = self.browser(leg).offer(false);
        self.legs.open_browser(self.now(), leg, Some(&offer));
        let answer = self.description(leg);
        self.browser(leg).accept_answer(&answer);
        leg
    }

    /// A browser is called: it answers our offer, and trickles its candidate afterwards.
    pub(crate) fn browser_is_called(&mut self, hertz: f64, event_clock: u32) -> LegId {
        let leg = self.new_browser(hertz, event_clock);
        self.legs.open_browser(self.now(), leg, None);
        let offer = self.description(leg);
        let answer = self.browser(leg).answer(&offer);
        let bare: String = answer
            .lines()
            .filter(|line| !line.starts_with("a=candidate"))
            .map(|line| format!("{line}\r\n"))
            .collect();
        self.legs.apply_answer(self.now(), leg, &bare);
        self.run(100);
        let candidate = self.browser(leg).candidate();
        self.legs.add_candidate(self.now(), leg, &candidate);
        leg
    }

    pub(crate) fn new_browser(&mut self, hertz: f64, event_clock: u32) -> LegId {
        let leg = LegId(100 + self.browsers.len() as u64);
        let port = 50_000 + self.browsers.len() as u16;
        let address = SocketAddr::from(([127, 0, 0, 2], port));
        let browser = Browser::new(self.now(), address, hertz, event_clock);
        self.browsers.push((leg, browser));
        leg
    }

    /// A phone is called: it answers our offer.
    pub(crate) fn phone_is_called(&mut self, law: Law, hertz: f64) -> LegId {
        let leg = self.new_phone(law, hertz);
        let rtp = self.phone_port(leg);
        self.open_phone(leg, rtp, None);
        self.description(leg);
        let answer = self.phone(leg).description();
        self.legs.apply_answer(self.now(), leg, &answer);
        leg
    }

    /// A phone is called, and describes its early media, which is silence yet.
    pub(crate) fn phone_is_called_early(&mut self, law: Law, hertz: f64) -> LegId {
        let leg = self.new_phone(law, hertz);
        let rtp = self.phone_port(leg);
        self.open_phone(leg, rtp, None);
        self.description(leg);
        self.phone(leg).talks = false;
        let early = self.phone(leg).description();
        self.legs.apply_early_answer(self.now(), leg, &early);
        leg
    }

    /// A phone leg on a trunk with the default profile.
    pub(crate) fn open_phone(&mut self, leg: LegId, rtp: SocketAddr, offer: Option<&str>) {
        let profile = PhoneProfile::default();
        self.legs.open_phone(self.now(), leg, rtp, &profile, offer);
    }

    pub(crate) fn new_phone(&mut self, law: Law, hertz: f64) -> LegId {
        let leg = LegId(200 + self.phones.len() as u64);
        let port = 60_000 + 2 * self.phones.len() as u16;
        let address = SocketAddr::from(([127, 0, 0, 3], port));
        let mut phone = Phone::new(address, law, hertz);
        phone.gateway = Some(self.phone_port(leg));
        self.phones.push((leg, phone));
        leg
    }

    pub(crate) fn phone_port(&self, leg: LegId) -> SocketAddr {
        SocketAddr::from((GATEWAY.0, 20_000 + 2 * (leg.0 as u16 - 200)))
    }

    /// Takes the description that a leg just produced.
    pub(crate) fn description(&mut self, leg: LegId) -> String {
        self.collect();
        let found = self
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.what {
                Happened::LocalDescription { sdp } if event.leg == leg => Some(sdp.clone()),
                _ => None,
            });
        found.unwrap_or_else(|| panic!("no description: {:?}", self.events))
    }

    pub(crate) fn browser(&mut self, leg: LegId) -> &mut Browser {
        let found = self.browsers.iter_mut().find(|(id, _)| *id == leg);
        &mut found.expect("a browser of this world").1
    }

    pub(crate) fn phone(&mut self, leg: LegId) -> &mut Phone {
        let found = self.phones.iter_mut().find(|(id, _)| *id == leg);
        &mut found.expect("a phone of this world").1
    }

    pub(crate) fn happened(&self, leg: LegId, what: &Happened) -> bool {
        self.events
            .iter()
            .any(|event| event.leg == leg && event.what == *what)
    }

    /// Runs until a condition holds, at most `limit` ms.
    pub(crate) fn run_until(&mut self, limit: u64, mut holds: impl FnMut(&World) -> bool) {
        let end = self.ms + limit;
        while !holds(self) {
            assert!(
                self.ms < end,
                "did not come within {limit} ms: {:?}",
                self.events
            );
            self.step();
        }
    }

    pub(crate) fn connect(&mut self, leg: LegId) {
        self.run_until(10_000, |world| world.happened(leg, &Happened::Connected));
    }

    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.step();
        }
    }

    fn step(&mut self) {
        self.ms += 1;
        let now = self.now();
        let mut due = Vec::new();
        let ms = self.ms;
        self.flying.retain_mut(|flight| {
            if flight.at > ms {
                return true;
            }
            due.push((
                flight.socket,
                flight.source,
                std::mem::take(&mut flight.datagram),
            ));
            false
        });
        for (socket, source, datagram) in due {
            self.legs.handle(now, socket, source, &datagram);
            self.collect();
        }
        for (_, browser) in &mut self.browsers {
            browser.advance(now);
            if ms % 20 == PHASE {
                browser.frame(now);
            }
        }
        if ms % 20 == PHASE {
            for index in 0..self.phones.len() {
                if let Some(datagram) = self.phones[index].1.frame() {
                    let (leg, source) = (self.phones[index].0, self.phones[index].1.address);
                    self.fly(1, Socket::Rtp(leg), source, datagram);
                }
            }
        }
        self.take_from_browsers();
        if self.legs.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.legs.handle_timeout(now);
        }
        self.collect();
    }

    /// Whether a peer sends sound.
    pub(crate) fn set_talking(&mut self, leg: LegId, talks: bool) {
        match self.phones.iter_mut().find(|(id, _)| *id == leg) {
            Some((_, phone)) => phone.talks = talks,
            None => self.browser(leg).talks = talks,
        }
    }

    /// An empty receiver report from a phone (RFC 3550 section 6.4.2).
    pub(crate) fn phone_reports(&mut self, leg: LegId) {
        let source = self.phone(leg).control();
        let report = [0x80, 201, 0, 1, 0, 0, 0x5e, 0xed];
        self.legs
            .handle(self.now(), Socket::Rtcp(leg), source, &report);
        self.collect();
    }

    /// A datagram from a phone's own address.
    pub(crate) fn phone_sends(&mut self, leg: LegId, datagram: Vec<u8>) {
        let source = self.phone(leg).address;
        self.fly(1, Socket::Rtp(leg), source, datagram);
    }

    fn take_from_browsers(&mut self) {
        for index in 0..self.browsers.len() {
            let browser = &mut self.browsers[index].1;
            let source = browser.address;
            for (destination, datagram) in std::mem::take(&mut browser.out) {
                assert_eq!(destination, GATEWAY.into());
                self.fly(0, Socket::Browsers(0), source, datagram);
            }
        }
    }

    fn fly(&mut self, side: usize, socket: Socket, source: SocketAddr, datagram: Vec<u8>) {
        let delay = if is_media(&datagram) {
            self.sent[side] += 1;
            (self.weather[side])(self.sent[side])
        } else {
            Some(1)
        };
        if let Some(delay) = delay {
            self.flying.push(InFlight {
                at: self.ms + delay,
                socket,
                source,
                datagram,
            });
        }
    }

    /// Delivers what the gateway sends, at once, and keeps its events.
    pub(crate) fn collect(&mut self) {
        let now = self.now();
        while let Some(transmit) = self.legs.poll_transmit() {
            let to = transmit.destination;
            match transmit.socket {
                Socket::Browsers(_) | Socket::Streams(_) => {
                    if is_media(transmit.payload) {
                        self.delivered += 1;
                        if !(self.downlink)(self.delivered) {
                            continue;
                        }
                    }
                    if let Some((_, browser)) =
                        self.browsers.iter_mut().find(|(_, b)| b.address == to)
                    {
                        browser.receive(now, GATEWAY.into(), transmit.payload);
                    }
                }
                Socket::Rtp(_) => {
                    if let Some((_, phone)) = self.phones.iter_mut().find(|(_, p)| p.address == to)
                    {
                        match is_media(transmit.payload) {
                            true => phone.receive(self.ms, transmit.payload),
                            false => phone.reports.push(transmit.payload.to_vec()),
                        }
                    }
                }
                Socket::Rtcp(_) => {
                    let of = |phone: &Phone| phone.control() == to;
                    if let Some((_, phone)) = self.phones.iter_mut().find(|(_, p)| of(p)) {
                        phone.reports.push(transmit.payload.to_vec());
                    }
                }
            }
        }
        while let Some(event) = self.legs.poll_event() {
            self.events.push(event);
        }
    }

    /// Closes a leg and returns what flowed over it.
    pub(crate) fn close(&mut self, leg: LegId) -> LegStats {
        self.legs.close(leg);
        self.collect();
        let closed = self.events.iter().find_map(|event| match &event.what {
            Happened::Closed { stats } if event.leg == leg => Some(stats.clone()),
            _ => None,
        });
        closed.unwrap_or_else(|| panic!("no statistics: {:?}", self.events))
    }
}

fn is_media(datagram: &[u8]) -> bool {
    (128..=191).contains(&datagram[0]) && !(192..=223).contains(&datagram[1])
}
