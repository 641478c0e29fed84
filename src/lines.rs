//! `mxtrunk lines`: asks the running gateway how each line stands.

use mxtrunk_signaling::overview::table;

use crate::admin::{self, LinesAnswer};
use crate::config::Config;

/// A table of all lines.
pub(crate) fn show(config: &Config) -> anyhow::Result<String> {
    let answer: LinesAnswer = admin::ask(&config.admin_socket(), "/api/lines")?;
    Ok(table(&answer.lines))
}
