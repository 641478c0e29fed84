//! The browsers' side: the WebRTC engine by itself.

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Instant;

use mxtrunk_media::Codec;
use stats_alloc::Region;
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Input, Output, Rtc, RtcConfig};

use crate::sound::{number, opus_frames};
use crate::{ALLOCATOR, COUNTED, TICK, WARM_UP};

/// One end of a WebRTC connection.
pub(crate) struct Engine {
    rtc: Rtc,
    pub(crate) address: SocketAddr,
    mid: Option<Mid>,
    pub(crate) connected: bool,
    pub(crate) speaks: Codec,
    sent: u64,
    pub(crate) out: Vec<Vec<u8>>,
}

impl Engine {
    pub(crate) fn new(now: Instant, port: u16) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 2], port));
        // As the gateway sets its own up: no header extensions, no transport-wide feedback.
        let mut config = RtcConfig::new()
            .clear_codecs()
            .clear_extension_map()
            .set_rtp_mode(true)
            .enable_opus(true, false)
            .enable_g722(true, false)
            .enable_pcmu(true, false)
            .enable_pcma(true, false);
        for params in config.codec_config().iter_mut() {
            params.set_fb_transport_cc(false);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
        Engine {
            rtc,
            address,
            mid: None,
            connected: false,
            speaks: Codec::Opus,
            sent: 0,
            out: Vec::with_capacity(64),
        }
    }

    /// Offers, has `peer` answer, and takes the answer.
    pub(crate) fn negotiate(&mut self, peer: impl FnOnce(&str) -> String) {
        let mut api = self.rtc.sdp_api();
        self.mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        let (offer, pending) = api.apply().unwrap();
        self.drain();
        let answer = SdpAnswer::from_sdp_string(&peer(&offer.to_sdp_string())).unwrap();
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        self.drain();
    }

    pub(crate) fn receive(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        let received = Receive::new(Protocol::Udp, source, self.address, datagram).unwrap();
        self.rtc
            .handle_input(Input::Receive(now, received))
            .unwrap();
        self.drain();
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain();
    }

    pub(crate) fn write(&mut self, now: Instant, payload: &[u8]) {
        self.sent += 1;
        let timestamp = self.sent as u32 * (self.speaks.clock() / 50);
        let write = RtpWrite::new(
            number(self.speaks).into(),
            self.sent.into(),
            timestamp,
            now,
            payload,
        );
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(self.mid.unwrap(), None).unwrap();
        stream.set_unpaced(true);
        stream.write_rtp(write);
        self.advance(now);
    }

    pub(crate) fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => self.out.push(transmit.contents.into()),
                Output::Event(str0m::Event::Connected) => self.connected = true,
                Output::Event(str0m::Event::MediaAdded(added)) => self.mid = Some(added.mid),
                Output::Event(event) => drop(black_box(event)),
            }
        }
    }
}

/// Allocations per packet of the engine alone: one packet in and one out a round.
pub(crate) fn engine_allocations() -> f64 {
    let mut now = Instant::now();
    let mut one = Engine::new(now, 60_000);
    let mut other = Engine::new(now, 60_001);
    one.negotiate(|offer| {
        let offer = SdpOffer::from_sdp_string(offer).unwrap();
        let answer = other.rtc.sdp_api().accept_offer(offer).unwrap();
        other.drain();
        answer.to_sdp_string()
    });
    let speech = opus_frames();
    let mut counted = 0;
    for round in 0.. {
        now += TICK;
        one.advance(now);
        if one.connected && other.connected {
            one.write(now, &speech[round % speech.len()]);
        }
        let to_other: Vec<_> = one.out.drain(..).collect();
        let region = Region::new(ALLOCATOR);
        for datagram in &to_other {
            other.receive(now, one.address, datagram);
        }
        if one.connected && other.connected {
            other.write(now, &speech[round % speech.len()]);
        }
        other.advance(now);
        let change = region.change();
        if round >= WARM_UP {
            counted += change.allocations + change.reallocations;
        }
        for datagram in other.out.drain(..) {
            one.receive(now, other.address, &datagram);
        }
        if round == WARM_UP + COUNTED - 1 {
            break;
        }
    }
    counted as f64 / (2 * COUNTED) as f64
}
