//! The Matrix side of the gateway.

pub mod call_events;
mod config;
mod namespace;
mod registration;
pub mod voip_v1;

pub use config::{MatrixConfig, Secret};
pub use registration::{APPSERVICE_ID, PROTOCOLS, registration_yaml};

/// Why the application service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server name is none.
    #[error("{0:?} is no server name")]
    ServerName(String),
    /// The prefix of the virtual users or the local part of the service account is none.
    #[error("{0:?} cannot be part of a Matrix user id")]
    Localpart(String),
}
