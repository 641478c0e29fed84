//! `ban` of `[sip]`: when addresses of no trunk are banned.

use std::time::Duration;

use mxtrunk_sip::Bans;
use serde::Deserialize;

use super::Problem;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Ban {
    after: u32,
    minutes: u32,
}

impl Default for Ban {
    fn default() -> Self {
        Ban {
            after: 20,
            minutes: 60,
        }
    }
}

impl Ban {
    pub(super) fn problem(self) -> Option<Problem> {
        let is_wrong = self.after > 0 && !(1..=10_080).contains(&self.minutes);
        is_wrong.then(|| {
            Problem::new(
                "sip.ban",
                format!(
                    "minutes = {} is not between 1 and 10080 (a week)",
                    self.minutes
                ),
                "60 is the default; after = 0 bans nobody",
            )
        })
    }
}

impl From<Ban> for Bans {
    fn from(ban: Ban) -> Self {
        Bans {
            after: ban.after,
            lasting: Duration::from_secs(60 * u64::from(ban.minutes)),
        }
    }
}
