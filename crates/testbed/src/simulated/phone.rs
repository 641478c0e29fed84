//! A simulated desk phone: G.711 µ-law, a packet every 20 ms, and a small playout buffer.

use std::time::Duration;

use audio_codec_algorithms::{decode_ulaw, encode_ulaw};
use mxtrunk_media::rtp::{Header, Packet};

use super::playout::{Heard, Piece, Playout};
use crate::judge::Sound;

pub(super) const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 3], 60_000);

const FRAME: usize = 160;
/// PCMU.
const PAYLOAD_TYPE: u8 = 0;
/// What a desk phone on the company's network keeps in hand.
const PLAYOUT: Duration = Duration::from_millis(40);

/// The phone and the person at it.
pub struct Phone {
    ppm: f64,
    frames: u64,
    said: Vec<i16>,
    silent: bool,
    at: usize,
    header: Header,
    playout: Playout<Vec<u8>>,
}

impl Phone {
    pub(super) fn new(ppm: f64) -> Self {
        Self {
            ppm,
            frames: 0,
            said: Vec::new(),
            silent: false,
            at: 0,
            header: Header {
                payload_type: PAYLOAD_TYPE,
                marker: true,
                sequence: 65_000,
                timestamp: u32::MAX - 100_000,
                ssrc: 0x5eed,
            },
            playout: Playout::new(1),
        }
    }

    pub(super) fn description(&self) -> String {
        let ([a, b, c, d], port) = ADDRESS;
        let ip = format!("{a}.{b}.{c}.{d}");
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP {PAYLOAD_TYPE} 101\r\na=rtpmap:101 telephone-event/8000\r\n\
             a=ptime:20\r\n"
        )
    }

    /// When the next packet is due, by its own clock.
    pub(super) fn next_frame(&self) -> Duration {
        super::browser::frame_time(self.frames, self.ppm)
    }

    /// Says this from the next packet on; returns when that is sent.
    pub fn say(&mut self, sound: &Sound) -> Duration {
        self.said = sound.pcm().collect();
        self.at = 0;
        self.next_frame()
    }

    /// Sends nothing any more.
    pub fn falls_silent(&mut self) {
        self.silent = true;
    }

    pub(super) fn frame(&mut self) -> Option<Vec<u8>> {
        self.frames += 1;
        if self.silent {
            return None;
        }
        let rest = self.said.get(self.at..).unwrap_or_default();
        let pcm = rest.iter().copied().chain(std::iter::repeat(0)).take(FRAME);
        let mut datagram = self.header.to_bytes().to_vec();
        datagram.extend(pcm.map(encode_ulaw));
        self.at += FRAME;
        self.header.marker = false;
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.header.timestamp = self.header.timestamp.wrapping_add(FRAME as u32);
        Some(datagram)
    }

    pub(super) fn receive(&mut self, now: Duration, datagram: &[u8]) {
        // Whatever is no RTP or no PCMU is not heard, and misses in what is.
        let Ok(packet) = Packet::parse(datagram) else {
            return;
        };
        if packet.header.payload_type == PAYLOAD_TYPE {
            let payload = packet.payload.to_vec();
            self.playout.receive(now, packet.header.timestamp, payload);
        }
    }

    /// Forgets what was heard until now.
    pub fn listen(&mut self) {
        self.playout = Playout::new(1);
    }

    /// What was heard since; a packet that came too late for the phone's 40 ms is a hole.
    #[must_use]
    pub fn heard(&self) -> Heard {
        self.playout.heard(PLAYOUT, |pieces| {
            let mut pcm = Vec::new();
            for piece in pieces {
                match piece {
                    Piece::Packet(payload) => {
                        pcm.extend(payload.iter().map(|byte| decode_ulaw(*byte)))
                    }
                    Piece::Missing { .. } => pcm.extend([0; FRAME]),
                }
            }
            pcm
        })
    }

    /// The longest time between two packets that came one after the other.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        self.playout.longest_wait()
    }

    /// Packets heard.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.playout.packets()
    }
}
