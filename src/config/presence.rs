//! `[presence]`: whether telephones are shown as free or in a call.

use std::time::Duration;

use serde::Deserialize;

use super::Problem;

/// `[presence]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Presence {
    pub(crate) enabled: bool,
    again_seconds: u64,
}

impl Default for Presence {
    fn default() -> Self {
        Presence {
            enabled: true,
            again_seconds: 20,
        }
    }
}

impl Presence {
    /// How soon what is shown is shown again.
    pub(crate) fn again_every(&self) -> Duration {
        Duration::from_secs(self.again_seconds)
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let is_good = (5..=3600).contains(&self.again_seconds);
        let problem = || {
            Problem::new(
                "presence.again_seconds",
                format!("{} is not between 5 and 3600", self.again_seconds),
                "use 20, or two thirds of the homeserver's sync_online_timeout where that was raised",
            )
        };
        (!is_good).then(problem).into_iter().collect()
    }
}
