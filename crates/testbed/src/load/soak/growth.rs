//! Whether something grows: a line through what was sampled once all had warmed up.

/// The share of the time in which caches fill and pools find their size.
const WARMS_UP: f64 = 0.25;

/// How something went on.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Growth {
    /// In the mean, once it had warmed up.
    pub(super) mean: f64,
    /// The greatest.
    pub(super) most: f64,
    /// By how much it grew in an hour, by the line that fits best (least squares).
    pub(super) an_hour: f64,
    /// By how much that may be off: twice its standard error.
    pub(super) give_or_take: f64,
}

impl Growth {
    /// Of what was sampled: when (s), and how much.
    pub(super) fn of(samples: &[(f64, f64)]) -> Self {
        let last = samples.last().map_or(0.0, |(at, _)| *at);
        let warm = samples.partition_point(|(at, _)| *at < last * WARMS_UP);
        let samples = &samples[warm..];
        let count = samples.len() as f64;
        let mean_of = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
        let (middle, mean) = (mean_of(|(at, _)| *at), mean_of(|(_, value)| *value));
        let (mut spread, mut together) = (0.0, 0.0);
        for (at, value) in samples {
            spread += (at - middle).powi(2);
            together += (at - middle) * (value - mean);
        }
        let slope = together / spread;
        let off = samples.iter().map(|(at, value)| {
            let expected = mean + slope * (at - middle);
            (value - expected).powi(2)
        });
        let error = (off.sum::<f64>() / (count - 2.0) / spread).sqrt();
        let most = samples.iter().map(|(_, value)| *value);
        Self {
            mean,
            most: most.fold(f64::MIN, f64::max),
            an_hour: slope * 3_600.0,
            give_or_take: 2.0 * error * 3_600.0,
        }
    }

    /// What it grew by at least, an hour: 0 where that may have been chance.
    pub(super) fn surely(&self) -> f64 {
        if self.an_hour.is_nan() || self.give_or_take.is_nan() {
            return f64::NAN;
        }
        (self.an_hour - self.give_or_take).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An hour, sampled every 5 s, with a wobble that has no trend.
    fn samples(value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        let at = |n: u32| f64::from(n) * 5.0;
        let wobble = |n: u32| [3.0, -1.0, -2.0, 4.0, -4.0][n as usize % 5];
        (0..720)
            .map(|n| (at(n), value(at(n)) + wobble(n)))
            .collect()
    }

    #[test]
    fn what_fills_up_at_first_and_then_stays_does_not_grow() {
        let growth = Growth::of(&samples(|at| 100.0 - 50.0 * (-at / 60.0).exp()));
        assert!(growth.surely() < 0.5, "{growth:?}");
    }

    #[test]
    fn what_leaks_a_little_with_each_call_is_found() {
        let growth = Growth::of(&samples(|at| 100.0 + at / 360.0));
        assert!((growth.an_hour - 10.0).abs() < 1.0, "{growth:?}");
        assert!(growth.surely() > 8.0, "{growth:?}");
    }

    #[test]
    fn nothing_to_judge_is_no_success() {
        assert!(Growth::of(&[]).surely().is_nan());
        assert!(Growth::of(&[(0.0, 1.0)]).surely().is_nan());
    }
}
