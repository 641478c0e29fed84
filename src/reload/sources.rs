//! Where lines stand beside gateway.toml: what was read last of each source, and the whole that they make.

use std::path::PathBuf;
use std::sync::Arc;

use tracing::{debug, warn};

use crate::config::sources::Row;
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

/// The whole configuration, for a gateway that starts. An HTTP directory that does not answer keeps nobody from
/// calling: what it said last is in a file beside the database.
///
/// # Errors
/// With every problem found in the other lines.
pub(crate) async fn gather_at_start(config: &Config) -> Result<(Config, Sources), Vec<Problem>> {
    let mut sources = Sources {
        csv: config.read_csv()?.into(),
        ..Sources::default()
    };
    if config.sources.every().is_some() {
        match config.fetch().await {
            Ok(fetched) => {
                debug!(
                    entries = fetched.rows.len(),
                    skipped = fetched.skipped,
                    "the HTTP directory answered"
                );
                sources.http = fetched.rows.into();
                sources.has_answered = true;
                keep(config, &sources.http);
            }
            Err(problem) => {
                let kept = kept(config);
                sources.has_answered = kept.is_some();
                sources.http = kept.unwrap_or_default().into();
                let lines = sources.http.len();
                warn!(
                    lines,
                    "the HTTP directory cannot be read, and what it said last holds: {problem}"
                );
            }
        }
    }
    let whole = config.with_lines(&sources.csv, &sources.http)?;
    Ok((whole, sources))
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
