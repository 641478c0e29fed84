//! `[load]`

use std::time::Duration;

use mxtrunk_media_io::LoadLimits;
use serde::Deserialize;

use super::Problem;

/// `[load]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Load {
    fill_to: u8,
    shed_at: u8,
    refuse_at: u8,
    late_ms: u64,
    shed_complexity: u8,
}

impl Default for Load {
    fn default() -> Self {
        Load {
            fill_to: 50,
            shed_at: 75,
            refuse_at: 90,
            late_ms: 20,
            shed_complexity: 0,
        }
    }
}

impl Load {
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, value) in [("shed_at", self.shed_at), ("refuse_at", self.refuse_at)] {
            if !(10..=100).contains(&value) {
                problems.push(Problem::new(
                    format!("load.{key}"),
                    format!("{value} is not between 10 and 100 percent"),
                    "75 and 90 are the defaults; 100 switches it off",
                ));
            }
        }
        if self.fill_to > 100 {
            problems.push(Problem::new(
                "load.fill_to",
                format!("{} is over 100 percent", self.fill_to),
                "50 is the default; 0 spreads calls from the first on",
            ));
        }
        if self.refuse_at < self.shed_at && self.shed_at < 100 {
            problems.push(Problem::new(
                "load.refuse_at",
                format!(
                    "{} is below shed_at, {}: calls would be refused before any work is spared",
                    self.refuse_at, self.shed_at
                ),
                "raise refuse_at, or switch sparing off with shed_at = 100",
            ));
        }
        if self.late_ms > 1000 {
            problems.push(Problem::new(
                "load.late_ms",
                format!("{} is over 1000", self.late_ms),
                "20 is the default, one frame; 0 switches it off",
            ));
        }
        if self.shed_complexity > 10 {
            problems.push(Problem::new(
                "load.shed_complexity",
                "is over 10",
                "use 0 to 10; 0 is the default",
            ));
        }
        problems
    }

    pub(crate) fn limits(&self) -> LoadLimits {
        LoadLimits {
            fill_to: f32::from(self.fill_to) / 100.0,
            shed_at: f32::from(self.shed_at) / 100.0,
            refuse_at: f32::from(self.refuse_at) / 100.0,
            late: Duration::from_millis(self.late_ms),
            shed_complexity: self.shed_complexity,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_media_plane() {
        assert_eq!(Load::default().limits(), LoadLimits::default());
        assert!(Load::default().problems().is_empty());
    }
}
