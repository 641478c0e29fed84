//! The phone leg: RTP with G.711 towards the PBX, an unbroken stream from the moment it is bridged.

mod frames;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::codec::{FRAME, Frame, Law};
use crate::dtmf::{DigitSender, EventClock, EventPacket, Press};
use crate::error::MediaError;
use crate::latch::{Latch, Proof, Source};
use crate::leg::{LegId, Settings, Why};
use crate::outbox::{Outbox, Socket};
use crate::phone_sdp::{EVENT_PAYLOAD_TYPE, Local, Remote, RemoteAudio};
use crate::profile::PhoneProfile;
use crate::receiver::{Coded, Receiver, Stamp};
use crate::reports::PeerReports;
use crate::rtcp::{self, NtpTime, SenderInfo};
use crate::rtp::{Header, Packet};
use crate::srtp::{Sealer, Srtp, Unopened};
use crate::stats::{Drops, LegStats, Sent};
use frames::{Frames, Step};

pub(crate) use frames::Ptime;

/// The RTP clock of everything that we send to a phone, Hz.
const CLOCK: u32 = 8000;
/// RFC 3550 section 6.2: reports at least every 5 s or so.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// Comfort noise (RFC 3389). Many devices send it though nobody agreed on it, so it is always understood. We never
/// offer, accept or send it: Asterisk takes it as an incomplete feature and says so, while frames of noise please all.
const NOISE_PAYLOAD_TYPE: u8 = 13;
const NARROW: EventClock = EventClock {
    event: 8000,
    audio: 8000,
};

/// Numbers that must be random and come from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtpSeed {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) session: u64,
}

#[derive(Debug)]
pub(crate) struct PhoneLeg {
    id: LegId,
    laws: Vec<Law>,
    local: Local,
    negotiation: Negotiation,
    latch: Latch,
    srtp: Option<Srtp>,
    pub(crate) receiver: Receiver,
    digits: DigitSender,
    header: Header,
    frames: Frames,
    next_report: Option<Instant>,
    sent_since_report: bool,
    peer_reports: PeerReports,
    sent: Sent,
    last_heard: Option<Instant>,
}

#[derive(Debug)]
enum Negotiation {
    /// Neither offered nor answered.
    Idle,
    /// Our first offer waits for its answer.
    Offered,
    /// Audio may flow; later answers and offers replace `audio`.
    Agreed { audio: RemoteAudio, law: Law },
}

/// Where audio goes and how it is coded, as long as the phone listens.
#[derive(Debug, Clone, Copy)]
struct Listener {
    rtp: SocketAddr,
    law: Law,
    event: Option<u8>,
}

impl PhoneLeg {
    /// `rtp`: the advertised address of the leg's even port.
    pub(crate) fn new(
        id: LegId,
        settings: &Settings,
        profile: &PhoneProfile,
        srtp: Option<Srtp>,
        rtp: SocketAddr,
        seed: RtpSeed,
    ) -> Self {
        PhoneLeg {
            id,
            laws: profile
                .codecs
                .iter()
                .filter_map(|codec| codec.law())
                .collect(),
            local: Local {
                rtp,
                // RFC 8866 asks for a numeric id; some PBXes read it as a signed 64-bit number.
                id: seed.session >> 1,
                version: 1,
                srtp: profile.srtp,
                keys: Vec::new(),
            },
            negotiation: Negotiation::Idle,
            latch: Latch::new(profile.nat.clone()),
            srtp,
            receiver: Receiver::new(settings.jitter),
            digits: DigitSender::new(NARROW),
            header: Header {
                payload_type: 0,
                marker: true,
                sequence: seed.sequence,
                timestamp: seed.timestamp,
                ssrc: seed.ssrc,
            },
            frames: Frames::new(seed.timestamp),
            next_report: None,
            sent_since_report: false,
            peer_reports: PeerReports::default(),
            sent: Sent::default(),
            last_heard: None,
        }
    }

    pub(crate) fn offer(&mut self) -> Result<String, MediaError> {
        self.negotiation = Negotiation::Offered;
        self.local.keys = self.srtp.as_ref().map(Srtp::offer).unwrap_or_default();
        self.local.offer(&self.laws)
    }

    /// Why a later offer cannot be met: it asks for fax (T.38), for video alone, for SRTP on a trunk without, or is rubbish.
    pub(crate) fn refusal_of(&self, offer: &str) -> Option<MediaError> {
        match self.negotiation {
            Negotiation::Agreed { .. } => Remote::parse(offer, &self.laws, self.local.srtp)
                .and_then(|remote| first_law(&remote))
                .err(),
            Negotiation::Idle | Negotiation::Offered => None,
        }
    }

    pub(crate) fn answer(&mut self, offer: &str) -> Result<String, MediaError> {
        let remote = Remote::parse(offer, &self.laws, self.local.srtp)?;
        let law = first_law(&remote)?;
        let ours = self
            .srtp
            .as_mut()
            .and_then(|srtp| srtp.accept(remote.audio.keys.first()));
        self.local.keys = ours.into_iter().collect();
        let answer = self.local.answer(&remote, law)?;
        self.agree(remote.audio, law);
        Ok(answer)
    }

    /// May come more than once: the SDP of a 183 and that of the 200 can differ.
    pub(crate) fn apply_answer(&mut self, answer: &str) -> Result<(), MediaError> {
        if matches!(self.negotiation, Negotiation::Idle) {
            return Err(MediaError::UnexpectedAnswer);
        }
        let mut remote = Remote::parse(answer, &self.laws, self.local.srtp)?;
        // We offer no multiplexing: the odd port stands open anyway, and a PBX is near.
        remote.audio.mux = false;
        let law = first_law(&remote)?;
        if let Some(srtp) = &mut self.srtp {
            srtp.apply_answer(&remote.audio.keys)?;
        }
        self.agree(remote.audio, law);
        Ok(())
    }

    fn agree(&mut self, audio: RemoteAudio, law: Law) {
        self.frames.set_ptime(audio.ptime);
        self.latch.describe(audio.rtp);
        self.negotiation = Negotiation::Agreed { audio, law };
    }

    /// From now on the phone gets an unbroken stream.
    pub(crate) fn start_frames(&mut self, now: Instant) {
        self.frames.start(now);
        self.next_report.get_or_insert(now + REPORT_INTERVAL);
    }

    pub(crate) fn deadline(&self) -> Option<(Instant, Why)> {
        let frame = self.frames.deadline().map(|at| (at, Why::Frame));
        let report = self.next_report.map(|at| (at, Why::Report));
        frame.into_iter().chain(report).min_by_key(|(at, _)| *at)
    }

    /// Takes over a digit that the bridged leg heard.
    pub(crate) fn press(&mut self, now: Instant, press: Press) {
        // On hold nobody listens: a key kept until the resume would be pressed minutes after it was meant.
        let is_heard = matches!(
            &self.negotiation,
            Negotiation::Agreed { audio, .. }
                if audio.event.is_some() && audio.rtp.is_some() && audio.direction.receives
        );
        if !is_heard || !self.digits.press(now, press) {
            self.receiver.drops().digits += 1;
        }
    }

    /// Whether a datagram on the even port is RTCP, because both go there (RFC 5761).
    pub(crate) fn is_muxed_rtcp(&self, datagram: &[u8]) -> bool {
        matches!(&self.negotiation, Negotiation::Agreed { audio, .. } if audio.mux)
            && rtcp::is_rtcp(datagram)
    }

    pub(crate) fn receive_rtp(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &[u8],
    ) -> [Option<Press>; 2] {
        let from = self.latch.source(now, source);
        let audio = match &self.negotiation {
            Negotiation::Agreed { audio, .. }
                if audio.rtp.is_some() && from != Source::Stranger =>
            {
                audio
            }
            _ => {
                self.receiver.drops().wrong_source += 1;
                return [None, None];
            }
        };
        // Nothing is heard or learnt from a packet whose tag is wrong.
        let (datagram, proof) = match &mut self.srtp {
            Some(srtp) if srtp.is_agreed() => match srtp.open_rtp(datagram) {
                Ok(opened) => (opened, Proof::Tag),
                Err(why) => {
                    count(self.receiver.drops(), why);
                    return [None, None];
                }
            },
            _ => (datagram, Proof::None),
        };
        let Ok(packet) = Packet::parse(datagram) else {
            self.receiver.drops().malformed += 1;
            return [None, None];
        };
        if !self.latch.learn(now, source, packet.header, proof) {
            self.receiver.drops().wrong_source += 1;
            return [None, None];
        }
        // Whatever it holds, it shows that the phone is there.
        self.last_heard = Some(now);
        let stamp = Stamp {
            ssrc: packet.header.ssrc,
            sequence: packet.header.sequence,
            timestamp: packet.header.timestamp,
        };
        let kind = packet.header.payload_type;
        if let Some(law) = Law::of_payload_type(kind).filter(|law| self.laws.contains(law)) {
            let coded = Coded::Law(law, packet.payload);
            self.receiver.receive_audio(now, stamp, coded);
            return [None, None];
        }
        if kind == NOISE_PAYLOAD_TYPE {
            self.receiver.receive_noise(now, stamp, packet.payload);
            return [None, None];
        }
        // An answer may give telephone-event another number than our offer: then both are in use.
        if audio.event == Some(kind) || (audio.event.is_some() && kind == EVENT_PAYLOAD_TYPE) {
            return self
                .receiver
                .receive_event(now, stamp, packet.payload, NARROW.event);
        }
        self.receiver.drops().unknown_payload += 1;
        [None, None]
    }

    pub(crate) fn receive_rtcp(
        &mut self,
        now: Instant,
        epoch: Epoch,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let known = matches!(
            &self.negotiation,
            Negotiation::Agreed { audio, .. } if self.latch.is_control(audio.control(), source)
        );
        if !known {
            self.receiver.drops().wrong_source += 1;
            return;
        }
        let datagram = match &mut self.srtp {
            Some(srtp) => match srtp.open_rtcp(datagram) {
                Ok(opened) => opened,
                Err(why) => return count(self.receiver.drops(), why),
            },
            None => datagram,
        };
        if !rtcp::is_compound(datagram) {
            self.receiver.drops().malformed += 1;
            return;
        }
        self.last_heard = Some(now);
        self.latch.learn_control(source);
        let (ssrc, sent) = (self.header.ssrc, self.sent.packets);
        self.peer_reports
            .hear((now, epoch.ntp(now)), datagram, ssrc, CLOCK, sent);
    }

    /// Does what is due: sends the frames that `pull` yields (silence for `None`), digits instead of them, and
    /// reports. `epoch` ties `Instant`s to the wall clock.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        epoch: Epoch,
        out: &mut Outbox,
        mut pull: impl FnMut(Instant) -> Option<Frame>,
    ) {
        // Bounded: it catches up a few frames.
        while let Some(step) = self.frames.step(now) {
            match step {
                Step::Frame => {
                    let frame = pull(now);
                    self.take_frame(now, frame, out);
                }
                Step::Packet => self.send_audio(out),
            }
        }
        if self.next_report.is_some_and(|due| due <= now) {
            self.send_report(now, epoch.ntp(now), out);
            self.next_report = Some(now + REPORT_INTERVAL);
        }
    }

    /// A frame goes on into a packet, unless a digit is sent in its time.
    fn take_frame(&mut self, now: Instant, frame: Option<Frame>, out: &mut Outbox) {
        let Some(listener) = self.listener() else {
            return self.frames.leave_out();
        };
        let timestamp = self.frames.timestamp();
        if let Some(payload_type) = listener.event.filter(|_| self.digits.is_busy())
            && let Some(packet) = self.digits.next(now, timestamp)
        {
            self.frames.leave_out();
            return self.send_event(packet, payload_type, listener.rtp, out);
        }
        self.sent.carried += u64::from(frame.is_some());
        self.frames.push(&frame.unwrap_or([0; FRAME]));
    }

    fn send_audio(&mut self, out: &mut Outbox) {
        if let Some(Listener { rtp, law, .. }) = self.listener() {
            let (timestamp, samples) = self.frames.packet();
            let header = Header {
                payload_type: law.payload_type(),
                timestamp,
                ..self.header
            };
            self.sent.codec = Some(law.codec());
            let encode = law.encoder();
            let sealer = self.srtp.as_mut().and_then(Srtp::sealer);
            out.push_with(Socket::Rtp(self.id), rtp, |bytes| {
                write_packet(bytes, header, sealer, |bytes| {
                    bytes.extend(samples.iter().map(|sample| encode(*sample)));
                });
            });
            let len = samples.len();
            self.header.marker = false;
            self.count_sent(len);
        }
        self.frames.sent();
    }

    /// `None` while nothing is agreed, and while the phone is on hold.
    fn listener(&self) -> Option<Listener> {
        match &self.negotiation {
            Negotiation::Agreed { audio, law } if audio.direction.receives => Some(Listener {
                rtp: self.latch.destination(audio.rtp?),
                law: *law,
                event: audio.event,
            }),
            _ => None,
        }
    }

    fn send_event(
        &mut self,
        packet: EventPacket,
        payload_type: u8,
        destination: SocketAddr,
        out: &mut Outbox,
    ) {
        self.sent.digits += u64::from(packet.marker);
        let header = Header {
            payload_type,
            marker: packet.marker,
            timestamp: packet.timestamp,
            ..self.header
        };
        let sealer = self.srtp.as_mut().and_then(Srtp::sealer);
        out.push_with(Socket::Rtp(self.id), destination, |bytes| {
            write_packet(bytes, header, sealer, |bytes| bytes.extend(packet.payload));
        });
        self.count_sent(packet.payload.len());
    }

    fn count_sent(&mut self, payload: usize) {
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.sent.packets += 1;
        self.sent.bytes += payload as u64;
        self.sent_since_report = true;
    }

    fn send_report(&mut self, now: Instant, at: NtpTime, out: &mut Outbox) {
        let Negotiation::Agreed { audio, .. } = &self.negotiation else {
            return;
        };
        let Some(destination) = audio.control() else {
            return;
        };
        let socket = match audio.mux {
            true => Socket::Rtp(self.id),
            false => Socket::Rtcp(self.id),
        };
        let sender = self.sent_since_report.then_some(SenderInfo {
            at,
            timestamp: self.frames.timestamp(),
            packets: self.sent.packets as u32,
            bytes: self.sent.bytes as u32,
        });
        self.sent_since_report = false;
        let about = self.receiver.report();
        let about = about.map(|reception| self.peer_reports.about_peer(now, reception));
        let ssrc = self.header.ssrc;
        let destination = match socket {
            Socket::Rtp(_) => self.latch.destination(destination),
            _ => self.latch.control_destination(destination),
        };
        let sealer = self.srtp.as_mut().and_then(Srtp::sealer);
        out.push_with(socket, destination, |bytes| {
            let start = bytes.len();
            rtcp::write_report(bytes, ssrc, sender, about);
            if let Some(sealer) = sealer {
                sealer.seal_rtcp(bytes, start);
            }
        });
    }

    /// When the last packet came from the negotiated address.
    pub(crate) fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    pub(crate) fn stats(&self) -> LegStats {
        let (received, dropped) = self.receiver.stats();
        LegStats {
            received,
            sent: Sent {
                reported: self.peer_reports.reported(),
                ..self.sent.clone()
            },
            dropped,
            round_trip: self.peer_reports.round_trip(),
        }
    }
}

/// One packet, sealed if that is agreed.
fn write_packet(
    bytes: &mut Vec<u8>,
    header: Header,
    sealer: Option<&mut Sealer>,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = bytes.len();
    bytes.extend_from_slice(&header.to_bytes());
    payload(bytes);
    if let Some(sealer) = sealer {
        sealer.seal_rtp(bytes, start);
    }
}

fn count(drops: &mut Drops, why: Unopened) {
    let counter = match why {
        Unopened::Malformed => &mut drops.malformed,
        Unopened::Forged => &mut drops.forged,
        Unopened::Replayed => &mut drops.replayed,
    };
    *counter += 1;
}

fn first_law(remote: &Remote) -> Result<Law, MediaError> {
    remote
        .audio
        .laws
        .first()
        .copied()
        .ok_or(MediaError::NoCommonCodec)
}

/// Ties the monotonic clock to the wall clock, for the NTP time in RTCP.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// A moment on the monotonic clock …
    pub instant: Instant,
    /// … and how long after the Unix epoch it was.
    pub since_unix: Duration,
}

impl Epoch {
    fn ntp(self, now: Instant) -> NtpTime {
        NtpTime::of(self.since_unix + now.saturating_duration_since(self.instant))
    }
}
