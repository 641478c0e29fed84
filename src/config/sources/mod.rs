//! `[directory]`: lines that stand elsewhere than in `gateway.toml`, and how all of them become one list.

mod csv;
mod http;
mod merge;
mod row;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::{Config, Problem, lines, secret};
pub(crate) use http::Fetched;
pub(crate) use row::Row;

/// Where a line stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `gateway.toml`.
    #[default]
    Config,
    /// In this line of the CSV file.
    Csv {
        /// From 1, which is the heading.
        line: u64,
    },
    /// The HTTP directory's entry of this number, from 1.
    Http {
        /// From 1.
        entry: usize,
    },
}

impl Place {
    /// What `mxtrunk lines` calls it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Place::Config => "gateway.toml",
            Place::Csv { .. } => "csv",
            Place::Http { .. } => "http",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Config => f.write_str("gateway.toml"),
            Place::Csv { line } => write!(f, "line {line} of the CSV file"),
            Place::Http { entry } => write!(f, "entry {entry} of the HTTP directory"),
        }
    }
}

/// `[directory]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Directory {
    pub(crate) csv: Option<PathBuf>,
    url: Option<String>,
    items: String,
    fields: BTreeMap<String, String>,
    every_seconds: u64,
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    token_header: String,
    token: Option<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
}

impl Default for Directory {
    fn default() -> Self {
        Directory {
            csv: None,
            url: None,
            items: String::new(),
            fields: BTreeMap::new(),
            every_seconds: 300,
            username: None,
            password: None,
            password_file: None,
            token_header: "X-Auth-Token".into(),
            token: None,
            token_file: None,
            ca_file: None,
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("csv", &self.csv)
            .field("url", &self.url)
            .field("items", &self.items)
            .field("fields", &self.fields)
            .field("every_seconds", &self.every_seconds)
            .field("username", &self.username)
            .field("token_header", &self.token_header)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

impl Directory {
    /// Whether there are lines elsewhere.
    pub(crate) fn has_any(&self) -> bool {
        self.csv.is_some() || self.url.is_some()
    }

    /// How often the HTTP directory is asked; `None` where there is none.
    pub(crate) fn every(&self) -> Option<Duration> {
        self.url.as_ref()?;
        Some(Duration::from_secs(self.every_seconds))
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !(10..=86_400).contains(&self.every_seconds) {
            problems.push(Problem::new(
                "directory.every_seconds",
                format!("{} is not between 10 and 86400", self.every_seconds),
                "300 is the default",
            ));
        }
        let Some(url) = &self.url else {
            if !self.fields.is_empty() {
                let mend = "set url in [directory], or take fields out";
                problems.push(Problem::new("directory.fields", "is set without url", mend));
            }
            return problems;
        };
        if !url.starts_with("https://") && !url.starts_with("http://") {
            problems.push(Problem::new(
                "directory.url",
                format!("{url:?} is no web address"),
                "write https://… as the directory's manual has it",
            ));
        }
        for needed in ["user", "extension"] {
            if !self.fields.contains_key(needed) {
                problems.push(Problem::new(
                    "directory.fields",
                    format!("does not say what {needed} is made of"),
                    "gateway.toml in the source shows how XiVO's fields are written",
                ));
            }
        }
        for (key, template) in &self.fields {
            if let Err(why) = row::check_template(template) {
                let mend = "write {name} for a field of an entry, {a.b} for one inside another";
                problems.push(Problem::new(format!("directory.fields.{key}"), why, mend));
            }
        }
        let secrets = [
            secret::read(
                "directory.password",
                self.password.as_deref(),
                self.password_file.as_ref(),
            ),
            secret::read(
                "directory.token",
                self.token.as_deref(),
                self.token_file.as_ref(),
            ),
        ];
        problems.extend(secrets.into_iter().filter_map(Result::err));
        problems
    }
}

/// The lines that the sources have, each as it says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    csv: Vec<lines::Line>,
    http: Vec<lines::Line>,
}

impl Config {
    /// Reads the CSV file.
    ///
    /// # Errors
    /// With every problem found.
    pub(crate) fn read_csv(&self) -> Result<Vec<Row>, Vec<Problem>> {
        match &self.sources.csv {
            Some(path) => csv::read(path),
            None => Ok(Vec::new()),
        }
    }

    /// Asks the HTTP directory. It takes 15 s at most.
    ///
    /// # Errors
    /// Why there is no answer, or none that can be used.
    pub(crate) async fn fetch(&self) -> Result<Fetched, Problem> {
        http::fetch(&self.sources).await
    }

    /// The same with the lines of the other sources beside its own; all of them are checked.
    ///
    /// # Errors
    /// With every problem found.
    pub(crate) fn with_lines(&self, csv: &[Row], http: &[Row]) -> Result<Config, Vec<Problem>> {
        let read = |rows: &[Row], skips: bool| -> Result<Vec<lines::Line>, Vec<Problem>> {
            let (mut lines, mut problems) = (Vec::new(), Vec::new());
            for row in rows {
                match row.line() {
                    Ok(line) => lines.push(line),
                    Err(_) if skips && !row.is_whole() => {}
                    Err(problem) => problems.push(problem),
                }
            }
            if problems.is_empty() {
                Ok(lines)
            } else {
                Err(problems)
            }
        };
        let found = Found {
            csv: read(csv, false)?,
            http: read(http, true)?,
        };
        let mut config = self.clone();
        config.lines = Arc::new(merge::merge(&config.own_lines, found)?);
        let problems = config.line_problems();
        match problems.is_empty() {
            true => Ok(config),
            false => Err(problems),
        }
    }
}
