//! `[matrix]`

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::Problem;
use super::secret::{self, Secret};

/// `[matrix]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Matrix {
    pub(crate) homeserver: String,
    pub(crate) server_name: String,
    #[serde(default = "default_listen")]
    pub(crate) listen: SocketAddr,
    url: Option<String>,
    as_token: Option<String>,
    as_token_file: Option<PathBuf>,
    hs_token: Option<String>,
    hs_token_file: Option<PathBuf>,
    #[serde(default = "default_sender")]
    pub(crate) sender: String,
    #[serde(default = "default_user_prefix")]
    pub(crate) user_prefix: String,
    #[serde(default = "default_join_seconds")]
    pub(crate) join_seconds: u64,
    #[serde(default = "default_telephony_rooms")]
    pub(crate) telephony_rooms: bool,
    #[serde(default = "default_messages")]
    pub(crate) messages_in_call_rooms: bool,
    #[serde(default = "default_pictures")]
    pub(crate) pictures: bool,
    #[serde(default)]
    pub(crate) language: Language,
    #[serde(default = "default_lookups")]
    pub(crate) lookups_per_second: u32,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9000))
}

fn default_sender() -> String {
    "mxtrunk".into()
}

fn default_user_prefix() -> String {
    "tel_".into()
}

fn default_join_seconds() -> u64 {
    10
}

fn default_lookups() -> u32 {
    20
}

fn default_telephony_rooms() -> bool {
    true
}

fn default_messages() -> bool {
    true
}

fn default_pictures() -> bool {
    true
}

/// What people are written to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(crate) enum Language {
    #[default]
    #[serde(rename = "en")]
    English,
    #[serde(rename = "fr")]
    French,
}

impl From<Language> for mxtrunk_matrix::catalogue::Language {
    fn from(language: Language) -> Self {
        match language {
            Language::English => Self::English,
            Language::French => Self::French,
        }
    }
}

impl std::fmt::Debug for Matrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matrix")
            .field("homeserver", &self.homeserver)
            .finish_non_exhaustive()
    }
}

impl Matrix {
    /// The URL at which the homeserver reaches us.
    pub(crate) fn url(&self) -> String {
        self.url
            .clone()
            .unwrap_or_else(|| format!("http://{}", self.listen))
    }

    /// Our token towards the homeserver.
    pub(crate) fn as_token(&self) -> Result<Secret, Problem> {
        required(
            "matrix.as_token",
            self.as_token.as_deref(),
            self.as_token_file.as_ref(),
        )
    }

    /// The homeserver's token towards us.
    pub(crate) fn hs_token(&self) -> Result<Secret, Problem> {
        required(
            "matrix.hs_token",
            self.hs_token.as_deref(),
            self.hs_token_file.as_ref(),
        )
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = [self.as_token(), self.hs_token()]
            .into_iter()
            .filter_map(Result::err)
            .collect();
        if !(self.homeserver.starts_with("http://") || self.homeserver.starts_with("https://")) {
            problems.push(Problem::new(
                "matrix.homeserver",
                format!("{:?} is no URL", self.homeserver),
                "write it with http:// or https://, for instance http://127.0.0.1:8008",
            ));
        }
        if self.server_name.is_empty() || self.server_name.contains(['/', '@', ' ']) {
            problems.push(Problem::new(
                "matrix.server_name",
                format!("{:?} is no server name", self.server_name),
                "write what stands behind the colon of your users, for instance example.org",
            ));
        }
        for (key, localpart) in [
            ("matrix.sender", &self.sender),
            ("matrix.user_prefix", &self.user_prefix),
        ] {
            let legal =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._=-/+".contains(&b);
            if localpart.is_empty() || !localpart.bytes().all(legal) {
                problems.push(Problem::new(
                    key,
                    format!("{localpart:?} cannot stand in a Matrix id"),
                    "use lower-case letters, digits and . _ = - only",
                ));
            }
        }
        if self.lookups_per_second == 0 {
            problems.push(Problem::new(
                "matrix.lookups_per_second",
                "0 would let nobody dial",
                "use 20, or more where very many people dial at once",
            ));
        }
        if !(1..=20).contains(&self.join_seconds) {
            problems.push(Problem::new(
                "matrix.join_seconds",
                format!("{} is not between 1 and 20", self.join_seconds),
                "use 10: whoever calls hears nothing meanwhile",
            ));
        }
        problems
    }
}

fn required(key: &str, value: Option<&str>, file: Option<&PathBuf>) -> Result<Secret, Problem> {
    secret::read(key, value, file)?.ok_or_else(|| {
        Problem::new(
            key,
            "is missing",
            format!("set {key}, or {key}_file with the path of a file that holds it"),
        )
    })
}
