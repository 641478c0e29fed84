//! Before anybody has picked up: what the phone side sends is heard (announcements, a network's own ringback), and
//! nothing of the other leg is heard there but its keys. What goes out is silence, which opens the way back through NAT.
//!
//! One INVITE may ring several telephones, each with its own description (RFC 3261 section 13.2.2.4): all of them send to
//! the one port of this leg, and the last that began to sound is heard.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::PhoneLeg;
use super::held::{Held, Kind};
use super::negotiate::Negotiation;
use crate::codec::{Codec, LONGEST_OPUS};
use crate::error::MediaError;
use crate::phone_sdp::Remote;
use crate::receiver::{Coded, DirectFrame, Stamp};
use crate::rtp::Packet;

/// A packet is sound from here on: 50 dB below full scale, as a sample's square. Announcements are 30 dB above it, quiet
/// lines and the noise that some PBXes send in a pause below.
const SOUND: u64 = 104 * 104;
/// Packets in a row with sound, for a click when a line is switched is none.
const ENOUGH: u8 = 2;
/// Telephones of one call that are listened to; of further ones the answer counts.
const FORKS: usize = 8;
/// No packet comes any more: an announcement is over …
const GONE: Duration = Duration::from_secs(2);
/// … and after the phone side has said that it rings, nothing need be waited for.
const RANG: Duration = Duration::from_millis(200);
/// Packets come, without sound, or a pause was announced: the longest pause of a network's own ringback is 4 s.
const QUIET: Duration = Duration::from_secs(6);

/// What comes later after a phone side has left is no word of it any more.
const STRAGGLERS: Duration = Duration::from_millis(200);
/// What has gone out to a browser is heard so much later at most: its way there, and the browser's own jitter buffer.
const ON_ITS_WAY: Duration = Duration::from_millis(300);

/// What is known of telephones that may be heard early.
#[derive(Debug, Default)]
pub(super) struct Early {
    forks: Vec<Fork>,
    /// The one that is listened to.
    heard: usize,
    /// Its last packet.
    packet: Option<Instant>,
    /// The last sound of any.
    sound: Option<Instant>,
    rings: bool,
    /// There was sound, and nobody has been told.
    news: bool,
    parting: Parting,
    held: Held,
}

/// How the telephones have left, where nobody picked up.
#[derive(Debug, Default, PartialEq, Eq)]
enum Parting {
    #[default]
    Here,
    /// They left then, and may not have been heard to their last word.
    Left(Instant),
    HeardOut,
}

#[derive(Debug)]
struct Fork {
    remote: Remote,
    /// Packets with sound in a row.
    loud: u8,
    sounded: bool,
}

impl Fork {
    fn hear(&mut self, codec: Codec, payload: &[u8]) -> bool {
        self.loud = match is_sound(codec, payload) {
            true => self.loud.saturating_add(1),
            false => 0,
        };
        let sounds = self.loud >= ENOUGH;
        self.sounded |= sounds;
        sounds
    }
}

impl Early {
    /// Takes a description in; says whether its telephone is listened to. `last_counts`: who sends cannot be told apart
    /// by the address, so the last that described itself is.
    fn describe(&mut self, remote: &Remote, last_counts: bool) -> bool {
        let rtp = remote.audio.rtp;
        let known = self
            .forks
            .iter()
            .position(|fork| fork.remote.audio.rtp == rtp);
        let index = match known {
            Some(index) => {
                self.forks[index].remote = remote.clone();
                index
            }
            None if self.forks.len() == FORKS => return false,
            None => {
                self.forks.push(Fork {
                    remote: remote.clone(),
                    loud: 0,
                    sounded: false,
                });
                self.forks.len() - 1
            }
        };
        if self.sound.is_none() || last_counts {
            self.heard = index;
        }
        self.heard == index
    }

    /// Listens to a packet; says whether it holds sound.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        stamp: Stamp,
        codec: Codec,
        payload: &[u8],
    ) -> bool {
        self.packet = Some(now);
        self.held.push(now, stamp, Kind::Audio(codec), payload);
        let fork = self.forks.get_mut(self.heard);
        if !fork.is_some_and(|fork| fork.hear(codec, payload)) {
            if self.sound.is_none() {
                self.held.keep_only_the_last();
            }
            return false;
        }
        self.news |= self.sound.is_none();
        self.sound = Some(now);
        true
    }

    /// A pause is announced.
    pub(super) fn pause(&mut self, now: Instant, stamp: Stamp, payload: &[u8]) {
        self.held.push(now, stamp, Kind::Noise, payload);
        if self.sound.is_none() {
            self.held.keep_only_the_last();
        }
    }

    /// When it has been quiet for long enough, for whoever hears it with its delay.
    fn quiet_at(&self, pauses: bool) -> Option<Instant> {
        if self.parting != Parting::Here {
            return None;
        }
        let heard_at = |at| self.held.heard_at(at).unwrap_or(at);
        let quiet = heard_at(self.sound?) + QUIET;
        let patience = match self.rings {
            true => RANG,
            false => GONE,
        };
        let last = self.packet.filter(|_| !pauses);
        let gone = last.map(|at| heard_at(at) + patience);
        Some(gone.map_or(quiet, |gone| gone.min(quiet)))
    }

    /// When the last word of telephones that have left has been heard; `None` as long as nobody can hear it.
    fn heard_out_at(&self) -> Option<Instant> {
        let Parting::Left(left) = self.parting else {
            return None;
        };
        match self.sound {
            Some(sound) => {
                let last = sound.min(left + STRAGGLERS);
                Some(self.held.heard_at(last)? + ON_ITS_WAY)
            }
            None => Some(left),
        }
    }
}

impl PhoneLeg {
    /// What the phone side answered to our offer before anybody picked up; may come more than once, also from several
    /// telephones.
    pub(crate) fn apply_early_answer(
        &mut self,
        now: Instant,
        answer: &str,
    ) -> Result<(), MediaError> {
        let remote = self.read_answer(answer)?;
        let last_counts = self.srtp.is_some() || self.latch.learns();
        let early = self.early.get_or_insert_default();
        if early.describe(&remote, last_counts) {
            self.take_answer(remote)?;
        }
        self.start_frames(now);
        Ok(())
    }

    /// The telephone that is listened to has described itself anew (UPDATE in an early dialog).
    pub(super) fn redescribe_early(&mut self, remote: &Remote) {
        if let Some(early) = &mut self.early
            && let Some(fork) = early.forks.get_mut(early.heard)
        {
            fork.remote = remote.clone();
        }
    }

    /// Somebody has picked up.
    pub(super) fn end_early(&mut self, now: Instant) {
        self.ringback.stop();
        let Some(mut early) = self.early.take() else {
            return;
        };
        // What is left of it is counted and not heard: from here on people talk, without any delay.
        let mut room = [0; LONGEST_OPUS];
        let mut is_left = false;
        while let Some((stamp, kind, payload)) = early.held.pop(&mut room) {
            self.receive_held(now, stamp, kind, payload);
            is_left = true;
        }
        if is_left {
            self.receiver.begin_anew();
            self.skipped = true;
        }
    }

    fn receive_held(&mut self, now: Instant, stamp: Stamp, kind: Kind, payload: &[u8]) {
        match kind {
            Kind::Audio(codec) => {
                let coded = Coded::Plain(codec, payload);
                self.receiver.receive_audio(now, stamp, coded);
            }
            Kind::Noise => self.receiver.receive_noise(now, stamp, payload),
        }
    }

    /// Somebody can hear the other leg of the bridge from now on.
    pub(crate) fn is_listened_to(&mut self, now: Instant) {
        if let Some(early) = &mut self.early {
            early.held.begin(now);
        }
    }

    /// The far end has left without picking up, and has nothing to hear any more.
    pub(crate) fn hear_out(&mut self, now: Instant) {
        self.frames.stop();
        self.next_report = None;
        match &mut self.early {
            Some(early) => early.parting = Parting::Left(now),
            None => self.heard_out = true,
        }
    }

    /// Whether the last word of a far end that has left has been heard since this was asked last.
    pub(crate) fn has_been_heard_out(&mut self) -> bool {
        std::mem::take(&mut self.heard_out)
    }

    /// Whether the other leg is not to be heard there.
    pub(crate) fn is_early(&self) -> bool {
        self.early.is_some()
    }

    /// The phone side says that it rings: ringback is ours to make where it sends none.
    pub(crate) fn ring_back(&mut self) {
        if let Some(early) = &mut self.early {
            early.rings = true;
        }
    }

    /// A packet from none that is listened to. True if another telephone of the same call has begun to sound: that one
    /// is the phone from now on.
    pub(super) fn turns_to(&mut self, source: SocketAddr, datagram: &[u8]) -> bool {
        let is_open = |early: &&mut Early| early.parting == Parting::Here;
        let early = self.early.as_mut().filter(is_open);
        let Some(early) = early.filter(|_| self.srtp.is_none()) else {
            return false;
        };
        let is_there = |fork: &Fork| !fork.sounded && fork.remote.audio.rtp == Some(source);
        let Some(index) = early.forks.iter().position(is_there) else {
            return false;
        };
        let (fork, Ok(packet)) = (&mut early.forks[index], Packet::parse(datagram)) else {
            return false;
        };
        let mut formats = fork.remote.audio.formats.audio.iter();
        let number = packet.header.payload_type;
        let Some(format) = formats.find(|format| format.number == number) else {
            return false;
        };
        if !fork.hear(format.codec, packet.payload) {
            return false;
        }
        let remote = fork.remote.clone();
        early.heard = index;
        early.held.clear();
        self.turned = true;
        // Its description was read before; one that cannot be taken is not listened to.
        self.take_answer(remote).is_ok()
    }

    /// Whether another telephone is listened to since this was asked last.
    pub(crate) fn has_turned(&mut self) -> bool {
        std::mem::take(&mut self.turned)
    }

    /// Whether the first sound has come since this was asked last.
    pub(crate) fn has_sounded(&mut self) -> bool {
        let early = self.early.as_mut();
        early.is_some_and(|early| std::mem::take(&mut early.news))
    }

    /// When something of the early media is due: of what was kept, or of our own ringback.
    pub(super) fn early_due(&self) -> Option<Instant> {
        let early = self.early.as_ref()?;
        let own = early.held.due().into_iter().chain(early.heard_out_at());
        own.chain(self.ringback_due()).min()
    }

    fn ringback_due(&self) -> Option<Instant> {
        let early = self.early.as_ref()?;
        let begins = || early.quiet_at(self.pauses);
        self.ringback.due().or_else(begins)
    }

    pub(super) fn play_early(&mut self, now: Instant) {
        if self.ringback_due().is_some_and(|due| due <= now) {
            self.ringback.begin(now);
            self.ringback.handle_timeout(now);
        }
        let mut room = [0; LONGEST_OPUS];
        while let Some(early) = &mut self.early
            && early.held.due().is_some_and(|due| due <= now)
            && let Some((stamp, kind, payload)) = early.held.pop(&mut room)
        {
            self.receive_held(now, stamp, kind, payload);
        }
        if let Some(early) = &mut self.early
            && early.heard_out_at().is_some_and(|at| at <= now)
        {
            early.parting = Parting::HeardOut;
            self.heard_out = true;
        }
    }

    /// What the other leg hears in place of the phone: whether another source is heard from here on, whether it is
    /// ringback, and a frame of that.
    pub(crate) fn take_ringback(&mut self) -> (bool, bool, Option<DirectFrame>) {
        let changed = self.ringback.has_changed() | std::mem::take(&mut self.skipped);
        (changed, self.ringback.plays(), self.ringback.take())
    }

    /// The phone's description, in answer to our offer.
    pub(super) fn read_answer(&self, answer: &str) -> Result<Remote, MediaError> {
        if matches!(self.negotiation, Negotiation::Idle) {
            return Err(MediaError::UnexpectedAnswer);
        }
        let mut remote = Remote::parse(answer, &self.codecs, self.local.srtp)?;
        // We offer no multiplexing, unless the phone had it before: the odd port stands open anyway, and a PBX is near.
        remote.audio.mux &= self.agreed().is_some_and(|agreed| agreed.audio().mux);
        Ok(remote)
    }
}

/// Whether a payload holds sound. G.722 and Opus are not decoded for this: there only what says that it is silent is.
fn is_sound(codec: Codec, payload: &[u8]) -> bool {
    let Some(law) = codec.law() else {
        return match codec {
            // DTX: a frame of one or two bytes, or none.
            Codec::Opus => payload.len() > 3,
            _ => payload.windows(2).any(|pair| pair[0] != pair[1]),
        };
    };
    let mut pcm = [0; LONGEST_OPUS];
    let len = law.decode(payload, &mut pcm);
    let samples = &pcm[..len];
    let energy: u64 = samples
        .iter()
        .map(|sample| u64::from(sample.unsigned_abs()).pow(2))
        .sum();
    energy > SOUND * samples.len() as u64
}
