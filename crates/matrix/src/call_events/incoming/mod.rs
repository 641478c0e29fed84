//! Call events of clients: tolerant in form, strict in size.

#[cfg(test)]
mod tests;

use std::time::Duration;

use mxtrunk_call::Sdp;
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value};

use crate::call_events::{CallEventKind, Version};

/// The largest description taken in, in bytes. An audio offer of a browser has about 2,000.
pub const MAX_SDP_BYTES: usize = 64 * 1024;

/// The most candidates taken in from one event, and the longest one in bytes.
const MAX_CANDIDATES: usize = 64;
const MAX_CANDIDATE_BYTES: usize = 1024;

/// The longest `call_id`, `party_id` or `reason` taken in, in bytes.
const MAX_ID_BYTES: usize = 255;

/// What an invite without a lifetime is given (the value of every known client).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// The longest lifetime believed: a telephone is not rung for longer.
const MAX_LIFETIME: Duration = Duration::from_secs(300);

/// A call event that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEventIn {
    /// The user calls.
    Invite(Invite),
    /// More ways to reach the user's device.
    Candidates {
        /// The call.
        call_id: String,
        /// The device; `None` in version 0.
        party_id: Option<String>,
        /// `candidate:` lines; an empty one means "no more".
        candidates: Vec<String>,
    },
    /// The user picked up.
    Answer {
        /// The call.
        call_id: String,
        /// The device; `None` in version 0.
        party_id: Option<String>,
        /// The answer to our offer.
        sdp: Sdp,
    },
    /// The user's device names the one that it talks to.
    SelectAnswer {
        /// The call.
        call_id: String,
        /// The device.
        party_id: Option<String>,
        /// The party whose answer it took.
        selected_party_id: String,
    },
    /// The user declined on some device.
    Reject {
        /// The call.
        call_id: String,
        /// The device; `None` in version 0.
        party_id: Option<String>,
        /// Why, in the protocol's words.
        reason: Option<String>,
    },
    /// The user hung up, or gave up calling.
    Hangup {
        /// The call.
        call_id: String,
        /// The device; `None` in version 0.
        party_id: Option<String>,
        /// Why, in the protocol's words.
        reason: Option<String>,
    },
    /// The user's device offers anew, or answers our new offer.
    Negotiate {
        /// The call.
        call_id: String,
        /// The device; `None` in version 0.
        party_id: Option<String>,
        /// The new description.
        description: Description,
    },
    /// The user hands the call on to somebody else, and leaves it: no hang-up follows.
    Replaces {
        /// The call.
        call_id: String,
        /// The device; `None` in version 0.
        party_id: Option<String>,
        /// Whom the other side is to talk to, and how that comes about.
        replacement: Replacement,
    },
    /// The user switched the microphone off or on.
    Microphone {
        /// The call.
        call_id: String,
        /// The device.
        party_id: Option<String>,
        /// It is off.
        muted: bool,
    },
}

/// What comes in the place of a call (MSC2747).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replacement {
    /// A new call to this user. One of the user's own calls may wait to become it, under this id (a transfer after a
    /// consultation); without one, the user is to be called.
    Create {
        /// Whom.
        target: OwnedUserId,
        /// The new call's id.
        call: String,
    },
    /// The call with this id, which the other side of another call is told to make.
    Await {
        /// The new call's id.
        call: String,
    },
}

/// An `m.call.invite` of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The call.
    pub call_id: String,
    /// The device; `None` in version 0.
    pub party_id: Option<String>,
    /// The version that the caller speaks.
    pub version: Version,
    /// How long the invite stands, from the moment it was sent.
    pub lifetime: Duration,
    /// The offer.
    pub sdp: Sdp,
    /// The one member of the room who is called; `None` means every member.
    pub invitee: Option<OwnedUserId>,
}

/// A description inside `m.call.negotiate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Description {
    /// A new offer.
    Offer(Sdp),
    /// The answer to a new offer.
    Answer(Sdp),
}

/// Why the content of a call event was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The content is no JSON object.
    #[error("the content is no object")]
    NoObject,
    /// A field is missing, or of the wrong type.
    #[error("{0} is missing or of the wrong type")]
    Field(&'static str),
    /// A field is longer than any client makes it.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// An event that nobody sends but we.
    #[error("no client sends such an event")]
    Ours,
    /// A version that we do not speak.
    #[error("the version is neither 0 nor 1")]
    Version,
}

impl CallEventIn {
    /// Reads the content of a call event.
    ///
    /// # Errors
    /// [`ParseError`], when what the event cannot do without is missing, broken or oversized. What it
    /// can do without is taken as absent when it is broken.
    pub fn parse(kind: CallEventKind, content: &Value) -> Result<Self, ParseError> {
        let content = Content(content.as_object().ok_or(ParseError::NoObject)?);
        let call_id = content.id("call_id")?;
        let party_id = content.party_id()?;
        Ok(match kind {
            CallEventKind::Invite => CallEventIn::Invite(Invite {
                call_id,
                party_id,
                version: content.version()?,
                lifetime: content.lifetime(),
                sdp: content.sdp("offer")?,
                invitee: content.invitee()?,
            }),
            CallEventKind::AssertedIdentity => return Err(ParseError::Ours),
            CallEventKind::Candidates => CallEventIn::Candidates {
                call_id,
                party_id,
                candidates: content.candidates()?,
            },
            CallEventKind::Answer => CallEventIn::Answer {
                call_id,
                party_id,
                sdp: content.sdp("answer")?,
            },
            CallEventKind::SelectAnswer => CallEventIn::SelectAnswer {
                call_id,
                party_id,
                selected_party_id: content.id("selected_party_id")?,
            },
            CallEventKind::Reject => CallEventIn::Reject {
                call_id,
                party_id,
                reason: content.reason(),
            },
            CallEventKind::Hangup => CallEventIn::Hangup {
                call_id,
                party_id,
                reason: content.reason(),
            },
            CallEventKind::Negotiate => CallEventIn::Negotiate {
                call_id,
                party_id,
                description: content.description()?,
            },
            CallEventKind::Replaces => CallEventIn::Replaces {
                call_id,
                party_id,
                replacement: content.replacement()?,
            },
            CallEventKind::StreamMetadata => CallEventIn::Microphone {
                call_id,
                party_id,
                muted: content.is_muted()?,
            },
        })
    }

    /// The call that the event is about.
    #[must_use]
    pub fn call_id(&self) -> &str {
        match self {
            CallEventIn::Invite(Invite { call_id, .. })
            | CallEventIn::Candidates { call_id, .. }
            | CallEventIn::Answer { call_id, .. }
            | CallEventIn::SelectAnswer { call_id, .. }
            | CallEventIn::Reject { call_id, .. }
            | CallEventIn::Hangup { call_id, .. }
            | CallEventIn::Negotiate { call_id, .. }
            | CallEventIn::Replaces { call_id, .. }
            | CallEventIn::Microphone { call_id, .. } => call_id,
        }
    }

    /// The device that sent it; `None` in version 0.
    #[must_use]
    pub fn party_id(&self) -> Option<&str> {
        match self {
            CallEventIn::Invite(Invite { party_id, .. })
            | CallEventIn::Candidates { party_id, .. }
            | CallEventIn::Answer { party_id, .. }
            | CallEventIn::SelectAnswer { party_id, .. }
            | CallEventIn::Reject { party_id, .. }
            | CallEventIn::Hangup { party_id, .. }
            | CallEventIn::Negotiate { party_id, .. }
            | CallEventIn::Replaces { party_id, .. }
            | CallEventIn::Microphone { party_id, .. } => party_id.as_deref(),
        }
    }
}

/// The content of an event, field by field.
struct Content<'a>(&'a Map<String, Value>);

impl Content<'_> {
    fn id(&self, field: &'static str) -> Result<String, ParseError> {
        let id = self.0.get(field).and_then(Value::as_str);
        let id = id.ok_or(ParseError::Field(field))?;
        if id.len() > MAX_ID_BYTES {
            return Err(ParseError::TooLong(field));
        }
        Ok(id.to_owned())
    }

    fn party_id(&self) -> Result<Option<String>, ParseError> {
        match self.0.get("party_id") {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.id("party_id").map(Some),
        }
    }

    /// Version 1 is the string "1", version 0 the number 0; clients are known to mix them up.
    fn version(&self) -> Result<Version, ParseError> {
        match self.0.get("version") {
            None | Some(Value::Null) => Ok(Version::V0),
            Some(Value::String(word)) => Version::from_word(word).ok_or(ParseError::Version),
            Some(Value::Number(number)) => match number.as_f64() {
                Some(0.0) => Ok(Version::V0),
                Some(1.0) => Ok(Version::V1),
                _ => Err(ParseError::Version),
            },
            Some(_) => Err(ParseError::Version),
        }
    }

    fn lifetime(&self) -> Duration {
        let millis = self.0.get("lifetime").and_then(Value::as_u64);
        millis
            .map_or(DEFAULT_LIFETIME, Duration::from_millis)
            .min(MAX_LIFETIME)
    }

    fn sdp(&self, field: &'static str) -> Result<Sdp, ParseError> {
        let description = self.0.get(field).and_then(Value::as_object);
        sdp_of(description.ok_or(ParseError::Field(field))?)
    }

    fn description(&self) -> Result<Description, ParseError> {
        let description = self.0.get("description").and_then(Value::as_object);
        let description = description.ok_or(ParseError::Field("description"))?;
        let sdp = sdp_of(description)?;
        match description.get("type").and_then(Value::as_str) {
            Some("offer") => Ok(Description::Offer(sdp)),
            Some("answer") => Ok(Description::Answer(sdp)),
            _ => Err(ParseError::Field("description.type")),
        }
    }

    fn replacement(&self) -> Result<Replacement, ParseError> {
        if self.0.contains_key("await_call") {
            let call = self.id("await_call")?;
            return Ok(Replacement::Await { call });
        }
        let target = self.0.get("target_user").and_then(|user| user.get("id"));
        let target = target.and_then(Value::as_str).unwrap_or_default();
        Ok(Replacement::Create {
            target: UserId::parse(target).map_err(|_| ParseError::Field("target_user"))?,
            call: self.id("create_call")?,
        })
    }

    /// An invitee that is no Mxid must not turn into "everybody": the call would be for somebody else.
    fn invitee(&self) -> Result<Option<OwnedUserId>, ParseError> {
        match self.0.get("invitee") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(user)) => UserId::parse(user.as_str())
                .map(Some)
                .map_err(|_| ParseError::Field("invitee")),
            Some(_) => Err(ParseError::Field("invitee")),
        }
    }

    /// One broken candidate does not spoil the others.
    fn candidates(&self) -> Result<Vec<String>, ParseError> {
        let candidates = self.0.get("candidates").and_then(Value::as_array);
        let candidates = candidates.ok_or(ParseError::Field("candidates"))?;
        Ok(candidates
            .iter()
            .filter_map(|candidate| candidate.get("candidate").and_then(Value::as_str))
            .filter(|line| line.len() <= MAX_CANDIDATE_BYTES)
            .take(MAX_CANDIDATES)
            .map(str::to_owned)
            .collect())
    }

    /// Whether no stream of the user's has sound (MSC3077). A stream that says nothing of it has.
    fn is_muted(&self) -> Result<bool, ParseError> {
        let stable = self.0.get("sdp_stream_metadata");
        let streams = stable.or_else(|| self.0.get("org.matrix.msc3077.sdp_stream_metadata"));
        let streams = streams.and_then(Value::as_object);
        let streams = streams.ok_or(ParseError::Field("sdp_stream_metadata"))?;
        let is_muted = |stream: &Value| stream.get("audio_muted") == Some(&Value::Bool(true));
        Ok(!streams.is_empty() && streams.values().all(is_muted))
    }

    fn reason(&self) -> Option<String> {
        let reason = self.0.get("reason").and_then(Value::as_str)?;
        (reason.len() <= MAX_ID_BYTES).then(|| reason.to_owned())
    }
}

fn sdp_of(description: &Map<String, Value>) -> Result<Sdp, ParseError> {
    let sdp = description.get("sdp").and_then(Value::as_str);
    let sdp = sdp.ok_or(ParseError::Field("sdp"))?;
    if sdp.len() > MAX_SDP_BYTES {
        return Err(ParseError::TooLong("sdp"));
    }
    Ok(Sdp::from(sdp))
}
