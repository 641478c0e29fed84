//! A browser's WebRTC: str0m with one line of audio, without sockets and without a clock, so that it serves in virtual
//! time and on real sockets alike.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mxtrunk_media::TelephoneEvent;
use mxtrunk_media::rtp::Packet;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind, Mid};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use crate::load::Voice;

/// How often it says what the peer's reports told.
const STATISTICS: Duration = Duration::from_secs(1);

/// The number of telephone-events at 48 kHz, as Chromium has it.
const EVENT: u8 = 110;

/// What comes out of it.
pub(crate) enum Outcome {
    /// This is to be sent.
    Transmit(Transmit),
    /// DTLS is up.
    Connected,
    /// A packet of sound came.
    Packet(Box<RtpPacket>),
    /// A packet of a key came.
    Key(TelephoneEvent),
    /// The peer reports so much loss, 0.0 to 1.0, of what we send.
    Loss(f32),
}

/// The engine and its one line.
pub(crate) struct WebRtc {
    address: SocketAddr,
    voice: Voice,
    rtc: Rtc,
    mid: Option<Mid>,
    pending: Option<SdpPendingOffer>,
    timeout: Option<Instant>,
}

impl WebRtc {
    /// At this address, with one line that speaks this.
    ///
    /// # Errors
    /// When that is no address to be reached at.
    pub(crate) fn new(now: Instant, address: SocketAddr, voice: Voice) -> anyhow::Result<Self> {
        Self::build(now, address, voice, false)
    }

    /// The same with keys.
    ///
    /// # Errors
    /// When that is no address to be reached at.
    pub(crate) fn with_keys(
        now: Instant,
        address: SocketAddr,
        voice: Voice,
    ) -> anyhow::Result<Self> {
        Self::build(now, address, voice, true)
    }

    fn build(
        now: Instant,
        address: SocketAddr,
        voice: Voice,
        has_keys: bool,
    ) -> anyhow::Result<Self> {
        let config = RtcConfig::new().clear_codecs().clear_extension_map();
        let config = config
            .set_rtp_mode(true)
            .set_stats_interval(Some(STATISTICS));
        let mut config = match voice {
            Voice::Opus => config.enable_opus(true, false),
            Voice::Pcmu => config.enable_pcmu(true, false),
        };
        for params in config.codec_config().iter_mut() {
            params.set_fb_transport_cc(false);
        }
        if has_keys {
            let (number, none) = (EVENT.into(), FormatParams::default());
            let clock = Frequency::FORTY_EIGHT_KHZ;
            let codecs = config.codec_config();
            codecs.add_config(number, None, Codec::Tele, clock, None, none);
        }
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, Protocol::Udp)?);
        Ok(Self {
            address,
            voice,
            rtc,
            mid: None,
            pending: None,
            timeout: None,
        })
    }

    /// Its offer (SDP).
    pub(crate) fn offer(&mut self) -> anyhow::Result<String> {
        let mut api = self.rtc.sdp_api();
        self.mid = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        let (offer, pending) = api.apply().context("there is nothing to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    /// Its new offer (SDP) in a call that is up: hold, or resume.
    ///
    /// # Errors
    /// When there is no call, or nothing new to offer.
    pub(crate) fn reoffer(&mut self, direction: Direction) -> anyhow::Result<String> {
        let mid = self.mid.context("there is no call")?;
        let mut api = self.rtc.sdp_api();
        api.set_direction(mid, direction);
        let (offer, pending) = api.apply().context("there is nothing to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    /// Its new offer (SDP) in a call that is up: ICE begins anew, with no address of its own until [`Self::is_at`].
    ///
    /// # Errors
    /// When there is nothing to offer.
    pub(crate) fn restart_ice(&mut self) -> anyhow::Result<String> {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(false);
        let (offer, pending) = api.apply().context("there is nothing to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    /// It has this address now: the candidate, as it is trickled.
    ///
    /// # Errors
    /// When that is no address to be reached at.
    pub(crate) fn is_at(&mut self, address: SocketAddr) -> anyhow::Result<String> {
        let candidate = Candidate::host(address, Protocol::Udp)?;
        let line = candidate.to_sdp_string();
        self.address = address;
        self.rtc.add_local_candidate(candidate);
        Ok(line)
    }

    /// Takes an offer (SDP), and answers it; poll afterwards.
    ///
    /// # Errors
    /// When it cannot be read or met.
    pub(crate) fn answer(&mut self, offer: &str) -> anyhow::Result<String> {
        let offer = SdpOffer::from_sdp_string(offer)?;
        let answer = self.rtc.sdp_api().accept_offer(offer)?.to_sdp_string();
        let mid = answer.lines().find_map(|line| line.strip_prefix("a=mid:"));
        self.mid = Some(mid.context("an offer without audio")?.into());
        Ok(answer)
    }

    /// Takes the answer (SDP); poll afterwards.
    ///
    /// # Errors
    /// When it cannot be read, or no offer is out.
    pub(crate) fn accept(&mut self, answer: &str) -> anyhow::Result<()> {
        let answer = SdpAnswer::from_sdp_string(answer)?;
        let pending = self.pending.take().context("no offer is out")?;
        Ok(self.rtc.sdp_api().accept_answer(pending, answer)?)
    }

    /// When it wants [`Self::advance`].
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// Time has passed; poll afterwards.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.input(Input::Timeout(now));
    }

    /// A datagram came; poll afterwards.
    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.expect(datagram);
        // What the engine cannot read it drops, as a browser does.
        if let Ok(received) = Receive::new(Protocol::Udp, from, self.address, datagram) {
            self.input(Input::Receive(now, received));
        }
    }

    /// Says a packet; poll afterwards.
    pub(crate) fn say(&mut self, now: Instant, sequence: u64, timestamp: u32, payload: &[u8]) {
        let number = self.voice.payload_type();
        self.write(now, number, sequence, timestamp, payload);
    }

    /// Says a packet of a key; poll afterwards.
    pub(crate) fn key(&mut self, now: Instant, sequence: u64, timestamp: u32, key: TelephoneEvent) {
        self.write(now, EVENT, sequence, timestamp, &key.to_bytes());
    }

    fn write(&mut self, now: Instant, number: u8, sequence: u64, timestamp: u32, payload: &[u8]) {
        let write = RtpWrite::new(number.into(), sequence.into(), timestamp, now, payload);
        let mut direct = self.rtc.direct_api();
        if let Some(mid) = self.mid
            && let Some(stream) = direct.stream_tx_by_mid(mid, None)
        {
            stream.set_unpaced(true);
            stream.write_rtp(write);
        }
        self.advance(now);
    }

    /// What has come out; `None` until the next input. A fault of the engine shows: nothing comes out any more.
    pub(crate) fn poll(&mut self) -> Option<Outcome> {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => return Some(Outcome::Transmit(transmit)),
                Ok(Output::Event(event)) => {
                    if let Some(outcome) = outcome(event, self.voice) {
                        return Some(outcome);
                    }
                }
                Ok(Output::Timeout(timeout)) => {
                    self.timeout = Some(timeout);
                    return None;
                }
                Err(_) => return None,
            }
        }
    }

    fn input(&mut self, input: Input<'_>) {
        let _ = self.rtc.handle_input(input);
    }

    /// A system that writes neither `a=ssrc` nor the MID extension still means the only line there is.
    fn expect(&mut self, datagram: &[u8]) {
        let (Some(mid), Ok(Packet { header, .. })) = (self.mid, Packet::parse(datagram)) else {
            return;
        };
        let mut direct = self.rtc.direct_api();
        if [self.voice.payload_type(), EVENT].contains(&header.payload_type)
            && direct.stream_rx(&header.ssrc.into()).is_none()
        {
            direct.expect_stream_rx(header.ssrc.into(), None, mid, None);
        }
    }
}

fn outcome(event: Event, voice: Voice) -> Option<Outcome> {
    match event {
        Event::Connected => Some(Outcome::Connected),
        Event::RtpPacket(packet) if *packet.header.payload_type == voice.payload_type() => {
            Some(Outcome::Packet(Box::new(packet)))
        }
        Event::RtpPacket(packet) if *packet.header.payload_type == EVENT => {
            TelephoneEvent::parse(&packet.payload).map(Outcome::Key)
        }
        Event::MediaEgressStats(statistics) => statistics.loss.map(Outcome::Loss),
        _ => None,
    }
}
