//! Virtual time: a gateway worker with two addresses and both protocols, and browsers, millisecond by millisecond.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mxtrunk_media::{
    Epoch, Event, Happened, HostCandidate, IceMode, LegId, LegStats, Legs, Settings, Socket,
};
use str0m::config::DtlsVersion;
use str0m::net::Protocol;

use crate::browser::{Browser, Datagram};

/// Phase of the browsers' frames, so that nothing coincides by luck.
const PHASE: u64 = 7;

/// Whether the network carries a datagram: to the gateway (`true`) or to the browser.
pub(crate) type Carries = Box<dyn FnMut(bool, &Datagram) -> bool>;

pub(crate) struct Net {
    start: Instant,
    pub(crate) ms: u64,
    pub(crate) legs: Legs,
    pub(crate) browsers: Vec<(LegId, Browser, Vec<SocketAddr>)>,
    pub(crate) events: Vec<Event>,
    pub(crate) carries: Carries,
    /// What the gateway sent to an address of no browser.
    pub(crate) astray: Vec<(SocketAddr, Vec<u8>)>,
    /// Everything that the gateway sent: socket, when, first byte.
    pub(crate) sent: Vec<(Socket, u64, u8)>,
    hosts: Vec<HostCandidate>,
}

/// The gateway's addresses.
pub(crate) fn hosts() -> Vec<HostCandidate> {
    let addresses = ["192.0.2.1:40000", "[2001:db8::1]:40000"];
    let numbered = addresses.iter().enumerate();
    let of = |make: fn(usize) -> Socket| {
        numbered
            .clone()
            .map(move |(number, address)| HostCandidate {
                address: address.parse().unwrap(),
                socket: make(number),
            })
    };
    of(Socket::Browsers).chain(of(Socket::Streams)).collect()
}

impl Net {
    #[expect(
        clippy::disallowed_methods,
        reason = "virtual time has to begin somewhere"
    )]
    pub(crate) fn new(ice: IceMode) -> Self {
        let start = Instant::now();
        let settings = Settings {
            ice,
            candidates: hosts(),
            ..Settings::new(Vec::new())
        };
        let epoch = Epoch {
            instant: start,
            since_unix: Duration::from_secs(1_800_000_000),
        };
        Net {
            start,
            ms: 0,
            legs: Legs::new(settings, epoch, 42),
            browsers: Vec::new(),
            events: Vec::new(),
            carries: Box::new(|_, _| true),
            astray: Vec::new(),
            sent: Vec::new(),
            hosts: hosts(),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    /// A browser at this address, which has not called yet.
    pub(crate) fn browser_at(&mut self, protocol: Protocol, address: &str) -> LegId {
        self.browser_with(protocol, address, DtlsVersion::Auto)
    }

    pub(crate) fn browser_with(
        &mut self,
        protocol: Protocol,
        address: &str,
        dtls: DtlsVersion,
    ) -> LegId {
        let leg = LegId(1 + self.browsers.len() as u64);
        let mut browser = Browser::new(self.now(), dtls);
        let address = address.parse().unwrap();
        browser.add_address(protocol, address);
        self.browsers.push((leg, browser, vec![address]));
        leg
    }

    pub(crate) fn calls(&mut self, leg: LegId) {
        let offer = self.browser(leg).offer();
        self.legs.open_browser(self.now(), leg, Some(&offer));
        let answer = self.description(leg);
        self.browser(leg).accept_answer(&answer);
    }

    pub(crate) fn is_called(&mut self, leg: LegId) {
        self.legs.open_browser(self.now(), leg, None);
        let offer = self.description(leg);
        let answer = self.browser(leg).answer(&offer);
        self.legs.apply_answer(self.now(), leg, &answer);
    }

    /// Two browsers in a call, one that called and one that was called.
    pub(crate) fn talking(ice: IceMode) -> (Net, LegId, LegId) {
        let mut net = Net::new(ice);
        let caller = net.browser_at(Protocol::Udp, "198.51.100.1:5000");
        let called = net.browser_at(Protocol::Udp, "198.51.100.2:5000");
        net.calls(caller);
        net.is_called(called);
        net.legs.bridge(net.now(), caller, called);
        net.connect(caller);
        net.connect(called);
        net.run(500);
        (net, caller, called)
    }

    /// The browser restarts ICE at its addresses, or at a new one.
    pub(crate) fn restarts(&mut self, leg: LegId, moves_to: Option<&str>) {
        let offer = self.browser(leg).ice_restart(moves_to.is_none());
        self.legs.apply_offer(self.now(), leg, &offer);
        let answer = self.description(leg);
        self.browser(leg).accept_answer(&answer);
        if let Some(address) = moves_to {
            let address = address.parse().unwrap();
            let line = self.browser(leg).add_address(Protocol::Udp, address);
            let (_, _, addresses) = self.entry(leg);
            *addresses = vec![address];
            self.legs.add_candidate(self.now(), leg, &line);
        }
    }

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

    fn entry(&mut self, leg: LegId) -> &mut (LegId, Browser, Vec<SocketAddr>) {
        let found = self.browsers.iter_mut().find(|(id, ..)| *id == leg);
        found.expect("a browser of this net")
    }

    pub(crate) fn browser(&mut self, leg: LegId) -> &mut Browser {
        &mut self.entry(leg).1
    }

    pub(crate) fn happened(&self, leg: LegId, what: &Happened) -> bool {
        let of_leg = |event: &&Event| event.leg == leg;
        self.events
            .iter()
            .filter(of_leg)
            .any(|event| event.what == *what)
    }

    pub(crate) fn failed(&self, leg: LegId) -> Option<String> {
        self.events.iter().find_map(|event| match &event.what {
            Happened::Failed { why, .. } if event.leg == leg => Some(why.to_string()),
            _ => None,
        })
    }

    pub(crate) fn connect(&mut self, leg: LegId) {
        self.run_until(20_000, |net| {
            let browser = net.browsers.iter().find(|(id, ..)| *id == leg);
            net.happened(leg, &Happened::Connected) && browser.is_some_and(|b| b.1.connected)
        });
    }

    /// Runs until a condition holds, at most `limit` ms.
    pub(crate) fn run_until(&mut self, limit: u64, mut holds: impl FnMut(&Net) -> bool) {
        let end = self.ms + limit;
        while !holds(self) {
            assert!(
                self.ms < end,
                "did not come within {limit} ms: {:?}",
                self.events
            );
            self.run(1);
        }
    }

    pub(crate) fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.ms += 1;
            let now = self.now();
            for (_, browser, _) in &mut self.browsers {
                browser.advance(now);
                if self.ms % 20 == PHASE {
                    browser.frame(now);
                }
            }
            self.deliver();
            if self.legs.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.legs.handle_timeout(now);
            }
            self.collect();
        }
    }

    fn deliver(&mut self) {
        for index in 0..self.browsers.len() {
            for datagram in std::mem::take(&mut self.browsers[index].1.out) {
                let has_address = self.browsers[index].2.contains(&datagram.browser);
                if has_address && (self.carries)(true, &datagram) {
                    self.give(&datagram);
                }
            }
        }
    }

    /// Brings a datagram to the gateway, whoever made it.
    pub(crate) fn give(&mut self, datagram: &Datagram) {
        let host = self.hosts.iter().find(|host| {
            let protocol = protocol_of(host.socket);
            host.address == datagram.gateway && protocol == datagram.protocol
        });
        let socket = host.expect("an address of the gateway").socket;
        let now = self.now();
        self.legs
            .handle(now, socket, datagram.browser, &datagram.contents);
        self.collect();
    }

    /// Delivers what the gateway sends, at once, and keeps its events.
    pub(crate) fn collect(&mut self) {
        let now = self.now();
        while let Some(transmit) = self.legs.poll_transmit() {
            let host = self
                .hosts
                .iter()
                .find(|host| host.socket == transmit.socket);
            let datagram = Datagram {
                protocol: protocol_of(transmit.socket),
                browser: transmit.destination,
                gateway: host.expect("a socket of the gateway").address,
                contents: transmit.payload.to_vec(),
            };
            let first = datagram.contents[0];
            self.sent.push((transmit.socket, self.ms, first));
            let to = self.browsers.iter_mut();
            match to
                .map(|(_, b, at)| (b, at))
                .find(|(_, at)| at.contains(&datagram.browser))
            {
                Some((browser, _)) if (self.carries)(false, &datagram) => {
                    browser.receive(now, &datagram);
                }
                Some(_) => {}
                None => self.astray.push((datagram.browser, datagram.contents)),
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

fn protocol_of(socket: Socket) -> Protocol {
    match socket {
        Socket::Streams(_) => Protocol::Tcp,
        _ => Protocol::Udp,
    }
}
