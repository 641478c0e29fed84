//! Commands that people write to the service account in a direct chat: what they set for their line, and what they are
//! answered. [`parse`] and [`answers`] are pure; [`desk`] carries out.

mod answers;
pub(crate) mod desk;
mod parse;

use mxtrunk_matrix::catalogue::Language;

pub use answers::refusal;

use crate::line_settings::setting::{Case, Setting};

/// What these words set, as a person writes them in the chat; `None`: nothing.
#[must_use]
pub fn setting(words: &str) -> Option<Setting> {
    match parse::parse(words) {
        Ok(Command::Set(setting)) => Some(setting),
        Ok(Command::Status | Command::Help) | Err(_) => None,
    }
}

/// What a person wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Set(Setting),
    Status,
    Help,
}
