//! The phone leg: RTP towards the PBX, an unbroken stream from the moment it is bridged: what the bridged leg has to
//! pass on as it comes, else a frame every 20 ms of the leg's own clock.

mod cut;
mod early;
mod frames;
mod held;
mod keys;
mod negotiate;
mod pass;
mod receive;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::codec::{Codec, FRAME, Frame};
use crate::direction::Hold;
use crate::dtmf::{DigitSender, EventClock};
use crate::formats::{Format, PayloadTypes};
use crate::latch::Latch;
use crate::leg::{LegId, Settings, Why};
use crate::outbox::{Outbox, Socket};
use crate::phone_sdp::Local;
use crate::profile::PhoneProfile;
use crate::receiver::Receiver;
use crate::relay::Relay;
use crate::reports::PeerReports;
use crate::ringback::Player;
use crate::rtcp::{self, NtpTime, SenderInfo};
use crate::rtp::{Header, SequenceUnwrap};
use crate::seam::Seam;
use crate::srtp::{Sealer, Srtp};
use crate::stats::{LegStats, Sent};
use crate::watch::Expected;
use cut::Cut;
use early::Early;
use frames::{Frames, Step};
use keys::Keys;
use negotiate::{Agreed, Negotiation};

pub(crate) use frames::Ptime;

/// The RTP clock of everything that we encode for a phone, Hz.
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
    /// The codecs that its trunk allows, in order of preference.
    codecs: Vec<Codec>,
    local: Local,
    negotiation: Negotiation,
    pub(crate) hold: Hold,
    latch: Latch,
    srtp: Option<Srtp>,
    /// What is spoken is decided: by the phone's answer, or by ours, made in knowledge of the other side.
    settled: bool,
    types: PayloadTypes,
    pub(crate) receiver: Receiver,
    digits: DigitSender,
    keys: Keys,
    header: Header,
    frames: Frames,
    seam: Seam,
    /// The last frame came from the bridged leg.
    carries: bool,
    relay: Relay,
    cut: Cut,
    /// The number in `header`, extended.
    sequence: SequenceUnwrap,
    next_report: Option<Instant>,
    sent_since_report: bool,
    peer_reports: PeerReports,
    sent: Sent,
    last_heard: Option<Instant>,
    /// The last packet announced that the phone pauses.
    pauses: bool,
    /// Nobody has picked up.
    early: Option<Early>,
    /// Another telephone of the same call is listened to now.
    turned: bool,
    /// Of its early media something was skipped.
    skipped: bool,
    /// It has left, its last word was heard, and nobody has been told.
    heard_out: bool,
    ringback: Player,
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
            codecs: profile.codecs.clone(),
            local: Local {
                rtp,
                // RFC 8866 asks for a numeric id; some PBXes read it as a signed 64-bit number.
                id: seed.session >> 1,
                version: 0,
                srtp: profile.srtp,
                keys: Vec::new(),
            },
            negotiation: Negotiation::Idle,
            hold: Hold::default(),
            latch: Latch::new(profile.nat.clone()),
            srtp,
            settled: false,
            types: PayloadTypes::default(),
            receiver: Receiver::new(settings.jitter),
            digits: DigitSender::new(NARROW),
            keys: Keys::default(),
            header: Header {
                payload_type: 0,
                marker: true,
                sequence: seed.sequence,
                timestamp: seed.timestamp,
                ssrc: seed.ssrc,
            },
            frames: Frames::new(seed.timestamp),
            seam: Seam::default(),
            carries: false,
            relay: Relay::default(),
            cut: Cut::default(),
            sequence: SequenceUnwrap::default(),
            next_report: None,
            sent_since_report: false,
            peer_reports: PeerReports::default(),
            sent: Sent::default(),
            last_heard: None,
            pauses: false,
            early: None,
            turned: false,
            skipped: false,
            heard_out: false,
            ringback: Player::new(settings.ringback),
        }
    }

    /// From now on the phone gets an unbroken stream.
    pub(crate) fn start_frames(&mut self, now: Instant) {
        self.seam.open();
        self.frames.start(now);
        self.next_report.get_or_insert(now + REPORT_INTERVAL);
    }

    pub(crate) fn deadline(&self) -> Option<(Instant, Why)> {
        let frame = self.frames.deadline().map(|at| (at, Why::Frame));
        let report = self.next_report.map(|at| (at, Why::Report));
        let early = self.early_due().map(|at| (at, Why::EarlyMedia));
        let due = frame.into_iter().chain(report).chain(early);
        due.min_by_key(|(at, _)| *at)
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
        self.play_early(now);
    }

    /// A frame goes on into a packet, unless a digit is sent in its time.
    fn take_frame(&mut self, now: Instant, frame: Option<Frame>, out: &mut Outbox) {
        let Some((agreed, destination)) = self.agreed().zip(self.destination()) else {
            return self.frames.leave_out();
        };
        let event = agreed.event().map(|(number, _)| number);
        let (spoken, encoded) = (agreed.speaks, agreed.encoded());
        let timestamp = self.frames.timestamp();
        if self.digits.is_busy()
            && let Some(packet) = self.digits.next(now, timestamp)
        {
            match event {
                Some(payload_type) => {
                    self.frames.leave_out();
                    return self.send_event(packet, payload_type, destination, out);
                }
                // It takes the place of no sound.
                None => self.tell_key(packet),
            }
        }
        let Some((_, format)) = encoded.filter(|_| frame.is_some() || spoken.codec.law().is_some())
        else {
            // What passes through has fallen silent.
            self.frames.leave_out();
            self.carries = false;
            let silence = spoken.codec.silence();
            return self.send_payload(spoken, timestamp, silence, destination, out);
        };
        self.speak(format);
        self.sent.carried += u64::from(frame.is_some());
        if std::mem::replace(&mut self.carries, frame.is_some()) != frame.is_some() {
            self.seam.open();
        }
        let mut frame = frame.unwrap_or([0; FRAME]);
        self.seam.join(&mut frame);
        self.frames.push(&frame);
    }

    fn send_audio(&mut self, out: &mut Outbox) {
        let encoded = self.agreed().and_then(|agreed| agreed.encoded());
        let listener = self.destination().zip(encoded);
        if let Some((destination, (law, format))) = listener {
            let (timestamp, samples) = self.frames.packet();
            let header = Header {
                payload_type: format.number,
                timestamp,
                ..self.header
            };
            self.sent.codec = Some(law.codec());
            let encode = law.encoder();
            let sealer = self.srtp.as_mut().and_then(Srtp::sealer);
            out.push_with(Socket::Rtp(self.id), destination, |bytes| {
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

    /// Where audio goes; nowhere while nothing is agreed, and on hold.
    fn destination(&self) -> Option<SocketAddr> {
        let described = self.agreed()?.destination()?;
        Some(self.latch.destination(described))
    }

    fn send_payload(
        &mut self,
        format: Format,
        timestamp: u32,
        payload: &[u8],
        destination: SocketAddr,
        out: &mut Outbox,
    ) {
        let header = Header {
            payload_type: format.number,
            timestamp,
            ..self.header
        };
        self.push(header, payload, destination, out);
        self.header.marker = false;
    }

    fn push(&mut self, header: Header, payload: &[u8], destination: SocketAddr, out: &mut Outbox) {
        let sealer = self.srtp.as_mut().and_then(Srtp::sealer);
        out.push_with(Socket::Rtp(self.id), destination, |bytes| {
            write_packet(bytes, header, sealer, |bytes| {
                bytes.extend_from_slice(payload);
            });
        });
        self.count_sent(payload.len());
    }

    fn count_sent(&mut self, payload: usize) {
        // Each is looked at, for after half a turn unseen the count would run backwards.
        self.sequence.extend(self.header.sequence);
        self.header.sequence = self.header.sequence.wrapping_add(1);
        self.sent.packets += 1;
        self.sent.bytes += payload as u64;
        self.sent_since_report = true;
    }

    fn send_report(&mut self, now: Instant, at: NtpTime, out: &mut Outbox) {
        let Some(audio) = self.agreed().map(Agreed::audio) else {
            return;
        };
        let mux = audio.mux;
        let Some(destination) = audio.control() else {
            return;
        };
        let socket = match mux {
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
        let destination = match mux {
            true => self.latch.destination(destination),
            false => self.latch.control_destination(destination),
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

    /// False when the phone has said that it sends nothing.
    pub(crate) fn talks(&self) -> bool {
        self.agreed()
            .is_some_and(|agreed| agreed.audio().direction.sends)
    }

    /// What the phone should be sending. It need not send sound while either way is closed: music on hold is a
    /// courtesy.
    pub(crate) fn expected(&self) -> Expected {
        match self.agreed() {
            None => Expected::Nothing,
            Some(_) if self.is_early() => Expected::Nothing,
            Some(agreed) if !agreed.audio().flows_both_ways() => Expected::Held,
            Some(_) if self.pauses => Expected::Pause,
            Some(_) => Expected::Sound,
        }
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
