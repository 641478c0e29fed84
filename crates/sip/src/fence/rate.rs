//! A token bucket.

use std::time::Instant;

/// Lets `per_second` through on average and as many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: u32, now: Instant) -> Self {
        Self {
            per_second: f64::from(per_second),
            tokens: f64::from(per_second),
            filled: now,
        }
    }

    /// Another rate from now on; nothing is given for the change.
    pub(crate) fn set_rate(&mut self, per_second: u32, now: Instant) {
        self.has_one(now);
        self.per_second = f64::from(per_second);
        self.tokens = self.tokens.min(self.per_second);
    }

    /// Takes one token, `false` when there is none.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let has_one = self.has_one(now);
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }

    /// Whether there is one.
    pub(crate) fn has_one(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.per_second);
        self.tokens >= 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        let burst = (0..100).filter(|_| bucket.take(start)).count();
        assert_eq!(burst, 10);
        let later = start + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 5);
    }

    #[test]
    fn another_rate_holds_from_its_moment_on() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, start);
        bucket.set_rate(2, start);
        assert_eq!((0..100).filter(|_| bucket.take(start)).count(), 2);
        bucket.set_rate(100, start);
        assert!(!bucket.take(start));
        let later = start + Duration::from_millis(500);
        assert_eq!((0..100).filter(|_| bucket.take(later)).count(), 50);
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_through() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0, start);
        assert!(!bucket.take(start + Duration::from_secs(60)));
    }
}
