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

mod address;
mod arrival;
mod attempts;
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
mod forks;
mod identity;
mod inbound;
mod incoming;
mod key;
mod leg;
mod legs;
mod listen;
mod message;
mod names;
mod options;
mod outgoing;
mod refer;
mod refused;
mod registration;
mod reliable;
mod session;
mod snapshot;
mod streams;
mod subscription;
mod tap;
mod target;
mod tls;
mod transact;
mod trunk;
mod undo;
mod user_agent;

pub use config::{
    AccountName, Credentials, DigestAlgorithm, Listener, NamedTarget, RequiredAuth, SipConfig,
    Target, Timers, Transport, TrunkConfig, TrunkName,
};
pub use event::{Caller, Command, EndCause, Event, Happened, LegId, ReasonHeader};
pub use extra_header::{ExtraHeader, HeaderError};
pub use fence::CounterValues;
pub use identity::IdentityHeaders;
pub use key::Key;
pub use refer::Replaces;
pub use refused::{OrphanError, Refused, StartError};
pub use registration::{RegistrationConfig, RegistrationState, Standing};
pub use snapshot::DialogSnapshot;
#[doc(hidden)]
pub use subscription::fuzzing;
pub use subscription::{
    Activity, Known, MessageSummary, Package, SubscriptionConfig, SubscriptionStanding,
    SubscriptionState, VoiceMessages,
};
pub use tap::{Seen, Tap};
pub use tls::{Fingerprint, TlsError, TlsIdentity, TlsPeer, Trust};
pub use user_agent::UserAgent;

/// The `tracing` filter directive that a binary must add to its own: the
/// stack logs every message, numbers and credentials included, at INFO.
pub const LOG_DIRECTIVE: &str = "rsipstack=error";
