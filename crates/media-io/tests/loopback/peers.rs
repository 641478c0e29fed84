//! A browser and a phone on sockets of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mxtrunk_media::rtp::{Header, Packet};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Interval, interval, sleep_until, timeout};

const PATIENCE: Duration = Duration::from_secs(10);
const FRAME: Duration = Duration::from_millis(20);
/// A frame of Opus: 20 ms of CELT, mono (RFC 6716 section 3.1: configuration 31, one frame), with whatever sound its
/// bytes happen to mean.
const OPUS_FRAME: [u8; 40] = {
    let mut frame = [0; 40];
    let mut at = 0;
    while at < frame.len() {
        frame[at] = (at * 73 + 41) as u8;
        at += 1;
    }
    frame[0] = 0xf8;
    frame
};
/// Silence in PCMU, either sign.
const SILENCE: [u8; 2] = [0xff, 0x7f];

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

async fn socket(ip: IpAddr) -> UdpSocket {
    UdpSocket::bind((ip, 0)).await.unwrap()
}

/// What a browser and the gateway are joined by.
enum Wire {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        unread: Vec<u8>,
    },
    /// By TCP, once it is known where the gateway is.
    Unplugged,
}

impl Wire {
    async fn send(&mut self, transmit: &Transmit) {
        match self {
            Wire::Udp(socket) => {
                let sent = socket.send_to(&transmit.contents, transmit.destination);
                sent.await.unwrap();
            }
            Wire::Tcp { stream, .. } => {
                stream.write_all(&framed(&transmit.contents)).await.unwrap()
            }
            Wire::Unplugged => {}
        }
    }

    /// May be given up at any time without losing anything.
    async fn receive(&mut self, buffer: &mut [u8]) -> (usize, SocketAddr) {
        match self {
            Wire::Udp(socket) => socket.recv_from(buffer).await.unwrap(),
            Wire::Tcp { stream, unread } => loop {
                if let Some(frame) = first_frame(unread) {
                    buffer[..frame.len()].copy_from_slice(&frame);
                    return (frame.len(), stream.peer_addr().unwrap());
                }
                assert_ne!(
                    stream.read_buf(unread).await.unwrap(),
                    0,
                    "closed by the gateway"
                );
            },
            Wire::Unplugged => std::future::pending().await,
        }
    }

    fn local(&self) -> (Protocol, SocketAddr) {
        match self {
            Wire::Udp(socket) => (Protocol::Udp, socket.local_addr().unwrap()),
            Wire::Tcp { stream, .. } => (Protocol::Tcp, stream.local_addr().unwrap()),
            Wire::Unplugged => panic!("it has no address yet"),
        }
    }
}

/// RFC 4571.
pub(crate) fn framed(contents: &[u8]) -> Vec<u8> {
    let mut frame = (contents.len() as u16).to_be_bytes().to_vec();
    frame.extend(contents);
    frame
}

fn first_frame(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(unread.get(..2)?.try_into().unwrap()));
    unread.get(2..2 + length)?;
    Some(unread.drain(..2 + length).skip(2).collect())
}

/// Where a description says that browsers may come by TCP.
pub(crate) fn tcp_address(sdp: &str) -> SocketAddr {
    let line = sdp.lines().find(|line| line.contains(" tcptype passive"));
    let mut words = line.unwrap().split(' ').skip(4);
    let (ip, port) = (words.next().unwrap(), words.next().unwrap());
    SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap())
}

pub(crate) struct Phone {
    socket: UdpSocket,
    gateway: SocketAddr,
}

impl Phone {
    /// A phone that got this offer.
    pub(crate) async fn new(offer: &str) -> Self {
        let port = crate::media_port(offer);
        let line = offer.lines().find_map(|line| line.strip_prefix("c=IN "));
        let ip: IpAddr = line.unwrap()[4..].parse().unwrap();
        Phone {
            socket: socket(ip).await,
            gateway: (ip, port).into(),
        }
    }

    pub(crate) fn description(&self) -> String {
        let address = self.socket.local_addr().unwrap();
        let (ip, port) = (address.ip(), address.port());
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
        )
    }

    /// Talks until both have heard `frames` packets, of sound and not of silence.
    pub(crate) async fn talk(self, with: Conversation, frames: usize) -> usize {
        let mut header = Header {
            payload_type: 0,
            marker: true,
            sequence: 1,
            timestamp: 0,
            ssrc: 7,
        };
        let mut beat = interval(FRAME);
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
                        if source != self.gateway {
                            // For whoever had this port a moment ago.
                            continue;
                        }
                        let packet = Packet::parse(&buffer[..len]).unwrap();
                        // The gateway fills in silence until it has something to carry.
                        if packet.payload.iter().any(|byte| !SILENCE.contains(byte)) {
                            heard += 1;
                            with.note(heard, frames);
                        }
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
    wire: Wire,
    mid: Mid,
    pending: Option<SdpPendingOffer>,
    offer: String,
    connected: bool,
    sent: u32,
    heard: usize,
}

impl Browser {
    pub(crate) async fn new() -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into()).await
    }

    pub(crate) async fn at(ip: IpAddr) -> Self {
        Self::on(Wire::Udp(socket(ip).await))
    }

    /// One whose network lets only TCP through.
    pub(crate) fn by_tcp() -> Self {
        Self::on(Wire::Unplugged)
    }

    fn on(wire: Wire) -> Self {
        let mut rtc = RtcConfig::new()
            .clear_codecs()
            .set_rtp_mode(true)
            .enable_opus(true, false)
            .build(Instant::now());
        if let Wire::Udp(socket) = &wire {
            let address = socket.local_addr().unwrap();
            rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
        }
        let mut api = rtc.sdp_api();
        let mid = api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        Browser {
            rtc,
            wire,
            mid,
            pending: Some(pending),
            offer: offer.to_sdp_string(),
            connected: false,
            sent: 0,
            heard: 0,
        }
    }

    pub(crate) fn offer(&self) -> String {
        self.offer.clone()
    }

    /// Connects to where the answer says, as the answer itself must be taken after it.
    pub(crate) async fn plug_in(&mut self, answer: &str) {
        let socket = TcpSocket::new_v4().unwrap();
        // What it does not read is soon noticed.
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(tcp_address(answer)).await.unwrap();
        let candidate = Candidate::builder()
            .tcp()
            .host(stream.local_addr().unwrap());
        let candidate = candidate.tcptype(TcpType::Active).build().unwrap();
        self.rtc.add_local_candidate(candidate);
        let unread = Vec::new();
        self.wire = Wire::Tcp { stream, unread };
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
            while with.goes_on() {
                let before = self.heard;
                self.turn(&mut beat).await;
                if before < frames && self.heard >= frames {
                    with.note(frames, frames);
                }
            }
        };
        // Too few packets are the caller's to notice.
        let _ = timeout(PATIENCE, talking).await;
        self.heard
    }

    /// Talks until it has heard `frames` packets; from then on it reads nothing.
    pub(crate) async fn talk_then_go_deaf(mut self, frames: usize) -> Self {
        let mut beat = interval(FRAME);
        while self.heard < frames {
            self.turn(&mut beat).await;
        }
        self
    }

    async fn turn(&mut self, beat: &mut Interval) {
        let due = self.drain().await;
        let mut buffer = [0; 2000];
        tokio::select! {
            _ = beat.tick(), if self.connected => {
                self.sent += 1;
                self.write(self.sent);
            }
            () = sleep_until(due.into()) => {}
            (len, source) = self.wire.receive(&mut buffer) => {
                return self.take_in(source, &buffer[..len]);
            }
        }
        let now = Input::Timeout(Instant::now());
        self.rtc.handle_input(now).unwrap();
    }

    fn take_in(&mut self, source: SocketAddr, datagram: &[u8]) {
        let (protocol, destination) = self.wire.local();
        let received = Receive::new(protocol, source, destination, datagram).unwrap();
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
                Output::Transmit(transmit) => self.wire.send(&transmit).await,
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(_)) => self.heard += 1,
                Output::Event(_) => {}
            }
        }
    }
}
