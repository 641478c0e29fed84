//! `mxtrunk trace`: asks the running gateway what a call said, and draws it.

use mxtrunk_signaling::trace::{ladder, list};

use crate::admin::{self, Detail, Traces, path_of};
use crate::config::Config;

/// The ladder of one call, or the list of the last ones.
pub(crate) fn show(config: &Config, call: Option<&str>, whole: bool) -> anyhow::Result<String> {
    let socket = config.admin_socket();
    let Some(call) = call else {
        let answer: Traces = admin::ask(&socket, "/api/traces")?;
        return Ok(list(&answer.traces));
    };
    let detail: Detail = admin::ask(&socket, &path_of(call))?;
    Ok(ladder(&detail.trace, whole))
}
