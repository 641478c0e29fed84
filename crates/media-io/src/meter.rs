//! How busy a worker is, measured by itself. Pure: time comes in as an argument.

use std::time::{Duration, Instant};

use crate::pressure::Reading;

/// A reading is taken this often, while there is something to read.
const TURN: Duration = Duration::from_millis(250);
/// Readings look back about this far.
const WINDOW: Duration = Duration::from_secs(1);
/// A share below this is idleness.
const IDLE: f32 = 0.001;
/// Fewer frames than this within the window say nothing about their 99th percentile.
const ENOUGH_FRAMES: f32 = 200.0;
/// The upper ends of the classes that lateness is counted in, µs; what is later falls into the last one.
const CLASSES_US: [u32; 14] = [
    250, 500, 1_000, 2_000, 3_000, 5_000, 8_000, 12_000, 20_000, 30_000, 50_000, 80_000, 120_000,
    200_000,
];
const CLASSES: usize = CLASSES_US.len();

/// Measures one worker.
#[derive(Debug)]
pub(crate) struct Meter {
    /// When the present turn began.
    began: Instant,
    works_since: Option<Instant>,
    /// Work in the present turn.
    work: Duration,
    /// Frames of the present turn by how late they were served.
    frames: [u32; CLASSES],
    busy: f32,
    lateness: [f32; CLASSES],
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Meter {
            began: now,
            works_since: None,
            work: Duration::ZERO,
            frames: [0; CLASSES],
            busy: 0.0,
            lateness: [0.0; CLASSES],
        }
    }

    /// The worker has been woken. Time that others take from it until it waits again counts as its own: what is due
    /// waits as well.
    pub(crate) fn works(&mut self, now: Instant) {
        self.works_since = Some(now);
    }

    /// The worker has nothing to do.
    pub(crate) fn waits(&mut self, now: Instant) {
        if let Some(since) = self.works_since.take() {
            self.work += now.saturating_duration_since(since);
        }
    }

    /// A frame is served this long after it was due.
    pub(crate) fn served(&mut self, late: Duration) {
        let class = CLASSES_US
            .iter()
            .position(|end| late <= Duration::from_micros(u64::from(*end)));
        self.frames[class.unwrap_or(CLASSES - 1)] += 1;
    }

    /// When the next reading is due.
    pub(crate) fn due(&self) -> Instant {
        self.began + TURN
    }

    /// Whether the last reading was next to nothing, so that the worker need not be woken for the next one.
    pub(crate) fn is_idle(&self) -> bool {
        self.busy < IDLE
    }

    /// The reading of the turn that ends, if it does.
    pub(crate) fn read(&mut self, now: Instant) -> Option<Reading> {
        let span = now.saturating_duration_since(self.began);
        if span < TURN {
            return None;
        }
        if self.works_since.is_some() {
            self.waits(now);
            self.works(now);
        }
        let weight = (span.as_secs_f32() / WINDOW.as_secs_f32()).min(1.0);
        let share = (self.work.as_secs_f32() / span.as_secs_f32()).min(1.0);
        self.busy += (share - self.busy) * weight;
        for (known, new) in self.lateness.iter_mut().zip(&mut self.frames) {
            *known = *known * (1.0 - weight) + std::mem::take(new) as f32;
        }
        self.began = now;
        self.work = Duration::ZERO;
        Some(Reading {
            busy: self.busy,
            late: self.late_p99(),
        })
    }

    fn late_p99(&self) -> Option<Duration> {
        let all: f32 = self.lateness.iter().sum();
        if all < ENOUGH_FRAMES {
            return None;
        }
        let mut seen = 0.0;
        let class = self.lateness.iter().position(|count| {
            seen += count;
            seen >= all * 0.99
        });
        let end = CLASSES_US[class.unwrap_or(CLASSES - 1)];
        Some(Duration::from_micros(u64::from(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A worker that works `work` of every 10 ms, for so long; its last reading.
    fn run(meter: &mut Meter, now: &mut Instant, work: Duration, length: Duration) -> Reading {
        let end = *now + length;
        let mut last = Reading::default();
        while *now < end {
            meter.works(*now);
            meter.waits(*now + work);
            *now += 10 * MS;
            last = meter.read(*now).unwrap_or(last);
        }
        last
    }

    fn percent(reading: Reading) -> f32 {
        (reading.busy * 100.0).round()
    }

    #[test]
    fn the_share_is_that_of_the_last_second() {
        let mut now = Instant::now();
        let mut meter = Meter::new(now);
        assert_eq!(
            percent(run(&mut meter, &mut now, 8 * MS, 10_000 * MS)),
            80.0
        );
        let soon = percent(run(&mut meter, &mut now, 2 * MS, 500 * MS));
        assert!((40.0..70.0).contains(&soon), "{soon}");
        assert_eq!(percent(run(&mut meter, &mut now, 2 * MS, 5_000 * MS)), 20.0);
    }

    #[test]
    fn a_worker_that_slept_for_long_is_idle_whatever_it_did_before() {
        let mut now = Instant::now();
        let mut meter = Meter::new(now);
        run(&mut meter, &mut now, 9 * MS, 5_000 * MS);
        assert!(!meter.is_idle());
        now += 60_000 * MS;
        assert_eq!(percent(meter.read(now).unwrap()), 0.0);
        assert!(meter.is_idle());
    }

    #[test]
    fn work_without_a_pause_is_seen_before_it_ends() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        meter.works(start);
        let first = meter.read(start + 1_000 * MS).unwrap();
        let second = meter.read(start + 2_000 * MS).unwrap();
        assert_eq!((percent(first), percent(second)), (100.0, 100.0));
    }

    #[test]
    fn one_frame_in_fifty_that_is_late_is_the_99th_percentile_and_one_in_two_hundred_is_not() {
        for (every, expected) in [(50, 30_000), (200, 500)] {
            let start = Instant::now();
            let mut meter = Meter::new(start);
            for frame in 0..400 {
                let late = if frame % every == 0 { 25_000 } else { 400 };
                meter.served(Duration::from_micros(late));
            }
            let late = meter.read(start + TURN).unwrap().late.unwrap();
            assert_eq!(late.as_micros(), expected, "one in {every}");
        }
    }

    #[test]
    fn a_few_frames_say_nothing_and_old_ones_are_forgotten() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        for _ in 0..199 {
            meter.served(50 * MS);
        }
        assert_eq!(meter.read(start + TURN).unwrap().late, None);
        for _ in 0..400 {
            meter.served(50 * MS);
        }
        assert!(meter.read(start + 2 * TURN).unwrap().late.is_some());
        assert_eq!(meter.read(start + 2 * TURN + WINDOW).unwrap().late, None);
    }
}
