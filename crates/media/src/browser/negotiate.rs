//! Offer and answer of a browser leg, by str0m with our own touches.

use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::format::{Codec, PayloadParams};
use str0m::media::{Direction, Frequency, MediaKind, Mid, Pt};

use super::BrowserLeg;
use super::agreed::{Agreed, Negotiation};
use super::engine::{EVENT_NARROW, EVENT_WIDE, engine};
use crate::browser_sdp::{self, Offered};
use crate::codec_choice::{Kind, Speaker};
use crate::direction::Direction as Permit;
use crate::error::MediaError;
use crate::outbox::Outbox;

impl BrowserLeg {
    /// What the leg speaks, or may come to speak.
    pub(crate) fn speaks(&self) -> Speaker {
        let codecs = match &self.negotiation {
            Negotiation::Offered { codecs, .. } => codecs.clone(),
            Negotiation::Agreed(agreed) if self.settled => agreed.hears.clone(),
            Negotiation::Idle | Negotiation::Agreed(_) => return self.options(),
        };
        Speaker {
            kind: Kind::Browser(self.policy),
            codecs,
        }
    }

    /// Everything that policy and browser allow.
    fn options(&self) -> Speaker {
        let allowed = self.policy.codecs().iter().copied();
        let codecs = match &self.negotiation {
            Negotiation::Agreed(agreed) => {
                let has = |codec: &crate::Codec| agreed.number_of(*codec).is_some();
                allowed.filter(has).collect()
            }
            _ => allowed.collect(),
        };
        Speaker {
            kind: Kind::Browser(self.policy),
            codecs,
        }
    }

    /// What the browser takes as it is.
    pub(crate) fn hears(&self) -> &[crate::Codec] {
        match &self.negotiation {
            Negotiation::Agreed(agreed) => &agreed.hears,
            _ => &[],
        }
    }

    pub(crate) fn offer(
        &mut self,
        now: Instant,
        other: Option<&Speaker>,
        out: &mut Outbox,
    ) -> Result<String, MediaError> {
        let own = self.options();
        let unknown = Speaker::unknown(own.kind);
        let codecs = own.offer(other.unwrap_or(&unknown));
        if codecs.is_empty() {
            return Err(MediaError::NoCommonCodec);
        }
        let mut changes = self.rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let Some((offer, pending)) = changes.apply() else {
            return Err(MediaError::Engine("no offer came of it".to_owned()));
        };
        let numbers = self.offered_numbers(&codecs);
        self.negotiation = Negotiation::Offered {
            mid,
            pending,
            codecs,
        };
        self.advance(now, out)?;
        Ok(browser_sdp::narrowed(
            &offer.to_sdp_string(),
            &mid.to_string(),
            &numbers,
        ))
    }

    fn offered_numbers(&self, codecs: &[crate::Codec]) -> Vec<u8> {
        let all = self.rtc.codec_config().iter();
        let ours = Agreed {
            mid: Mid::from(""),
            direction: Direction::SendRecv,
            formats: all
                .filter_map(|params| Some((codec_of(params)?, params.pt())))
                .collect(),
            hears: Vec::new(),
            wide: Some(EVENT_WIDE.into()),
            narrow: Some(EVENT_NARROW.into()),
            answer: String::new(),
        };
        ours.listed(codecs)
    }

    /// Our answer to an offer. The first is provisional where it is not yet known what the other side speaks; that to
    /// a later one keeps the codecs.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        offer: &str,
        other: Option<&Speaker>,
        permit: Permit,
        out: &mut Outbox,
    ) -> Result<String, MediaError> {
        // RFC 3264 section 4: one offer at a time; ours, if there was one, is taken back.
        self.reoffer = None;
        let offered = Offered::parse(offer)?;
        let (bare, candidates) = self.transport.take_candidates(offer);
        let offer = SdpOffer::from_sdp_string(&bare).map_err(bad)?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(bad)?;
        self.take_candidates(&candidates);
        let before = match std::mem::replace(&mut self.negotiation, Negotiation::Idle) {
            Negotiation::Agreed(agreed) => Some(agreed.hears),
            Negotiation::Idle | Negotiation::Offered { .. } => None,
        };
        let agreed = self.agree(Mid::from(offered.audio.as_str()), answer.to_sdp_string())?;
        let wish = ours(agreed.direction).mirrored();
        self.hold.offered(wish);
        self.lines = offered.lines.into_iter().map(|line| line.mid).collect();
        self.advance(now, out)?;
        match before {
            Some(hears) => self.answer_with(hears, permit),
            None => {
                let own = self.options();
                let unknown = Speaker::unknown(own.kind);
                self.answer_with(own.answer(other.unwrap_or(&unknown)), permit)
            }
        }
    }

    /// Our answer once more, now that it is known what the other side speaks.
    pub(crate) fn describe(
        &mut self,
        other: Option<&Speaker>,
        permit: Permit,
    ) -> Result<String, MediaError> {
        let own = self.options();
        let unknown = Speaker::unknown(own.kind);
        let codecs = own.answer(other.unwrap_or(&unknown));
        self.settled = true;
        self.answer_with(codecs, permit)
    }

    fn answer_with(
        &mut self,
        codecs: Vec<crate::Codec>,
        permit: Permit,
    ) -> Result<String, MediaError> {
        let Negotiation::Agreed(agreed) = &mut self.negotiation else {
            return Err(MediaError::UnexpectedAnswer);
        };
        let Some(first) = codecs.first() else {
            return Err(MediaError::NoCommonCodec);
        };
        self.voice.set_codec(*first);
        agreed.hears = codecs;
        let direction = self.hold.wish().mirrored().and(permit);
        agreed.direction = engines(direction);
        self.hold.tell(permit);
        if let Some((_, clock)) = agreed.event() {
            self.digits.set_clock(clock);
        }
        let listed = agreed.listed(&agreed.hears);
        let mid = agreed.mid.to_string();
        let answer = browser_sdp::narrowed(&agreed.answer, &mid, &listed);
        let answer = browser_sdp::with_empty_lines_refused(&answer);
        let answer = browser_sdp::directed(&answer, &mid, direction);
        Ok(self.stream.put_into(&answer))
    }

    pub(crate) fn apply_answer(
        &mut self,
        now: Instant,
        answer: &str,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        let (mid, pending, codecs) =
            match std::mem::replace(&mut self.negotiation, Negotiation::Idle) {
                Negotiation::Offered {
                    mid,
                    pending,
                    codecs,
                } => (mid, pending, codecs),
                Negotiation::Idle => return Err(MediaError::UnexpectedAnswer),
                agreed @ Negotiation::Agreed(_) => {
                    // A second device that answers late must not end the call that runs.
                    self.negotiation = agreed;
                    if let Some(pending) = self.reoffer.take() {
                        return self.apply_later_answer(now, pending, answer, out);
                    }
                    tracing::debug!("an answer to nothing that was offered is ignored");
                    return Ok(());
                }
            };
        // The engine takes all that it offered for answered.
        let answered = browser_sdp::answered(answer, &mid.to_string())?;
        let (bare, candidates) = self.transport.take_candidates(answer);
        let answer = SdpAnswer::from_sdp_string(&bare).map_err(bad)?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(bad)?;
        self.take_candidates(&candidates);
        let agreed = self.agree(mid, String::new())?;
        let wish = ours(agreed.direction).mirrored();
        let is_answered = |pt: &Pt, number: Option<u8>| number == Some(**pt);
        agreed
            .formats
            .retain(|(codec, pt)| is_answered(pt, answered.number_of(*codec)));
        agreed.wide = agreed
            .wide
            .filter(|pt| is_answered(pt, answered.wide_event));
        agreed.narrow = agreed.narrow.filter(|pt| is_answered(pt, answered.event));
        let listed = answered.audio.iter().map(|format| format.codec);
        let listed = listed.filter(|codec| codecs.contains(codec));
        agreed.hears = listed
            .filter(|codec| agreed.formats.iter().any(|format| format.0 == *codec))
            .collect();
        let first = *agreed.hears.first().ok_or(MediaError::NoCommonCodec)?;
        let event = agreed.event();
        self.voice.set_codec(first);
        if let Some((_, clock)) = event {
            self.digits.set_clock(clock);
        }
        self.hold.answered(wish);
        self.settled = true;
        self.lines = vec![mid.to_string()];
        self.advance(now, out)
    }

    /// A later offer of ours: what is spoken goes on, as far as `permit` lets it.
    pub(crate) fn reoffer(
        &mut self,
        now: Instant,
        permit: Permit,
        out: &mut Outbox,
    ) -> Result<String, MediaError> {
        let Negotiation::Agreed(agreed) = &self.negotiation else {
            return Err(MediaError::UnexpectedAnswer);
        };
        let mid = agreed.mid;
        let listed = agreed.listed(&agreed.hears);
        // Where we answered first the name of our stream is not the engine's; see `StreamName`.
        let is_renamed = !agreed.answer.is_empty();
        let wanted = engines(permit);
        let current = self.rtc.media(mid).map(|media| media.direction());
        let mut changes = self.rtc.sdp_api();
        if current == Some(wanted) {
            // The engine makes an offer only of a change, and knows nothing of what we made of its last answer.
            let another = match wanted {
                Direction::SendRecv => Direction::SendOnly,
                _ => Direction::SendRecv,
            };
            changes.set_direction(mid, another);
        }
        changes.set_direction(mid, wanted);
        let Some((offer, pending)) = changes.apply() else {
            return Err(MediaError::Engine("no later offer came of it".to_owned()));
        };
        self.reoffer = Some(pending);
        self.hold.tell(permit);
        self.advance(now, out)?;
        let offer = browser_sdp::narrowed(&offer.to_sdp_string(), &mid.to_string(), &listed);
        let offer = browser_sdp::with_empty_lines_refused(&offer);
        Ok(match is_renamed {
            true => self.stream.put_into(&offer),
            false => offer,
        })
    }

    /// The answer to it. One that is rubbish does not end the call: it goes on as it was.
    fn apply_later_answer(
        &mut self,
        now: Instant,
        pending: SdpPendingOffer,
        answer: &str,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        let (bare, candidates) = self.transport.take_candidates(answer);
        let accepted = SdpAnswer::from_sdp_string(&bare).map_err(bad);
        let accepted = accepted.and_then(|answer| {
            self.rtc
                .sdp_api()
                .accept_answer(pending, answer)
                .map_err(bad)
        });
        if let Err(error) = accepted {
            tracing::debug!(%error, "an answer to a later offer is ignored");
            return Ok(());
        }
        self.take_candidates(&candidates);
        if let Negotiation::Agreed(agreed) = &mut self.negotiation
            && let Some(media) = self.rtc.media(agreed.mid)
        {
            agreed.direction = media.direction();
            self.hold.answered(ours(agreed.direction).mirrored());
        }
        self.advance(now, out)
    }

    /// Why a later offer cannot be met. Asked first, because the engine cannot take back an offer that it has taken
    /// half: by the time it finds the fault it has new ICE credentials.
    pub(crate) fn refusal_of(&self, now: Instant, offer: &str) -> Option<MediaError> {
        match &self.negotiation {
            Negotiation::Agreed(agreed) => self.rehearse(now, agreed, offer).err(),
            Negotiation::Idle | Negotiation::Offered { .. } => None,
        }
    }

    fn rehearse(&self, now: Instant, agreed: &Agreed, offer: &str) -> Result<(), MediaError> {
        let offered = Offered::parse(offer)?;
        // RFC 3264 section 8.3.2: a payload type keeps its codec to the end of the session. The engine gives a codec no
        // second number either; no browser asks for one (RFC 8829 section 5.2.2).
        let keeps = |codec: &crate::Codec| {
            let number = agreed.number_of(*codec).map(|pt| *pt);
            number.is_some() && offered.formats.number_of(*codec) == number
        };
        if !agreed.hears.iter().all(keeps) {
            return Err(MediaError::NoCommonCodec);
        }
        if !self.keeps_lines(&offered) {
            return Err(MediaError::BadDescription(
                "a media line is gone or moved".to_owned(),
            ));
        }
        if self.transport.is_of_another(offer) {
            return Err(MediaError::BadDescription(
                "the fingerprint has changed".to_owned(),
            ));
        }
        let offer = SdpOffer::from_sdp_string(offer).map_err(bad)?;
        let mut understudy = engine(self.ice).build(now);
        understudy.sdp_api().accept_offer(offer).map_err(bad)?;
        Ok(())
    }

    /// RFC 3264 section 8: every line stays in its place. Only that of a refused one may be used again (RFC 8829
    /// section 5.2.2).
    fn keeps_lines(&self, offered: &Offered) -> bool {
        let refused = |mid: &str| {
            let media = self.rtc.media(Mid::from(mid));
            media.is_some_and(|media| media.disabled())
        };
        let is_new = |mid: &str| self.rtc.media(Mid::from(mid)).is_none();
        offered.lines.len() >= self.lines.len()
            && self.lines.iter().zip(&offered.lines).all(|(known, line)| {
                *known == line.mid || refused(known) && line.is_media && is_new(&line.mid)
            })
    }

    fn agree(&mut self, mid: Mid, answer: String) -> Result<&mut Agreed, MediaError> {
        let media = self.rtc.media(mid).ok_or(MediaError::NoCommonCodec)?;
        let config = self.rtc.codec_config();
        let named = |pt: &Pt| config.iter().find(|params| params.pt() == *pt);
        let common: Vec<&PayloadParams> = media.remote_pts().iter().filter_map(named).collect();
        let event = |clock: Frequency| {
            let is_event = |params: &&&PayloadParams| {
                params.spec().codec == Codec::Tele && params.spec().clock_rate == clock
            };
            common.iter().find(is_event).map(|params| params.pt())
        };
        let agreed = Agreed {
            mid,
            direction: media.direction(),
            formats: common
                .iter()
                .filter_map(|params| Some((codec_of(params)?, params.pt())))
                .collect(),
            hears: Vec::new(),
            wide: event(Frequency::FORTY_EIGHT_KHZ),
            narrow: event(Frequency::EIGHT_KHZ),
            answer,
        };
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_unpaced(true);
        }
        self.negotiation = Negotiation::Agreed(agreed);
        match &mut self.negotiation {
            Negotiation::Agreed(agreed) => Ok(agreed),
            Negotiation::Idle | Negotiation::Offered { .. } => Err(MediaError::NoCommonCodec),
        }
    }
}

/// The engine's direction in our words, seen from us.
fn ours(direction: Direction) -> Permit {
    Permit {
        sends: direction.is_sending(),
        receives: direction.is_receiving(),
    }
}

fn engines(direction: Permit) -> Direction {
    match (direction.sends, direction.receives) {
        (true, true) => Direction::SendRecv,
        (true, false) => Direction::SendOnly,
        (false, true) => Direction::RecvOnly,
        (false, false) => Direction::Inactive,
    }
}

/// The engine's name for a codec in ours.
fn codec_of(params: &PayloadParams) -> Option<crate::Codec> {
    match params.spec().codec {
        Codec::Opus => Some(crate::Codec::Opus),
        Codec::G722 => Some(crate::Codec::G722),
        Codec::PCMU => Some(crate::Codec::Pcmu),
        Codec::PCMA => Some(crate::Codec::Pcma),
        _ => None,
    }
}

fn bad(error: impl std::fmt::Display) -> MediaError {
    MediaError::BadDescription(error.to_string())
}
