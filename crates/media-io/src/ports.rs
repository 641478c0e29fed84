//! The ports for phone legs.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Hands out even ports whose odd neighbour is in the range too. A port whose call is over rests before it is handed
/// out again, so that late packets of that call, or a peer that never heard that it is over, are not heard in the
/// next one. When only resting ports are left, none is handed out: a caller who is refused may try again, one who
/// hears a stranger's voice cannot unhear it.
#[derive(Debug)]
pub(crate) struct PortPool {
    quarantine: Duration,
    pairs: usize,
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    free: VecDeque<u16>,
    /// In the order in which their rest ends.
    resting: VecDeque<(Instant, u16)>,
}

impl PortPool {
    pub(crate) fn new(range: &RangeInclusive<u16>, quarantine: Duration) -> Self {
        let even = range.clone().filter(|port| port % 2 == 0);
        let pairs = even.filter(|port| range.contains(&(port + 1)));
        let free: VecDeque<u16> = pairs.collect();
        PortPool {
            quarantine,
            pairs: free.len(),
            pool: Mutex::new(Pool {
                free,
                resting: VecDeque::new(),
            }),
        }
    }

    /// All pairs, handed out or not.
    pub(crate) fn len(&self) -> usize {
        self.pairs
    }

    pub(crate) fn take(&self, now: Instant) -> Option<u16> {
        let mut pool = self.lock();
        // Bounded by the number of ports.
        while let Some((_, port)) = pool.resting.pop_front_if(|(until, _)| *until <= now) {
            pool.free.push_back(port);
        }
        pool.free.pop_front()
    }

    /// The call on this port is over.
    pub(crate) fn rest(&self, now: Instant, port: u16) {
        let until = now + self.quarantine;
        self.lock().resting.push_back((until, port));
    }

    /// This port was not used after all.
    pub(crate) fn give_back(&self, port: u16) {
        self.lock().free.push_back(port);
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // Queues of numbers have no state that a panic could leave half done.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUARANTINE: Duration = Duration::from_secs(10);

    #[test]
    fn only_whole_pairs_are_handed_out() {
        let pool = PortPool::new(&(30_001..=30_006), QUARANTINE);
        let now = Instant::now();
        assert_eq!(pool.take(now), Some(30_002));
        assert_eq!(pool.take(now), Some(30_004));
        assert_eq!(pool.take(now), None);
    }

    #[test]
    fn a_port_that_comes_back_rests_longest() {
        let pool = PortPool::new(&(30_000..=30_005), Duration::ZERO);
        let now = Instant::now();
        let first = pool.take(now).unwrap();
        pool.rest(now, first);
        assert_eq!(pool.take(now), Some(30_002));
        assert_eq!(pool.take(now), Some(30_004));
        assert_eq!(pool.take(now), Some(first));
    }

    #[test]
    fn a_resting_port_is_not_handed_out_even_if_no_other_is_left() {
        let pool = PortPool::new(&(30_000..=30_001), QUARANTINE);
        let now = Instant::now();
        let port = pool.take(now).unwrap();
        pool.rest(now, port);
        let just_before = now + QUARANTINE - Duration::from_millis(1);
        assert_eq!(pool.take(just_before), None);
        assert_eq!(pool.take(now + QUARANTINE), Some(port));
    }

    #[test]
    fn a_port_that_was_not_used_needs_no_rest() {
        let pool = PortPool::new(&(30_000..=30_001), QUARANTINE);
        let now = Instant::now();
        let port = pool.take(now).unwrap();
        pool.give_back(port);
        assert_eq!(pool.take(now), Some(port));
    }

    #[test]
    fn the_last_port_there_is_does_no_harm() {
        assert_eq!(PortPool::new(&(65_534..=65_535), QUARANTINE).len(), 1);
        #[expect(clippy::reversed_empty_ranges, reason = "an operator may write this")]
        let reversed = PortPool::new(&(10..=5), QUARANTINE);
        assert_eq!(reversed.len(), 0);
    }
}
