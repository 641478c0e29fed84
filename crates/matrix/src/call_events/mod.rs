//! The call events of VoIP v1 and v0, as they stand in a room.
//!
//! ruma's own types for them refuse what clients really send (a numeric version 1, a missing version)
//! and know no upper bound, so both directions are read and written here.

mod incoming;
mod outgoing;

use std::fmt;

pub use incoming::{CallEventIn, Description, Invite, MAX_SDP_BYTES, ParseError, Replacement};
pub use outgoing::{CallEventOut, CallRef};

/// The version of the call protocol that a call's events speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Before MSC2746: no party ids, no selection among several devices, no reject.
    V0,
    /// VoIP v1 (MSC2746).
    V1,
}

impl Version {
    /// The word for it in a database: "0" or "1".
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Version::V0 => "0",
            Version::V1 => "1",
        }
    }

    /// The version with this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "0" => Some(Version::V0),
            "1" => Some(Version::V1),
            _ => None,
        }
    }
}

/// What a call event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallEventKind {
    /// `m.call.invite`.
    Invite,
    /// `m.call.candidates`.
    Candidates,
    /// `m.call.answer`.
    Answer,
    /// `m.call.select_answer`.
    SelectAnswer,
    /// `m.call.reject`.
    Reject,
    /// `m.call.hangup`.
    Hangup,
    /// `m.call.negotiate`.
    Negotiate,
    /// `m.call.replaces`.
    Replaces,
    /// `m.call.sdp_stream_metadata_changed` (MSC3077).
    StreamMetadata,
    /// `m.call.asserted_identity`; only ever ours.
    AssertedIdentity,
}

impl CallEventKind {
    /// The kind with this event type; `None` for everything that is no call event of ours.
    #[must_use]
    pub fn from_event_type(event_type: &str) -> Option<Self> {
        match event_type {
            "m.call.invite" => Some(CallEventKind::Invite),
            "m.call.candidates" => Some(CallEventKind::Candidates),
            "m.call.answer" => Some(CallEventKind::Answer),
            "m.call.select_answer" => Some(CallEventKind::SelectAnswer),
            "m.call.reject" => Some(CallEventKind::Reject),
            "m.call.hangup" => Some(CallEventKind::Hangup),
            "m.call.negotiate" => Some(CallEventKind::Negotiate),
            "m.call.replaces" => Some(CallEventKind::Replaces),
            // The prefixed one is of clients from before it was in the specification.
            "m.call.sdp_stream_metadata_changed"
            | "org.matrix.call.sdp_stream_metadata_changed" => Some(CallEventKind::StreamMetadata),
            _ => None,
        }
    }

    /// Its event type.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            CallEventKind::Invite => "m.call.invite",
            CallEventKind::Candidates => "m.call.candidates",
            CallEventKind::Answer => "m.call.answer",
            CallEventKind::SelectAnswer => "m.call.select_answer",
            CallEventKind::Reject => "m.call.reject",
            CallEventKind::Hangup => "m.call.hangup",
            CallEventKind::Negotiate => "m.call.negotiate",
            CallEventKind::Replaces => "m.call.replaces",
            CallEventKind::StreamMetadata => "m.call.sdp_stream_metadata_changed",
            CallEventKind::AssertedIdentity => "m.call.asserted_identity",
        }
    }
}

impl fmt::Display for CallEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.event_type())
    }
}
