//! `[admin]`

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use super::{Problem, Secret, secret};

/// A token of fewer characters could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    pub(super) socket: Option<PathBuf>,
    listen: String,
    token: Option<String>,
    token_file: Option<PathBuf>,
    pub(crate) proxies: Vec<IpAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Admin {
            socket: None,
            listen: "127.0.0.1:9010".into(),
            token: None,
            token_file: None,
            proxies: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        }
    }
}

impl Admin {
    /// Where it is reached over the network.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }

    /// What has to be shown there.
    pub(crate) fn token(&self) -> Result<Option<Secret>, Problem> {
        let key = "admin.token";
        let token = secret::read(key, self.token.as_deref(), self.token_file.as_ref())?;
        match token {
            Some(token) if token.reveal().chars().count() < SHORTEST_TOKEN => Err(Problem::new(
                key,
                format!("is shorter than {SHORTEST_TOKEN} characters"),
                "write a long random text (openssl rand -hex 32)",
            )),
            token => Ok(token),
        }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let token = self.token();
        let mut problems = Vec::new();
        match (self.listen.as_str(), self.listen()) {
            ("", None) => {}
            (_, None) => problems.push(Problem::new(
                "admin.listen",
                format!("{:?} is no address and port", self.listen),
                "write one as 127.0.0.1:9010, or \"\" for none",
            )),
            (_, Some(address)) if !address.ip().is_loopback() && matches!(token, Ok(None)) => {
                problems.push(Problem::new(
                    "admin.listen",
                    format!("{address} is reached from elsewhere, and there is no token"),
                    "set admin.token_file, or listen on 127.0.0.1",
                ));
            }
            _ => {}
        }
        problems.extend(token.err());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{SHIPPED, complaints};

    #[test]
    fn an_interface_for_others_needs_a_token_and_a_token_needs_length() {
        let with = |lines: &str| {
            let shipped = SHIPPED.replace("listen = \"127.0.0.1:9010\"", lines);
            assert_ne!(shipped, SHIPPED);
            shipped
        };
        for (lines, place) in [
            ("listen = \"192.0.2.1:9010\"", "admin.listen"),
            ("listen = \"nowhere\"", "admin.listen"),
            ("token = \"short\"", "admin.token"),
            ("token_file = \"/nowhere/token\"", "admin.token_file"),
        ] {
            let told = complaints(&with(lines));
            assert!(told.contains(place), "{lines}: {told}");
        }
        let token = "token = \"0123456789abcdef\"";
        let sound = with(&format!("listen = \"192.0.2.1:9010\"\n{token}"));
        assert!(super::super::Config::parse(&sound).is_ok());
        assert!(super::super::Config::parse(&with("listen = \"\"")).is_ok());
    }
}
