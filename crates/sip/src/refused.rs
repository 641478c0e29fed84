//! The errors of the public interface.

use std::net::SocketAddr;

use crate::config::{AccountName, Transport, TrunkName};
use crate::event::LegId;

/// Why a [`crate::UserAgent`] could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be bound.
    #[error("cannot listen on {transport} {bind}: {source}")]
    Bind {
        /// What it should carry.
        transport: Transport,
        /// The address as configured.
        bind: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Bound to all interfaces, with nothing to tell peers.
    #[error("{0} is no address that peers could answer to: set `advertise`")]
    NothingToAdvertise(SocketAddr),
    /// A listener with TLS, and no certificate to show.
    #[error("listening on TLS {0} takes a certificate and its key")]
    NoCertificate(SocketAddr),
    /// The system's configuration of DNS cannot be read.
    #[error("names cannot be looked up: {0}")]
    NoResolver(String),
    /// A trunk has no target, or no listener of its transport and a target's
    /// address family.
    #[error("trunk {0} needs targets, and a listener of its transport and their address family")]
    NoListener(TrunkName),
    /// Two trunks have the same name.
    #[error("trunk {0} is configured twice")]
    DuplicateTrunk(TrunkName),
    /// An account is at a trunk that is not configured.
    #[error("account {account} registers at trunk {trunk}, which is not configured")]
    NoRegistrar {
        /// Its name.
        account: AccountName,
        /// The trunk.
        trunk: TrunkName,
    },
    /// Two accounts would take the same calls.
    #[error("two accounts of trunk {trunk} are called {user}, by user or by contact")]
    DuplicateAccount {
        /// What both are called.
        user: String,
        /// The trunk.
        trunk: TrunkName,
    },
    /// A subscription is at a trunk, or in the name of an account, that is not
    /// configured.
    #[error(
        "nobody can be asked at trunk {trunk} about line {line}: trunk or account are not configured"
    )]
    NoNotifier {
        /// The line.
        line: String,
        /// The trunk.
        trunk: TrunkName,
    },
    /// The stack gave its queue away before; it is a fault of ours.
    #[error("the SIP stack did not start: {0}")]
    Stack(String),
}

/// Why a command was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No such leg, or no longer: its last event is on the way.
    #[error("leg {0} does not exist")]
    NoSuchLeg(LegId),
    /// An outgoing leg of this id exists.
    #[error("leg {0} exists already")]
    LegInUse(LegId),
    /// The leg is too far behind with what it was told.
    #[error("leg {0} is busy")]
    Busy(LegId),
    /// No trunk of this name is configured.
    #[error("trunk {0} is not configured")]
    UnknownTrunk(TrunkName),
    /// No account of this name registers at the trunk.
    #[error("account {account} does not register at trunk {trunk}")]
    UnknownAccount {
        /// The account.
        account: AccountName,
        /// The trunk.
        trunk: TrunkName,
    },
    /// All calls, or all of the trunk, are taken.
    #[error("too many calls")]
    TooManyCalls,
    /// None of the trunk's names has led to an address yet.
    #[error("the trunk has no address to call")]
    NoTarget,
    /// There is nothing to dial.
    #[error("no number to call")]
    NoNumber,
}

/// Why a dialog of an earlier process could not be ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrphanError {
    /// Its trunk is no longer configured.
    #[error("trunk {0} is not configured")]
    UnknownTrunk(TrunkName),
    /// Nobody answered the BYE within 64*T1.
    #[error("the BYE was not answered")]
    NoAnswer,
    /// The BYE could not be sent.
    #[error("the peer cannot be reached")]
    Unreachable,
}
