//! The folder of one run: generated configurations, databases, recordings, and every peer's log.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::layout;

/// How many lines of each log are shown when a run fails.
const TAIL_LINES: usize = 60;

/// The folder of one run below `target/testbed/run/`, emptied when the run starts and kept
/// after it.
#[derive(Debug, Clone)]
pub struct Run {
    folder: PathBuf,
}

impl Run {
    /// Starts a run anew. `name` may be a test's path (`calls::a_call_rings`).
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let folder = layout::run(&name.replace("::", "."));
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { folder })
    }

    /// Where this run writes.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path inside the folder; nothing is created.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder inside the folder, created when it is missing.
    pub fn subfolder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        Ok(folder)
    }

    /// Writes a file inside the folder and returns its path.
    pub fn write(&self, name: &str, contents: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, contents).with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// The end of every peer's log, each under a heading with its path.
    pub fn log_tails(&self) -> String {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return String::new();
        };
        let mut logs: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        logs.iter().map(|log| tail(log)).collect()
    }
}

fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let end = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("---- the end of {}\n{}\n", log.display(), end.join("\n"))
}
