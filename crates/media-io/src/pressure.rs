//! When a worker begins to spare, and when it takes no more calls: the decision, without the measuring.

use std::time::{Duration, Instant};

/// Below this part of its threshold, a worker takes calls again.
const RETAKEN: f32 = 0.9;
/// Sparing ends only where the load would stay this much below its threshold without it: else it would bring itself
/// back.
const ENDED: f32 = 0.9;
/// How long it must have been better before a worker takes calls again.
const CALM_AFTER_REFUSAL: Duration = Duration::from_secs(5);
/// How long it must have been better before a worker spares no more.
const CALM_AFTER_SHEDDING: Duration = Duration::from_secs(30);

/// How hard a worker is pressed, and so what a new call on it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Pressure {
    /// Everything as set.
    #[default]
    Normal,
    /// Less work: G.711 where the browser has it, Opus at [`LoadLimits::shed_complexity`] for all calls.
    Shed,
    /// Nothing: there is no room for it.
    Refuse,
}

/// From which load on a worker spares, and refuses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadLimits {
    /// Up to this busy share, 0 to 1, a worker takes calls before another that does less; 0: calls are spread from the
    /// first on.
    pub fill_to: f32,
    /// The busy share, 0 to 1, from which on a worker spares; 1 or more: never.
    pub shed_at: f32,
    /// The busy share, 0 to 1, from which on a worker takes no new call; 1 or more: never.
    pub refuse_at: f32,
    /// A worker whose frames leave this late (99th percentile) spares too, whatever its busy share: something else
    /// takes the machine away from it. Zero: never.
    pub late: Duration,
    /// The complexity of Opus while a worker spares, 0 to 10; one that is set lower stays.
    pub shed_complexity: u8,
}

impl Default for LoadLimits {
    fn default() -> Self {
        LoadLimits {
            fill_to: 0.5,
            shed_at: 0.75,
            refuse_at: 0.90,
            late: Duration::from_millis(20),
            shed_complexity: 0,
        }
    }
}

/// What a worker measured of itself over about one second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Reading {
    /// The share of the time in which it worked, or wanted to, 0 to 1.
    pub(crate) busy: f32,
    /// How late frames left, 99th percentile; `None` where too few were due to tell.
    pub(crate) late: Option<Duration>,
}

impl LoadLimits {
    /// What a reading calls for by itself.
    fn called_for(&self, reading: &Reading) -> Pressure {
        if reaches(reading.busy, self.refuse_at) {
            Pressure::Refuse
        } else if reaches(reading.busy, self.shed_at) || self.is_late(reading, self.late) {
            Pressure::Shed
        } else {
            Pressure::Normal
        }
    }

    /// Whether a reading is reason enough to stay with `pressure`.
    fn holds(&self, pressure: Pressure, reading: &Reading, left: f32) -> bool {
        match pressure {
            Pressure::Normal => true,
            Pressure::Shed => {
                let ended = self.shed_at * left * ENDED;
                let is_busy = self.spares() && reading.busy >= ended;
                is_busy || self.is_late(reading, self.late / 2)
            }
            Pressure::Refuse => reading.busy >= self.refuse_at * RETAKEN,
        }
    }

    /// Whether anything is spared for being busy, before calls are refused.
    fn spares(&self) -> bool {
        is_set(self.shed_at)
    }

    fn is_late(&self, reading: &Reading, limit: Duration) -> bool {
        !self.late.is_zero() && reading.late.is_some_and(|late| late >= limit)
    }
}

fn reaches(busy: f32, threshold: f32) -> bool {
    is_set(threshold) && busy >= threshold
}

/// A share of 1 is never reached: it switches off.
fn is_set(threshold: f32) -> bool {
    threshold < 1.0
}

/// The overload control of one worker: up at once, down a step at a time and only after a while.
#[derive(Debug)]
pub(crate) struct OverloadControl {
    limits: LoadLimits,
    /// The part of a call's cost that sparing leaves, 0 to 1.
    left: f32,
    pressure: Pressure,
    better_since: Option<Instant>,
}

impl OverloadControl {
    pub(crate) fn new(limits: LoadLimits, left: f32) -> Self {
        OverloadControl {
            limits,
            left,
            pressure: Pressure::Normal,
            better_since: None,
        }
    }

    /// Whether anything is spared for being busy, before calls are refused.
    pub(crate) fn spares(&self) -> bool {
        self.limits.spares()
    }

    pub(crate) fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// Takes a reading in. Returns the pressure if that has changed.
    pub(crate) fn judge(&mut self, now: Instant, reading: &Reading) -> Option<Pressure> {
        let called_for = self.limits.called_for(reading);
        let next = if called_for > self.pressure {
            called_for
        } else if self.limits.holds(self.pressure, reading, self.left) {
            self.better_since = None;
            return None;
        } else {
            let since = *self.better_since.get_or_insert(now);
            self.relief(now.saturating_duration_since(since))?
        };
        self.pressure = next;
        self.better_since = None;
        Some(next)
    }

    /// One step down, once it has been better for long enough.
    fn relief(&self, better_for: Duration) -> Option<Pressure> {
        let (wait, next) = match self.pressure {
            Pressure::Normal => return None,
            Pressure::Shed => (CALM_AFTER_SHEDDING, Pressure::Normal),
            Pressure::Refuse if !self.spares() => (CALM_AFTER_REFUSAL, Pressure::Normal),
            Pressure::Refuse => (CALM_AFTER_REFUSAL, Pressure::Shed),
        };
        (better_for >= wait).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Pressure::{Normal, Refuse, Shed};

    /// What complexity 0 leaves of 5.
    const HALF: f32 = 0.5;
    const QUARTER: Duration = Duration::from_millis(250);

    fn busy(share: f32) -> Reading {
        Reading {
            busy: share,
            late: None,
        }
    }

    fn late(ms: u64) -> Reading {
        Reading {
            busy: 0.2,
            late: Some(Duration::from_millis(ms)),
        }
    }

    /// A control in this state, and the moment at which it came there.
    fn at(pressure: Pressure) -> (OverloadControl, Instant) {
        let mut control = OverloadControl::new(LoadLimits::default(), HALF);
        let now = Instant::now();
        let share = match pressure {
            Normal => 0.0,
            Shed => 0.8,
            Refuse => 0.95,
        };
        control.judge(now, &busy(share));
        assert_eq!(control.pressure(), pressure);
        (control, now)
    }

    /// What becomes of a state when one reading holds on, seen at the end of each quarter of a second.
    fn after(pressure: Pressure, reading: Reading, seconds: u64) -> Pressure {
        let (mut control, start) = at(pressure);
        for quarter in 0..=seconds as u32 * 4 {
            control.judge(start + QUARTER * quarter, &reading);
        }
        control.pressure()
    }

    #[test]
    fn every_state_meets_every_load() {
        // From, the reading that holds on: what comes at once, after 6 s, and after 31 s.
        let table = [
            (Normal, busy(0.74), [Normal, Normal, Normal]),
            (Normal, busy(0.75), [Shed, Shed, Shed]),
            (Normal, busy(0.90), [Refuse, Refuse, Refuse]),
            (Normal, late(19), [Normal, Normal, Normal]),
            (Normal, late(20), [Shed, Shed, Shed]),
            (Normal, late(500), [Shed, Shed, Shed]),
            (Shed, busy(0.89), [Shed, Shed, Shed]),
            (Shed, busy(0.90), [Refuse, Refuse, Refuse]),
            (Shed, busy(0.35), [Shed, Shed, Shed]),
            (Shed, busy(0.33), [Shed, Shed, Normal]),
            (Shed, late(10), [Shed, Shed, Shed]),
            (Shed, late(9), [Shed, Shed, Normal]),
            (Refuse, busy(0.82), [Refuse, Refuse, Refuse]),
            (Refuse, busy(0.80), [Refuse, Shed, Shed]),
            (Refuse, busy(0.0), [Refuse, Shed, Shed]),
        ];
        for (from, reading, expected) in table {
            let seen = [0, 6, 31].map(|seconds| after(from, reading, seconds));
            assert_eq!(seen, expected, "{from:?} at {reading:?}");
        }
        assert_eq!(after(Refuse, busy(0.0), 40), Normal);
    }

    #[test]
    fn a_lull_that_does_not_last_changes_nothing() {
        let (mut control, start) = at(Refuse);
        for second in 1..100 {
            let share = if second % 4 == 0 { 0.85 } else { 0.1 };
            let now = start + Duration::from_secs(second);
            assert_eq!(control.judge(now, &busy(share)), None);
        }
        assert_eq!(control.pressure(), Refuse);
    }

    #[test]
    fn a_change_is_told_once() {
        let (mut control, now) = at(Normal);
        assert_eq!(control.judge(now, &busy(0.8)), Some(Shed));
        assert_eq!(control.judge(now, &busy(0.8)), None);
    }

    /// Sparing halves the load: without a memory of that it would end, and begin again, for ever.
    #[test]
    fn sparing_does_not_bring_itself_back() {
        let mut control = OverloadControl::new(LoadLimits::default(), HALF);
        let start = Instant::now();
        let mut changes = 0;
        for quarter in 0..4 * 600 {
            let share = match control.pressure() {
                Normal => 0.8,
                Shed | Refuse => 0.4,
            };
            let now = start + QUARTER * quarter;
            changes += usize::from(control.judge(now, &busy(share)).is_some());
        }
        assert_eq!((changes, control.pressure()), (1, Shed));
    }

    #[test]
    fn what_is_switched_off_is_never_done() {
        let limits = LoadLimits {
            shed_at: 1.0,
            refuse_at: 1.0,
            late: Duration::ZERO,
            ..LoadLimits::default()
        };
        let mut control = OverloadControl::new(limits, HALF);
        let now = Instant::now();
        for reading in [busy(1.0), late(1_000)] {
            assert_eq!(control.judge(now, &reading), None);
        }
    }

    #[test]
    fn who_never_spares_only_refuses_and_takes_calls_again() {
        let limits = LoadLimits {
            shed_at: 1.0,
            ..LoadLimits::default()
        };
        let mut control = OverloadControl::new(limits, HALF);
        let start = Instant::now();
        assert_eq!(control.judge(start, &busy(0.95)), Some(Refuse));
        assert!(!control.spares());
        control.judge(start, &busy(0.6));
        let later = start + CALM_AFTER_REFUSAL;
        assert_eq!(control.judge(later, &busy(0.6)), Some(Normal));
    }

    /// The default complexity leaves sparing little to save: calls need not wait for half the load.
    #[test]
    fn where_sparing_saves_little_it_ends_a_little_below_the_threshold() {
        let mut control = OverloadControl::new(LoadLimits::default(), 0.96);
        let start = Instant::now();
        control.judge(start, &busy(0.8));
        control.judge(start, &busy(0.6));
        let later = start + CALM_AFTER_SHEDDING;
        assert_eq!(control.judge(later, &busy(0.6)), Some(Normal));
    }
}
