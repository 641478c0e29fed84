//! Offer and answer of a phone leg.

use std::net::SocketAddr;
use std::time::Instant;

use super::{NARROW, PhoneLeg};
use crate::codec::{Codec, Law};
use crate::codec_choice::{Kind, Speaker};
use crate::direction::Direction;
use crate::dtmf::EventClock;
use crate::error::MediaError;
use crate::formats::Format;
use crate::phone_sdp::{Local, Remote, RemoteAudio};
use crate::srtp::Srtp;

#[derive(Debug)]
pub(super) enum Negotiation {
    /// Neither offered nor answered.
    Idle,
    /// Our first offer waits for its answer.
    Offered { codecs: Vec<Codec> },
    /// Audio may flow; later answers and offers replace it.
    Agreed(Box<Agreed>),
}

#[derive(Debug)]
pub(super) struct Agreed {
    remote: Remote,
    /// What we may send, under the remote's numbers.
    hears: Vec<Format>,
    /// What we send at present.
    pub(super) speaks: Format,
}

impl Agreed {
    fn new(remote: Remote, hears: Vec<Format>) -> Result<Self, MediaError> {
        let encoded = hears.iter().find(|format| format.codec.law().is_some());
        let speaks = *encoded.or(hears.first()).ok_or(MediaError::NoCommonCodec)?;
        Ok(Agreed {
            remote,
            hears,
            speaks,
        })
    }

    pub(super) fn audio(&self) -> &RemoteAudio {
        &self.remote.audio
    }

    /// Where audio goes; nowhere on hold.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        let audio = self.audio();
        audio.rtp.filter(|_| audio.direction.receives)
    }

    pub(super) fn heard_as(&self, codec: Codec) -> Option<Format> {
        let mut formats = self.hears.iter().copied();
        formats.find(|format| format.codec == codec)
    }

    /// What samples are encoded in: what is spoken anyway, if that can be.
    pub(super) fn encoded(&self) -> Option<(Law, Format)> {
        let mut formats = std::iter::once(&self.speaks).chain(&self.hears);
        formats.find_map(|format| Some((format.codec.law()?, *format)))
    }

    /// The number and clock of the keys that we send: on the clock of the audio where the phone has it.
    pub(super) fn event(&self) -> Option<(u8, EventClock)> {
        let formats = &self.audio().formats;
        let audio = self.speaks.codec.clock();
        let with = |event| move |number| (number, EventClock { event, audio });
        let narrow = formats.event.map(with(8000));
        let wide = formats.wide_event.map(with(48_000));
        match audio {
            48_000 => wide.or(narrow),
            _ => narrow.or(wide),
        }
    }
}

impl PhoneLeg {
    pub(super) fn agreed(&self) -> Option<&Agreed> {
        match &self.negotiation {
            Negotiation::Agreed(agreed) => Some(agreed),
            Negotiation::Idle | Negotiation::Offered { .. } => None,
        }
    }

    /// Sends this format from now on.
    pub(super) fn speak(&mut self, format: Format) {
        let Negotiation::Agreed(agreed) = &mut self.negotiation else {
            return;
        };
        if agreed.speaks == format {
            return;
        }
        agreed.speaks = format;
        self.frames.set_ticks(format.codec.ticks() as u32);
        if let Some((_, clock)) = agreed.event() {
            self.digits.set_clock(clock);
        }
    }

    /// What the leg speaks, or may come to speak, in the trunk's order before it is settled.
    pub(crate) fn speaks(&self) -> Speaker {
        let codecs = match &self.negotiation {
            Negotiation::Idle => self.codecs.clone(),
            Negotiation::Offered { codecs } => codecs.clone(),
            Negotiation::Agreed(agreed) if self.settled => {
                agreed.hears.iter().map(|format| format.codec).collect()
            }
            Negotiation::Agreed(agreed) => {
                let formats = &agreed.audio().formats;
                let has = |codec: &Codec| formats.number_of(*codec).is_some();
                self.codecs.iter().copied().filter(has).collect()
            }
        };
        Speaker {
            kind: Kind::Phone,
            codecs,
        }
    }

    /// What the phone takes as it is.
    pub(crate) fn hears(&self) -> impl Iterator<Item = Codec> {
        let formats = self.agreed().map(|agreed| agreed.hears.as_slice());
        formats
            .unwrap_or_default()
            .iter()
            .map(|format| format.codec)
    }

    pub(crate) fn offer(&mut self, other: Option<&Speaker>) -> Result<String, MediaError> {
        let own = self.speaks();
        let unknown = Speaker::unknown(own.kind);
        let codecs = own.offer(other.unwrap_or(&unknown));
        if codecs.is_empty() {
            return Err(MediaError::NoCommonCodec);
        }
        let formats = Local::formats(&codecs);
        self.types.learn(&formats);
        self.negotiation = Negotiation::Offered { codecs };
        self.local.keys = self.srtp.as_ref().map(Srtp::offer).unwrap_or_default();
        self.local.offer(&formats)
    }

    /// Why a later offer cannot be met: it asks for fax (T.38), for video alone, for SRTP on a trunk without, for what the
    /// other side could not hear, or is rubbish.
    pub(crate) fn refusal_of(&self, offer: &str, other: Option<&Speaker>) -> Option<MediaError> {
        self.agreed()?;
        let remote = Remote::parse(offer, &self.codecs, self.local.srtp);
        remote
            .and_then(|remote| self.answer_to(&remote, other))
            .err()
    }

    /// Our answer to an offer. The first is provisional where it is not yet known what the other side speaks.
    pub(crate) fn answer(
        &mut self,
        offer: &str,
        other: Option<&Speaker>,
        permit: Direction,
    ) -> Result<String, MediaError> {
        let remote = Remote::parse(offer, &self.codecs, self.local.srtp)?;
        self.answer_to(&remote, other)?;
        self.redescribe_early(&remote);
        let ours = self
            .srtp
            .as_mut()
            .and_then(|srtp| srtp.accept(remote.audio.keys.first()));
        self.local.keys = ours.into_iter().collect();
        self.local.version += 1;
        self.types.learn(&remote.audio.formats);
        self.hold.offered(remote.audio.effective_direction());
        self.answer_with(remote, other, permit)
    }

    /// Our answer once more, now that it is known what the other side speaks.
    pub(crate) fn describe(
        &mut self,
        other: Option<&Speaker>,
        permit: Direction,
    ) -> Result<String, MediaError> {
        let remote = self.agreed().map(|agreed| agreed.remote.clone());
        self.settled = true;
        self.answer_with(remote.ok_or(MediaError::UnexpectedAnswer)?, other, permit)
    }

    fn answer_with(
        &mut self,
        remote: Remote,
        other: Option<&Speaker>,
        permit: Direction,
    ) -> Result<String, MediaError> {
        let codecs = self.answer_to(&remote, other)?;
        let answer = self.local.answer(&remote, &codecs, permit)?;
        self.hold.tell(permit);
        self.agree(remote, &codecs)?;
        Ok(answer)
    }

    /// May come more than once: the SDP of a 183 and that of the 200 can differ.
    pub(crate) fn apply_answer(&mut self, now: Instant, answer: &str) -> Result<(), MediaError> {
        let remote = self.read_answer(answer)?;
        self.end_early(now);
        self.take_answer(remote)
    }

    /// The remote's answer is in force.
    pub(super) fn take_answer(&mut self, remote: Remote) -> Result<(), MediaError> {
        if let Some(srtp) = &mut self.srtp {
            srtp.apply_answer(&remote.audio.keys)?;
        }
        self.types.learn(&remote.audio.formats);
        let formats = remote.audio.formats.audio.iter();
        let codecs: Vec<Codec> = formats.map(|format| format.codec).collect();
        self.settled = true;
        self.hold.answered(remote.audio.effective_direction());
        self.agree(remote, &codecs)
    }

    /// A later offer of ours: what is spoken goes on, as far as `permit` lets it.
    pub(crate) fn reoffer(&mut self, permit: Direction) -> Result<String, MediaError> {
        let agreed = self.agreed().ok_or(MediaError::UnexpectedAnswer)?;
        let codecs: Vec<Codec> = agreed.hears.iter().map(|format| format.codec).collect();
        let remote = agreed.remote.clone();
        let protected = self.srtp.as_ref().filter(|srtp| srtp.is_agreed());
        self.local.keys = protected.map(Srtp::offer).unwrap_or_default();
        self.hold.tell(permit);
        self.local.reoffer(&remote, &codecs, permit)
    }

    fn agree(&mut self, remote: Remote, codecs: &[Codec]) -> Result<(), MediaError> {
        let formats = remote.audio.formats.audio.iter().copied();
        let hears = formats
            .filter(|format| codecs.contains(&format.codec))
            .collect();
        let mut agreed = Agreed::new(remote, hears)?;
        // A renumbering, a hold: what is being sent goes on.
        let spoken = self.agreed().map(|before| before.speaks.codec);
        agreed.speaks = spoken
            .and_then(|codec| agreed.heard_as(codec))
            .unwrap_or(agreed.speaks);
        let had_events = self.agreed().is_some_and(|before| before.event().is_some());
        match agreed.destination() {
            Some(_) if agreed.event().is_some() || !had_events => {
                let clock = agreed.event().map_or(NARROW, |(_, clock)| clock);
                self.digits.set_clock(clock);
            }
            // A key kept for later would keep the sound back until then.
            _ => self.digits.clear(),
        }
        self.keys.forget_way();
        self.frames.set_ptime(agreed.audio().ptime);
        self.latch.describe(agreed.audio().rtp);
        self.frames.set_ticks(agreed.speaks.codec.ticks() as u32);
        self.negotiation = Negotiation::Agreed(Box::new(agreed));
        Ok(())
    }

    /// What a phone's offer is answered with.
    fn answer_to(
        &self,
        remote: &Remote,
        other: Option<&Speaker>,
    ) -> Result<Vec<Codec>, MediaError> {
        let formats = remote.audio.formats.audio.iter();
        let own = Speaker {
            kind: Kind::Phone,
            codecs: formats.map(|format| format.codec).collect(),
        };
        let unknown = Speaker::unknown(own.kind);
        let other = other.unwrap_or(&unknown);
        let codecs = match self.settled {
            true => own.answer(other),
            false => own.provisional_answer(other),
        };
        match codecs.is_empty() {
            true => Err(MediaError::NoCommonCodec),
            false => Ok(codecs),
        }
    }
}
