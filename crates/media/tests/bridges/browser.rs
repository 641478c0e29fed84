//! A browser: str0m as the client, with Opus at 48 kHz as browsers do it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use mxtrunk_media::TelephoneEvent;
use opus::{Application, Channels};
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::sound;

const FRAME: usize = 960;

pub(crate) struct Browser {
    pub(crate) address: SocketAddr,
    pub(crate) hertz: f64,
    pub(crate) talks: bool,
    pub(crate) connected: bool,
    /// Packets by extended sequence number: payload type, timestamp, payload.
    pub(crate) received: BTreeMap<u64, (u8, u32, Vec<u8>)>,
    /// Datagrams to send: destination and contents.
    pub(crate) out: Vec<(SocketAddr, Vec<u8>)>,
    rtc: Rtc,
    mid: Option<Mid>,
    pending: Option<SdpPendingOffer>,
    encoder: opus::Encoder,
    sent: usize,
    sequence: u64,
    timestamp: u32,
}

impl Browser {
    pub(crate) fn new(now: Instant, address: SocketAddr, hertz: f64, event_clock: u32) -> Self {
        let mut config = RtcConfig::new()
            .clear_codecs()
            .set_rtp_mode(true)
            .enable_opus(true, false)
            .enable_pcmu(true, false)
            .enable_pcma(true, false)
            .enable_g722(true, false);
        let clock = Frequency::new(event_clock).unwrap();
        config.codec_config().add_config(
            100.into(),
            None,
            Codec::Tele,
            clock,
            None,
            FormatParams::default(),
        );
        let mut encoder = opus::Encoder::new(48_000, Channels::Mono, Application::Voip).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
        Browser {
            address,
            hertz,
            talks: true,
            connected: false,
            received: BTreeMap::new(),
            out: Vec::new(),
            rtc,
            mid: None,
            pending: None,
            encoder,
            sent: 0,
            sequence: 1000,
            timestamp: 77_000,
        }
    }

    pub(crate) fn candidate(&self) -> String {
        Candidate::host(self.address, Protocol::Udp)
            .unwrap()
            .to_sdp_string()
    }

    pub(crate) fn offer(&mut self, video: bool) -> String {
        let mut api = self.rtc.sdp_api();
        self.mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        self.drain();
        let mut offer = offer.to_sdp_string();
        if video {
            offer.push_str("m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:v\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n");
            let group = format!("a=group:BUNDLE {}", self.mid.unwrap());
            offer = offer.replace(&group, &format!("{group} v"));
        }
        offer
    }

    /// A later offer with this direction (hold, resume). It sends no sound where that forbids it.
    pub(crate) fn reoffer(&mut self, direction: Direction) -> String {
        let mut api = self.rtc.sdp_api();
        api.set_direction(self.mid.unwrap(), direction);
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        self.talks = direction.is_sending();
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

    /// Sends the next 20 ms of its tone, or lets them pass.
    pub(crate) fn frame(&mut self, now: Instant) {
        let pcm = sound::tone(self.hertz, 48_000, self.sent * FRAME, FRAME);
        self.sent += 1;
        self.timestamp += FRAME as u32;
        if !self.talks {
            return;
        }
        let payload = self.encoder.encode_vec(&pcm, 1000).unwrap();
        self.write(now, 111, self.timestamp, &payload);
    }

    pub(crate) fn timestamp(&self) -> u32 {
        self.timestamp
    }

    pub(crate) fn event(&mut self, now: Instant, event: TelephoneEvent, timestamp: u32) {
        self.write(now, 100, timestamp, &event.to_bytes());
    }

    /// An Opus packet with this payload, whatever it is.
    pub(crate) fn raw(&mut self, now: Instant, payload: &[u8]) {
        self.timestamp += FRAME as u32;
        self.write(now, 111, self.timestamp, payload);
    }

    /// Sends a packet with the next sequence number.
    pub(crate) fn write(&mut self, now: Instant, kind: u8, timestamp: u32, payload: &[u8]) {
        let Some(mid) = self.mid.filter(|_| self.connected) else {
            return;
        };
        self.sequence += 1;
        let write = RtpWrite::new(kind.into(), self.sequence.into(), timestamp, now, payload);
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None).unwrap();
        stream.set_unpaced(true);
        stream.write_rtp(write);
        self.advance(now);
    }

    /// The deadline of its engine.
    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    let contents = transmit.contents.to_vec();
                    self.out.push((transmit.destination, contents));
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::MediaAdded(added)) => self.mid = Some(added.mid),
                Output::Event(Event::RtpPacket(packet)) => {
                    let header = &packet.header;
                    let kind = *header.payload_type;
                    let entry = (kind, header.timestamp, packet.payload.to_vec());
                    self.received.insert(*packet.seq_no, entry);
                }
                Output::Event(_) => {}
            }
        }
    }

    /// What the browser heard at 48 kHz, gaps concealed by libopus, from its `from`th packet on.
    pub(crate) fn heard(&self, from: usize) -> Vec<i16> {
        let mut decoder = opus::Decoder::new(48_000, Channels::Mono).unwrap();
        let mut pcm = Vec::new();
        let mut next = None;
        for (sequence, (kind, _, payload)) in self.received.iter().skip(from) {
            let mut frame = [0; FRAME];
            for _ in next.unwrap_or(*sequence)..*sequence {
                decoder.decode(&[], &mut frame, false).unwrap();
                pcm.extend(frame);
            }
            next = Some(sequence + 1);
            if *kind == 111 {
                let len = decoder.decode(payload, &mut frame, false).unwrap();
                pcm.extend(&frame[..len]);
            }
        }
        pcm
    }

    /// The digits received: event code and final duration, from end packets.
    pub(crate) fn digits(&self) -> Vec<(u8, u16)> {
        let mut digits: Vec<(u32, u8, u16)> = Vec::new();
        for (kind, timestamp, payload) in self.received.values() {
            if *kind != 100 {
                continue;
            }
            let event = TelephoneEvent::parse(payload).unwrap();
            if event.end && digits.last().map(|digit| digit.0) != Some(*timestamp) {
                digits.push((*timestamp, event.event, event.duration));
            }
        }
        digits
            .into_iter()
            .map(|(_, event, lasted)| (event, lasted))
            .collect()
    }
}
