//! A desk phone: RTP in and out, a frame every 20 ms.

use std::net::SocketAddr;

use mxtrunk_media::rtp::{Header, Packet};
use mxtrunk_media::{FRAME, Law, TelephoneEvent};

use crate::sound;

pub(crate) struct Phone {
    pub(crate) address: SocketAddr,
    /// Where the gateway wants RTP, from its SDP.
    pub(crate) gateway: Option<SocketAddr>,
    pub(crate) law: Law,
    pub(crate) hertz: f64,
    /// What it asks for in `a=ptime`, ms.
    pub(crate) ptime: u32,
    /// Sends audio.
    pub(crate) talks: bool,
    /// The audio is silence.
    pub(crate) hushed: bool,
    /// The tone swells and fades like syllables.
    pub(crate) syllables: bool,
    pub(crate) received: Vec<Received>,
    /// RTCP that came.
    pub(crate) reports: Vec<Vec<u8>>,
    sent: usize,
    header: Header,
}

/// A packet that reached the phone.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) at_ms: u64,
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
}

impl Phone {
    pub(crate) fn new(address: SocketAddr, law: Law, hertz: f64) -> Self {
        Phone {
            address,
            gateway: None,
            law,
            hertz,
            ptime: 20,
            talks: true,
            hushed: false,
            syllables: false,
            received: Vec::new(),
            reports: Vec::new(),
            sent: 0,
            header: Header {
                payload_type: law.payload_type(),
                marker: true,
                sequence: 65_500,
                timestamp: u32::MAX - 3000,
                ssrc: 0x5eed,
            },
        }
    }

    /// Where it wants RTCP.
    pub(crate) fn control(&self) -> SocketAddr {
        SocketAddr::new(self.address.ip(), self.address.port() + 1)
    }

    pub(crate) fn description(&self) -> String {
        let ip = self.address.ip();
        let port = self.address.port();
        let law = self.law.payload_type();
        let ptime = self.ptime;
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {law} 96\r\na=rtpmap:96 telephone-event/8000\r\na=ptime:{ptime}\r\n"
        )
    }

    /// The next frame of its tone.
    pub(crate) fn frame(&mut self) -> Option<Vec<u8>> {
        if !self.talks {
            self.header.timestamp = self.header.timestamp.wrapping_add(FRAME as u32);
            return None;
        }
        let mut pcm = match self.hushed {
            true => vec![0; FRAME],
            false => sound::tone(self.hertz, 8000, self.sent * FRAME, FRAME),
        };
        if self.syllables && self.sent % 12 < 5 {
            pcm.iter_mut().for_each(|sample| *sample /= 30);
        }
        self.sent += 1;
        let payload = self.law.encode(&pcm.try_into().unwrap());
        let mut datagram = self.header.to_bytes().to_vec();
        datagram.extend(payload);
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(FRAME as u32);
        self.header.marker = false;
        Some(datagram)
    }

    /// One packet of a telephone-event that began at this moment's timestamp.
    pub(crate) fn event(&mut self, event: TelephoneEvent, timestamp: u32) -> Vec<u8> {
        let header = Header {
            payload_type: 96,
            timestamp,
            ..self.header
        };
        self.header.sequence = self.header.sequence.wrapping_add(1);
        let mut datagram = header.to_bytes().to_vec();
        datagram.extend(event.to_bytes());
        datagram
    }

    /// A packet of comfort noise (RFC 3389), 50 dB below full scale.
    pub(crate) fn comfort_noise(&mut self) -> Vec<u8> {
        let header = Header {
            payload_type: 13,
            ..self.header
        };
        self.header.sequence = self.header.sequence.wrapping_add(1);
        let mut datagram = header.to_bytes().to_vec();
        datagram.push(50);
        datagram
    }

    /// The header of a packet out of turn, in its stream.
    pub(crate) fn next_header(&mut self) -> Header {
        let header = self.header;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        header
    }

    /// The PBX connects another device: new source, new timeline.
    pub(crate) fn becomes_another_device(&mut self) {
        self.header.ssrc ^= 0xffff;
        self.header.sequence = 7;
        self.header.timestamp = self.header.timestamp.wrapping_sub(1_000_000);
        self.header.marker = true;
    }

    pub(crate) fn timestamp(&self) -> u32 {
        self.header.timestamp
    }

    pub(crate) fn receive(&mut self, at_ms: u64, datagram: &[u8]) {
        let packet = Packet::parse(datagram).expect("the gateway sends good RTP");
        self.received.push(Received {
            at_ms,
            header: packet.header,
            payload: packet.payload.to_vec(),
        });
    }

    /// The audio packets received.
    pub(crate) fn audio(&self) -> impl Iterator<Item = &Received> {
        let law = self.law.payload_type();
        let is_audio = move |packet: &&Received| packet.header.payload_type == law;
        self.received.iter().filter(is_audio)
    }

    /// What the phone heard from its `from`th packet of audio on.
    pub(crate) fn heard(&self, from: usize) -> Vec<i16> {
        let mut pcm = Vec::new();
        for packet in self.audio().skip(from) {
            let mut samples = [0; 3 * FRAME];
            let len = self.law.decode(&packet.payload, &mut samples);
            pcm.extend(&samples[..len]);
        }
        pcm
    }

    /// The digits received: event code and final duration, from end packets.
    pub(crate) fn digits(&self) -> Vec<(u8, u16)> {
        let mut digits: Vec<(u32, u8, u16)> = Vec::new();
        for packet in &self.received {
            if packet.header.payload_type != 96 {
                continue;
            }
            let event = TelephoneEvent::parse(&packet.payload).unwrap();
            let known = digits.last().map(|digit| digit.0) == Some(packet.header.timestamp);
            if event.end && !known {
                digits.push((packet.header.timestamp, event.event, event.duration));
            }
        }
        digits
            .into_iter()
            .map(|(_, event, lasted)| (event, lasted))
            .collect()
    }
}
