//! A simulated phone: plain RTP, PCMU.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use mio::{Registry, Token};
use mxtrunk_media::rtp::{HEADER_LEN, Packet};

use super::keyed::{PCMU, ssrc};
use super::speech::FRAME;
use super::talk::{Ear, Mouth};
use super::wire::{LONGEST, Wire};
use crate::link::Weather;

#[derive(Debug)]
pub(super) struct Phone {
    wire: Wire,
    pub(super) address: SocketAddr,
    pub(super) gateway: Option<SocketAddr>,
    pub(super) mouth: Mouth,
    pub(super) ear: Ear,
}

impl Phone {
    pub(super) fn new(call: usize, from: usize) -> anyhow::Result<Self> {
        let wire = Wire::new()?;
        Ok(Self {
            address: wire.address()?,
            wire,
            gateway: None,
            mouth: Mouth::new(PCMU, ssrc(call), FRAME as u32, from),
            ear: Ear::default(),
        })
    }

    /// Its access to the network gets this weather, by chances that grow from `seed`.
    pub(super) fn weather_turns(&mut self, seed: u64, weather: Weather) {
        self.wire.turns(seed, weather);
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> anyhow::Result<()> {
        self.wire.register(registry, token)
    }

    pub(super) fn description(&self) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n\
             a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n",
            self.address.port()
        )
    }

    /// The system's description tells where to send to.
    pub(super) fn accept(&mut self, sdp: &str) -> anyhow::Result<()> {
        let line = sdp.lines().find_map(|line| line.strip_prefix("m=audio "));
        let port = line.and_then(|line| line.split(' ').next());
        let port: u16 = port.context("no audio for the phone")?.parse()?;
        self.gateway = Some((Ipv4Addr::LOCALHOST, port).into());
        Ok(())
    }

    pub(super) fn speak(&mut self, now: u32, said: &[Option<Vec<u8>>]) {
        let (Some((header, payload)), Some(gateway)) = (self.mouth.next(now, said), self.gateway)
        else {
            return;
        };
        let mut datagram = [0; HEADER_LEN + FRAME];
        datagram[..HEADER_LEN].copy_from_slice(&header.to_bytes());
        datagram[HEADER_LEN..].copy_from_slice(payload);
        self.wire.send(&datagram, gateway);
    }

    /// Hears what has come.
    pub(super) fn receive(&mut self, now: impl Fn() -> u32) {
        let mut buffer = [0; LONGEST];
        while let Some((length, _)) = self.wire.receive(&mut buffer) {
            self.hear(now(), &buffer[..length]);
        }
    }

    /// Sends what the weather has held up long enough.
    pub(super) fn flush(&mut self) {
        self.wire.flush();
    }

    fn hear(&mut self, now: u32, datagram: &[u8]) {
        if let Ok(Packet { header, payload }) = Packet::parse(datagram)
            && header.payload_type == PCMU
        {
            self.ear
                .hear(now, header.sequence, header.timestamp, payload);
        }
    }
}
