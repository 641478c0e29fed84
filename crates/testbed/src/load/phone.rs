//! A simulated phone: plain RTP, PCMU.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use mio::net::UdpSocket;
use mxtrunk_media::rtp::{HEADER_LEN, Packet};

use super::keyed::{PCMU, ssrc};
use super::speech::FRAME;
use super::talk::{Ear, Mouth};

#[derive(Debug)]
pub(super) struct Phone {
    pub(super) socket: UdpSocket,
    pub(super) address: SocketAddr,
    pub(super) gateway: Option<SocketAddr>,
    pub(super) mouth: Mouth,
    pub(super) ear: Ear,
}

impl Phone {
    pub(super) fn new(call: usize, from: usize) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            gateway: None,
            mouth: Mouth::new(PCMU, ssrc(call), FRAME as u32, from),
            ear: Ear::default(),
        })
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
        // One that the kernel does not take is missing in the figures.
        let _ = self.socket.send_to(&datagram, gateway);
    }

    pub(super) fn receive(&mut self, now: u32, datagram: &[u8]) {
        if let Ok(Packet { header, payload }) = Packet::parse(datagram)
            && header.payload_type == PCMU
        {
            self.ear
                .hear(now, header.sequence, header.timestamp, payload);
        }
    }
}
