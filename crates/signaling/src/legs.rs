//! The call machine's words in those of SIP and media, and back.

use std::time::{Duration, Instant};

use mxtrunk_call::{
    Cause, LegAction, LegEvent, LegId, LegKind, MediaAction, MediaEvent, MediaFault, Reason,
    Referral, TransferProgress,
};
use mxtrunk_media_io::{self as media, MediaError, PhoneProfile, Priority};
use mxtrunk_sip::{self as sip, ReasonHeader};

/// A telephone in a call sends 50 packets a second; this long without one, nobody hears anybody.
const QUIET: Duration = Duration::from_secs(3);

/// How soon after one question a PBX is asked again whether it knows a call.
const ASKED_AGAIN: Duration = Duration::from_secs(30);

/// What one SIP event means to its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SipNews {
    /// Something for the call machine.
    Event(LegEvent),
    /// A key, which the other side is to hear.
    Key(media::Key),
    /// Nothing for the call.
    Nothing,
}

/// A SIP event as the call machine hears it.
pub(crate) fn from_sip(happened: &sip::Happened) -> SipNews {
    use sip::Happened;
    SipNews::Event(match happened {
        Happened::Ringing | Happened::Progress { sdp: None } => LegEvent::Ringing,
        Happened::Progress { sdp: Some(sdp) } => LegEvent::EarlyMedia {
            sdp: sdp.as_str().into(),
        },
        Happened::Answered { sdp, .. } => LegEvent::Answered {
            sdp: sdp.as_str().into(),
            device: None,
        },
        Happened::Refused { status, reason, .. } => {
            LegEvent::Ended(Reason::from_refusal(*status, cause(reason.as_ref())))
        }
        Happened::Unreachable => LegEvent::Ended(Reason::Unreachable),
        Happened::Cancelled { reason } => {
            LegEvent::Ended(Reason::from_cancel(cause(reason.as_ref())))
        }
        Happened::Ended {
            reason,
            cause: sip::EndCause::Bye,
        } => LegEvent::Ended(Reason::from_bye(cause(reason.as_ref()))),
        // The other side's system is gone: it did not confirm the call, did not refresh it, or
        // does not know it any more.
        Happened::Ended {
            cause: sip::EndCause::NoAck | sip::EndCause::Expired | sip::EndCause::Unknown,
            ..
        } => LegEvent::Ended(Reason::PeerLost),
        Happened::Ended {
            cause: sip::EndCause::Fault,
            ..
        } => LegEvent::Ended(Reason::Fault),
        Happened::Reoffered { sdp: Some(sdp) } => LegEvent::Reoffered {
            sdp: sdp.as_str().into(),
        },
        Happened::Reanswered { sdp } => LegEvent::Reanswered {
            sdp: sdp.as_str().into(),
        },
        Happened::ReofferRefused { status } => LegEvent::ReofferRefused {
            crossed: *status == 491,
        },
        Happened::Reoffered { sdp: None } => LegEvent::OfferAsked,
        // The answer to the offer in our 200.
        Happened::Established { sdp: Some(sdp), .. } => LegEvent::Reanswered {
            sdp: sdp.as_str().into(),
        },
        Happened::Referred { how } => LegEvent::Referred(referral(*how)),
        Happened::Pressed { key } => {
            return SipNews::Key(media::Key {
                event: key.event,
                lasted: key.lasted,
            });
        }
        Happened::Incoming { .. }
        | Happened::Established { .. }
        | Happened::Identified { .. }
        | Happened::Transfer { .. }
        | Happened::PeerSilent => {
            return SipNews::Nothing;
        }
    })
}

/// What became of a transfer that a PBX was asked for. What it says that the called person has decided counts; what it
/// says for itself may be the fault of its own ways, and we try ours.
fn referral(how: sip::Referral) -> Referral {
    match how {
        sip::Referral::Done | sip::Referral::Untold => Referral::Done,
        sip::Referral::Refused { .. } => Referral::Refused,
        sip::Referral::Failed {
            status: status @ (408 | 480 | 486 | 487 | 600 | 603),
        } => Referral::Failed(Reason::from_refusal(status, None)),
        sip::Referral::Failed { .. } => Referral::Refused,
    }
}

/// A key of the other side, for a telephone that knows no telephone-event.
pub(crate) fn press(key: media::Key) -> sip::Command {
    let (event, lasted) = (key.event, key.lasted);
    sip::Command::Press {
        key: sip::Key { event, lasted },
    }
}

/// What a `Reason` header names, where it is a protocol that the table of reasons knows.
fn cause(reason: Option<&ReasonHeader>) -> Option<Cause> {
    let ReasonHeader {
        protocol, cause, ..
    } = reason?;
    match protocol.to_ascii_uppercase().as_str() {
        "Q.850" => Some(Cause::Q850(*cause)),
        "SIP" => Some(Cause::Sip(*cause)),
        _ => None,
    }
}

/// The last word that was said over SIP, for the record and the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LastWord {
    /// The final status of the INVITE, the peer's or ours.
    pub(crate) status: Option<u16>,
    /// The Reason header of a refusal, CANCEL or BYE.
    pub(crate) reason: Option<String>,
    /// The Warning header of a refusal.
    pub(crate) warning: Option<String>,
}

impl LastWord {
    /// Hears what the peer says.
    pub(crate) fn hear(&mut self, happened: &sip::Happened) {
        use sip::Happened;
        let written = |reason: &Option<ReasonHeader>| {
            let reason = reason.as_ref().map(ToString::to_string);
            reason.map(|text| shortened(&text))
        };
        match happened {
            Happened::Refused {
                status,
                reason,
                warning,
                ..
            } => {
                self.status = Some(*status);
                self.reason = written(reason);
                self.warning = warning.as_deref().map(shortened);
            }
            Happened::Answered { .. } | Happened::Established { .. } => self.status = Some(200),
            Happened::Cancelled { reason } => {
                self.status = Some(487);
                self.reason = written(reason);
            }
            Happened::Ended { reason, .. } => self.reason = written(reason),
            _ => {}
        }
    }

    /// Hears what we say.
    pub(crate) fn say(&mut self, action: &LegAction) {
        match action {
            LegAction::Answer { .. } => self.status = Some(200),
            LegAction::Refuse(reason) => *self = LastWord::refusal(*reason),
            LegAction::Cancel(reason) | LegAction::HangUp(reason) => {
                self.reason = Some(header(*reason).to_string());
            }
            _ => {}
        }
    }

    /// Our refusal of an INVITE.
    pub(crate) fn refusal(reason: Reason) -> Self {
        LastWord {
            status: Some(reason.sip_status()),
            reason: Some(header(reason).to_string()),
            warning: None,
        }
    }
}

/// What a peer wrote, as it may stand in a log and a record.
fn shortened(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(200).collect()
}

/// Where an outgoing SIP leg goes, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SipTarget {
    pub(crate) trunk: sip::TrunkName,
    pub(crate) to: String,
    pub(crate) from: sip::Caller,
    /// The account that the call is placed as.
    pub(crate) account: Option<sip::AccountName>,
    /// The dialog at the peer that the call takes the place of.
    pub(crate) replaces: Option<sip::Replaces>,
    /// Who asked for the call, as it was written.
    pub(crate) referred_by: Option<String>,
    /// Who had forwarded the call that goes on by this one.
    pub(crate) forwarded: Option<sip::Forwarded>,
}

/// What the call machine asks of a SIP leg. `target` is there on legs that we call; for [`LegAction::Refer`] it is the
/// new party's.
pub(crate) fn to_sip(action: LegAction, target: Option<&SipTarget>) -> Option<sip::Command> {
    use sip::Command;
    Some(match action {
        LegAction::Offer { sdp } => {
            let target = target?;
            Command::Invite {
                trunk: target.trunk.clone(),
                to: target.to.clone(),
                from: target.from.clone(),
                account: target.account.clone(),
                sdp: sdp.0,
                replaces: target.replaces.clone(),
                referred_by: target.referred_by.clone(),
                forwarded: target.forwarded.clone().map(Box::new),
            }
        }
        LegAction::Ring => Command::Ring,
        LegAction::Answer { sdp } => Command::Answer { sdp: sdp.0 },
        LegAction::AnswerReoffer { sdp } => Command::AnswerReoffer { sdp: sdp.0 },
        LegAction::Reoffer { sdp } => Command::Reoffer { sdp: sdp.0 },
        LegAction::RefuseReoffer => Command::RefuseReoffer { status: 488 },
        LegAction::Refer => {
            let target = target?;
            Command::Refer {
                to: target.to.clone(),
                replaces: None,
                by: target.from.clone(),
            }
        }
        LegAction::ReportTransfer(progress) => Command::ReportTransfer {
            status: match progress {
                TransferProgress::Trying => 100,
                TransferProgress::Ringing => 180,
                TransferProgress::Answered => 200,
                TransferProgress::Failed(reason) => reason.sip_status(),
            },
        },
        LegAction::Refuse(reason) => Command::Refuse {
            status: reason.sip_status(),
            reason: Some(header(reason)),
        },
        LegAction::Cancel(reason) | LegAction::HangUp(reason) => Command::HangUp {
            reason: Some(header(reason)),
        },
    })
}

/// `Reason:` as telephones read it.
pub(crate) fn header(reason: Reason) -> ReasonHeader {
    ReasonHeader::q850(reason.q850_cause())
}

/// What the call machine asks of the media plane: which leg, and what. `profile` is that of the phone leg's trunk.
pub(crate) fn to_media(
    action: MediaAction,
    profile: &PhoneProfile,
    priority: Priority,
) -> Vec<(media::LegId, media::Command)> {
    use media::Command;
    let one = |leg: LegId, command| vec![(media_leg(leg), command)];
    match action {
        MediaAction::Open { leg, beside, offer } => {
            let beside = beside.map(media_leg);
            let offer = offer.map(|sdp| sdp.0);
            let command = match leg.kind {
                LegKind::Matrix => Command::OpenBrowser {
                    beside,
                    offer,
                    priority,
                },
                LegKind::Sip => Command::OpenPhone {
                    beside,
                    offer,
                    profile: profile.clone(),
                },
            };
            one(leg.id, command)
        }
        MediaAction::ApplyAnswer { leg, sdp } => one(leg, Command::ApplyAnswer { sdp: sdp.0 }),
        MediaAction::ApplyEarlyAnswer { leg, sdp } => {
            one(leg, Command::ApplyEarlyAnswer { sdp: sdp.0 })
        }
        MediaAction::Ringback { leg } => one(leg, Command::Ringback),
        MediaAction::HearOut { leg } => one(leg, Command::HearOut),
        MediaAction::Describe { leg } => one(leg, Command::Describe),
        MediaAction::Reoffer { leg, sdp } => one(leg, Command::ApplyOffer { sdp: sdp.0 }),
        MediaAction::Offer { leg } => one(leg, Command::Reoffer),
        MediaAction::AddCandidates { leg, candidates } => candidates
            .into_iter()
            .map(|candidate| (media_leg(leg), Command::AddCandidate { candidate }))
            .collect(),
        MediaAction::Bridge { a, b } => one(a, Command::Bridge { with: media_leg(b) }),
        MediaAction::Close { leg } => one(leg, Command::Close),
    }
}

/// A media event as the call machine hears it; `None` where it has no use for it.
pub(crate) fn from_media(happened: &media::Happened) -> Option<MediaEvent> {
    use media::Happened;
    Some(match happened {
        Happened::LocalDescription { sdp } => MediaEvent::LocalDescription {
            sdp: sdp.as_str().into(),
        },
        Happened::Connected => MediaEvent::Connected,
        Happened::EarlySound => MediaEvent::EarlySound,
        Happened::HeardOut => MediaEvent::HeardOut,
        Happened::OfferDue => MediaEvent::OfferDue,
        Happened::OfferRefused { why } => {
            tracing::debug!(%why, "an offer in the middle of the call cannot be met");
            MediaEvent::ReofferRefused
        }
        Happened::Failed { why, .. } => MediaEvent::Failed {
            why: why.to_string(),
            fault: fault(why),
        },
        Happened::Lost => MediaEvent::Lost,
        Happened::TimedOut { which } => MediaEvent::TimedOut {
            why: which.to_string(),
        },
        Happened::Heard { .. }
        | Happened::Keyed { .. }
        | Happened::Report { .. }
        | Happened::Silent { .. }
        | Happened::SilenceOver { .. } => return None,
        Happened::Closed { .. } => MediaEvent::Closed,
    })
}

fn fault(why: &MediaError) -> MediaFault {
    match why {
        MediaError::BadDescription(_)
        | MediaError::NoCommonCodec
        | MediaError::UnsupportedTransport(_) => MediaFault::Description,
        MediaError::NoPort | MediaError::NoSocket => MediaFault::Capacity,
        _ => MediaFault::Other,
    }
}

/// What flowed over a leg, from its last event.
pub(crate) fn last_stats(happened: &media::Happened) -> Option<&media::LegStats> {
    match happened {
        media::Happened::Closed { stats } => Some(stats),
        media::Happened::Failed { stats, .. } => stats.as_ref(),
        _ => None,
    }
}

/// Whether a telephone that was last heard so long ago (`None`: never) is as silent as its PBX.
pub(crate) fn is_quiet(ago: Option<Duration>) -> bool {
    ago.is_none_or(|ago| ago > QUIET)
}

/// Whether a PBX that was last asked for a call then is asked again: a telephone may fall silent every few seconds,
/// since it sends nothing while nobody speaks.
pub(crate) fn may_ask(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= ASKED_AGAIN)
}

/// The same leg in the media plane.
pub(crate) fn media_leg(leg: LegId) -> media::LegId {
    media::LegId(leg.0)
}

/// The same leg in the SIP user agent.
pub(crate) fn sip_leg(leg: LegId) -> sip::LegId {
    sip::LegId(leg.0)
}

#[cfg(test)]
mod tests;
