//! Turns: a registrar hears from all accounts one after the other, not all at
//! once.

use std::time::{Duration, Instant};

/// REGISTERs a second to one trunk when many are due at once. A PBX with a
/// database behind it answers some 100 a second, and each takes two.
const PER_SECOND: u32 = 20;

/// Gives turns.
#[derive(Debug)]
pub(crate) struct Pace {
    next: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { next: now }
    }

    /// The next turn.
    pub(crate) fn turn(&mut self, now: Instant) -> Instant {
        let turn = self.next.max(now);
        self.next = turn + Duration::from_secs(1) / PER_SECOND;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_hundred_at_once_are_spread_over_25_seconds() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let turns: Vec<_> = (0..500).map(|_| pace.turn(now) - now).collect();
        assert_eq!(turns[0], Duration::ZERO);
        for second in 0..25 {
            let within = turns.iter().filter(|turn| turn.as_secs() == second);
            assert_eq!(within.count(), 20, "second {second}");
        }
    }

    #[test]
    fn who_comes_alone_does_not_wait() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        pace.turn(now);
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.turn(later), later);
    }
}
