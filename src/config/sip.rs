//! `[[trunk]]`

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use mxtrunk_signaling::{Class, TrunkRules};
use mxtrunk_sip::{ForwardHeaders, IdentityHeaders, Package};
use serde::Deserialize;
use toml::Spanned;

use super::Problem;
use super::required_auth::RequiredAuth;
use super::rules::{self, WrittenRule};
use super::secret::{self, Secret};
use super::targets::{Location, Target};

pub(crate) use super::listen::{Listen, Sip};

/// How SIP travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
}

/// Whose number a call shows that a line forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ForwardedCaller {
    /// The caller's own.
    #[default]
    Caller,
    /// The line's.
    Line,
}

/// `[[trunk]]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trunk {
    pub(crate) name: String,
    pub(super) target: Option<Location>,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    pub(super) prefixes: Option<Vec<String>>,
    #[serde(default = "default_transport")]
    pub(crate) transport: Transport,
    pub(super) tls_ca: Option<PathBuf>,
    #[serde(default)]
    pub(super) tls_pins: Vec<String>,
    pub(super) tls_name: Option<String>,
    #[serde(default = "yes")]
    pub(super) tls_mutual: bool,
    pub(super) tls_certificate: Option<PathBuf>,
    pub(super) tls_key: Option<PathBuf>,
    #[serde(default)]
    pub(crate) allow: Vec<IpAddr>,
    pub(crate) username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    pub(crate) realm: Option<String>,
    pub(super) require_auth: Option<RequiredAuth>,
    pub(crate) domain: Option<String>,
    #[serde(default = "default_options_seconds")]
    pub(crate) options_seconds: u64,
    #[serde(default = "default_down_after")]
    pub(crate) options_down_after: u32,
    #[serde(default = "default_up_after")]
    pub(crate) options_up_after: u32,
    #[serde(default = "default_trunk_calls")]
    pub(crate) max_calls: usize,
    #[serde(default = "default_new_calls")]
    pub(crate) new_calls_per_second: u32,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    #[serde(default = "default_answer_within")]
    pub(crate) answer_within_seconds: u64,
    #[serde(default = "default_session_seconds")]
    pub(crate) session_seconds: u64,
    #[serde(default)]
    pub(crate) trust_identity: bool,
    #[serde(default)]
    pub(crate) identity: IdentityHeaders,
    #[serde(default)]
    pub(crate) forwarded: ForwardHeaders,
    #[serde(default)]
    pub(crate) forwarded_caller: ForwardedCaller,
    #[serde(default = "default_codecs")]
    pub(crate) codecs: Vec<Codec>,
    #[serde(default)]
    pub(crate) srtp: Srtp,
    #[serde(default)]
    srtp_without_tls: bool,
    #[serde(default)]
    pub(crate) nat: bool,
    #[serde(default)]
    pub(crate) early_media: EarlyMedia,
    #[serde(default)]
    pub(crate) transfer: Transfer,
    pub(super) refer_to: Option<Vec<Class>>,
    #[serde(default)]
    pub(super) subscribe: Vec<Package>,
    #[serde(default)]
    pub(super) watch: Vec<String>,
    #[serde(default)]
    dial: Vec<Spanned<WrittenRule>>,
    #[serde(default)]
    caller: Vec<Spanned<WrittenRule>>,
    /// The lines of the file where those rules stand, once it is known.
    #[serde(skip)]
    rule_lines: RuleLines,
}

/// Where the rules of a trunk stand in the file.
#[derive(Debug, Clone, Default)]
pub(crate) struct RuleLines {
    pub(crate) dial: Vec<usize>,
    pub(crate) caller: Vec<usize>,
}

/// A codec that phones may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Codec {
    Opus,
    G722,
    Pcmu,
    Pcma,
}

/// Whether audio on a trunk is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Srtp {
    #[default]
    Off,
    Offered,
    Required,
}

/// What becomes of sound that a trunk sends before the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EarlyMedia {
    #[default]
    Connect,
    Ignore,
}

/// Who transfers a call that a person hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transfer {
    #[default]
    Refer,
    Bridge,
}

fn yes() -> bool {
    true
}

fn default_transport() -> Transport {
    Transport::Udp
}

fn default_options_seconds() -> u64 {
    30
}

fn default_down_after() -> u32 {
    2
}

fn default_up_after() -> u32 {
    1
}

fn default_trunk_calls() -> usize {
    200
}

fn default_new_calls() -> u32 {
    100
}

fn default_answer_within() -> u64 {
    8
}

fn default_session_seconds() -> u64 {
    1800
}

fn default_codecs() -> Vec<Codec> {
    vec![Codec::Pcmu, Codec::Pcma]
}

impl std::fmt::Debug for Trunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trunk")
            .field("name", &self.name)
            .field("targets", &self.targets())
            .finish_non_exhaustive()
    }
}

impl Trunk {
    /// The password that goes with `username`.
    pub(crate) fn password(&self) -> Result<Option<Secret>, Problem> {
        secret::read(
            &format!("trunk {:?}: password", self.name),
            self.password.as_deref(),
            self.password_file.as_ref(),
        )
    }

    /// Notes where in the file the rules stand.
    pub(super) fn find_lines(&mut self, text: &str) {
        let lines = |rules: &[Spanned<WrittenRule>]| {
            let starts = rules.iter().map(|rule| rule.span().start);
            starts.map(|at| super::check::line_of(text, at)).collect()
        };
        self.rule_lines = RuleLines {
            dial: lines(&self.dial),
            caller: lines(&self.caller),
        };
    }

    /// Where in the file its rules stand.
    pub(crate) fn rule_lines(&self) -> &RuleLines {
        &self.rule_lines
    }

    /// How it writes numbers.
    pub(crate) fn rules(&self) -> Result<TrunkRules, Vec<Problem>> {
        let place = format!("trunk {:?}", self.name);
        let dial = rules::build(&place, "dial", &self.dial, &self.rule_lines.dial);
        let caller = rules::build(&place, "caller", &self.caller, &self.rule_lines.caller);
        match (dial, caller) {
            (Ok(dial), Ok(caller)) => Ok(TrunkRules { dial, caller }),
            (dial, caller) => Err([dial.err(), caller.err()]
                .into_iter()
                .flatten()
                .flatten()
                .collect()),
        }
    }

    /// Where its calls and, behind NAT, its audio may come from.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = self.allow.clone();
        let (targets, _) = self.targets();
        for target in targets {
            let ip = target.address.ip();
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        addresses
    }

    pub(super) fn problems(&self, listen: &[Listen]) -> Vec<Problem> {
        let place = format!("trunk {:?}", self.name);
        let mut problems = Vec::new();
        match (self.password(), &self.username) {
            (Err(problem), _) => problems.push(problem),
            (Ok(Some(_)), None) => {
                problems.push(Problem::new(
                    &place,
                    "has a password and no username",
                    "set username as well",
                ));
            }
            (Ok(None), Some(_)) => {
                problems.push(Problem::new(
                    &place,
                    "has a username and no password",
                    "set password or password_file",
                ));
            }
            (Ok(_), _) => {}
        }
        problems.extend(self.rules().err().into_iter().flatten());
        problems.extend(self.headers().err());
        problems.extend(self.required_auth().err());
        if self.new_calls_per_second == 0 {
            problems.push(Problem::new(
                &place,
                "has new_calls_per_second = 0: no call could be placed",
                "100 is the default",
            ));
        }
        if self.max_calls == 0 {
            problems.push(Problem::new(
                &place,
                "has max_calls = 0: no call could be placed",
                "200 is the default",
            ));
        }
        problems.extend(self.target_problems(&place, listen));
        problems.extend(self.tls_problems(&place));
        let is_in_clear = self.srtp != Srtp::Off && self.transport != Transport::Tls;
        if is_in_clear && !self.srtp_without_tls {
            problems.push(Problem::new(
                &place,
                format!(
                    "has srtp, and sends its keys over {:?}, where whoever reads along can hear the calls",
                    self.transport
                ),
                "use transport = \"tls\", or set srtp_without_tls = true where the way to the PBX is protected otherwise",
            ));
        }
        let twice = |(n, codec)| self.codecs[..n].contains(codec);
        if self.codecs.is_empty() || self.codecs.iter().enumerate().any(twice) {
            problems.push(Problem::new(
                &place,
                "has codecs that are none, or one that is named twice",
                "write the ones that the PBX takes, best first, for instance [\"pcmu\", \"pcma\"]",
            ));
        }
        if !(1..=8).contains(&self.answer_within_seconds) {
            problems.push(Problem::new(
                &place,
                "answer_within_seconds is not between 1 and 8",
                "use 8: the person who calls hears within 10 s that the PBX is down",
            ));
        }
        if (1..90).contains(&self.session_seconds) {
            problems.push(Problem::new(
                &place,
                "session_seconds is between 1 and 89, shorter than RFC 4028 allows",
                "use 90 or more, or 0 to ask for no session timer",
            ));
        }
        problems
    }
}
