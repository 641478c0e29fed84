//! A browser: str0m as the client, with addresses of either family and protocol.

use std::net::SocketAddr;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsVersion;
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

/// A frame of Opus: 20 ms of silence in CELT, mono (RFC 6716 section 3.1: configuration 31, one frame).
const OPUS_FRAME: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Between the browser and the gateway, either way.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) protocol: Protocol,
    pub(crate) browser: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) contents: Vec<u8>,
}

impl Datagram {
    pub(crate) fn is_stun(&self) -> bool {
        self.contents[0] < 4
    }

    pub(crate) fn is_dtls(&self) -> bool {
        (20..64).contains(&self.contents[0])
    }
}

pub(crate) struct Browser {
    pub(crate) connected: bool,
    /// Media packets that came.
    pub(crate) heard: usize,
    pub(crate) out: Vec<Datagram>,
    pub(crate) talks: bool,
    rtc: Rtc,
    mid: Option<Mid>,
    pending: Option<SdpPendingOffer>,
    sent: u32,
}

impl Browser {
    pub(crate) fn new(now: Instant, dtls: DtlsVersion) -> Self {
        let config = RtcConfig::new()
            .clear_codecs()
            .set_rtp_mode(true)
            .set_dtls_version(dtls)
            .enable_opus(true, false);
        Browser {
            connected: false,
            heard: 0,
            out: Vec::new(),
            talks: true,
            rtc: config.build(now),
            mid: None,
            pending: None,
            sent: 0,
        }
    }

    /// The browser has this address now; returns it as it is trickled.
    pub(crate) fn add_address(&mut self, protocol: Protocol, address: SocketAddr) -> String {
        let candidate = match protocol {
            Protocol::Tcp => {
                let active = Candidate::builder().tcp().host(address);
                active.tcptype(TcpType::Active).build().unwrap()
            }
            _ => Candidate::host(address, protocol).unwrap(),
        };
        let line = candidate.to_sdp_string();
        self.rtc.add_local_candidate(candidate);
        line
    }

    pub(crate) fn offer(&mut self) -> String {
        let mut api = self.rtc.sdp_api();
        self.mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        self.drain();
        offer.to_sdp_string()
    }

    /// With `stays` on the addresses that it has, else with none until new ones are added.
    pub(crate) fn ice_restart(&mut self, stays: bool) -> String {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(stays);
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        self.drain();
        offer.to_sdp_string()
    }

    pub(crate) fn accept_answer(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        let pending = self.pending.take().unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        self.drain();
    }

    pub(crate) fn answer(&mut self, offer: &str) -> String {
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        let answer = self.rtc.sdp_api().accept_offer(offer).unwrap();
        self.drain();
        answer.to_sdp_string()
    }

    pub(crate) fn dtls_version(&mut self) -> String {
        let version = self.rtc.direct_api().dtls_protocol_version();
        format!("{version:?}")
    }

    pub(crate) fn local_credentials(&mut self) -> (String, String) {
        let credentials = self.rtc.direct_api().local_ice_credentials();
        (credentials.ufrag, credentials.pass)
    }

    pub(crate) fn receive(&mut self, now: Instant, datagram: &Datagram) {
        let received = Receive::new(
            datagram.protocol,
            datagram.gateway,
            datagram.browser,
            &datagram.contents,
        );
        let input = Input::Receive(now, received.unwrap());
        // What the engine says of a handshake that fails is not what is tested here.
        let _ = self.rtc.handle_input(input);
        self.drain();
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain();
    }

    /// Sends the next 20 ms.
    pub(crate) fn frame(&mut self, now: Instant) {
        self.sent += 1;
        let Some(mid) = self.mid.filter(|_| self.connected && self.talks) else {
            return;
        };
        let (number, timestamp) = (u64::from(self.sent), self.sent * 960);
        let write = RtpWrite::new(111.into(), number.into(), timestamp, now, &OPUS_FRAME[..]);
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None).unwrap();
        stream.set_unpaced(true);
        stream.write_rtp(write);
        self.advance(now);
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => self.out.push(Datagram {
                    protocol: transmit.proto,
                    browser: transmit.source,
                    gateway: transmit.destination,
                    contents: transmit.contents.to_vec(),
                }),
                Ok(Output::Event(Event::Connected)) => self.connected = true,
                Ok(Output::Event(Event::MediaAdded(added))) => self.mid = Some(added.mid),
                Ok(Output::Event(Event::RtpPacket(_))) => self.heard += 1,
                Ok(Output::Event(_)) => {}
                Ok(Output::Timeout(_)) | Err(_) => return,
            }
        }
    }
}
