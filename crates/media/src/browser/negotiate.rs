//! Offer and answer of a browser leg, by str0m with our own touches.

use std::time::Instant;

use str0m::RtcConfig;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::config::DtlsVersion;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind, Mid, Pt};
use str0m::rtp::{Extension, ExtensionMap};

use super::BrowserLeg;
use crate::browser_sdp::{self, Offered};
use crate::dtmf::EventClock;
use crate::error::MediaError;
use crate::leg::IceMode;
use crate::outbox::Outbox;

/// Our numbers in offers; in answers the browser's own are used.
const EVENT_WIDE: u8 = 110;
const EVENT_NARROW: u8 = 126;
#[derive(Debug)]
pub(super) enum Negotiation {
    Idle,
    Offered { mid: Mid, pending: SdpPendingOffer },
    Agreed(Agreed),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Agreed {
    pub(super) mid: Mid,
    pub(super) opus: Pt,
    /// Telephone-event at 48 and at 8 kHz, as far as the browser has them.
    pub(super) wide: Option<Pt>,
    pub(super) narrow: Option<Pt>,
}

impl Agreed {
    /// The kind that we send.
    pub(super) fn event(&self) -> Option<(Pt, EventClock)> {
        let clock = |event| EventClock {
            event,
            audio: 48_000,
        };
        let wide = self.wide.map(|pt| (pt, clock(48_000)));
        wide.or(self.narrow.map(|pt| (pt, clock(8000))))
    }
}

impl BrowserLeg {
    pub(crate) fn offer(&mut self, now: Instant, out: &mut Outbox) -> Result<String, MediaError> {
        let mut changes = self.rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let Some((offer, pending)) = changes.apply() else {
            return Err(MediaError::Engine("no offer came of it".to_owned()));
        };
        self.negotiation = Negotiation::Offered { mid, pending };
        self.advance(now, out)?;
        Ok(browser_sdp::with_narrow_events(
            &offer.to_sdp_string(),
            EVENT_WIDE,
            EVENT_NARROW,
        ))
    }

    pub(crate) fn answer(
        &mut self,
        now: Instant,
        offer: &str,
        out: &mut Outbox,
    ) -> Result<String, MediaError> {
        let offered = Offered::parse(offer)?;
        let (bare, candidates) = self.transport.take_candidates(offer);
        let offer = SdpOffer::from_sdp_string(&bare).map_err(bad)?;
        let answer = self.rtc.sdp_api().accept_offer(offer).map_err(bad)?;
        self.take_candidates(&candidates);
        let answer = answer.to_sdp_string();
        self.agree(Mid::from(offered.audio.as_str()))?;
        self.lines = offered.lines.into_iter().map(|line| line.mid).collect();
        self.advance(now, out)?;
        let answer = browser_sdp::with_empty_lines_refused(&answer);
        Ok(self.stream.put_into(&answer))
    }

    pub(crate) fn apply_answer(
        &mut self,
        now: Instant,
        answer: &str,
        out: &mut Outbox,
    ) -> Result<(), MediaError> {
        let (mid, pending) = match std::mem::replace(&mut self.negotiation, Negotiation::Idle) {
            Negotiation::Offered { mid, pending } => (mid, pending),
            Negotiation::Idle => return Err(MediaError::UnexpectedAnswer),
            agreed @ Negotiation::Agreed(_) => {
                // A second device that answers late must not end the call that runs.
                self.negotiation = agreed;
                tracing::debug!("an answer to nothing that was offered is ignored");
                return Ok(());
            }
        };
        let (bare, candidates) = self.transport.take_candidates(answer);
        let answer = SdpAnswer::from_sdp_string(&bare).map_err(bad)?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(bad)?;
        self.take_candidates(&candidates);
        self.agree(mid)?;
        self.lines = vec![mid.to_string()];
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
        // RFC 3264 section 8.3.2: a payload type keeps its codec to the end of the session.
        if !offered.opus.contains(&*agreed.opus) {
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

    fn agree(&mut self, mid: Mid) -> Result<(), MediaError> {
        let media = self.rtc.media(mid).ok_or(MediaError::NoCommonCodec)?;
        let common: Vec<_> = self
            .rtc
            .codec_config()
            .iter()
            .filter(|params| media.remote_pts().contains(&params.pt()))
            .collect();
        let number = |codec: Codec, clock: Frequency| {
            common
                .iter()
                .find(|params| params.spec().codec == codec && params.spec().clock_rate == clock)
                .map(|params| params.pt())
        };
        let agreed = Agreed {
            mid,
            opus: number(Codec::Opus, Frequency::FORTY_EIGHT_KHZ)
                .ok_or(MediaError::NoCommonCodec)?,
            wide: number(Codec::Tele, Frequency::FORTY_EIGHT_KHZ),
            narrow: number(Codec::Tele, Frequency::EIGHT_KHZ),
        };
        if let Some((_, clock)) = agreed.event() {
            self.digits.set_clock(clock);
        }
        if let Some(stream) = self.rtc.direct_api().stream_tx_by_mid(mid, None) {
            stream.set_unpaced(true);
        }
        self.negotiation = Negotiation::Agreed(agreed);
        Ok(())
    }
}

/// str0m as we use it: raw RTP, audio only, no header extension but the one that names the media line.
pub(super) fn engine(ice: IceMode) -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    extensions.set(4, Extension::RtpMid);
    let mut config = RtcConfig::new()
        .clear_codecs()
        .set_rtp_mode(true)
        .set_ice_lite(ice == IceMode::Lite)
        // 1.3 where the browser has it, else 1.2.
        .set_dtls_version(DtlsVersion::Auto)
        .set_extension_map(extensions)
        .enable_opus(true, false);
    let codecs = config.codec_config();
    for (number, clock) in [
        (EVENT_WIDE, Frequency::FORTY_EIGHT_KHZ),
        (EVENT_NARROW, Frequency::EIGHT_KHZ),
    ] {
        let format = FormatParams::default();
        codecs.add_config(number.into(), None, Codec::Tele, clock, None, format);
    }
    // Transport-wide feedback steers video; for one voice it would only be more packets.
    for params in codecs.iter_mut() {
        params.set_fb_transport_cc(false);
    }
    config
}

fn bad(error: impl std::fmt::Display) -> MediaError {
    MediaError::BadDescription(error.to_string())
}
