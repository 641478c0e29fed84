//! Where the figures of a run go, whichever command took them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::Goal;
use crate::layout;

/// What was asked for, beside the table on the terminal.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    /// Where the figures go.
    pub json: Option<PathBuf>,
    /// Where the chart goes.
    pub svg: Option<PathBuf>,
    /// Whether the run is kept with the benches.
    pub keep: bool,
}

/// A report as it is read and kept.
#[derive(Debug)]
pub struct Pages {
    /// Of the files of this run.
    pub name: String,
    /// Of all figures, with what they were made by.
    pub table: String,
    /// The goals, a line each, and how many were reached.
    pub verdict: String,
    /// Everything, each run by itself too.
    pub json: serde_json::Value,
    /// The chart, where there is one.
    pub svg: Option<String>,
    /// What stands behind it where it is kept: the floor's source.
    pub appendix: Option<String>,
}

impl Keeping {
    /// Takes one of the options `--json FILE`, `--svg FILE` and `--keep`; false if it is none of them.
    ///
    /// # Errors
    /// When the file is missing.
    pub(super) fn take(
        &mut self,
        option: &str,
        mut value: impl FnMut() -> anyhow::Result<String>,
    ) -> anyhow::Result<bool> {
        match option {
            "--json" => self.json = Some(value()?.into()),
            "--svg" => self.svg = Some(value()?.into()),
            "--keep" => self.keep = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Prints the report, writes what was asked for, under `benches/FOLDER/runs` what is to be kept, and says by the
    /// exit whether all goals were reached.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn conclude(
        &self,
        folder: &str,
        pages: &Pages,
        goals: &[Goal],
    ) -> anyhow::Result<ExitCode> {
        let appendix = pages.appendix.as_deref().unwrap_or_default();
        println!("{appendix}\n{}\n{}", pages.table, pages.verdict);
        self.write(folder, pages)?;
        Ok(match goals.iter().all(Goal::passed) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    fn write(&self, folder: &str, pages: &Pages) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(&pages.json)? + "\n";
        if let Some(path) = &self.json {
            put(path, &json)?;
        }
        if let (Some(path), Some(svg)) = (&self.svg, &pages.svg) {
            put(path, svg)?;
        }
        if self.keep {
            let folder = layout::root().join("benches").join(folder).join("runs");
            fs::create_dir_all(&folder)?;
            let path = folder.join(&pages.name);
            put(&path.with_extension("json"), &json)?;
            if let Some(svg) = &pages.svg {
                put(&path.with_extension("svg"), svg)?;
            }
            let Pages {
                table,
                verdict,
                appendix,
                ..
            } = pages;
            let appendix = appendix.as_deref().unwrap_or_default();
            let text = format!("{table}\n```\n{verdict}\n```\n{appendix}");
            put(&path.with_extension("md"), &text)?;
        }
        Ok(())
    }
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}
