//! A simulated browser: str0m as the peer, Opus encoded beforehand. For the floor, SRTP alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::Context as _;
use mio::net::UdpSocket;
use mxtrunk_media::rtp::{HEADER_LEN, Packet};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::Voice;
use super::keyed::{Seal, ssrc};
use super::talk::{Ear, Mouth};

pub(super) struct Browser {
    pub(super) socket: UdpSocket,
    pub(super) address: SocketAddr,
    engine: Engine,
    voice: Voice,
    pub(super) mouth: Mouth,
    pub(super) ear: Ear,
    /// When it offered, and when DTLS was up.
    pub(super) offered: Option<Instant>,
    pub(super) connected: Option<Instant>,
    /// What SRTP adds to a packet that came, in bytes: 16 for AES-GCM, 10 for AES-CM with HMAC-SHA1-80.
    pub(super) tag: Option<usize>,
}

enum Engine {
    WebRtc {
        rtc: Box<Rtc>,
        mid: Option<Mid>,
        pending: Option<SdpPendingOffer>,
    },
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
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = socket.local_addr()?;
        let engine = match webrtc {
            true => engine(address, voice)?,
            false => Engine::Keyed {
                seal: Box::new(Seal::new()?),
                system: None,
            },
        };
        Ok(Self {
            socket,
            address,
            engine,
            voice,
            mouth: Mouth::new(voice.payload_type(), ssrc(call), voice.ticks(), from),
            ear: Ear::default(),
            offered: None,
            connected: None,
            tag: None,
        })
    }

    /// # Errors
    /// When this is the floor's browser, which offers nothing.
    pub(super) fn offer(&mut self) -> anyhow::Result<String> {
        self.offered = Some(Instant::now());
        let Engine::WebRtc { rtc, mid, pending } = &mut self.engine else {
            anyhow::bail!("this browser has no WebRTC");
        };
        let mut api = rtc.sdp_api();
        *mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        let (offer, waits) = api.apply().context("nothing to offer")?;
        *pending = Some(waits);
        Ok(offer.to_sdp_string())
    }

    pub(super) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        if let Engine::WebRtc { rtc, pending, .. } = &mut self.engine {
            let answer = SdpAnswer::from_sdp_string(answer)?;
            let pending = pending.take().context("no offer is out")?;
            rtc.sdp_api().accept_answer(pending, answer)?;
        }
        self.input(0, Input::Timeout(Instant::now()));
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
        self.input(now, Input::Timeout(Instant::now()));
    }

    pub(super) fn speak(&mut self, now: u32, said: &[Option<Vec<u8>>]) {
        let next = self.mouth.next(now, said);
        match (&mut self.engine, next) {
            (Engine::Keyed { seal, system }, Some((header, payload))) => {
                let mut packet = [0; 1_500];
                packet[..HEADER_LEN].copy_from_slice(&header.to_bytes());
                packet[HEADER_LEN..][..payload.len()].copy_from_slice(payload);
                if let (Some(length), Some(system)) =
                    (seal.seal(&mut packet, payload.len()), *system)
                {
                    // One that the kernel does not take is missing in the figures.
                    let _ = self.socket.send_to(&packet[..length], system);
                }
            }
            (
                Engine::WebRtc {
                    rtc,
                    mid: Some(mid),
                    ..
                },
                Some((header, payload)),
            ) => {
                let at = Instant::now();
                let sequence = u64::from(self.mouth.packets);
                let write = RtpWrite::new(
                    header.payload_type.into(),
                    sequence.into(),
                    header.timestamp,
                    at,
                    payload,
                );
                let mut direct = rtc.direct_api();
                if let Some(stream) = direct.stream_tx_by_mid(*mid, None) {
                    stream.set_unpaced(true);
                    stream.write_rtp(write);
                }
                self.advance(now);
            }
            _ => self.advance(now),
        }
    }

    pub(super) fn receive(&mut self, now: u32, from: SocketAddr, datagram: &mut [u8]) {
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
            Engine::WebRtc { rtc, mid, .. } => {
                expect(rtc, *mid, self.voice, datagram);
                let heard = self.ear.arrivals.len();
                let sealed = Packet::parse(datagram).map(|packet| packet.payload.len());
                if let Ok(received) = Receive::new(Protocol::Udp, from, self.address, datagram) {
                    self.input(now, Input::Receive(Instant::now(), received));
                }
                if let (Some(arrival), Ok(sealed)) = (self.ear.arrivals.get(heard), sealed) {
                    self.tag = sealed.checked_sub(self.ear.payload(arrival).len());
                }
            }
        }
    }

    /// Gives the engine something to do, and sends what it has to send.
    fn input(&mut self, now: u32, input: Input<'_>) {
        let Engine::WebRtc { rtc, .. } = &mut self.engine else {
            return;
        };
        // A fault of the engine is seen: nothing comes any more.
        if rtc.handle_input(input).is_err() {
            return;
        }
        loop {
            match rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    let _ = self
                        .socket
                        .send_to(&transmit.contents, transmit.destination);
                }
                Ok(Output::Event(Event::Connected)) => self.connected = Some(Instant::now()),
                Ok(Output::Event(Event::RtpPacket(packet))) => {
                    let header = &packet.header;
                    self.ear.hear(
                        now,
                        header.sequence_number,
                        header.timestamp,
                        &packet.payload,
                    );
                }
                Ok(Output::Event(_)) => {}
                Ok(Output::Timeout(_)) | Err(_) => return,
            }
        }
    }
}

/// A system that writes neither `a=ssrc` nor the MID extension still means the only line there is.
fn expect(rtc: &mut Rtc, mid: Option<Mid>, voice: Voice, datagram: &[u8]) {
    let (Some(mid), Ok(Packet { header, .. })) = (mid, Packet::parse(datagram)) else {
        return;
    };
    let mut direct = rtc.direct_api();
    if header.payload_type == voice.payload_type()
        && direct.stream_rx(&header.ssrc.into()).is_none()
    {
        direct.expect_stream_rx(header.ssrc.into(), None, mid, None);
    }
}

fn engine(address: SocketAddr, voice: Voice) -> anyhow::Result<Engine> {
    let config = RtcConfig::new().clear_codecs().clear_extension_map();
    let config = config.set_rtp_mode(true);
    let mut config = match voice {
        Voice::Opus => config.enable_opus(true, false),
        Voice::Pcmu => config.enable_pcmu(true, false),
    };
    for params in config.codec_config().iter_mut() {
        params.set_fb_transport_cc(false);
    }
    let mut rtc = config.build(Instant::now());
    rtc.add_local_candidate(Candidate::host(address, Protocol::Udp)?);
    Ok(Engine::WebRtc {
        rtc: Box::new(rtc),
        mid: None,
        pending: None,
    })
}
