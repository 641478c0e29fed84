//! What the application service needs to know to be started.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A token. It never shows in a log: `Debug` prints three dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a token in.
    pub fn new(token: impl Into<String>) -> Self {
        Secret(token.into())
    }

    /// The token itself, for the one place that has to send, compare or write it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The settings of the application service.
#[derive(Debug, Clone)]
pub struct MatrixConfig {
    /// Base URL of the homeserver's client API, without a path: `http://127.0.0.1:8008`.
    pub homeserver: String,
    /// The server part of local Mxids.
    pub server_name: String,
    /// The token that we show to the homeserver.
    pub as_token: Secret,
    /// The token that the homeserver shows to us.
    pub hs_token: Secret,
    /// Where the homeserver reaches us.
    pub listen: SocketAddr,
    /// Local part of the service account.
    pub sender_localpart: String,
    /// What the local part of every virtual user starts with.
    pub user_prefix: String,
    /// Whether people with a line get a telephony space with their call history.
    pub telephony_rooms: bool,
    /// Whether people may write in their call rooms, which reaches nobody.
    pub messages_in_call_rooms: bool,
    /// Whether virtual users and those rooms have the picture of a telephone.
    pub pictures: bool,
    /// Where the widget in each history room leads: the page's address, ending in `/`; `None`: there is none.
    pub widget: Option<String>,
    /// How many look-ups of numbers are answered a second, five seconds' worth of them at once.
    pub lookups_per_second: u32,
    /// How long one request to the homeserver may take; one that is not repeated, half as long again.
    pub request_timeout: Duration,
}

impl MatrixConfig {
    /// Settings with everything at its default that has one.
    #[must_use]
    pub fn new(
        homeserver: impl Into<String>,
        server_name: impl Into<String>,
        as_token: Secret,
        hs_token: Secret,
        listen: SocketAddr,
    ) -> Self {
        MatrixConfig {
            homeserver: homeserver.into(),
            server_name: server_name.into(),
            as_token,
            hs_token,
            listen,
            sender_localpart: "mxtrunk".to_owned(),
            user_prefix: "tel_".to_owned(),
            telephony_rooms: true,
            messages_in_call_rooms: true,
            pictures: true,
            widget: None,
            lookups_per_second: 20,
            request_timeout: Duration::from_secs(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_show_in_a_log() {
        let config = MatrixConfig::new(
            "http://127.0.0.1:8008",
            "localtest",
            Secret::new("as-token-1"),
            Secret::new("hs-token-2"),
            ([127, 0, 0, 1], 9000).into(),
        );
        let printed = format!("{config:?}");
        assert!(
            !printed.contains("token-1") && !printed.contains("token-2"),
            "{printed}"
        );
    }
}
