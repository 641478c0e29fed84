//! What has failed rests for a while, and does not keep the others waiting.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long the first time; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Rooms, or people, that rest, each until its own time.
#[derive(Debug, Default)]
pub struct Resting(HashMap<String, Rest>);

#[derive(Debug)]
struct Rest {
    until: Instant,
    pause: Duration,
}

impl Resting {
    /// It has failed now: it rests, longer than the last time.
    pub fn failed(&mut self, what: &str, now: Instant) {
        let before = self.0.get(what).map(|rest| rest.pause * 2);
        let pause = before.unwrap_or(FIRST_PAUSE).min(LONGEST_PAUSE);
        let until = now + pause;
        self.0.insert(what.to_owned(), Rest { until, pause });
    }

    /// It went well.
    pub fn is_well(&mut self, what: &str) {
        self.0.remove(what);
    }

    /// Whether it rests now.
    #[must_use]
    pub fn rests(&self, what: &str, now: Instant) -> bool {
        self.0.get(what).is_some_and(|rest| now < rest.until)
    }

    /// Whether it has failed, and not gone well since.
    #[must_use]
    pub fn knows(&self, what: &str) -> bool {
        self.0.contains_key(what)
    }

    /// Those that rest now.
    pub fn resting(&self, now: Instant) -> impl Iterator<Item = &str> {
        let resting = self.0.iter().filter(move |(_, rest)| now < rest.until);
        resting.map(|(what, _)| what.as_str())
    }

    /// When the first of them is due again.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.0.values().map(|rest| rest.until).min()
    }

    /// Forgets those that are due.
    pub fn forget_due(&mut self, now: Instant) {
        self.0.retain(|_, rest| now < rest.until);
    }

    /// Forgets those of which nobody speaks any more.
    pub fn keep(&mut self, is_known: impl Fn(&str) -> bool) {
        self.0.retain(|what, _| is_known(what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_rests_longer_each_time_and_the_others_do_not() {
        let mut resting = Resting::default();
        let mut now = Instant::now();
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            resting.failed("!sick", now);
            assert!(!resting.rests("!well", now));
            assert_eq!(resting.resting(now).collect::<Vec<_>>(), ["!sick"]);
            let due = now + Duration::from_secs(seconds);
            assert_eq!(resting.next(), Some(due));
            assert!(!resting.rests("!sick", due));
            now = due;
        }
        resting.is_well("!sick");
        assert_eq!(resting.next(), None);
        resting.failed("!sick", now);
        assert_eq!(resting.next(), Some(now + FIRST_PAUSE), "it begins anew");
        resting.keep(|what| what != "!sick");
        assert_eq!(resting.next(), None);
        resting.failed("!left", now);
        resting.forget_due(now);
        assert!(resting.next().is_some());
        resting.forget_due(now + FIRST_PAUSE);
        assert_eq!(resting.next(), None, "else it would be due for ever");
    }
}
