//! Call events of ours.

use std::time::Duration;

use mxtrunk_call::Sdp;
use ruma::OwnedUserId;
use serde_json::{Value, json};

use super::{CallEventKind, Description, Version};

/// What all events of ours about one call have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CallRef {
    /// The call.
    pub call_id: String,
    /// Our party id. After the answer an event with another one is dropped by clients.
    pub party_id: String,
    /// The version that both sides speak.
    pub version: Version,
}

/// A call event to be sent as a virtual user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEventOut {
    /// We call the user.
    Invite {
        /// The call.
        call: CallRef,
        /// How long it stands.
        lifetime: Duration,
        /// Our offer. Element ends the call when it has no `a=msid:<stream> <track>`.
        sdp: Sdp,
    },
    /// More ways to reach us.
    Candidates {
        /// The call.
        call: CallRef,
        /// `candidate:` lines of the first m-line; an empty one means "no more".
        candidates: Vec<String>,
    },
    /// The number that the user called picked up.
    Answer {
        /// The call.
        call: CallRef,
        /// Our answer.
        sdp: Sdp,
    },
    /// Tells the user's devices which of them we talk to; the others stop ringing.
    SelectAnswer {
        /// The call.
        call: CallRef,
        /// The device whose answer came first.
        selected_party_id: String,
    },
    /// The number that the user called cannot be had. Version 1 only.
    Reject {
        /// The call.
        call: CallRef,
        /// Why; Element shows none as "Call declined".
        reason: Option<&'static str>,
    },
    /// The call is over, or our invite is taken back.
    Hangup {
        /// The call.
        call: CallRef,
        /// Why.
        reason: &'static str,
    },
    /// Somebody else is at the other end now (MSC3086).
    AssertedIdentity {
        /// The call.
        call: CallRef,
        /// The virtual user of their number. Element takes nothing but a Matrix id.
        id: OwnedUserId,
        /// How they are called.
        display_name: String,
    },
    /// Our new description.
    Negotiate {
        /// The call.
        call: CallRef,
        /// The description.
        description: Description,
        /// How long an offer stands.
        lifetime: Duration,
    },
}

impl CallEventOut {
    /// What it is.
    #[must_use]
    pub fn kind(&self) -> CallEventKind {
        match self {
            CallEventOut::Invite { .. } => CallEventKind::Invite,
            CallEventOut::Candidates { .. } => CallEventKind::Candidates,
            CallEventOut::Answer { .. } => CallEventKind::Answer,
            CallEventOut::SelectAnswer { .. } => CallEventKind::SelectAnswer,
            CallEventOut::Reject { .. } => CallEventKind::Reject,
            CallEventOut::Hangup { .. } => CallEventKind::Hangup,
            CallEventOut::AssertedIdentity { .. } => CallEventKind::AssertedIdentity,
            CallEventOut::Negotiate { .. } => CallEventKind::Negotiate,
        }
    }

    /// The call that it is about.
    #[must_use]
    pub fn call(&self) -> &CallRef {
        match self {
            CallEventOut::Invite { call, .. }
            | CallEventOut::Candidates { call, .. }
            | CallEventOut::Answer { call, .. }
            | CallEventOut::SelectAnswer { call, .. }
            | CallEventOut::Reject { call, .. }
            | CallEventOut::Hangup { call, .. }
            | CallEventOut::AssertedIdentity { call, .. }
            | CallEventOut::Negotiate { call, .. } => call,
        }
    }

    /// Its content, as it goes into the room.
    ///
    /// No `sdp_stream_metadata`: without it Element takes the streams of the SDP as they are and hides
    /// its camera and screen-share buttons, which is what a telephone call wants.
    #[must_use]
    pub fn content(&self) -> Value {
        let mut content = match self {
            CallEventOut::Invite { lifetime, sdp, .. } => json!({
                "lifetime": millis(*lifetime),
                "offer": { "type": "offer", "sdp": sdp.0 },
                "capabilities": capabilities(),
            }),
            CallEventOut::Candidates { candidates, .. } => {
                json!({ "candidates": candidates.iter().map(|line| candidate(line)).collect::<Vec<_>>() })
            }
            CallEventOut::Answer { sdp, .. } => json!({
                "answer": { "type": "answer", "sdp": sdp.0 },
                "capabilities": capabilities(),
            }),
            CallEventOut::SelectAnswer {
                selected_party_id, ..
            } => json!({ "selected_party_id": selected_party_id }),
            CallEventOut::Reject {
                reason: Some(reason),
                ..
            } => json!({ "reason": reason }),
            CallEventOut::Reject { reason: None, .. } => json!({}),
            CallEventOut::Hangup { reason, .. } => json!({ "reason": reason }),
            CallEventOut::AssertedIdentity {
                id, display_name, ..
            } => json!({ "asserted_identity": { "id": id, "display_name": display_name } }),
            CallEventOut::Negotiate {
                description,
                lifetime,
                ..
            } => {
                let (kind, sdp) = match description {
                    Description::Offer(sdp) => ("offer", sdp),
                    Description::Answer(sdp) => ("answer", sdp),
                };
                json!({
                    "description": { "type": kind, "sdp": sdp.0 },
                    "lifetime": millis(*lifetime),
                })
            }
        };
        let call = self.call();
        content["call_id"] = json!(call.call_id);
        match call.version {
            // Version 0 knows no parties, and its version is a number.
            Version::V0 => content["version"] = json!(0),
            Version::V1 => {
                content["version"] = json!("1");
                content["party_id"] = json!(call.party_id);
            }
        }
        content
    }
}

/// Without `m.call.dtmf` Element shows no dial pad during the call, without `m.call.transferee` no way to hand it on.
fn capabilities() -> Value {
    json!({ "m.call.dtmf": true, "m.call.transferee": true })
}

fn candidate(line: &str) -> Value {
    if line.is_empty() {
        return json!({ "candidate": "" });
    }
    json!({ "candidate": line, "sdpMLineIndex": 0, "sdpMid": "0" })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(version: Version) -> CallRef {
        CallRef {
            call_id: "c".to_owned(),
            party_id: "GW".to_owned(),
            version,
        }
    }

    #[test]
    fn an_invite_holds_what_element_asks_for() {
        let event = CallEventOut::Invite {
            call: call(Version::V1),
            lifetime: Duration::from_secs(60),
            sdp: "v=0".into(),
        };
        assert_eq!(
            event.content(),
            json!({
                "call_id": "c", "party_id": "GW", "version": "1", "lifetime": 60000,
                "offer": { "type": "offer", "sdp": "v=0" },
                "capabilities": { "m.call.dtmf": true, "m.call.transferee": true },
            })
        );
    }

    #[test]
    fn a_decline_has_no_reason_field() {
        let event = CallEventOut::Reject {
            call: call(Version::V1),
            reason: None,
        };
        assert_eq!(
            event.content(),
            json!({ "call_id": "c", "party_id": "GW", "version": "1" })
        );
    }

    #[test]
    fn version_0_is_a_number_and_knows_no_parties() {
        let event = CallEventOut::Hangup {
            call: call(Version::V0),
            reason: "user_hangup",
        };
        assert_eq!(
            event.content(),
            json!({ "call_id": "c", "version": 0, "reason": "user_hangup" })
        );
    }

    #[test]
    fn what_we_send_is_what_we_would_understand() {
        let events = [
            CallEventOut::Invite {
                call: call(Version::V1),
                lifetime: Duration::from_secs(60),
                sdp: "v=0".into(),
            },
            CallEventOut::Candidates {
                call: call(Version::V1),
                candidates: vec!["candidate:1".to_owned(), String::new()],
            },
            CallEventOut::Answer {
                call: call(Version::V1),
                sdp: "v=0".into(),
            },
            CallEventOut::SelectAnswer {
                call: call(Version::V1),
                selected_party_id: "P".to_owned(),
            },
            CallEventOut::Reject {
                call: call(Version::V1),
                reason: Some("user_busy"),
            },
            CallEventOut::Hangup {
                call: call(Version::V1),
                reason: "user_hangup",
            },
            CallEventOut::Negotiate {
                call: call(Version::V1),
                description: Description::Answer("v=0".into()),
                lifetime: Duration::from_secs(60),
            },
        ];
        for event in events {
            let kind = CallEventKind::from_event_type(event.kind().event_type()).unwrap();
            let read = super::super::CallEventIn::parse(kind, &event.content()).unwrap();
            assert_eq!(read.call_id(), "c");
            assert_eq!(read.party_id(), Some("GW"));
        }
    }
}
