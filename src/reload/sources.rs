//! Where lines stand beside gateway.toml: what was read last of each source, and the whole that they make.

use std::path::PathBuf;
use std::sync::Arc;

use mxtrunk_signaling::Change;
use tracing::{debug, warn};

use super::refused::{Refused, most_stay};
use crate::config::sources::{Fetched, Row};
use crate::config::{Config, Problem};

/// What was read last of each source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    pub(super) csv: Arc<Vec<Row>>,
    pub(super) http: Arc<Vec<Row>>,
    pub(super) has_answered: bool,
}

impl Sources {
    /// Whether every source has said what it has.
    pub(crate) fn are_whole(&self, config: &Config) -> bool {
        self.has_answered || config.sources.every().is_none()
    }
}

/// The whole configuration, for a command that is over soon.
///
/// # Errors
/// With every problem found; an HTTP directory that does not answer is one.
pub(crate) fn gather(config: &Config) -> Result<Config, Vec<Problem>> {
    let csv = config.read_csv()?;
    let http = match config.sources.every() {
        None => Vec::new(),
        Some(_) => fetch_now(config).map_err(|problem| vec![problem])?,
    };
    config.with_lines(&csv, &http)
}

fn fetch_now(config: &Config) -> Result<Vec<Row>, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        Problem::new(
            "directory.url",
            format!("cannot be asked: {error}"),
            "try again",
        )
    })?;
    Ok(runtime.block_on(config.fetch())?.rows)
}

/// The whole configuration, for a gateway that starts. An HTTP directory that does not answer, or with something that cannot
/// be used, keeps nobody from calling: what it said last is in a file beside the database.
///
/// # Errors
/// With every problem found in the other lines; in those of the directory, where nothing is kept that would do instead.
pub(crate) async fn gather_at_start(config: &Config) -> Result<(Config, Sources), Vec<Problem>> {
    let csv = config.read_csv()?;
    let (whole, http, has_answered) = match config.sources.every() {
        None => (config.with_lines(&csv, &[])?, Vec::new(), false),
        Some(_) => with_directory(config, &csv, config.fetch().await)?,
    };
    let sources = Sources {
        csv: csv.into(),
        http: http.into(),
        has_answered,
    };
    Ok((whole, sources))
}

/// The whole configuration, what the HTTP directory says of it, and whether it has ever said anything.
type Gathered = (Config, Vec<Row>, bool);

fn with_directory(
    config: &Config,
    csv: &[Row],
    answer: Result<Fetched, Problem>,
) -> Result<Gathered, Vec<Problem>> {
    let kept = kept(config);
    let fetched = match answer {
        Ok(fetched) => fetched,
        Err(problem) => {
            let has_answered = kept.is_some();
            let rows = kept.unwrap_or_default();
            warn!(
                lines = rows.len(),
                "the HTTP directory cannot be read, and what it said last holds: {problem}"
            );
            return Ok((config.with_lines(csv, &rows)?, rows, has_answered));
        }
    };
    debug!(
        entries = fetched.rows.len(),
        skipped = fetched.skipped,
        "the HTTP directory answered"
    );
    let fresh = config.with_lines(csv, &fetched.rows);
    // Where that will not do either, what is wrong stands in gateway.toml or in the CSV file.
    let last = kept.and_then(|rows| Some((config.with_lines(csv, &rows).ok()?, rows)));
    let whole = match last {
        None => fresh?,
        Some((last, rows)) => match in_place_of(&last, fresh) {
            Ok(whole) => whole,
            Err(refused) => {
                refused.log_at_start(rows.len());
                return Ok((last, rows, true));
            }
        },
    };
    keep(config, &fetched.rows);
    Ok((whole, fetched.rows, true))
}

/// What is fresh in the place of what was last, where that can be.
fn in_place_of(last: &Config, fresh: Result<Config, Vec<Problem>>) -> Result<Config, Refused> {
    let fresh = fresh?;
    most_stay(&Change::between(&last.directory()?, &fresh.directory()?))?;
    Ok(fresh)
}

fn kept_at(config: &Config) -> PathBuf {
    config.store.path.with_extension("lines.json")
}

fn kept(config: &Config) -> Option<Vec<Row>> {
    let bytes = std::fs::read(kept_at(config)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Keeps what the HTTP directory said for the next start. Passwords may stand in it: nobody else may read it.
pub(super) fn keep(config: &Config, rows: &[Row]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = kept_at(config);
    let fresh = path.with_extension("json.new");
    let written = || -> std::io::Result<()> {
        let _ = std::fs::remove_file(&fresh);
        let options = &mut std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        file.write_all(&serde_json::to_vec(rows)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &path)
    };
    if let Err(error) = written() {
        warn!(%error, path = %path.display(), "what the HTTP directory says is not kept for the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const CONFIG: &str = r#"
        [matrix]
        homeserver = "http://127.0.0.1:8008"
        server_name = "x"
        as_token = "a"
        hs_token = "h"
        [sip]
        listen = ["udp:127.0.0.1:5070"]
        [[trunk]]
        name = "pbx"
        target = "127.0.0.1:5060"
        [[line]]
        user = "@alice:x"
        name = "Alice"
    "#;

    /// A file whose CSV says this.
    fn with_csv(csv: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.csv");
        std::fs::write(&path, csv).expect("written");
        let directory = format!("[directory]\ncsv = {:?}\n", path.display().to_string());
        let text = CONFIG.replace("[[line]]", &format!("{directory}[[line]]"));
        (folder, Config::parse(&text).expect("sound"))
    }

    #[test]
    fn a_line_may_stand_in_two_places_and_is_checked_as_a_whole() {
        let (_folder, config) = with_csv("user,extension\n@alice:x,2001\n@bob:x,2002\n");
        let whole = gather(&config).expect("sound");
        let directory = whole.directory().expect("sound");
        let alice = directory.line_called("2001").expect("a line");
        assert_eq!(alice.name.as_deref(), Some("Alice"));
        assert_eq!(alice.source, "gateway.toml + csv");
        assert_eq!(directory.lines().len(), 2);
    }

    #[test]
    fn two_people_with_one_number_are_a_clash_that_names_both_and_where_they_stand() {
        let (_folder, config) = with_csv("user,extension\n@alice:x,2001\n@bob:x,2001\n");
        let said = gather(&config).expect_err("a clash")[0].to_string();
        for part in ["@alice:x", "@bob:x", "line 3 of the CSV file", "2001"] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        let (_folder, config) = with_csv("user,extension\n@bob:x,2002\n");
        let said = gather(&config).expect_err("no extension")[0].to_string();
        assert!(said.contains("has no extension"), "{said}");
    }

    /// Entries of an HTTP directory: each person, and their extension.
    fn answer(people: &[(&str, &str)]) -> Result<Fetched, Problem> {
        let entries = people.iter().zip(1..).map(|((user, extension), entry)| {
            let cells = serde_json::json!({ "user": user, "extension": extension });
            serde_json::json!({ "entry": entry, "cells": cells })
        });
        let rows = serde_json::from_value(entries.collect()).expect("rows");
        Ok(Fetched { rows, skipped: 0 })
    }

    const PEOPLE: [(&str, &str); 4] = [
        ("@bob:x", "2002"),
        ("@carol:x", "2003"),
        ("@dan:x", "2004"),
        ("@eve:x", "2005"),
    ];

    /// A gateway that has started with Alice, whom the CSV file has, and with these people.
    fn with_kept(people: &[(&str, &str)]) -> (tempfile::TempDir, Config, Vec<Row>) {
        let (folder, mut config) = with_csv("user,extension\n@alice:x,2001\n");
        config.store.path = folder.path().join("mxtrunk.db");
        start(&config, answer(people)).expect("it starts");
        let rows = kept(&config).expect("it is kept");
        assert_eq!(rows, answer(people).expect("an answer").rows);
        (folder, config, rows)
    }

    fn start(config: &Config, answer: Result<Fetched, Problem>) -> Result<Gathered, Vec<Problem>> {
        with_directory(config, &config.read_csv().expect("sound"), answer)
    }

    /// It starts with what was kept, which is kept still. Returns what is logged.
    fn starts_with_kept(config: &Config, rows: &[Row], answer: Result<Fetched, Problem>) -> String {
        let mut outcome = None;
        let log = crate::log::tests::logged(|| outcome = Some(start(config, answer)));
        let (whole, http, has_answered) = outcome.expect("it was tried").expect("it starts");
        assert_eq!(whole.lines.len(), 1 + rows.len());
        assert_eq!(http, rows);
        assert!(has_answered);
        assert_eq!(kept(config).as_deref(), Some(rows));
        assert!(log.contains("what it said last holds"), "{log}");
        log
    }

    #[test]
    fn a_directory_that_answers_with_a_clash_at_a_start_keeps_nobody_from_calling() {
        let (_folder, config, rows) = with_kept(&PEOPLE);
        let clash = [&PEOPLE[..], &[("@mallory:x", "2001")]].concat();
        let log = starts_with_kept(&config, &rows, answer(&clash));
        let (warned, debug) = log
            .split_once("what is not taken over")
            .expect("both levels");
        assert!(warned.contains("each person and each number has one line"));
        assert!(
            warned.contains("mend it there (`mxtrunk check`"),
            "{warned}"
        );
        assert!(!warned.contains("2001") && !warned.contains("mallory"));
        assert!(debug.contains("2001"), "{debug}");
    }

    #[test]
    fn a_directory_that_says_nothing_or_no_number_at_a_start_keeps_nobody_from_calling() {
        let (_folder, config, rows) = with_kept(&PEOPLE);
        let wrong = [("@bob:x", "caf\u{e9}")];
        starts_with_kept(&config, &rows, answer(&wrong));
        let silent = Problem::new("directory.url", "did not answer", "try it with curl");
        starts_with_kept(&config, &rows, Err(silent));
    }

    #[test]
    fn an_empty_list_at_a_start_takes_no_line_away_and_the_log_says_how_it_would() {
        let (_folder, config, rows) = with_kept(&PEOPLE);
        let log = starts_with_kept(&config, &rows, answer(&[]));
        assert!(log.contains("4 of 5 lines would go"), "{log}");
        assert!(log.contains("mxtrunk reload --lines-may-go"), "{log}");
    }

    #[test]
    fn what_a_directory_says_at_a_start_holds_where_it_is_sound_and_is_kept() {
        let (_folder, config, _) = with_kept(&PEOPLE);
        let (whole, http, _) = start(&config, answer(&PEOPLE[..3])).expect("it starts");
        assert_eq!(whole.lines.len(), 4);
        assert_eq!(kept(&config), Some(http));
    }

    #[test]
    fn a_clash_that_nothing_kept_can_stand_in_for_is_told_and_not_kept() {
        let (folder, mut config) = with_csv("user,extension\n@alice:x,2001\n");
        config.store.path = folder.path().join("mxtrunk.db");
        let clash = [("@bob:x", "2002"), ("@carol:x", "2002")];
        let problems = start(&config, answer(&clash)).expect_err("a clash");
        assert!(problems[0].to_string().contains("2002"), "{problems:?}");
        assert_eq!(kept(&config), None);
    }

    #[test]
    fn what_a_directory_said_is_kept_for_us_alone() {
        let (folder, mut config) = with_csv("user,extension\n@alice:x,2001\n");
        config.store.path = folder.path().join("mxtrunk.db");
        let rows = config.read_csv().expect("sound");
        keep(&config, &rows);
        keep(&config, &rows);
        assert_eq!(kept(&config), Some(rows));
        let mode = std::fs::metadata(kept_at(&config))
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
