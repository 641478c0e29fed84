//! What one call tells its trace.

use std::sync::Arc;

use mxtrunk_call::Side;
use mxtrunk_matrix::call_events::{
    CallEventIn, CallEventKind, CallEventOut, Description, Replacement,
};
use mxtrunk_media_io as media;

use super::{Flow, Traces, clean, sdp};

/// Tells one call's trace what passes.
#[derive(Debug, Clone)]
pub(crate) struct CallTracer {
    traces: Arc<Traces>,
    call: String,
}

impl CallTracer {
    pub(super) fn new(traces: Arc<Traces>, call: String) -> Self {
        CallTracer { traces, call }
    }

    /// The call has this SIP dialog.
    pub(crate) fn dialog(&self, call_id: &str) {
        self.traces.about(&self.call, |about| {
            if !about.sip_call_ids.iter().any(|known| known == call_id) {
                about.sip_call_ids.push(call_id.to_owned());
            }
        });
    }

    /// An event came from the person's client.
    pub(crate) fn heard(&self, event: &CallEventIn) {
        let (kind, note) = match event {
            CallEventIn::Invite(invite) => {
                (CallEventKind::Invite, Some(sdp::in_short(&invite.sdp.0)))
            }
            CallEventIn::Candidates { candidates, .. } => {
                (CallEventKind::Candidates, Some(counted(candidates)))
            }
            CallEventIn::Answer { sdp, .. } => (CallEventKind::Answer, Some(sdp::in_short(&sdp.0))),
            CallEventIn::SelectAnswer { .. } => (CallEventKind::SelectAnswer, None),
            CallEventIn::Reject { reason, .. } => {
                (CallEventKind::Reject, reason.as_deref().map(because))
            }
            CallEventIn::Hangup { reason, .. } => {
                (CallEventKind::Hangup, reason.as_deref().map(because))
            }
            CallEventIn::Negotiate { description, .. } => {
                (CallEventKind::Negotiate, Some(described(description)))
            }
            CallEventIn::Replaces { replacement, .. } => {
                let note = match replacement {
                    Replacement::Create { target, .. } => format!("by a call to {target}"),
                    Replacement::Await { .. } => "by a call that another one makes".to_owned(),
                };
                (CallEventKind::Replaces, Some(note))
            }
            CallEventIn::Microphone { muted, .. } => {
                let note = match muted {
                    true => "muted",
                    false => "not muted",
                };
                (CallEventKind::StreamMetadata, Some(note.to_owned()))
            }
        };
        self.note(Flow::FromElement, kind.to_string(), note);
    }

    /// An event goes to the person's client.
    pub(crate) fn said(&self, event: &CallEventOut) {
        let note = match event {
            CallEventOut::Invite { sdp, .. } | CallEventOut::Answer { sdp, .. } => {
                Some(sdp::in_short(&sdp.0))
            }
            CallEventOut::Candidates { candidates, .. } => Some(counted(candidates)),
            CallEventOut::Negotiate { description, .. } => Some(described(description)),
            CallEventOut::Reject { reason, .. } => reason.map(because),
            CallEventOut::Hangup { reason, .. } => Some(because(reason)),
            CallEventOut::AssertedIdentity { display_name, .. } => Some(display_name.clone()),
            CallEventOut::SelectAnswer { .. } => None,
        };
        self.note(Flow::ToElement, event.kind().to_string(), note);
    }

    /// A sentence goes into the room.
    pub(crate) fn sentence(&self, text: &str) {
        self.note(
            Flow::ToElement,
            "m.room.message".into(),
            Some(text.to_owned()),
        );
    }

    /// An event could not be put into the room.
    pub(crate) fn not_sent(&self, kind: CallEventKind) {
        self.note(
            Flow::Browser,
            format!("{kind} did not reach the room"),
            None,
        );
    }

    /// Something happened to the media of a leg.
    pub(crate) fn media(&self, leg: Flow, happened: &media::Happened) {
        use media::Happened;
        let (what, note) = match happened {
            Happened::LocalDescription { sdp } => {
                ("described".to_owned(), Some(sdp::in_short(sdp)))
            }
            Happened::Connected => ("connected".to_owned(), None),
            Happened::EarlySound => ("sound before the answer".to_owned(), None),
            Happened::HeardOut => ("heard to its last word".to_owned(), None),
            // Not which one: it may be of a PIN.
            Happened::Keyed { .. } => ("a key to be told by INFO".to_owned(), None),
            Happened::OfferDue => ("to be told of hold or resume".to_owned(), None),
            Happened::OfferRefused { why } => ("offer refused".to_owned(), Some(why.to_string())),
            Happened::Failed { why, .. } => ("failed".to_owned(), Some(why.to_string())),
            Happened::Lost => ("connection lost".to_owned(), None),
            Happened::Silent { lasted } => (format!("silent for {} s", lasted.as_secs()), None),
            Happened::SilenceOver { lasted } => {
                (format!("heard again after {} s", lasted.as_secs()), None)
            }
            Happened::TimedOut { which } => ("timed out".to_owned(), Some(which.to_string())),
            Happened::Closed { stats } => {
                let (received, sent) = (&stats.received, &stats.sent);
                let flowed = format!(
                    "{} packets received, {} lost, {} sent",
                    received.packets, received.lost, sent.packets
                );
                ("closed".to_owned(), Some(flowed))
            }
            Happened::Heard { .. } | Happened::Report { .. } => return,
        };
        self.note(leg, what, note);
    }

    /// From now on the two legs hear each other.
    pub(crate) fn bridged(&self) {
        self.note(Flow::Phone, "bridged with the browser".into(), None);
    }

    /// How the transfer stands that the telephone has asked for.
    pub(crate) fn transfer(&self, what: &str) {
        self.note(Flow::Phone, "transfer".into(), Some(what.to_owned()));
    }

    /// The call is over.
    pub(crate) fn ended(&self, word: &str, by: Side) {
        let by = match by {
            Side::Caller => "caller",
            Side::Callee => "callee",
            Side::Gateway => "gateway",
        };
        self.traces.about(&self.call, |about| {
            about.outcome = Some(format!("{word}, by the {by}"))
        });
    }

    fn note(&self, flow: Flow, what: String, note: Option<String>) {
        let notes = note.map(clean).into_iter().collect();
        self.traces.note(&self.call, flow, what, notes);
    }
}

fn counted(candidates: &[String]) -> String {
    match candidates.len() {
        1 => "1 candidate".to_owned(),
        n => format!("{n} candidates"),
    }
}

fn described(description: &Description) -> String {
    match description {
        Description::Offer(sdp) => format!("offer: {}", sdp::in_short(&sdp.0)),
        Description::Answer(sdp) => format!("answer: {}", sdp::in_short(&sdp.0)),
    }
}

fn because(reason: &str) -> String {
    format!("reason: {reason}")
}
