//! What stands beside the telephone: the telephony space, the history of the demo's calls, the widget.

use std::path::Path;

use anyhow::{Context as _, ensure};

use super::calls::{PATIENCE, Stage};
use super::report::Row;
use super::scenario::Scenario;
use crate::browser::Family;
use crate::gateway::LINES;
use crate::process::until;

/// Wide enough for telephone and space beside each other.
const WINDOW: (u32, u32) = (1280, 1000);

impl Stage<'_> {
    /// By what a person sees: the page is in the run's folder as a picture, and with `MXTRUNK_PICTURES` in that one too.
    pub(super) async fn home(&mut self) -> anyhow::Result<Vec<Row>> {
        let alice = &*self.alice;
        until("a telephony space", PATIENCE, async || {
            alice.space().await.ok().flatten()
        })
        .await?;
        // Whatever was played before this: one call at least, in words.
        let calls = until("calls in the history", PATIENCE, async || {
            let calls = alice.told_calls().await.ok()?;
            (!calls.is_empty()).then_some(calls)
        })
        .await?;
        let names_a_call = |call: &String| call.contains("all to ") || call.contains("all from ");
        ensure!(calls.iter().any(names_a_call), "{calls:?}");
        if self.family == Family::Chromium {
            let line = LINES[0].extension;
            let seen = until("her line in the widget", PATIENCE, async || {
                let text = alice.in_widget().await.ok()?;
                text.contains(line).then_some(())
            });
            seen.await.context("the widget")?;
            self.picture().await?;
        }
        let scenario = Scenario::Home;
        Ok(vec![Row::event(
            scenario.title(),
            scenario.expected(),
            Ok(()),
        )])
    }

    async fn picture(&self) -> anyhow::Result<()> {
        const NAME: &str = "demo-page.png";
        let browser = self.alice.browser();
        browser.resize(WINDOW.0, WINDOW.1).await?;
        let picture = browser.picture().await?;
        std::fs::write(self.run.path(NAME), &picture)?;
        if let Some(folder) = std::env::var_os("MXTRUNK_PICTURES") {
            std::fs::write(Path::new(&folder).join(NAME), &picture)?;
        }
        Ok(())
    }
}
