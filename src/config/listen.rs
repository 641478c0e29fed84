//! `[sip]`: where we listen, who we are, and what holds for all trunks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::Problem;
use super::ban::Ban;
use super::sip::Transport;

/// `[sip]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sip {
    pub(crate) listen: Vec<Listen>,
    pub(crate) advertise: Option<SocketAddr>,
    #[serde(default = "default_user_agent")]
    pub(crate) user_agent: String,
    #[serde(default = "default_max_calls")]
    pub(crate) max_calls: usize,
    #[serde(default = "default_messages")]
    pub(crate) messages_per_second: u32,
    #[serde(default)]
    pub(crate) ban: Ban,
    #[serde(default = "default_dscp")]
    pub(crate) dscp: u8,
    #[serde(default)]
    pub(crate) nameservers: Vec<SocketAddr>,
    pub(super) tls_certificate: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
}

/// One `udp:…`, `tcp:…` or `tls:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
}

fn default_user_agent() -> String {
    "mxtrunk".into()
}

fn default_max_calls() -> usize {
    500
}

fn default_messages() -> u32 {
    1_000
}

fn default_dscp() -> u8 {
    24
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no listener: write udp:ADDRESS:PORT, tcp:… or tls:…");
        let (transport, address) = text.split_once(':').ok_or_else(wrong)?;
        let transport = match transport {
            "udp" => Transport::Udp,
            "tcp" => Transport::Tcp,
            "tls" => Transport::Tls,
            _ => return Err(wrong()),
        };
        let address = address.parse().map_err(|_| wrong())?;
        Ok(Listen { transport, address })
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Sip {
    /// Says what another one says, where that holds at once.
    pub(super) fn take_over(&mut self, other: &Sip) {
        self.max_calls = other.max_calls;
        self.messages_per_second = other.messages_per_second;
        self.ban = other.ban;
        self.tls_certificate.clone_from(&other.tls_certificate);
        self.tls_key.clone_from(&other.tls_key);
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        if self.max_calls == 0 {
            return vec![Problem::new(
                "sip.max_calls",
                "is 0: no call could be placed",
                "500 is the default",
            )];
        }
        if !(10..=1_000_000).contains(&self.messages_per_second) {
            return vec![Problem::new(
                "sip.messages_per_second",
                format!("{} is not between 10 and 1000000", self.messages_per_second),
                "1000 is the default; a call takes about ten messages",
            )];
        }
        if let Some(problem) = self.ban.problem() {
            return vec![problem];
        }
        if let Some(problem) = super::dscp_problem("sip.dscp", self.dscp, "24 (CS3) is the default")
        {
            return vec![problem];
        }
        for listen in &self.listen {
            let told = self.advertise.unwrap_or(listen.address);
            if told.is_ipv4() != listen.address.is_ipv4() {
                return vec![Problem::new(
                    "sip.advertise",
                    format!("{told} is not of the family of {}", listen.address),
                    "listen on and advertise IPv4 with IPv4, or IPv6 with IPv6",
                )];
            }
        }
        let has_tls = self.listen.iter().any(|l| l.transport == Transport::Tls);
        match self.tls_identity() {
            Err(problem) => return vec![problem],
            Ok(None) if has_tls => {
                return vec![Problem::new(
                    "sip.listen",
                    "has tls:…, and there is no certificate to show",
                    "set sip.tls_certificate and sip.tls_key, the PEM files of the certificate and its key",
                )];
            }
            Ok(_) => {}
        }
        if self.listen.is_empty() {
            return vec![Problem::new(
                "sip.listen",
                "is empty",
                "name at least one, for instance \"udp:127.0.0.1:5070\"",
            )];
        }
        Vec::new()
    }
}
