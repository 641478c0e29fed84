//! The media ports of the phone legs.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

/// The even ports that are free. One that comes back goes to the end of the queue, so that it rests as long as
/// possible before the next call meets late packets of the last one.
#[derive(Debug)]
pub(crate) struct PortPool {
    free: Mutex<VecDeque<u16>>,
}

impl PortPool {
    /// All even ports of the range whose odd successor lies in it too.
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Self {
        let even = range.clone().filter(|port| port % 2 == 0);
        let pairs = even.filter(|port| range.contains(&(port + 1)));
        PortPool {
            free: Mutex::new(pairs.collect()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn take(&self) -> Option<u16> {
        self.lock().pop_front()
    }

    pub(crate) fn give_back(&self, port: u16) {
        self.lock().push_back(port);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<u16>> {
        // A queue of numbers has no state that a panic could leave half done.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pairs_are_handed_out() {
        let pool = PortPool::new(&(30_001..=30_006));
        assert_eq!(pool.take(), Some(30_002));
        assert_eq!(pool.take(), Some(30_004));
        assert_eq!(pool.take(), None);
    }

    #[test]
    fn a_port_that_comes_back_rests_longest() {
        let pool = PortPool::new(&(30_000..=30_005));
        let first = pool.take().unwrap();
        pool.give_back(first);
        assert_eq!(pool.take(), Some(30_002));
        assert_eq!(pool.take(), Some(30_004));
        assert_eq!(pool.take(), Some(first));
    }

    #[test]
    fn the_last_port_there_is_does_no_harm() {
        assert_eq!(PortPool::new(&(65_534..=65_535)).len(), 1);
        #[expect(clippy::reversed_empty_ranges, reason = "an operator may write this")]
        let reversed = PortPool::new(&(10..=5));
        assert_eq!(reversed.len(), 0);
    }
}
