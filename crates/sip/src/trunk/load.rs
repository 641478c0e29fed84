//! How many calls a trunk has, and how many more it may have.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::lock;
use crate::config::TrunkLimits;
use crate::fence::Bucket;
use crate::legs::Priority;

/// Refusals each second, for each call that may come in it.
const REFUSALS: u32 = 10;

#[derive(Debug)]
pub(crate) struct Load {
    calls: AtomicUsize,
    /// As many as there may be.
    max_calls: AtomicUsize,
    /// Rates of new calls: in, and out.
    new_calls: Mutex<Bucket>,
    new_calls_out: Mutex<Bucket>,
    /// Those to emergency numbers: a flood of other calls does not use them up.
    new_emergencies: Mutex<Bucket>,
    refusals: Mutex<Bucket>,
    /// When the last call so far ended.
    left: Mutex<Instant>,
}

impl Load {
    pub(super) fn new(limits: TrunkLimits, now: Instant) -> Self {
        let rate = limits.new_calls_per_second;
        let bucket = |rate| Mutex::new(Bucket::new(rate, now));
        Self {
            calls: AtomicUsize::new(0),
            max_calls: AtomicUsize::new(limits.max_calls),
            new_calls: bucket(rate),
            new_calls_out: bucket(rate),
            new_emergencies: bucket(rate),
            refusals: bucket(rate.saturating_mul(REFUSALS)),
            left: Mutex::new(now),
        }
    }

    /// These hold from now on; calls that there are go on.
    pub(crate) fn limit(&self, limits: TrunkLimits) {
        let now = Instant::now();
        self.max_calls.store(limits.max_calls, Ordering::Relaxed);
        let rate = limits.new_calls_per_second;
        for bucket in [&self.new_calls, &self.new_calls_out, &self.new_emergencies] {
            lock(bucket).set_rate(rate, now);
        }
        lock(&self.refusals).set_rate(rate.saturating_mul(REFUSALS), now);
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn max_calls(&self) -> usize {
        self.max_calls.load(Ordering::Relaxed)
    }

    /// When the last call so far ended; that of the start where none has.
    pub(super) fn left(&self) -> Instant {
        *lock(&self.left)
    }

    /// Takes a call's place, `false` when all are taken.
    pub(crate) fn enter(&self, priority: Priority) -> bool {
        let max = self.max_calls();
        self.calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| {
                priority.fits(calls, max).then_some(calls + 1)
            })
            .is_ok()
    }

    /// Gives a call's place back.
    pub(crate) fn leave(&self) {
        *lock(&self.left) = Instant::now();
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.calls() >= self.max_calls()
    }

    /// Whether one more outgoing call would be over a limit.
    pub(crate) fn is_full_for_calls_out(&self) -> bool {
        let now = Instant::now();
        self.is_full() || !lock(&self.new_calls_out).has_one(now)
    }

    /// Whether one more outgoing call fits into the trunk's rate; one for help
    /// always does.
    pub(crate) fn may_be_called(&self, priority: Priority) -> bool {
        priority == Priority::Emergency || take(&self.new_calls_out)
    }

    /// Whether one more incoming call fits into the trunk's rate.
    pub(crate) fn may_call(&self, priority: Priority) -> bool {
        match priority {
            Priority::Normal => take(&self.new_calls),
            Priority::Emergency => take(&self.new_emergencies),
        }
    }

    /// Whether one more refusal may be sent: a PBX above its limit is told so at
    /// once, but its address could be forged, and 503s for a flood would make
    /// us the flood.
    pub(crate) fn may_refuse(&self) -> bool {
        take(&self.refusals)
    }
}

fn take(bucket: &Mutex<Bucket>) -> bool {
    lock(bucket).take(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(max_calls: usize, new_calls_per_second: u32) -> Load {
        let limits = TrunkLimits {
            max_calls,
            new_calls_per_second,
        };
        Load::new(limits, Instant::now())
    }

    #[test]
    fn a_trunk_takes_no_more_calls_than_configured() {
        let load = load(1, 10);
        assert!(load.enter(Priority::Normal));
        assert!(load.is_full());
        assert!(!load.enter(Priority::Normal));
        load.leave();
        assert!(load.enter(Priority::Normal));
    }

    #[test]
    fn other_limits_hold_for_the_next_call_and_end_none() {
        let load = load(10, 10);
        assert!(load.enter(Priority::Normal) && load.enter(Priority::Normal));
        load.limit(TrunkLimits {
            max_calls: 1,
            new_calls_per_second: 1,
        });
        assert!(load.is_full() && !load.enter(Priority::Normal));
        assert!(load.enter(Priority::Emergency));
        assert!(load.may_call(Priority::Normal) && !load.may_call(Priority::Normal));
        load.limit(TrunkLimits {
            max_calls: 4,
            new_calls_per_second: 100,
        });
        assert!(load.enter(Priority::Normal));
        assert!(!load.enter(Priority::Normal));
        assert_eq!(load.max_calls(), 4);
    }

    #[test]
    fn new_calls_out_keep_within_their_rate_and_calls_for_help_need_not() {
        let load = load(10, 2);
        assert!(!load.is_full_for_calls_out());
        assert!(load.may_be_called(Priority::Normal) && load.may_be_called(Priority::Normal));
        assert!(load.is_full_for_calls_out() && !load.is_full());
        assert!(!load.may_be_called(Priority::Normal));
        assert!(load.may_be_called(Priority::Emergency));
        // What comes in has a rate of its own.
        assert!(load.may_call(Priority::Normal));
    }
}
