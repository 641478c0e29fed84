//! `mxtrunk lines` and `mxtrunk line`: ask the running gateway how lines stand, and set something for one.

use mxtrunk_signaling::overview::{LineState, table};
use serde_json::json;

use crate::admin::{self, LinesAnswer, escaped};
use crate::config::Config;

/// A table of all lines.
pub(crate) fn show(config: &Config) -> anyhow::Result<String> {
    let answer: LinesAnswer = admin::ask(&config.admin_socket(), "/api/lines")?;
    Ok(table(&answer.lines))
}

/// That line, once this is set for it; no words: as it stands.
pub(crate) fn one(config: &Config, user: &str, words: &str) -> anyhow::Result<String> {
    let (socket, path) = (
        config.admin_socket(),
        format!("/api/lines/{}", escaped(user)),
    );
    let line: LineState = match words {
        "" => admin::ask(&socket, &path)?,
        words => {
            let path = format!("{path}?set={}", escaped(words));
            admin::post(&socket, &path, &json!({}))?
        }
    };
    Ok(table(&[line]))
}
