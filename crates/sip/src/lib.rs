//! The SIP side of mxtrunk: a user agent with trunks, whose legs are told
//! what to do with [`Command`]s and say what happened with [`Event`]s. SDP is
//! opaque text here.
//!
//! Transports, parsing and transactions are rsipstack's. The dialogs are
//! ours, because a back-to-back user agent needs what its dialog layer does
//! not give: Reason headers of CANCEL and BYE, re-offers answered by somebody
//! else, session timers, and dialogs that outlive the process. In front of
//! the stack stands a fence (addresses, rates, well-formedness), since the
//! stack answers anybody and bounds nothing.
//!
//! Each leg is one task with a bounded inbox. It never waits for the network:
//! each transaction has a task of its own. Events are sent with backpressure,
//! so a slow reader slows the legs and loses nothing.

mod accounts;
mod address;
mod arrival;
mod attempts;
mod body;
mod calling;
mod challenge;
mod config;
mod core;
mod digest;
mod dscp;
mod established;
mod event;
mod extra_header;
mod fence;
mod forgotten;
mod forks;
mod forwarded;
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod inbound;
mod incoming;
mod key;
mod keys;
mod leg;
mod legs;
mod listen;
mod message;
mod names;
mod options;
mod orphan;
mod outgoing;
mod probe;
mod refer;
mod referral;
mod refused;
mod registration;
mod reliable;
mod session;
mod shown_name;
mod snapshot;
mod streams;
mod subscription;
mod tap;
mod target;
mod tls;
mod transact;
mod trunk;
mod trunks;
mod undo;
mod user_agent;

pub use config::{
    AccountName, Bans, Credentials, DigestAlgorithm, Listener, NamedTarget, RequiredAuth,
    SipConfig, SipLimits, Target, Timers, Transport, TrunkConfig, TrunkLimits, TrunkName,
};
pub use event::{Caller, Command, EndCause, Event, Forwarded, Happened, LegId, ReasonHeader};
pub use extra_header::{ExtraHeader, HeaderError};
pub use fence::CounterValues;
pub use forwarded::ForwardHeaders;
pub use identity::IdentityHeaders;
pub use key::Key;
pub use probe::{Answered, ProbeError, Probed, probe};
pub use refer::Replaces;
pub use referral::Referral;
pub use refused::{OrphanError, Refused, StartError};
pub use registration::{RegistrationConfig, RegistrationState, Standing};
pub use snapshot::DialogSnapshot;
pub use subscription::{
    Activity, Known, MessageSummary, Package, SubscriptionConfig, SubscriptionStanding,
    SubscriptionState, VoiceMessages,
};
pub use tap::{Seen, Tap};
pub use tls::{Fingerprint, TlsError, TlsIdentity, TlsPeer, Trust};
pub use trunk::{TargetState, TrunkState};
pub use trunks::TrunkChange;
pub use user_agent::UserAgent;

/// The `tracing` filter directive that a binary must add to its own: the
/// stack logs every message, numbers and credentials included, at INFO.
pub const LOG_DIRECTIVE: &str = "rsipstack=error";
