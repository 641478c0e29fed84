//! For how long a direction that should have carried sound was silent on the wire.

use std::fmt;
use std::time::{Duration, Instant};

/// Which way sound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Towards {
    Phone,
    Browser,
}

impl fmt::Display for Towards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Towards::Phone => "to the phone",
            Towards::Browser => "to the browser",
        })
    }
}

/// The silences of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Silences {
    over: Duration,
    since: Option<Instant>,
}

impl Silences {
    /// It has been silent for so long, and still is.
    pub(crate) fn began(&mut self, now: Instant, lasted: Duration) {
        self.since = now.checked_sub(lasted);
    }

    /// It is silent no more.
    pub(crate) fn ended(&mut self, lasted: Duration) {
        self.over += lasted;
        self.since = None;
    }

    /// What has been silent is there no more.
    pub(crate) fn cut(&mut self, now: Instant) {
        self.over = self.total(now);
        self.since = None;
    }

    /// All of it, in a call that ended at `end`.
    pub(crate) fn total(&self, end: Instant) -> Duration {
        let last = self.since.map(|since| end.saturating_duration_since(since));
        self.over + last.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_add_up_and_one_that_never_ends_lasts_until_the_end() {
        let now = Instant::now() + Duration::from_secs(100);
        let second = Duration::from_secs(1);
        let mut silences = Silences::default();
        assert_eq!(silences.total(now), Duration::ZERO);
        silences.began(now, 5 * second);
        let mut cut = silences;
        cut.cut(now + second);
        assert_eq!(cut.total(now + 60 * second), 6 * second);
        silences.ended(8 * second);
        assert_eq!(silences.total(now + 60 * second), 8 * second);
        silences.began(now + 10 * second, 5 * second);
        assert_eq!(silences.total(now + 20 * second), 23 * second);
    }
}
