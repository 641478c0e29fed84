//! `gateway.toml`: one file for each section, what it may say, and what is wrong with it.

mod admin;
mod ami;
mod ban;
mod check;
mod feature_codes;
mod limits;
mod lines;
mod listen;
mod load;
mod matrix;
pub(crate) mod media;
mod presence;
mod records;
mod register;
mod required_auth;
mod rules;
mod secret;
pub(crate) mod sip;
pub(crate) mod sources;
mod subscribe;
mod targets;
mod tls;
mod trunks;
mod widget;
mod written;

use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mxtrunk_media_io::MediaTimeouts;
use serde::Deserialize;

pub(crate) use check::Problem;
pub(crate) use secret::Secret;
pub(crate) use written::Difference;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) matrix: matrix::Matrix,
    pub(crate) sip: sip::Sip,
    #[serde(default, rename = "trunk")]
    pub(crate) trunks: Vec<sip::Trunk>,
    #[serde(default)]
    pub(crate) media: media::Media,
    #[serde(default)]
    pub(crate) load: load::Load,
    #[serde(default)]
    pub(crate) numbers: lines::Numbers,
    #[serde(default)]
    pub(crate) limits: limits::SiteLimits,
    /// Those that stand in this file.
    #[serde(default, rename = "line", deserialize_with = "lines::shared")]
    own_lines: Arc<Vec<lines::Line>>,
    /// Those, and what `sources` lead to. Shared: there may be thousands, and a configuration is copied.
    #[serde(skip)]
    pub(crate) lines: Arc<Vec<lines::Line>>,
    #[serde(default, rename = "directory")]
    pub(crate) sources: sources::Directory,
    #[serde(default)]
    pub(crate) presence: presence::Presence,
    #[serde(default)]
    pub(crate) ami: ami::Ami,
    #[serde(default)]
    pub(crate) feature_codes: feature_codes::FeatureCodes,
    #[serde(default)]
    pub(crate) calls: Calls,
    #[serde(default)]
    pub(crate) store: StoreFile,
    /// `[control]` held the socket alone, before there was more.
    #[serde(default, alias = "control")]
    pub(crate) admin: admin::Admin,
    #[serde(default)]
    pub(crate) widget: widget::Widget,
    #[serde(default)]
    pub(crate) records: records::Records,
    #[serde(default)]
    pub(crate) log: Log,
    /// All of that as it was written.
    #[serde(skip)]
    pub(crate) written: written::Written,
}

/// `[calls]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Calls {
    answer_seconds: u64,
    connect_ms: u64,
    lost_seconds: u64,
    media_initial_seconds: u64,
    media_steady_seconds: u64,
    media_held_seconds: u64,
    drain_seconds: u64,
}

impl Default for Calls {
    fn default() -> Self {
        Calls {
            answer_seconds: 120,
            connect_ms: 1000,
            lost_seconds: 30,
            media_initial_seconds: 30,
            media_steady_seconds: 60,
            media_held_seconds: 3600,
            drain_seconds: 60,
        }
    }
}

impl Calls {
    fn problems(&self) -> Vec<Problem> {
        let within = |key: &str, value: u64, range: RangeInclusive<u64>, why: &str| {
            let (first, last) = (range.start(), range.end());
            (!range.contains(&value)).then(|| {
                Problem::new(
                    format!("calls.{key}"),
                    format!("{value} is not between {first} and {last}"),
                    why,
                )
            })
        };
        // Some PBXes report (RTCP) every 5 s, and send nothing else while nobody speaks.
        let patience = |key: &str, value: u64| match value {
            0 => None,
            _ => within(key, value, 15..=86_400, "0 waits for ever"),
        };
        [
            within(
                "answer_seconds",
                self.answer_seconds,
                5..=600,
                "120 is the default",
            ),
            within(
                "connect_ms",
                self.connect_ms,
                0..=1000,
                "a caller who hears nothing for longer hangs up",
            ),
            within(
                "lost_seconds",
                self.lost_seconds,
                1..=300,
                "30 is the default: Element itself gives up then",
            ),
            within(
                "drain_seconds",
                self.drain_seconds,
                0..=86_400,
                "0 ends calls at once",
            ),
            patience("media_initial_seconds", self.media_initial_seconds),
            patience("media_steady_seconds", self.media_steady_seconds),
            patience("media_held_seconds", self.media_held_seconds),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(crate) fn timings(&self) -> mxtrunk_call::Timings {
        mxtrunk_call::Timings {
            answer: Duration::from_secs(self.answer_seconds),
            connect: Duration::from_millis(self.connect_ms),
            lost: Duration::from_secs(self.lost_seconds),
            ..mxtrunk_call::Timings::default()
        }
    }

    /// How long calls may go on once the gateway is told to stop.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    pub(crate) fn media_timeouts(&self) -> MediaTimeouts {
        let patience = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        MediaTimeouts {
            initial: patience(self.media_initial_seconds),
            steady: patience(self.media_steady_seconds),
            held: patience(self.media_held_seconds),
        }
    }
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreFile {
    pub(crate) path: PathBuf,
    pub(crate) instance: String,
}

impl Default for StoreFile {
    fn default() -> Self {
        StoreFile {
            path: PathBuf::from("mxtrunk.db"),
            instance: "mxtrunk".into(),
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    pub(crate) level: Level,
    pub(crate) format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: Level::Info,
            format: Format::Text,
        }
    }
}

/// What a line of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Text,
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        })
    }
}

/// What is wrong with a DSCP; often somebody wrote the whole octet, which is four times it.
fn dscp_problem(key: &str, dscp: u8, default: &str) -> Option<Problem> {
    let mend = match dscp % 4 {
        0 => format!(
            "use 0 to 63; {dscp} as an octet is {} here; {default}",
            dscp / 4
        ),
        _ => format!("use 0 to 63; {default}"),
    };
    (dscp > 63).then(|| Problem::new(key, format!("{dscp} is no DSCP"), mend))
}

impl Config {
    /// Reads and checks a file. Where it leads to lines elsewhere, these are still to come ([`Config::with_lines`]), and
    /// none is checked.
    ///
    /// # Errors
    /// With every problem found, each saying where it is and how to mend it.
    pub(crate) fn load(path: &Path) -> Result<Config, Vec<Problem>> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            vec![Problem::new(
                path.display().to_string(),
                format!("cannot be read: {error}"),
                "name the file with --config, and see that this user may read it",
            )]
        })?;
        Config::parse(&text)
    }

    /// As [`Config::load`], from text.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub(crate) fn parse(text: &str) -> Result<Config, Vec<Problem>> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| vec![Problem::of_syntax(text, &error)])?;
        // It has just been parsed: what is wrong is said by then.
        config.written = toml::from_str(text)
            .map(|table| written::Written::of(&table))
            .unwrap_or_default();
        for trunk in &mut config.trunks {
            trunk.find_lines(text);
        }
        let mut problems = config.problems();
        // What is wrong with lines, too, where all of them stand here.
        if !config.sources.has_any() {
            match config.with_lines(&[], &[]) {
                Ok(whole) => config = whole,
                Err(more) => problems.extend(more),
            }
        }
        match problems.is_empty() {
            true => Ok(config),
            false => Err(problems),
        }
    }

    /// The same with what of another one holds at once (and `written::Written::holds_at_once` says so): its lines and
    /// sources, its trunks, its way to write numbers, limits, how much is logged, and our certificate.
    ///
    /// # Errors
    /// With every problem found.
    pub(crate) fn taking_over(&self, other: &Config) -> Result<Config, Vec<Problem>> {
        let mut config = self.clone();
        config.own_lines.clone_from(&other.own_lines);
        config.lines.clone_from(&other.lines);
        config.sources.clone_from(&other.sources);
        config.numbers.clone_from(&other.numbers);
        config.limits.clone_from(&other.limits);
        config.log.level = other.log.level;
        config.media.max_calls = other.media.max_calls;
        config.sip.take_over(&other.sip);
        config.trunks.clone_from(&other.trunks);
        config.written.take_over(&other.written);
        let mut problems = config.line_problems();
        problems.extend(config.unheard_trunks());
        problems.extend(config.guesses_of_trunks());
        match problems.is_empty() {
            true => Ok(config),
            false => Err(problems),
        }
    }

    /// The lines, and how numbers are written.
    ///
    /// # Errors
    /// With every problem found.
    pub(crate) fn directory(&self) -> Result<mxtrunk_signaling::Directory, Vec<Problem>> {
        lines::directory(self)
    }

    /// Whose telephony rooms are looked after.
    pub(crate) fn residents(&self) -> Vec<mxtrunk_matrix::Resident> {
        lines::residents(self)
    }

    /// Where the gateway's own commands reach the one that runs.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        let beside = || self.store.path.with_extension("sock");
        self.admin.socket.clone().unwrap_or_else(beside)
    }

    /// What it sets up, in one line.
    pub(crate) fn summary(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        format!(
            "{} over {}{}",
            count(self.lines.len(), "line"),
            count(self.trunks.len(), "trunk"),
            match self.lines.iter().filter(|line| line.registers()).count() {
                0 => String::new(),
                n => format!("; {} registered at the PBX", count(n, "line")),
            },
        )
    }
}
