//! How often somebody may ask: a bucket for each, filled at a steady rate, and bounded memory whoever asks.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How many are told apart. What comes above shares one bucket.
const MOST: usize = 10_000;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// The buckets of all who have asked lately.
#[derive(Debug)]
pub(crate) struct Rates<K> {
    per_second: f64,
    at_once: f64,
    buckets: HashMap<K, Bucket>,
    others: Option<Bucket>,
}

impl<K: Hash + Eq> Rates<K> {
    /// So many a second, and so many at once.
    pub(crate) fn new(per_second: f64, at_once: f64) -> Self {
        Rates {
            per_second,
            at_once,
            buckets: HashMap::new(),
            others: None,
        }
    }

    /// Takes one out of a bucket.
    ///
    /// # Errors
    /// With the time until there is one again.
    pub(crate) fn take(&mut self, of: K, now: Instant) -> Result<(), Duration> {
        if !self.buckets.contains_key(&of) && self.buckets.len() >= MOST {
            self.forget_full(now);
        }
        let full = Bucket {
            left: self.at_once,
            at: now,
        };
        let bucket = match self.buckets.len() >= MOST && !self.buckets.contains_key(&of) {
            true => self.others.get_or_insert(full),
            false => self.buckets.entry(of).or_insert(full),
        };
        let filled = filled(*bucket, self.per_second, self.at_once, now);
        *bucket = Bucket {
            left: filled,
            at: now,
        };
        if filled < 1.0 {
            let wait = (1.0 - filled) / self.per_second;
            return Err(Duration::from_secs_f64(wait));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    /// A full bucket is like one that was never there.
    fn forget_full(&mut self, now: Instant) {
        let (per_second, at_once) = (self.per_second, self.at_once);
        self.buckets
            .retain(|_, bucket| filled(*bucket, per_second, at_once, now) < at_once);
    }
}

fn filled(bucket: Bucket, per_second: f64, at_once: f64, now: Instant) -> f64 {
    let since = now.saturating_duration_since(bucket.at).as_secs_f64();
    (bucket.left + since * per_second).min(at_once)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_waits_and_nobody_else_does() {
        let mut rates = Rates::new(2.0, 3.0);
        let now = Instant::now();
        for _ in 0..3 {
            assert_eq!(rates.take("a", now), Ok(()));
        }
        assert_eq!(rates.take("a", now), Err(Duration::from_millis(500)));
        assert_eq!(rates.take("b", now), Ok(()));
        let later = now + Duration::from_millis(500);
        assert_eq!(rates.take("a", later), Ok(()));
        assert!(rates.take("a", later).is_err());
    }

    #[test]
    fn ever_new_ones_take_a_bounded_room_and_those_who_were_there_keep_theirs() {
        let mut rates = Rates::new(1.0, 2.0);
        let now = Instant::now();
        let most = u32::try_from(MOST).unwrap_or(u32::MAX);
        for n in 0..most {
            assert_eq!(rates.take(n, now), Ok(()));
        }
        let admitted = (most..most + 100).filter(|n| rates.take(*n, now).is_ok());
        assert_eq!(admitted.count(), 2, "what is too much shares one bucket");
        assert_eq!(rates.take(0, now), Ok(()));
        assert_eq!(rates.buckets.len(), MOST);
        assert_eq!(rates.take(most, now + Duration::from_secs(9)), Ok(()));
        assert_eq!(rates.buckets.len(), 1);
    }
}
