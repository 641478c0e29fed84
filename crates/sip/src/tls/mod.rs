//! TLS towards trunks: who we are, how a peer shows who it is, and the
//! handshakes.
//!
//! The stack's own TLS builds its configuration anew from files for each
//! connection, asks no peer for a certificate, and keeps its reading side to
//! itself. So connections are made here, and only their writing side is the
//! stack's ([`seam`]).

mod certificate;
mod handshake;
mod identity;
mod seam;
mod trust;
mod verifier;

pub use identity::TlsIdentity;
pub use trust::{Fingerprint, TlsError, TlsPeer, Trust};

pub(crate) use handshake::{Failed, Secured, Tls};
pub(crate) use seam::connection;
pub(crate) use trust::Judge;

/// Certificates for tests, made on the spot.
#[cfg(test)]
pub(crate) mod tests;
