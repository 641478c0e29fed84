//! The browser leg: str0m for ICE, DTLS and SRTP; audio and telephone-events in and out.

mod negotiate;
mod pass;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, IceConnectionState, Input, Output, Rtc};

use crate::browser_sdp::StreamName;
use crate::demux::TransactionId;
use crate::dtmf::{DigitSender, EventClock, Press, UPDATE};
use crate::error::MediaError;
use crate::leg::{Happened, IceMode, Settings, Why};
use crate::outbox::Outbox;
use crate::phone::RtpSeed;
use crate::profile::CodecPolicy;
use crate::receiver::{Coded, DirectFrame, Receiver, Stamp};
use crate::relay::Relay;
use crate::stats::{LegStats, Sent};
use crate::voice::Voice;
use negotiate::{Encoded, Negotiation, engine};

/// Streams that a browser may send without announcing their SSRC.
const UNANNOUNCED: u8 = 4;
/// Outputs of one drain; far more than a handshake flight and a frame bring.
const DRAIN: usize = 10_000;

#[derive(Debug)]
pub(crate) struct BrowserLeg {
    rtc: Rtc,
    addresses: Vec<SocketAddr>,
    stream: StreamName,
    ice: IceMode,
    policy: CodecPolicy,
    negotiation: Negotiation,
    /// What is spoken is decided: by the browser's answer, or by ours, made in knowledge of the other side.
    settled: bool,
    /// The MIDs of all media lines, in their order.
    lines: Vec<String>,
    voice: Voice,
    relay: Relay,
    pub(crate) receiver: Receiver,
    digits: DigitSender,
    digit_due: Option<Instant>,
    engine_due: Instant,
    connected: bool,
    lost: bool,
    unannounced: u8,
    sent: Sent,
    /// What drains brought to light, for the owner to take.
    pub(crate) happened: VecDeque<Happened>,
    pub(crate) presses: VecDeque<Press>,
    pub(crate) checks: Vec<TransactionId>,
}

/// How far a datagram could be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A STUN message whose integrity shows that it comes from our peer.
    Proven,
    /// Anything else.
    Unproven,
}

impl BrowserLeg {
    pub(crate) fn new(
        now: Instant,
        settings: &Settings,
        seed: RtpSeed,
    ) -> Result<Self, MediaError> {
        let mut rtc = engine(settings.ice).build(now);
        for address in &settings.candidates {
            let candidate = Candidate::host(*address, Protocol::Udp)
                .map_err(|error| MediaError::Engine(error.to_string()))?;
            rtc.add_local_candidate(candidate);
        }
        Ok(BrowserLeg {
            rtc,
            addresses: settings.candidates.clone(),
            stream: StreamName::new(seed.session, seed.ssrc),
            ice: settings.ice,
            policy: settings.policy,
            negotiation: Negotiation::Idle,
            settled: false,
            lines: Vec::new(),
            voice: Voice::new(&settings.opus, seed.sequence, seed.timestamp)?,
            relay: Relay::default(),
            receiver: Receiver::new(settings.jitter),
            digits: DigitSender::new(EventClock {
                event: 48_000,
                audio: 48_000,
            }),
            digit_due: None,
            engine_due: now,
            connected: false,
            lost: false,
            unannounced: 0,
            sent: Sent::default(),
            happened: VecDeque::new(),
            presses: VecDeque::new(),
            checks: Vec::new(),
        })
    }

    /// The name by which STUN checks reach this leg.
    pub(crate) fn ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    pub(crate) fn is_agreed(&self) -> bool {
        matches!(self.negotiation, Negotiation::Agreed(_))
    }

    /// A trickled candidate; whatever cannot be used (`.local`, TCP, rubbish) is counted.
    pub(crate) fn add_candidate(
        &mut self,
        now: Instant,
        line: &str,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        let line = line.strip_prefix("a=").unwrap_or(line).trim();
        if line.is_empty() {
            // End of candidates; often never sent, so nothing may depend on it.
            return Ok(());
        }
        match Candidate::from_sdp_string(line) {
            Ok(candidate) if candidate.proto() == Protocol::Udp => {
                self.rtc.add_remote_candidate(candidate);
                self.advance(now, out)
            }
            _ => {
                self.receiver.drops().candidates += 1;
                Ok(())
            }
        }
    }

    pub(crate) fn deadline(&self) -> (Instant, Why) {
        match self.digit_due {
            Some(digit) if digit < self.engine_due => (digit, Why::Digit),
            _ => (self.engine_due, Why::Engine),
        }
    }

    pub(crate) fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
        out: &mut Outbox,
    ) -> Result<Trust, MediaError> {
        let destination = self.address_towards(source);
        let received = Receive::new(Protocol::Udp, source, destination, datagram);
        let Ok(received) = received else {
            self.receiver.drops().malformed += 1;
            return Ok(Trust::Unproven);
        };
        self.expect_unannounced(datagram);
        let input = Input::Receive(now, received);
        let is_stun = datagram[0] < 4;
        let trust = match is_stun && self.rtc.accepts(&input) {
            true => Trust::Proven,
            false => Trust::Unproven,
        };
        if let Err(error) = self.rtc.handle_input(input) {
            if !self.rtc.is_alive() {
                return Err(MediaError::Engine(error.to_string()));
            }
            self.receiver.drops().malformed += 1;
        }
        self.drain(out)?;
        Ok(trust)
    }

    /// A client that writes neither `a=ssrc` nor the MID extension still means the only line there is.
    fn expect_unannounced(&mut self, datagram: &[u8]) {
        let Negotiation::Agreed(agreed) = &self.negotiation else {
            return;
        };
        let kind = datagram.get(1).map(|byte| byte & 0x7f);
        let audio = agreed.formats.iter().map(|format| format.1);
        let mut ours = audio.chain(agreed.wide).chain(agreed.narrow);
        let ours = ours.any(|pt| Some(*pt) == kind);
        let is_rtp = matches!(datagram.first(), Some(128..=191));
        if !ours || !is_rtp || self.unannounced >= UNANNOUNCED {
            return;
        }
        let Some(ssrc) = datagram.get(8..12).and_then(|bytes| bytes.try_into().ok()) else {
            return;
        };
        let ssrc = Ssrc::from(u32::from_be_bytes(ssrc));
        let mid = agreed.mid;
        let mut direct = self.rtc.direct_api();
        if direct.stream_rx(&ssrc).is_none() {
            direct.expect_stream_rx(ssrc, None, mid, None);
            self.unannounced += 1;
        }
    }

    /// Which of our advertised addresses a datagram from `source` was sent to. One socket serves all; ICE only
    /// asks that it be one that we offered.
    fn address_towards(&self, source: SocketAddr) -> SocketAddr {
        let same_family = |address: &&SocketAddr| address.is_ipv4() == source.is_ipv4();
        let mut candidates = self.addresses.iter().filter(same_family);
        let alike = candidates
            .clone()
            .find(|address| address.ip().is_loopback() == source.ip().is_loopback());
        *alike.or(candidates.next()).unwrap_or(&source)
    }

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        if self.digit_due.is_some_and(|due| due <= now) {
            self.send_digit(now);
        }
        self.advance(now, out)
    }

    fn advance(&mut self, now: Instant, out: &mut Outbox) -> Result<(), MediaError> {
        self.rtc
            .handle_input(Input::Timeout(now))
            .map_err(|error| MediaError::Engine(error.to_string()))?;
        self.drain(out)
    }

    pub(crate) fn set_encoder_complexity(&mut self, complexity: u8) -> Result<(), MediaError> {
        self.voice.set_encoder_complexity(complexity)
    }

    #[cfg(test)]
    pub(crate) fn encoder_complexity(&mut self) -> i32 {
        self.voice.encoder_complexity()
    }

    /// The bridged leg is another one now.
    pub(crate) fn forget_source(&mut self) {
        self.voice.forget_source();
        self.relay.forget_source();
    }

    /// Sends a frame that the bridged leg heard.
    pub(crate) fn send_frame(
        &mut self,
        now: Instant,
        frame: &DirectFrame,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        let Negotiation::Agreed(agreed) = &self.negotiation else {
            return Ok(());
        };
        // RFC 4733 section 2.5.1.1: an event stands in the place of the audio.
        if !self.connected || self.digits.is_busy() {
            return Ok(());
        }
        let (pcm, at, lost) = (&frame.pcm, frame.at, frame.lost_before);
        let (number, packet) = match agreed.encoded() {
            Some(Encoded::Opus(number)) => (number, self.voice.encode(now, pcm, at, lost)?),
            Some(Encoded::Law(law, number)) => {
                (number, self.voice.encode_law(now, law, pcm, at, lost))
            }
            // Only what passes straight through can be sent.
            None => return Ok(()),
        };
        let write = RtpWrite::new(
            number,
            packet.sequence.into(),
            packet.timestamp,
            now,
            packet.payload,
        )
        .marker(packet.marker);
        let len = packet.payload.len();
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(agreed.mid, None) {
            stream.write_rtp(write);
            self.sent.packets += 1;
            self.sent.carried += 1;
            self.sent.bytes += len as u64;
        }
        self.advance(now, out)
    }

    /// Takes over a digit that the bridged leg heard.
    pub(crate) fn press(
        &mut self,
        now: Instant,
        press: Press,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        let has_event =
            matches!(&self.negotiation, Negotiation::Agreed(agreed) if agreed.event().is_some());
        if !has_event || !self.connected || !self.digits.press(now, press) {
            self.receiver.drops().digits += 1;
            return Ok(());
        }
        if self.digit_due.is_some() || !self.digits.is_busy() {
            return Ok(());
        }
        self.digit_due = Some(now);
        self.handle_timeout(now, out)
    }

    fn send_digit(&mut self, now: Instant) {
        let timestamp = self.voice.timestamp(now);
        let packet = self.digits.next(now, timestamp);
        self.digit_due = self.digits.is_busy().then(|| now + UPDATE);
        let Negotiation::Agreed(agreed) = &self.negotiation else {
            return;
        };
        let (Some(packet), Some((pt, _))) = (packet, agreed.event()) else {
            return;
        };
        let sequence = self.voice.next_sequence();
        let write = RtpWrite::new(
            pt,
            sequence.into(),
            packet.timestamp,
            now,
            &packet.payload[..],
        )
        .marker(packet.marker);
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(agreed.mid, None) {
            stream.write_rtp(write);
            self.sent.packets += 1;
            self.sent.bytes += packet.payload.len() as u64;
            self.sent.digits += u64::from(packet.marker);
        }
    }

    /// Says goodbye to the browser: RTCP BYE and DTLS close_notify.
    pub(crate) fn close(&mut self, out: &mut Outbox) {
        // Best effort: the leg is gone whether or not the goodbye could be made.
        if self.rtc.close().is_ok() {
            let _ = self.drain(out);
        }
    }

    /// str0m's contract: after every single mutation, take everything out until it names a time.
    fn drain(&mut self, out: &mut Outbox) -> Result<(), MediaError> {
        for _ in 0..DRAIN {
            let output = self
                .rtc
                .poll_output()
                .map_err(|error| MediaError::Engine(error.to_string()))?;
            match output {
                Output::Timeout(at) => {
                    self.engine_due = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => {
                    self.checks
                        .extend(TransactionId::of_request(&transmit.contents));
                    out.push_engine(transmit.destination, transmit.contents);
                }
                Output::Event(event) => self.note(event),
            }
        }
        Err(MediaError::Engine("it never comes to rest".to_owned()))
    }

    fn note(&mut self, event: str0m::Event) {
        match event {
            str0m::Event::RtpPacket(packet) => self.note_packet(&packet),
            str0m::Event::Connected => {
                self.connected = true;
                self.happened.push_back(Happened::Connected);
            }
            str0m::Event::IceConnectionStateChange(IceConnectionState::Disconnected)
            | str0m::Event::Closed => {
                self.lost = true;
                self.happened.push_back(Happened::Lost);
            }
            str0m::Event::IceConnectionStateChange(state)
                if state.is_connected() && self.connected && self.lost =>
            {
                self.lost = false;
                self.happened.push_back(Happened::Connected);
            }
            _ => {}
        }
    }

    fn note_packet(&mut self, packet: &RtpPacket) {
        let Negotiation::Agreed(agreed) = &self.negotiation else {
            return;
        };
        let now = packet.timestamp;
        let stamp = Stamp {
            ssrc: *packet.header.ssrc,
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
        };
        let number = packet.header.payload_type;
        if let Some(codec) = agreed.codec_of(number) {
            let coded = match codec {
                crate::Codec::Opus => Coded::Opus(&packet.payload),
                other => Coded::Plain(other, &packet.payload),
            };
            return self.receiver.receive_audio(now, stamp, coded);
        }
        let kind = Some(number);
        let clock = match kind {
            _ if kind == agreed.wide => 48_000,
            _ if kind == agreed.narrow => 8000,
            _ => {
                self.receiver.drops().unknown_payload += 1;
                return;
            }
        };
        let presses = self
            .receiver
            .receive_event(now, stamp, &packet.payload, clock);
        self.presses.extend(presses.into_iter().flatten());
    }

    pub(crate) fn stats(&self) -> LegStats {
        let (received, dropped) = self.receiver.stats();
        LegStats {
            received,
            sent: self.sent.clone(),
            dropped,
        }
    }
}
