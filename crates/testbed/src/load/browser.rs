//! A simulated browser: str0m as the peer, Opus encoded beforehand or as it is said. For the floor, SRTP alone.

use std::net::SocketAddr;
use std::time::Instant;

use mio::{Registry, Token};
use mxtrunk_media::rtp::{HEADER_LEN, Packet};

use super::Voice;
use super::keyed::{Seal, ssrc};
use super::talk::{Ear, Mouth};
use super::wire::{LONGEST, Wire};
use crate::link::Weather;
use crate::simulated::{Speaker, Spoken};
use crate::webrtc::{Outcome, WebRtc};

pub(super) struct Browser {
    wire: Wire,
    pub(super) address: SocketAddr,
    engine: Engine,
    /// Speaks by itself, where nothing was encoded beforehand.
    speaker: Option<Box<Speaker>>,
    pub(super) mouth: Mouth,
    pub(super) ear: Ear,
    /// When it offered, and when DTLS was up.
    pub(super) offered: Option<Instant>,
    pub(super) connected: Option<Instant>,
    /// What SRTP adds to a packet that came, in bytes: 16 for AES-GCM, 10 for AES-CM with HMAC-SHA1-80.
    pub(super) tag: Option<usize>,
}

enum Engine {
    WebRtc(Box<WebRtc>),
    Keyed {
        seal: Box<Seal>,
        system: Option<SocketAddr>,
    },
}

impl Browser {
    pub(super) fn new(
        call: usize,
        from: usize,
        voice: Voice,
        webrtc: bool,
    ) -> anyhow::Result<Self> {
        let wire = Wire::new()?;
        let address = wire.address()?;
        let engine = match webrtc {
            true => Engine::WebRtc(Box::new(WebRtc::new(Instant::now(), address, voice)?)),
            false => Engine::Keyed {
                seal: Box::new(Seal::new()?),
                system: None,
            },
        };
        Ok(Self {
            wire,
            address,
            engine,
            speaker: None,
            mouth: Mouth::new(voice.payload_type(), ssrc(call), voice.ticks(), from),
            ear: Ear::default(),
            offered: None,
            connected: None,
            tag: None,
        })
    }

    /// Its person is this one from now on.
    pub(super) fn speaks_as(&mut self, speaker: Speaker) {
        self.speaker = Some(Box::new(speaker));
    }

    /// Its access to the network gets this weather, by chances that grow from `seed`.
    pub(super) fn weather_turns(&mut self, seed: u64, weather: Weather) {
        self.wire.turns(seed, weather);
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> anyhow::Result<()> {
        self.wire.register(registry, token)
    }

    /// # Errors
    /// When this is the floor's browser, which offers nothing.
    pub(super) fn offer(&mut self) -> anyhow::Result<String> {
        self.offered = Some(Instant::now());
        match &mut self.engine {
            Engine::WebRtc(webrtc) => webrtc.offer(),
            Engine::Keyed { .. } => anyhow::bail!("this browser has no WebRTC"),
        }
    }

    pub(super) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        if let Engine::WebRtc(webrtc) = &mut self.engine {
            webrtc.accept(answer)?;
        }
        if let Some(speaker) = &mut self.speaker {
            speaker.pauses(answer.contains("usedtx=1"));
        }
        self.advance(0);
        Ok(())
    }

    /// For the floor: the system listens there, and there is no handshake.
    pub(super) fn join(&mut self, at: SocketAddr) {
        if let Engine::Keyed { system, .. } = &mut self.engine {
            *system = Some(at);
            self.connected = Some(Instant::now());
            self.offered = self.connected;
        }
    }

    pub(super) fn advance(&mut self, now: u32) {
        if let Engine::WebRtc(webrtc) = &mut self.engine {
            webrtc.advance(Instant::now());
        }
        self.drain(now);
    }

    /// Its next frame is due: by its own speaker, else what was encoded beforehand.
    pub(super) fn speak(&mut self, now: u32, said: &[Option<Vec<u8>>]) {
        match &mut self.speaker {
            None => match self.mouth.next(now, said) {
                Some((header, payload)) => {
                    let sequence = u64::from(self.mouth.packets);
                    self.say(sequence, header.timestamp, payload);
                }
                None => self.advance(now),
            },
            Some(speaker) => {
                let spoken = speaker.next();
                self.mouth.left.push(now);
                match spoken {
                    Some(Spoken {
                        sequence,
                        timestamp,
                        payload,
                    }) => {
                        self.mouth.packets += 1;
                        self.say(sequence, timestamp, &payload);
                    }
                    None => self.advance(now),
                }
            }
        }
        self.drain(now);
    }

    fn say(&mut self, sequence: u64, timestamp: u32, payload: &[u8]) {
        match &mut self.engine {
            Engine::WebRtc(webrtc) => webrtc.say(Instant::now(), sequence, timestamp, payload),
            Engine::Keyed { seal, system } => {
                let header = self.mouth.header();
                let mut packet = [0; 1_500];
                packet[..HEADER_LEN].copy_from_slice(&header.to_bytes());
                packet[HEADER_LEN..][..payload.len()].copy_from_slice(payload);
                if let (Some(length), Some(system)) =
                    (seal.seal(&mut packet, payload.len()), *system)
                {
                    self.wire.send(&packet[..length], system);
                }
            }
        }
    }

    /// Hears what has come.
    pub(super) fn receive(&mut self, now: impl Fn() -> u32) {
        let mut buffer = [0; LONGEST];
        while let Some((length, from)) = self.wire.receive(&mut buffer) {
            self.hear(now(), from, &mut buffer[..length]);
        }
    }

    /// Sends what the weather has held up long enough.
    pub(super) fn flush(&mut self) {
        self.wire.flush();
    }

    fn hear(&mut self, now: u32, from: SocketAddr, datagram: &mut [u8]) {
        match &mut self.engine {
            Engine::Keyed { seal, .. } => {
                if let Some(length) = seal.open(datagram)
                    && let Ok(Packet { header, payload }) =
                        Packet::parse(&datagram[..HEADER_LEN + length])
                {
                    self.tag = Some(datagram.len() - HEADER_LEN - length);
                    self.ear
                        .hear(now, header.sequence, header.timestamp, payload);
                }
            }
            Engine::WebRtc(webrtc) => {
                let heard = self.ear.arrivals.len();
                let sealed = Packet::parse(datagram).map(|packet| packet.payload.len());
                webrtc.receive(Instant::now(), from, datagram);
                self.drain(now);
                if let (Some(arrival), Ok(sealed)) = (self.ear.arrivals.get(heard), sealed) {
                    self.tag = sealed.checked_sub(self.ear.payload(arrival).len());
                }
            }
        }
    }

    /// Takes out what the engine has to send and to say.
    fn drain(&mut self, now: u32) {
        let Engine::WebRtc(webrtc) = &mut self.engine else {
            return;
        };
        while let Some(outcome) = webrtc.poll() {
            match outcome {
                Outcome::Transmit(transmit) => {
                    self.wire.send(&transmit.contents, transmit.destination);
                }
                Outcome::Connected => self.connected = Some(Instant::now()),
                Outcome::Packet(packet) => {
                    let header = &packet.header;
                    self.ear.hear(
                        now,
                        header.sequence_number,
                        header.timestamp,
                        &packet.payload,
                    );
                }
                Outcome::Key(_) => {}
                Outcome::Loss(reported) => {
                    if let Some(speaker) = &mut self.speaker {
                        speaker.expect_loss(reported);
                    }
                }
            }
        }
    }
}
