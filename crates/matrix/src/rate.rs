//! How much of something is let through.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Bursts of this many seconds' worth are let through.
const BURST_SECONDS: f64 = 5.0;

/// So many a second, for all who ask together.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    left: Mutex<(f64, Option<Instant>)>,
}

impl Rate {
    pub(crate) fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second);
        Rate {
            per_second,
            left: Mutex::new((per_second * BURST_SECONDS, None)),
        }
    }

    pub(crate) fn admits(&self, now: Instant) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, last) = *left;
        let since = last.map_or(0.0, |last| {
            now.saturating_duration_since(last).as_secs_f64()
        });
        let tokens = (tokens + since * self.per_second).min(self.per_second * BURST_SECONDS);
        let admitted = tokens >= 1.0;
        *left = (tokens - f64::from(u8::from(admitted)), Some(now));
        admitted
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_so_many_a_second() {
        let rate = Rate::new(2);
        let now = Instant::now();
        let admitted = |at: Duration| (0..100).filter(|_| rate.admits(now + at)).count();
        assert_eq!(admitted(Duration::ZERO), 10);
        assert_eq!(admitted(Duration::from_secs(1)), 2);
        assert_eq!(admitted(Duration::from_secs(3600)), 10);
    }
}
