//! `[control]`

use std::path::PathBuf;

use serde::Deserialize;

/// `[control]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Control {
    pub(super) socket: Option<PathBuf>,
}
