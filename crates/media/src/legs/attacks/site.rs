//! Two phones joined in virtual time: the one under attack, and the one that listens.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::codec::{FRAME, Law};
use crate::leg::{Happened, LegId, Settings};
use crate::legs::{Epoch, Legs};
use crate::outbox::Socket;
use crate::profile::PhoneProfile;
use crate::rtp::{Header, Packet};
use crate::srtp::{Crypto, Srtp, SrtpSecret};
use crate::stats::Drops;
use crate::virtual_time::origin;

pub(super) const ATTACKED: LegId = LegId(1);
const LISTENER: LegId = LegId(2);
/// What phones say, and what attackers shout, as µ-law: nothing of the louder sound must ever arrive.
const SPEECH: u8 = 0x2f;
const SHOUT: u8 = 0x00;
const LOUD: i16 = 20_000;

/// The far end of a phone leg, or somebody who would like to be it.
pub(super) struct Phone {
    pub(super) address: SocketAddr,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) srtp: Option<Srtp>,
    pub(super) silent: bool,
    sound: u8,
    /// Packets of RTP that came.
    pub(super) packets: usize,
    /// Samples of them that were no silence.
    pub(super) heard: usize,
    /// Reports that came.
    pub(super) reports: usize,
}

impl Phone {
    pub(super) fn new(address: impl Into<SocketAddr>, ssrc: u32) -> Self {
        Phone {
            address: address.into(),
            sequence: 65_530,
            timestamp: 7,
            ssrc,
            srtp: None,
            silent: false,
            sound: SPEECH,
            packets: 0,
            heard: 0,
            reports: 0,
        }
    }

    pub(super) fn attacker(address: impl Into<SocketAddr>) -> Self {
        Phone {
            sound: SHOUT,
            ..Phone::new(address, 0xbad)
        }
    }

    /// Its next frame.
    pub(super) fn frame(&mut self) -> Vec<u8> {
        let header = Header {
            payload_type: 0,
            marker: false,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        let mut packet = header.to_bytes().to_vec();
        packet.extend([self.sound; FRAME]);
        if let Some(sealer) = self.srtp.as_mut().and_then(Srtp::sealer) {
            sealer.seal_rtp(&mut packet, 0);
        }
        packet
    }

    fn receive(&mut self, datagram: &[u8]) {
        let opened = match &mut self.srtp {
            Some(srtp) => srtp
                .open_rtp(datagram)
                .expect("the gateway seals with its key"),
            None => datagram,
        };
        let packet = Packet::parse(opened).expect("the gateway sends good RTP");
        self.packets += 1;
        let mut pcm = [0; FRAME];
        let samples = Law::Mu.decode(packet.payload, &mut pcm);
        for sample in &pcm[..samples] {
            assert!(sample.abs() < LOUD, "the attacker is heard");
            self.heard += usize::from(sample.abs() > 100);
        }
    }

    fn control(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    /// Its description; `keys` is the value of `a=crypto`.
    pub(super) fn description(&self, keys: Option<&str>, direction: &str) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        let (transport, line) = match keys {
            Some(keys) => ("RTP/SAVP", format!("a=crypto:{keys}\r\n")),
            None => ("RTP/AVP", String::new()),
        };
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} {transport} 0\r\n{line}a={direction}\r\n"
        )
    }
}

pub(super) struct Site {
    pub(super) now: Instant,
    pub(super) legs: Legs,
    pub(super) phone: Phone,
    pub(super) listener: Phone,
    /// What came for addresses that are nobody's.
    pub(super) strays: Vec<SocketAddr>,
}

impl Site {
    /// The attacked phone stands at `address`, and says so unless `described` says otherwise.
    pub(super) fn new(profile: &PhoneProfile, phone: Phone, described: &Phone) -> Self {
        let mut site = Self::open(profile, phone);
        let answer = described.description(None, "sendrecv");
        site.legs.apply_answer(site.now, ATTACKED, &answer);
        site.drain();
        site
    }

    /// A call over SRTP: the phone takes the `line`th suite that we offer.
    pub(super) fn secured(profile: &PhoneProfile, phone: Phone, line: usize) -> Self {
        let mut site = Self::open(profile, phone);
        let offer = site.description(ATTACKED);
        let lines = offer
            .lines()
            .filter_map(|line| line.strip_prefix("a=crypto:"));
        let theirs = lines
            .filter_map(Crypto::parse)
            .nth(line)
            .expect("the suite is offered");
        let mut srtp = Srtp::new(SrtpSecret::new([0x77; SrtpSecret::LEN]));
        let answer = srtp.accept(Some(&theirs)).expect("a key was offered");
        site.phone.srtp = Some(srtp);
        let answer = site.phone.description(Some(&answer.to_value()), "sendrecv");
        site.legs.apply_answer(site.now, ATTACKED, &answer);
        site.drain();
        site
    }

    fn open(profile: &PhoneProfile, phone: Phone) -> Self {
        let now = origin();
        let epoch = Epoch {
            instant: now,
            since_unix: Duration::ZERO,
        };
        let secret = SrtpSecret::new([0x11; SrtpSecret::LEN]);
        let legs = Legs::new(Settings::new(vec![gateway(0)]), epoch, 1).with_secret(secret);
        let mut site = Site {
            now,
            legs,
            phone,
            listener: Phone::new(([192, 0, 2, 9], 9000), 9),
            strays: Vec::new(),
        };
        let plain = PhoneProfile::default();
        site.legs
            .open_phone(now, LISTENER, gateway(2), &plain, None);
        site.description(LISTENER);
        let answer = site.listener.description(None, "sendrecv");
        site.legs.apply_answer(now, LISTENER, &answer);
        site.legs
            .open_phone(now, ATTACKED, gateway(1), profile, None);
        site
    }

    /// What we offer such a trunk.
    pub(super) fn offer_of(profile: &PhoneProfile) -> String {
        Self::open(profile, Phone::new(([192, 0, 2, 7], 40_000), 7)).description(ATTACKED)
    }

    pub(super) fn bridge(mut self) -> Self {
        self.legs.bridge(self.now, ATTACKED, LISTENER);
        self.drain();
        self
    }

    /// The description that a leg has just made.
    pub(super) fn description(&mut self, leg: LegId) -> String {
        let mut found = None;
        while let Some(event) = self.legs.poll_event() {
            match event.what {
                Happened::LocalDescription { sdp } if event.leg == leg => found = Some(sdp),
                _ => {}
            }
        }
        found.expect("the leg has described itself")
    }

    /// A re-INVITE from the phone; our answer.
    pub(super) fn reinvite(&mut self, offer: &str) -> String {
        self.legs.apply_offer(self.now, ATTACKED, offer);
        self.description(ATTACKED)
    }

    /// A datagram for the RTP port of the attacked leg.
    pub(super) fn receive(&mut self, source: SocketAddr, datagram: &[u8]) {
        self.legs
            .handle(self.now, Socket::Rtp(ATTACKED), source, datagram);
        self.drain();
    }

    /// Lets `frames` times 20 ms pass, with whoever else sends.
    pub(super) fn run(&mut self, frames: usize, others: &mut [&mut Phone]) {
        for _ in 0..frames {
            self.now += Duration::from_millis(20);
            for other in others.iter_mut() {
                let frame = other.frame();
                self.receive(other.address, &frame);
            }
            if !self.phone.silent {
                let frame = self.phone.frame();
                self.receive(self.phone.address, &frame);
            }
            let frame = self.listener.frame();
            let source = self.listener.address;
            self.legs
                .handle(self.now, Socket::Rtp(LISTENER), source, &frame);
            self.drain();
            self.legs.handle_timeout(self.now);
            self.drain();
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.legs.poll_transmit() {
            let to = transmit.destination;
            let phones = [&mut self.phone, &mut self.listener];
            let mut phones = phones.into_iter();
            let is_control = matches!(transmit.socket, Socket::Rtcp(_));
            match phones.find(|phone| {
                to == if is_control {
                    phone.control()
                } else {
                    phone.address
                }
            }) {
                Some(phone) if is_control => phone.reports += 1,
                Some(phone) => phone.receive(transmit.payload),
                None => self.strays.push(to),
            }
        }
    }

    /// The attacked leg and the listener hear each other: over the next second, most of what each says arrives.
    pub(super) fn assert_both_heard(&mut self, others: &mut [&mut Phone]) {
        // What waited in the jitter buffer, and what a gap did to it.
        self.run(50, others);
        let before = (self.phone.heard, self.listener.heard);
        self.run(50, others);
        let heard = (self.phone.heard - before.0, self.listener.heard - before.1);
        let most = 45 * FRAME;
        assert!(
            heard.0 > most && heard.1 > most,
            "{heard:?} samples of {}",
            50 * FRAME
        );
    }

    pub(super) fn drops(mut self) -> Drops {
        self.drain();
        while self.legs.poll_event().is_some() {}
        self.legs.close(ATTACKED);
        match self.legs.poll_event().map(|event| event.what) {
            Some(Happened::Closed { stats }) => stats.dropped,
            other => panic!("{other:?}"),
        }
    }
}

fn gateway(leg: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 20_000 + 2 * leg))
}
