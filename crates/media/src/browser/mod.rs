//! The browser leg: str0m for ICE, DTLS and SRTP; audio and telephone-events in and out.

mod agreed;
mod engine;
mod link;
mod negotiate;
mod pass;
mod transport;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::change::SdpPendingOffer;
use str0m::rtp::{RtpPacket, RtpWrite, Ssrc};
use str0m::stats::MediaEgressStats;
use str0m::{IceConnectionState, Input, Output, Rtc};

use crate::browser_sdp::StreamName;
use crate::codec::Codec;
use crate::demux::TransactionId;
use crate::direction::Hold;
use crate::dtmf::{DigitSender, EventClock, Press, UPDATE};
use crate::error::MediaError;
use crate::fec::Reception;
use crate::leg::{Happened, IceMode, Settings, Why};
use crate::outbox::Outbox;
use crate::phone::RtpSeed;
use crate::profile::CodecPolicy;
use crate::receiver::{Coded, DirectFrame, Receiver, Stamp};
use crate::relay::Relay;
use crate::stats::{LegStats, Reported, Sent};
use crate::voice::{Voice, VoicePacket};
use crate::watch::Expected;
use agreed::{Encoded, Negotiation};
use engine::engine;
use link::Link;
use transport::Transport;

/// Streams that a browser may send without announcing their SSRC.
const UNANNOUNCED: u8 = 4;
/// Outputs of one drain; far more than a handshake flight and a frame bring.
const DRAIN: usize = 10_000;

#[derive(Debug)]
pub(crate) struct BrowserLeg {
    rtc: Rtc,
    transport: Transport,
    link: Link,
    stream: StreamName,
    ice: IceMode,
    policy: CodecPolicy,
    negotiation: Negotiation,
    pub(crate) hold: Hold,
    /// A later offer of ours that waits for its answer.
    reoffer: Option<SdpPendingOffer>,
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
    unannounced: u8,
    sent: Sent,
    /// By the browser's receiver reports.
    round_trip: Option<Duration>,
    /// By ICE.
    checked: Option<Duration>,
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
        let transport = Transport::new(settings);
        for candidate in transport.host_candidates() {
            let candidate = candidate.map_err(|error| MediaError::Engine(error.to_string()))?;
            rtc.add_local_candidate(candidate);
        }
        Ok(BrowserLeg {
            rtc,
            transport,
            link: Link::Connecting,
            stream: StreamName::new(seed.session, seed.ssrc),
            ice: settings.ice,
            policy: settings.policy,
            negotiation: Negotiation::Idle,
            hold: Hold::default(),
            reoffer: None,
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
            unannounced: 0,
            sent: Sent::default(),
            round_trip: None,
            checked: None,
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

    pub(crate) fn deadline(&self) -> (Instant, Why) {
        let digit = self.digit_due.map(|at| (at, Why::Digit));
        let consent = self.consent_ends().map(|at| (at, Why::Consent));
        let engine = (self.engine_due, Why::Engine);
        let due = [digit, consent].into_iter().flatten();
        due.fold(
            engine,
            |first, next| if next.0 < first.0 { next } else { first },
        )
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

    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        if self.digit_due.is_some_and(|due| due <= now) {
            self.send_digit(now);
        }
        if self.consent_ends().is_some_and(|end| end <= now) {
            self.lose();
        }
        self.advance(now, out)
    }

    fn advance(&mut self, now: Instant, out: &mut Outbox) -> Result<(), MediaError> {
        self.rtc
            .handle_input(Input::Timeout(now))
            .map_err(|error| MediaError::Engine(error.to_string()))?;
        self.drain(out)
    }

    /// False when the browser has said that it sends nothing.
    pub(crate) fn talks(&self) -> bool {
        matches!(&self.negotiation, Negotiation::Agreed(agreed) if agreed.direction.is_receiving())
    }

    /// What the browser should be sending. A muted one sends silence, or a packet of it now and then (DTX). One that is lost
    /// should be heard as before: no silence is over because of that.
    pub(crate) fn expected(&self) -> Expected {
        match &self.negotiation {
            Negotiation::Agreed(agreed) if self.link != Link::Connecting => {
                match agreed.direction.is_receiving() && agreed.direction.is_sending() {
                    true => Expected::Sound,
                    false => Expected::Held,
                }
            }
            _ => Expected::Nothing,
        }
    }

    pub(crate) fn set_encoder_complexity(&mut self, complexity: u8) -> Result<(), MediaError> {
        self.voice.set_encoder_complexity(complexity)
    }

    #[cfg(test)]
    pub(crate) fn encoder_complexity(&mut self) -> i32 {
        self.voice.encoder_complexity()
    }

    /// Whether it could hear something now.
    pub(crate) fn is_up(&self) -> bool {
        self.link == Link::Up
    }

    /// The bridged leg is another one now, or something was skipped.
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
        if self.link != Link::Up || !agreed.direction.is_sending() || self.digits.is_busy() {
            return Ok(());
        }
        let Some(encoded) = agreed.encoded() else {
            // Only what passes straight through can be sent.
            return Ok(());
        };
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(agreed.mid, None) else {
            return Ok(());
        };
        self.sent.carried += 1;
        let (number, codec) = match encoded {
            Encoded::Opus(number) => (number, Codec::Opus),
            Encoded::Law(law, number) => (number, law.codec()),
            Encoded::G722(number) => (number, Codec::G722),
        };
        self.sent.codec = Some(codec);
        let sent = &mut self.sent;
        let mut is_sent = false;
        let mut send = |packet: VoicePacket<'_>| {
            let (sequence, payload) = (packet.sequence.into(), packet.payload);
            let write = RtpWrite::new(number, sequence, packet.timestamp, now, payload);
            stream.write_rtp(write.marker(packet.marker));
            sent.packets += 1;
            sent.bytes += payload.len() as u64;
            is_sent = true;
        };
        match encoded {
            Encoded::Opus(_) => self.voice.take(now, frame, send)?,
            Encoded::Law(law, _) => {
                let (pcm, at, lost) = (&frame.pcm, frame.at, frame.lost_before);
                send(self.voice.encode_law(now, law, pcm, at, lost));
            }
            Encoded::G722(_) => {
                let (pcm, at, lost) = (&frame.pcm, frame.at, frame.lost_before);
                send(self.voice.encode_g722(now, pcm, at, lost));
            }
        }
        if is_sent {
            self.advance(now, out)?;
        }
        Ok(())
    }

    /// Takes over a digit that the bridged leg heard.
    pub(crate) fn press(
        &mut self,
        now: Instant,
        press: Press,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        // On hold nobody listens: a key kept until the resume would be pressed minutes after it was meant.
        let is_heard = matches!(
            &self.negotiation,
            Negotiation::Agreed(agreed) if agreed.event().is_some() && agreed.direction.is_sending()
        );
        if !is_heard || self.link != Link::Up || !self.digits.press(now, press) {
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
        let event = agreed.event().filter(|_| agreed.direction.is_sending());
        let (Some(packet), Some((pt, _))) = (packet, event) else {
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
                Output::Transmit(transmit) => self.send(transmit, out),
                Output::Event(event) => self.note(event)?,
            }
        }
        Err(MediaError::Engine("it never comes to rest".to_owned()))
    }

    fn note(&mut self, event: str0m::Event) -> Result<(), MediaError> {
        match event {
            str0m::Event::RtpPacket(packet) => self.note_packet(&packet),
            str0m::Event::Connected => self.link_is_up(),
            str0m::Event::IceConnectionStateChange(IceConnectionState::Disconnected) => self.lose(),
            str0m::Event::IceConnectionStateChange(state)
                if state.is_connected() && self.link == Link::Lost =>
            {
                self.link_is_up();
            }
            str0m::Event::Closed => {
                self.link = Link::Closed;
                self.happened.push_back(Happened::Lost);
            }
            str0m::Event::MediaEgressStats(stats) => self.note_report(&stats)?,
            str0m::Event::PeerStats(stats) => {
                let pair = stats.selected_candidate_pair;
                self.checked = pair.and_then(|pair| pair.current_round_trip_time);
            }
            _ => {}
        }
        Ok(())
    }

    /// What the browser's last receiver report says.
    fn note_report(&mut self, stats: &MediaEgressStats) -> Result<(), MediaError> {
        let Some(remote) = &stats.remote else {
            return Ok(());
        };
        let highest = *remote.maximum_sequence_number;
        let report = Reception::read(highest, remote.packets_lost);
        self.voice.report(report)?;
        self.round_trip = stats.rtt.or(self.round_trip);
        let clock = self.sent.codec.map_or(48_000, Codec::clock);
        let clock = f64::from(clock);
        self.sent.reported = Some(Reported {
            lost: self.voice.lost(),
            of: self.sent.packets,
            jitter: Duration::from_secs_f64(f64::from(remote.jitter) / clock),
        });
        Ok(())
    }

    fn note_packet(&mut self, packet: &RtpPacket) {
        let Negotiation::Agreed(agreed) = &self.negotiation else {
            return;
        };
        self.unannounced = 0;
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
                self.receiver.receive_unknown(now, stamp);
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
            round_trip: self.round_trip.or(self.checked),
        }
    }
}
