//! `mxtrunk trace`: asks the running gateway what a call said, and draws it.

use anyhow::bail;
use mxtrunk_signaling::trace::{ladder, list};

use crate::config::Config;
use crate::control::{self, Answer, Question};

/// The ladder of one call, or the list of the last ones.
pub(crate) fn show(config: &Config, call: Option<&str>, whole: bool) -> anyhow::Result<String> {
    let question = match call {
        Some(call) => Question::Trace(call.to_owned()),
        None => Question::Calls,
    };
    match control::ask(&config.control_socket(), &question)? {
        Answer::Calls(calls) => Ok(list(&calls)),
        Answer::Trace(Some(trace)) => Ok(ladder(&trace, whole)),
        Answer::Trace(None) => bail!(
            "the gateway knows no call {}: it keeps the last 1,000 since its start; mxtrunk trace lists them",
            call.unwrap_or_default()
        ),
        Answer::Misunderstood(why) => bail!(
            "the gateway did not understand the question ({why}): it may be of another version"
        ),
    }
}
