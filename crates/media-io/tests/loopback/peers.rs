//! A browser and a phone on sockets of their own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mxtrunk_media::rtp::{Header, Packet};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

const PATIENCE: Duration = Duration::from_secs(10);
const FRAME: Duration = Duration::from_millis(20);
/// A frame of Opus: 20 ms of silence in CELT, mono (RFC 6716 section 3.1: configuration 31, one frame).
const OPUS_FRAME: [u8; 3] = [0xf8, 0xff, 0xfe];

/// A conversation of two: both talk until both have heard enough.
#[derive(Clone, Default)]
pub(crate) struct Conversation {
    content: Arc<AtomicUsize>,
}

impl Conversation {
    fn note(&self, heard: usize, enough: usize) {
        if heard == enough {
            self.content.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn goes_on(&self) -> bool {
        self.content.load(Ordering::Relaxed) < 2
    }
}

async fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

pub(crate) struct Phone {
    socket: UdpSocket,
    gateway: SocketAddr,
}

impl Phone {
    /// A phone that got this offer.
    pub(crate) async fn new(offer: &str) -> Self {
        let port = crate::media_port(offer);
        Phone {
            socket: socket().await,
            gateway: (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    pub(crate) fn description(&self) -> String {
        let port = self.socket.local_addr().unwrap().port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        )
    }

    /// Talks until both have heard `frames` packets.
    pub(crate) async fn talk(self, with: Conversation, frames: usize) -> usize {
        let mut header = Header {
            payload_type: 0,
            marker: true,
            sequence: 1,
            timestamp: 0,
            ssrc: 7,
        };
        let mut beat = interval(FRAME);
        // Late frames in a burst would be heard before the other side has said anything.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = [0; 1500];
        let mut heard = 0;
        let talking = async {
            while with.goes_on() {
                tokio::select! {
                    _ = beat.tick() => {
                        let mut datagram = header.to_bytes().to_vec();
                        datagram.extend([0x55; 160]);
                        self.socket.send_to(&datagram, self.gateway).await.unwrap();
                        header.sequence += 1;
                        header.timestamp += 160;
                    }
                    received = self.socket.recv_from(&mut buffer) => {
                        let (len, source) = received.unwrap();
                        assert_eq!(source, self.gateway);
                        Packet::parse(&buffer[..len]).unwrap();
                        heard += 1;
                        with.note(heard, frames);
                    }
                }
            }
        };
        // Too few packets are the caller's to notice.
        let _ = timeout(PATIENCE, talking).await;
        heard
    }
}

pub(crate) struct Browser {
    rtc: Rtc,
    socket: UdpSocket,
    mid: Mid,
    pending: Option<SdpPendingOffer>,
    offer: String,
    connected: bool,
    heard: usize,
}

impl Browser {
    pub(crate) async fn new() -> Self {
        let socket = socket().await;
        let mut rtc = RtcConfig::new()
            .clear_codecs()
            .set_rtp_mode(true)
            .enable_opus(true, false)
            .build(Instant::now());
        let address = socket.local_addr().unwrap();
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        Browser {
            rtc,
            socket,
            mid,
            pending: Some(pending),
            offer: offer.to_sdp_string(),
            connected: false,
            heard: 0,
        }
    }

    pub(crate) fn offer(&self) -> String {
        self.offer.clone()
    }

    pub(crate) fn accept_answer(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        let pending = self.pending.take().unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
    }

    /// Talks until both have heard `frames` packets.
    pub(crate) async fn talk(mut self, with: Conversation, frames: usize) -> usize {
        let talking = async {
            let mut beat = interval(FRAME);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut buffer = [0; 2000];
            let mut sent = 0u32;
            while with.goes_on() {
                let before = self.heard;
                let due = self.drain().await;
                if before < frames && self.heard >= frames {
                    with.note(frames, frames);
                }
                tokio::select! {
                    _ = beat.tick(), if self.connected => {
                        sent += 1;
                        self.write(sent);
                    }
                    () = sleep_until(due.into()) => {}
                    received = self.socket.recv_from(&mut buffer) => {
                        let (len, source) = received.unwrap();
                        self.take_in(source, &buffer[..len]);
                        continue;
                    }
                }
                self.rtc
                    .handle_input(Input::Timeout(Instant::now()))
                    .unwrap();
            }
        };
        // Too few packets are the caller's to notice.
        let _ = timeout(PATIENCE, talking).await;
        self.heard
    }

    fn take_in(&mut self, source: SocketAddr, datagram: &[u8]) {
        let destination = self.socket.local_addr().unwrap();
        let received = Receive::new(Protocol::Udp, source, destination, datagram).unwrap();
        let input = Input::Receive(Instant::now(), received);
        self.rtc.handle_input(input).unwrap();
    }

    fn write(&mut self, sent: u32) {
        let now = Instant::now();
        let number = u64::from(sent).into();
        let write = RtpWrite::new(111.into(), number, sent * 960, now, &OPUS_FRAME[..]);
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(self.mid, None).unwrap();
        stream.set_unpaced(true);
        stream.write_rtp(write);
    }

    async fn drain(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(due) => return due.min(Instant::now() + PATIENCE),
                Output::Transmit(transmit) => {
                    self.socket
                        .send_to(&transmit.contents, transmit.destination)
                        .await
                        .unwrap();
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(_)) => self.heard += 1,
                Output::Event(_) => {}
            }
        }
    }
}
