//! The vocabulary between a call and its SIP legs: commands in, events out.

use std::fmt;

use crate::config::{AccountName, TrunkName};
use crate::key::Key;
use crate::refer::Replaces;
use crate::referral::Referral;
use crate::snapshot::DialogSnapshot;

/// One leg: one SIP dialog, or the attempt at one. Outgoing legs are numbered
/// by the caller, incoming ones by [`crate::SipConfig::leg_ids`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a leg is told to do. A command that makes no sense in the leg's state
/// (it may have crossed an event) is ignored and logged at DEBUG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Start an outgoing leg with this offer.
    Invite {
        /// The trunk to call over.
        trunk: TrunkName,
        /// Number or extension to call; escaped as needed.
        to: String,
        /// Who calls.
        from: Caller,
        /// The account of ours that calls: its address stands in From, its
        /// password answers challenges, and `from` is what is asserted.
        account: Option<AccountName>,
        /// The SDP offer.
        sdp: String,
        /// The dialog of the peer's that it takes the place of, where the call
        /// is an attended transfer.
        replaces: Option<Replaces>,
        /// Who asked for the call with REFER: Referred-By (RFC 3892).
        referred_by: Option<String>,
        /// Who had forwarded the call that goes on by this one.
        forwarded: Option<Box<Forwarded>>,
    },
    /// Incoming leg: 180 Ringing.
    Ring,
    /// Incoming leg: 183 Session Progress with early media.
    Progress {
        /// The SDP answer.
        sdp: String,
    },
    /// Incoming leg: 200 OK. On an established leg as
    /// [`Command::AnswerReoffer`].
    Answer {
        /// The SDP answer, or our offer where the peer made none.
        sdp: String,
    },
    /// Incoming leg: a final refusal. On an established leg as
    /// [`Command::RefuseReoffer`].
    Refuse {
        /// Status, 300 to 699; anything else becomes 500.
        status: u16,
        /// Why, for the Reason header (RFC 3326).
        reason: Option<ReasonHeader>,
    },
    /// Answers [`Happened::Reoffered`], also before the leg is answered.
    AnswerReoffer {
        /// The SDP answer, or our offer where the peer made none.
        sdp: String,
    },
    /// Refuses [`Happened::Reoffered`], also before the leg is answered; the
    /// dialog stays as it was.
    RefuseReoffer {
        /// Status, 300 to 699; anything else becomes 500.
        status: u16,
    },
    /// Established leg: offer anew (hold, resume) in a re-INVITE. Answered by
    /// [`Happened::Reanswered`] or [`Happened::ReofferRefused`].
    Reoffer {
        /// The SDP offer.
        sdp: String,
    },
    /// Says how far [`Happened::Transfer`] has come. The first time answers the
    /// REFER: with a status of 300 and above it is refused, else accepted. The
    /// peer is told each one in turn, unless it does not want to be, and
    /// nothing after the first of 200 and above.
    ReportTransfer {
        /// What the party that is called says: 100 to 699.
        status: u16,
    },
    /// Established leg: ask the peer to call another party in our stead (REFER, RFC 3515). Answered by
    /// [`Happened::Referred`], or by the leg's end. Nothing ends the leg but [`Command::HangUp`] and the peer.
    Refer {
        /// Number or extension; escaped as needed.
        to: String,
        /// A leg of ours at the same peer, whose place there the party that is asked for is to leave to this one's
        /// peer (attended transfer).
        replaces: Option<LegId>,
        /// Who asks: Referred-By (RFC 3892).
        by: Caller,
    },
    /// Our side pressed a key, and the peer knows no telephone-event: it is told by INFO, in an early dialog of an
    /// outgoing leg too. Where there is no dialog yet it waits for the answer.
    Press {
        /// Which, and how long.
        key: Key,
    },
    /// Ask the peer whether it still knows the call. One that does not ends
    /// it ([`EndCause::Unknown`]); else nothing is told. Before the call is
    /// established only a peer that takes UPDATE can be asked, and none that
    /// rings several phones.
    Check,
    /// End the leg: CANCEL, BYE or 480, whichever its state asks for. No
    /// event follows.
    HangUp {
        /// Why, for the Reason header (RFC 3326).
        reason: Option<ReasonHeader>,
    },
}

/// Who calls. Written as From and as [`crate::IdentityHeaders`] say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Number or extension; empty when withheld.
    pub number: String,
    /// Display name.
    pub display: Option<String>,
}

/// A call that was forwarded, on its way to the number that it has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// Who was called before, and forwarded it; nobody where that is withheld.
    pub by: Caller,
    /// Why, in the words of RFC 5806: `no-answer`, `user-busy`, …
    pub why: Option<String>,
    /// What is left of its Max-Forwards, where it has come a way already
    /// ([`Happened::Incoming`]); `None`: as much as a new call has.
    pub hops: Option<u8>,
}

/// Something that happened on a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The leg it happened on.
    pub leg: LegId,
    /// What it was.
    pub what: Happened,
}

/// What happened. After [`Refused`](Self::Refused), [`Cancelled`](Self::Cancelled)
/// and [`Ended`](Self::Ended) the leg is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// A trunk calls. [`crate::UserAgent::dialog`] already has the snapshot.
    Incoming {
        /// The trunk it came over.
        trunk: TrunkName,
        /// What a trusted trunk asserts, else From; nobody where the number
        /// is withheld.
        from: Caller,
        /// Who forwarded it, where a trusted trunk says so.
        forwarded: Option<Forwarded>,
        /// User part of the Request-URI.
        to: String,
        /// The account of ours that it is for, by its Contact or by its
        /// address at the registrar, whatever To says.
        account: Option<AccountName>,
        /// The SDP offer; `None` when the caller wants ours.
        sdp: Option<String>,
        /// Call-ID, for records and logs.
        call_id: String,
        /// What Max-Forwards leaves to a call that goes on from here: one less than this one came with (RFC 7332), or
        /// two lines that forward to each other would never tire.
        hops: u8,
        /// An established leg of ours, of the same trunk, whose place it is to take (RFC 3891): it is answered at once,
        /// and that one hung up.
        replaces: Option<LegId>,
    },
    /// Outgoing leg: it rings (180, 181, 182), told once; and again with each
    /// 180 without SDP of a phone that has described early media.
    Ringing,
    /// Outgoing leg: 183, or any provisional response with SDP. Each of several
    /// phones that ring has its own (RFC 3261 §13.2.2.4).
    Progress {
        /// SDP of the early media.
        sdp: Option<String>,
    },
    /// Outgoing leg: 200, acknowledged.
    Answered {
        /// The SDP answer.
        sdp: String,
        /// What ends the dialog from another process.
        dialog: DialogSnapshot,
    },
    /// Incoming leg: our 200 was acknowledged.
    Established {
        /// The answer to the offer in our 200, where the INVITE held none.
        sdp: Option<String>,
        /// What ends the dialog from another process.
        dialog: DialogSnapshot,
    },
    /// Outgoing leg: it will not be answered.
    Refused {
        /// Final status, 300 to 699.
        status: u16,
        /// Its phrase as sent by the peer.
        phrase: String,
        /// Reason header of the response.
        reason: Option<ReasonHeader>,
        /// Warning header of the response (RFC 3261 §20.43), as it stands.
        warning: Option<String>,
    },
    /// Outgoing leg: the peer did not say anything in time, or there is no
    /// way to it. Whether a person is there is not known; the trunk is down.
    Unreachable,
    /// Incoming leg: the caller gave up before our answer.
    Cancelled {
        /// Reason header of the CANCEL; `SIP;cause=200` means that the call
        /// was answered elsewhere.
        reason: Option<ReasonHeader>,
    },
    /// An established leg ended without our doing, or one whose peer has
    /// forgotten it ([`EndCause::Unknown`]).
    Ended {
        /// Reason header of the BYE.
        reason: Option<ReasonHeader>,
        /// How it ended.
        cause: EndCause,
    },
    /// The trunk answered OPTIONS before, and now left two in a row without any
    /// answer. Told again after each further one while the outage lasts, on
    /// every leg that the peer has said something about. The leg stays; its
    /// sound may well go on.
    PeerSilent,
    /// The peer offers anew (hold, resume, refresh, moved media), perhaps
    /// before the leg is answered. Must be answered with
    /// [`Command::AnswerReoffer`] or [`Command::RefuseReoffer`].
    Reoffered {
        /// The new offer; `None` asks for ours, as [`Command::AnswerReoffer`].
        /// Its answer is [`Happened::Reanswered`].
        sdp: Option<String>,
    },
    /// The peer answered [`Command::Reoffer`], or changed its description in
    /// its answer to a refresh of the session.
    Reanswered {
        /// The SDP answer.
        sdp: String,
    },
    /// The peer pressed a key, and tells it by INFO.
    Pressed {
        /// Which, and how long.
        key: Key,
    },
    /// The peer will not have what [`Command::Reoffer`] offered; the session
    /// is as it was.
    ReofferRefused {
        /// Final status: 491 when an offer of the peer's came first, so that
        /// ours has to be made anew after it; 408 when no answer came, 500
        /// when it was put off for too long.
        status: u16,
    },
    /// Established leg: a trusted trunk asserts, with a new offer or a refresh, that somebody else than before is at the
    /// other end (a transfer within the PBX, a call that was picked up elsewhere). Told at the first assertion in the
    /// dialog too.
    Identified {
        /// Who; nobody where that is withheld.
        who: Caller,
    },
    /// How [`Command::Refer`] ended.
    Referred {
        /// What became of it.
        how: Referral,
    },
    /// The peer asks us to call another party in its stead (REFER, RFC 3515).
    /// Must be answered with [`Command::ReportTransfer`]; it is refused with
    /// 603 where that does not come in time. The dialog goes on meanwhile.
    Transfer {
        /// Number or extension to call, from Refer-To. To call anything but
        /// the trunk is not offered: the host does not count.
        to: String,
        /// The dialog that the call is to take the place of (attended
        /// transfer); it goes into [`Command::Invite`].
        replaces: Option<Replaces>,
        /// Referred-By (RFC 3892), as it stands, for [`Command::Invite`].
        referred_by: Option<String>,
    },
}

/// How a leg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndCause {
    /// The peer said BYE.
    Bye,
    /// Our 200 was never acknowledged (RFC 3261 §13.3.1.4); a BYE was sent. Or
    /// our reliable provisional response was not (RFC 3262 §3); the INVITE
    /// was refused. Or the ACK lacked the answer to the offer in our 200.
    NoAck,
    /// The session timer ran out (RFC 4028 §10); a BYE was sent.
    Expired,
    /// The peer does not know the call any more: 481 or 408 to a request of
    /// ours in it (RFC 3261 §12.2.1.2), and a BYE was sent; or 481 twice to
    /// [`Command::Check`] while it rang, or once before its ACK.
    Unknown,
    /// A fault in this leg of ours; the rest goes on.
    Fault,
}

/// A Reason header (RFC 3326), such as `Q.850;cause=16;text="Normal clearing"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasonHeader {
    /// `Q.850`, `SIP` or another protocol.
    pub protocol: String,
    /// Cause value in that protocol.
    pub cause: u16,
    /// Free text.
    pub text: Option<String>,
}

impl ReasonHeader {
    /// A Q.850 cause without text.
    pub fn q850(cause: u16) -> Self {
        Self {
            protocol: "Q.850".into(),
            cause,
            text: None,
        }
    }

    /// Reads a header value; of several reasons the Q.850 one is taken, else
    /// the first that has a cause.
    pub fn parse(value: &str) -> Option<Self> {
        let all: Vec<Self> = split_unquoted(value, ',')
            .filter_map(Self::parse_one)
            .collect();
        let q850 = all
            .iter()
            .position(|r| r.protocol.eq_ignore_ascii_case("Q.850"));
        all.into_iter().nth(q850.unwrap_or(0))
    }

    fn parse_one(value: &str) -> Option<Self> {
        let mut parts = split_unquoted(value, ';').map(str::trim);
        let protocol = parts.next().filter(|p| !p.is_empty())?.to_owned();
        let (mut cause, mut text) = (None, None);
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            match name.trim().to_ascii_lowercase().as_str() {
                "cause" => cause = value.trim().parse().ok(),
                "text" => text = Some(value.trim().trim_matches('"').replace("\\\"", "\"")),
                _ => {}
            }
        }
        Some(Self {
            protocol,
            cause: cause?,
            text,
        })
    }
}

impl fmt::Display for ReasonHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};cause={}", self.protocol, self.cause)?;
        match &self.text {
            Some(text) => write!(f, ";text=\"{}\"", crate::address::quotable(text)),
            None => Ok(()),
        }
    }
}

/// Splits at `separator` outside of quoted strings.
pub(crate) fn split_unquoted(value: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |c| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => return true,
            _ => {}
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_read_with_its_quoted_text() {
        let reason = ReasonHeader::parse("Q.850;cause=16;text=\"Normal; call, clearing\"");
        assert_eq!(
            reason,
            Some(ReasonHeader {
                protocol: "Q.850".into(),
                cause: 16,
                text: Some("Normal; call, clearing".into()),
            })
        );
    }

    #[test]
    fn of_two_reasons_the_q850_one_is_taken() {
        let reason = ReasonHeader::parse("SIP;cause=200;text=\"x\", Q.850 ;cause=26");
        assert_eq!(reason, Some(ReasonHeader::q850(26)));
    }

    #[test]
    fn a_reason_without_a_cause_is_none() {
        for odd in [
            "",
            ";;;",
            "Q.850",
            "Q.850;cause=x",
            "\"",
            "Q.850;cause=99999999",
        ] {
            assert_eq!(ReasonHeader::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn a_written_reason_reads_the_same() {
        let reason = ReasonHeader {
            protocol: "SIP".into(),
            cause: 200,
            text: Some("Call completed elsewhere".into()),
        };
        assert_eq!(ReasonHeader::parse(&reason.to_string()), Some(reason));
    }

    #[test]
    fn a_line_break_in_a_text_cannot_start_a_header() {
        let reason = ReasonHeader {
            protocol: "SIP".into(),
            cause: 480,
            text: Some("a\r\nEvil: 1".into()),
        };
        assert!(!reason.to_string().contains(['\r', '\n']));
    }
}
