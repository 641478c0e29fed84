//! Is there room for one more call? By the number of calls, and by what the media workers have left.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mxtrunk_call::Reason;
use mxtrunk_media_io::{Headroom, Priority};
use tracing::warn;

use crate::limits::LineLimits;

/// After this long without a refusal there is room again.
const QUIET: Duration = Duration::from_secs(10);

/// What the house can take at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The trunk that the call would take answers.
    pub(crate) trunk_is_up: bool,
    /// It has as many calls as may be.
    pub(crate) trunk_is_full: bool,
    /// Calls there are, those that ring included.
    pub(crate) calls: usize,
    /// What is left of the media workers.
    pub(crate) headroom: Headroom,
}

/// Why a call cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    TrunkIsDown,
    TrunkIsFull,
    TooManyCalls,
    NoHeadroom,
}

impl Standing {
    /// What stands in the way of one more call. Nothing does of one for help: it is tried even where the trunk seems
    /// to be down, for a PBX that answers no OPTIONS may still take an INVITE.
    fn obstacle(&self, priority: Priority, max_calls: usize) -> Option<Obstacle> {
        match priority {
            Priority::Emergency => None,
            Priority::Normal if !self.trunk_is_up => Some(Obstacle::TrunkIsDown),
            Priority::Normal if self.trunk_is_full => Some(Obstacle::TrunkIsFull),
            Priority::Normal if self.calls >= max_calls => Some(Obstacle::TooManyCalls),
            Priority::Normal if !self.headroom.fits_one_more(self.calls) => {
                Some(Obstacle::NoHeadroom)
            }
            Priority::Normal => None,
        }
    }
}

/// Admits calls, counts those that it does not, and says in the log when that begins and ends.
#[derive(Debug)]
pub struct Admission {
    max_calls: AtomicUsize,
    lines: LineLimits,
    /// No new calls, since the gateway is to stop once those that there are have ended.
    draining: AtomicBool,
    refused_draining: AtomicU64,
    too_many_calls: AtomicU64,
    no_headroom: AtomicU64,
    emergencies_over_limit: AtomicU64,
    refusing: Mutex<Option<Refusing>>,
}

/// Calls are being refused.
#[derive(Debug, Clone, Copy)]
struct Refusing {
    began: Instant,
    last: Instant,
    refused: u64,
}

/// Counters since the start; all only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmissionCounts {
    /// Calls refused because there were as many as may be.
    pub too_many_calls: u64,
    /// Calls refused because the media workers had no headroom.
    pub no_headroom: u64,
    /// Calls refused because the gateway was draining.
    pub draining: u64,
    /// Emergency calls that were taken though others would have been refused.
    pub emergencies_over_limit: u64,
}

impl Admission {
    pub(crate) fn new(max_calls: usize) -> Self {
        Admission {
            max_calls: AtomicUsize::new(max_calls),
            lines: LineLimits::default(),
            draining: AtomicBool::new(false),
            refused_draining: AtomicU64::new(0),
            too_many_calls: AtomicU64::new(0),
            no_headroom: AtomicU64::new(0),
            emergencies_over_limit: AtomicU64::new(0),
            refusing: Mutex::new(None),
        }
    }

    /// From now on only calls for help are taken.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether that is so.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// So many calls at once from now on; those that there are go on.
    pub fn limit(&self, max_calls: usize) {
        self.max_calls.store(max_calls, Ordering::Relaxed);
    }

    fn max_calls(&self) -> usize {
        self.max_calls.load(Ordering::Relaxed)
    }

    /// Whether a call more, beside so many, would be refused over any trunk.
    #[must_use]
    pub fn is_full(&self, calls: usize, headroom: Headroom) -> bool {
        let standing = Standing {
            trunk_is_up: true,
            trunk_is_full: false,
            calls,
            headroom,
        };
        standing
            .obstacle(Priority::Normal, self.max_calls())
            .is_some()
    }

    /// What each line has called of what it may.
    #[must_use]
    pub fn lines(&self) -> &LineLimits {
        &self.lines
    }

    /// Takes a call in, or says why not.
    pub(crate) fn admit(
        &self,
        now: Instant,
        priority: Priority,
        standing: &Standing,
    ) -> Result<(), Reason> {
        if self.is_draining() && priority == Priority::Normal {
            self.refused_draining.fetch_add(1, Ordering::Relaxed);
            return Err(Reason::ShuttingDown);
        }
        let Some(obstacle) = standing.obstacle(priority, self.max_calls()) else {
            self.count_emergency(priority, standing);
            return Ok(());
        };
        let counter = match obstacle {
            Obstacle::TrunkIsDown => return Err(Reason::Unreachable),
            Obstacle::TooManyCalls | Obstacle::TrunkIsFull => &self.too_many_calls,
            Obstacle::NoHeadroom => &self.no_headroom,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.note_refusal(now, obstacle, standing);
        Err(Reason::Overloaded)
    }

    /// What was counted since the start.
    pub fn counts(&self) -> AdmissionCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AdmissionCounts {
            draining: read(&self.refused_draining),
            too_many_calls: read(&self.too_many_calls),
            no_headroom: read(&self.no_headroom),
            emergencies_over_limit: read(&self.emergencies_over_limit),
        }
    }

    /// Says that calls are taken again, if none has been refused for a while. Returns how many were.
    pub(crate) fn look_back(&self, now: Instant) -> Option<u64> {
        let mut refusing = self.lock();
        let over = refusing.filter(|refusing| now.duration_since(refusing.last) >= QUIET)?;
        *refusing = None;
        let seconds = over.last.duration_since(over.began).as_secs();
        warn!(
            refused = over.refused,
            seconds, "there is room for new calls again"
        );
        Some(over.refused)
    }

    fn count_emergency(&self, priority: Priority, standing: &Standing) {
        if priority == Priority::Emergency
            && standing
                .obstacle(Priority::Normal, self.max_calls())
                .is_some()
        {
            self.emergencies_over_limit.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn note_refusal(&self, now: Instant, obstacle: Obstacle, standing: &Standing) {
        let mut refusing = self.lock();
        if let Some(refusing) = refusing.as_mut() {
            refusing.last = now;
            refusing.refused += 1;
            return;
        }
        *refusing = Some(Refusing {
            began: now,
            last: now,
            refused: 1,
        });
        let Standing {
            calls, headroom, ..
        } = standing;
        let max_calls = self.max_calls();
        let busy_workers = headroom.busy;
        match obstacle {
            Obstacle::NoHeadroom => warn!(
                calls,
                busy_workers, "the media workers have no room: new calls are refused"
            ),
            Obstacle::TrunkIsFull => warn!(
                calls,
                "every trunk that the call may take has as many calls as may be: new ones are refused"
            ),
            Obstacle::TooManyCalls | Obstacle::TrunkIsDown => warn!(
                calls,
                max_calls, "there are as many calls as may be: new ones are refused"
            ),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Refusing>> {
        // It is written in one go.
        self.refusing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const FREE: Headroom = Headroom {
        free: 0.9,
        busy: 0.0,
        bridged: 0,
    };
    const NONE: Headroom = Headroom { free: 0.0, ..FREE };

    pub(crate) fn standing(trunk_is_up: bool, calls: usize, free: bool) -> Standing {
        Standing {
            trunk_is_up,
            trunk_is_full: false,
            calls,
            headroom: if free { FREE } else { NONE },
        }
    }

    #[test]
    fn every_obstacle_stops_an_ordinary_call_and_none_an_emergency() {
        for (standing, expected) in [
            (standing(true, 0, true), Ok(())),
            (standing(true, 9, true), Ok(())),
            (standing(true, 10, true), Err(Reason::Overloaded)),
            (standing(true, 0, false), Err(Reason::Overloaded)),
            (
                Standing {
                    trunk_is_full: true,
                    ..standing(true, 0, true)
                },
                Err(Reason::Overloaded),
            ),
            (standing(false, 0, true), Err(Reason::Unreachable)),
            (standing(false, 10, false), Err(Reason::Unreachable)),
        ] {
            let admission = Admission::new(10);
            let now = Instant::now();
            let ordinary = admission.admit(now, Priority::Normal, &standing);
            assert_eq!(ordinary, expected, "{standing:?}");
            let help = admission.admit(now, Priority::Emergency, &standing);
            assert_eq!(help, Ok(()), "{standing:?}");
            let over = u64::from(expected.is_err());
            assert_eq!(admission.counts().emergencies_over_limit, over);
        }
    }

    #[test]
    fn a_gateway_that_drains_takes_calls_for_help_alone() {
        let admission = Admission::new(10);
        let free = standing(true, 0, true);
        let admit = |priority| admission.admit(Instant::now(), priority, &free);
        assert_eq!(admit(Priority::Normal), Ok(()));
        admission.drain();
        assert_eq!(admit(Priority::Normal), Err(Reason::ShuttingDown));
        assert_eq!(admit(Priority::Emergency), Ok(()));
        assert_eq!(admission.counts().draining, 1);
    }

    #[test]
    fn a_gateway_is_full_by_its_calls_or_by_its_workers() {
        let admission = Admission::new(10);
        assert!(!admission.is_full(9, FREE));
        assert!(admission.is_full(10, FREE));
        assert!(admission.is_full(0, NONE));
        admission.limit(11);
        assert!(!admission.is_full(10, FREE));
    }

    #[test]
    fn calls_that_still_ring_take_their_share_of_the_headroom() {
        let headroom = Headroom { free: 0.05, ..FREE };
        let with = |calls| Standing {
            calls,
            headroom,
            ..standing(true, 0, true)
        };
        let admission = Admission::new(1_000);
        let admit = |calls| admission.admit(Instant::now(), Priority::Normal, &with(calls));
        assert_eq!(admit(3), Ok(()));
        assert_eq!(admit(10), Err(Reason::Overloaded));
    }

    #[test]
    fn another_limit_holds_for_the_next_call() {
        let admission = Admission::new(1);
        let one = standing(true, 1, true);
        let admit = || admission.admit(Instant::now(), Priority::Normal, &one);
        assert_eq!(admit(), Err(Reason::Overloaded));
        admission.limit(2);
        assert_eq!(admit(), Ok(()));
    }

    #[test]
    fn nothing_is_refused_in_silence() {
        let admission = Admission::new(1);
        let start = Instant::now();
        let full = standing(true, 1, true);
        let busy = standing(true, 0, false);
        for (second, standing) in [(0, &full), (1, &full), (5, &busy)] {
            let now = start + Duration::from_secs(second);
            assert!(admission.admit(now, Priority::Normal, standing).is_err());
        }
        let counts = admission.counts();
        assert_eq!((counts.too_many_calls, counts.no_headroom), (2, 1));
        let at = |second| admission.look_back(start + Duration::from_secs(second));
        assert_eq!(at(14), None);
        assert_eq!(at(15), Some(3));
        assert_eq!(at(16), None);
    }
}
