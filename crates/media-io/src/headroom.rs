//! What the workers published of themselves, and how many more calls that leaves room for.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use crate::pressure::{Pressure, Reading};

/// What a call is taken to cost before there are enough to tell, as a share of one worker: 10 ms a second, twice
/// what transcoding takes on a machine that has little else to do.
const FIRST_COST: f32 = 0.01;
/// From this many bridged calls on, what they cost together says what one costs.
const ENOUGH_CALLS: usize = 10;
/// No call costs less than this, whatever was measured.
const LEAST_COST: f32 = 0.0005;
/// What a call may come to when both speak, whatever it costs now: who is silent at first, or on hold, speaks at any moment.
const SPOKEN_COST: f32 = 0.008;
/// Loads that differ by less than this share are alike: legs then decide by their number.
const ALIKE: f32 = 0.05;

/// What one worker last measured of itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WorkerLoad {
    /// The share of the last second in which it worked, or wanted to, 0 to 1.
    pub busy: f32,
    /// How late frames left, 99th percentile; zero where too few were due to tell.
    pub late: Duration,
    /// Legs that stand on it.
    pub legs: usize,
    /// Those of them that are bridged, and so carry sound.
    pub bridged: usize,
    /// What it does about that.
    pub pressure: Pressure,
}

/// How much is left of all workers together, for new calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Headroom {
    /// What is free below the threshold of refusal, in workers; a worker that refuses has nothing.
    pub free: f32,
    /// What all of them do now, in workers.
    pub busy: f32,
    /// Calls that carry sound.
    pub bridged: usize,
}

impl Headroom {
    /// The headroom of workers that refuse from a busy share of `refuse_at` on (1 or more: never).
    pub fn of(loads: &[WorkerLoad], refuse_at: f32) -> Self {
        let free = |load: &WorkerLoad| match load.pressure {
            _ if refuse_at >= 1.0 => f32::INFINITY,
            Pressure::Refuse => 0.0,
            Pressure::Normal | Pressure::Shed => (refuse_at - load.busy).max(0.0),
        };
        Headroom {
            free: loads.iter().map(free).sum(),
            busy: loads.iter().map(|load| load.busy).sum(),
            bridged: loads.iter().map(|load| load.bridged).sum::<usize>() / 2,
        }
    }

    /// Whether one more call fits in beside `calls` that there are already. Those that still ring cost nothing yet,
    /// and will: what is measured alone would let in whatever comes within one second.
    pub fn fits_one_more(&self, calls: usize) -> bool {
        let waiting = calls.saturating_sub(self.bridged);
        self.free > 0.0 && (waiting + 1) as f32 * self.cost() <= self.free
    }

    /// What one call costs, as a share of one worker.
    fn cost(&self) -> f32 {
        cost_of_one(self.busy, self.bridged)
    }
}

fn cost_of_one(busy: f32, calls: usize) -> f32 {
    match calls {
        0..ENOUGH_CALLS => FIRST_COST,
        _ => (busy / calls as f32).max(LEAST_COST),
    }
}

/// Where one worker publishes its load.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    legs: AtomicUsize,
    bridged: AtomicUsize,
    /// 1/10,000.
    busy: AtomicU32,
    late_us: AtomicU32,
    pressure: AtomicU8,
    /// How often the worker has measured itself.
    readings: AtomicU32,
}

impl Gauge {
    /// How often the worker has measured itself; round and round.
    pub(crate) fn readings(&self) -> u32 {
        self.readings.load(Ordering::Relaxed)
    }

    pub(crate) fn enter(&self) {
        self.legs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.legs.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn publish(&self, reading: &Reading, bridged: usize, pressure: Pressure) {
        let late = reading.late.unwrap_or_default().as_micros();
        self.busy
            .store((reading.busy * 10_000.0) as u32, Ordering::Relaxed);
        self.late_us
            .store(u32::try_from(late).unwrap_or(u32::MAX), Ordering::Relaxed);
        self.bridged.store(bridged, Ordering::Relaxed);
        self.pressure.store(pressure as u8, Ordering::Relaxed);
        self.readings.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn load(&self) -> WorkerLoad {
        WorkerLoad {
            busy: self.busy.load(Ordering::Relaxed) as f32 / 10_000.0,
            late: Duration::from_micros(self.late_us.load(Ordering::Relaxed).into()),
            legs: self.legs.load(Ordering::Relaxed),
            bridged: self.bridged.load(Ordering::Relaxed),
            pressure: match self.pressure.load(Ordering::Relaxed) {
                0 => Pressure::Normal,
                1 => Pressure::Shed,
                _ => Pressure::Refuse,
            },
        }
    }
}

impl WorkerLoad {
    /// What workers are compared by when one has to take a call: the least goes first. `fill_to` is that of
    /// [`LoadLimits`](crate::LoadLimits).
    pub(crate) fn rank(&self, fill_to: f32) -> Rank {
        // Legs that are not bridged yet count as what they will cost.
        let waiting = self.legs.saturating_sub(self.bridged) as f32 / 2.0;
        let spoken = self.busy.max(self.bridged as f32 / 2.0 * SPOKEN_COST);
        let expected = spoken + waiting * cost_of_one(self.busy, self.bridged / 2);
        let steps = (expected / ALIKE) as u32;
        let load = match expected < fill_to {
            true => Load::AtEase(Reverse((steps, self.legs))),
            false => Load::Busy(steps, self.legs),
        };
        Rank(self.pressure, load)
    }
}

/// See [`WorkerLoad::rank`].
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(Pressure, Load);

/// Steps of load, and legs.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Load {
    /// Workers at ease are filled one after the other: a call costs a worker that has much to do a fifth less than one
    /// that falls asleep after each packet and finds its caches taken (measured, see ARCHITECTURE.md).
    AtEase(Reverse<(u32, usize)>),
    /// Beyond that calls are spread, so that none waits behind the others.
    Busy(u32, usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSE_AT: f32 = 0.9;

    fn worker(busy: f32, legs: usize, bridged: usize) -> WorkerLoad {
        WorkerLoad {
            busy,
            legs,
            bridged,
            ..WorkerLoad::default()
        }
    }

    fn fitting(loads: &[WorkerLoad], calls: usize) -> usize {
        let headroom = Headroom::of(loads, REFUSE_AT);
        (calls..100_000)
            .take_while(|calls| headroom.fits_one_more(*calls))
            .count()
    }

    #[test]
    fn a_burst_of_calls_is_held_against_the_headroom_before_any_of_them_is_measured() {
        // 90 calls of 10 ms a second fill an idle worker to 90 %.
        assert_eq!(fitting(&[worker(0.0, 0, 0)], 0), 90);
        assert_eq!(fitting(&[worker(0.0, 0, 0); 2], 0), 180);
    }

    #[test]
    fn what_running_calls_cost_says_what_the_next_will() {
        // 100 calls take half a worker: 80 more fill it.
        let half = worker(0.5, 200, 200);
        assert_eq!(fitting(&[half], 100), 80);
        // Ten of the calls ring: they will cost the same.
        assert_eq!(fitting(&[half], 110), 70);
    }

    #[test]
    fn a_worker_that_refuses_offers_nothing_though_its_load_has_fallen() {
        let refusing = WorkerLoad {
            pressure: Pressure::Refuse,
            ..worker(0.85, 200, 200)
        };
        assert_eq!(fitting(&[refusing], 100), 0);
        assert!(fitting(&[refusing, worker(0.1, 20, 20)], 110) > 0);
    }

    #[test]
    fn a_threshold_that_is_switched_off_refuses_nobody() {
        let full = WorkerLoad {
            pressure: Pressure::Refuse,
            ..worker(1.0, 2_000, 2_000)
        };
        assert!(Headroom::of(&[full], 1.0).fits_one_more(5_000));
    }

    #[test]
    fn a_worker_full_of_calls_that_are_still_silent_is_not_filled_up_with_more() {
        let (silent, asleep) = (worker(0.03, 130, 130), worker(0.0, 0, 0));
        assert!(asleep.rank(0.5) < silent.rank(0.5));
        // On one that has room for them even if all speak, the next comes too.
        let (few, asleep) = (worker(0.03, 100, 100), worker(0.0, 0, 0));
        assert!(few.rank(0.5) < asleep.rank(0.5));
    }

    #[test]
    fn a_worker_at_ease_is_filled_before_another_is_woken() {
        let first = |loads: &[WorkerLoad]| {
            let ranked = loads.iter().enumerate();
            ranked.min_by_key(|(_, load)| load.rank(0.5)).unwrap().0
        };
        assert_eq!(first(&[worker(0.0, 0, 0), worker(0.2, 40, 40)]), 1);
        assert_eq!(first(&[worker(0.1, 20, 20), worker(0.1, 22, 22)]), 1);
        assert_eq!(first(&[worker(0.0, 0, 0), worker(0.6, 120, 120)]), 0);
        let spread = [worker(0.0, 0, 0), worker(0.2, 40, 40)].map(|load| load.rank(0.0));
        assert!(spread[0] < spread[1]);
        // What rings counts too: calls that come all at once are not all put on one.
        assert_eq!(first(&[worker(0.0, 0, 0), worker(0.0, 120, 0)]), 0);
    }

    #[test]
    fn of_busy_workers_that_which_does_least_comes_first_and_among_equals_that_with_fewer_legs() {
        let least = |loads: &[WorkerLoad]| {
            let ranked = loads.iter().enumerate();
            ranked.min_by_key(|(_, load)| load.rank(0.5)).unwrap().0
        };
        // Few calls that transcode against many that are passed straight through.
        assert_eq!(least(&[worker(0.8, 20, 20), worker(0.6, 80, 80)]), 1);
        assert_eq!(least(&[worker(0.61, 4, 4), worker(0.62, 2, 2)]), 1);
        // What rings counts too.
        assert_eq!(least(&[worker(0.5, 140, 60), worker(0.6, 80, 80)]), 1);
        let refusing = WorkerLoad {
            pressure: Pressure::Refuse,
            ..worker(0.8, 2, 2)
        };
        assert_eq!(least(&[refusing, worker(0.85, 80, 80)]), 1);
    }

    #[test]
    fn a_load_is_read_as_it_was_published() {
        let gauge = Gauge::default();
        gauge.enter();
        gauge.enter();
        gauge.leave();
        let reading = Reading {
            busy: 0.5,
            late: Some(Duration::from_millis(3)),
        };
        for pressure in [Pressure::Shed, Pressure::Refuse, Pressure::Normal] {
            gauge.publish(&reading, 7, pressure);
            let load = gauge.load();
            assert_eq!((load.busy, load.legs, load.bridged), (0.5, 1, 7));
            assert_eq!((load.late.as_millis(), load.pressure), (3, pressure));
        }
    }
}
