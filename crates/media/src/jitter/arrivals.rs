//! How unevenly packets arrive, which is what the buffer's delay has to cover.

/// One step of the histogram: 2 ms, in units of 1/8000 s.
const STEP: i64 = 16;
/// Later than 256 ms counts as 256 ms.
const STEPS: usize = 128;
/// Packets remembered: 5 s of frames of 20 ms. What came before is forgotten.
const REMEMBERED: usize = 256;
/// Of so many remembered packets the latest one is not waited for.
const OUTLIERS: usize = 48;
/// The fastest packet is looked for in so many stretches …
const STRETCHES: usize = 8;
/// … of half a second each, in units. Within them even a bad clock drifts by less than a millisecond.
const STRETCH: i64 = 4000;

/// A packet that comes by so much later than the spread, 40 ms, tells of a stall; all within a second of one.
const STALL: i64 = 40 * 8;
const STALL_LASTS: i64 = 8000;
/// A second stall within so long, 30 s, lets a third be expected for as long.
const STALLS_RECUR: i64 = 30 * 8000;

/// The delays of the last packets, relative to the fastest of the last seconds.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// The smallest transit of each stretch: a clock reading less a media time, so only differences mean anything.
    fastest: [i64; STRETCHES],
    stretch: i64,
    /// Histogram steps of the remembered packets, a ring.
    steps: Box<[u8; REMEMBERED]>,
    noted: usize,
    histogram: Box<[u16; STEPS]>,
    /// The last stall, and the one before it.
    stalls: [Option<Stall>; 2],
}

#[derive(Debug, Clone, Copy)]
struct Stall {
    began: i64,
    /// How late its latest packet was.
    late: i64,
}

impl Default for Arrivals {
    fn default() -> Self {
        Arrivals {
            fastest: [i64::MAX; STRETCHES],
            stretch: 0,
            steps: Box::new([0; REMEMBERED]),
            noted: 0,
            histogram: Box::new([0; STEPS]),
            stalls: [None; 2],
        }
    }
}

impl Arrivals {
    pub(super) fn forget(&mut self) {
        self.fastest.fill(i64::MAX);
        self.histogram.fill(0);
        self.stalls = [None; 2];
        self.noted = 0;
    }

    /// Remembers a packet of media time `at` that came when the clock read `clock`; both in units. Returns how much
    /// later it came than the fastest.
    pub(super) fn note(&mut self, clock: i64, at: i64) -> i64 {
        self.move_on(clock);
        let transit = clock - at;
        let best = &mut self.fastest[ring(self.stretch)];
        *best = transit.min(*best);
        let late = transit - self.fastest[..].iter().copied().min().unwrap_or(transit);
        if late > self.spread() + STALL {
            self.note_stall(clock, late);
        }
        let step = usize::try_from(late / STEP).unwrap_or(0).min(STEPS - 1);
        let oldest = &mut self.steps[self.noted % REMEMBERED];
        if self.noted >= REMEMBERED {
            self.histogram[usize::from(*oldest)] -= 1;
        }
        *oldest = step as u8;
        self.histogram[step] += 1;
        self.noted += 1;
        late
    }

    fn note_stall(&mut self, clock: i64, late: i64) {
        match &mut self.stalls[0] {
            Some(stall) if clock - stall.began < STALL_LASTS => stall.late = stall.late.max(late),
            _ => {
                let stall = Stall { began: clock, late };
                self.stalls = [Some(stall), self.stalls[0]];
            }
        }
    }

    fn move_on(&mut self, clock: i64) {
        let stretch = clock.div_euclid(STRETCH);
        let passed = (stretch - self.stretch).clamp(0, STRETCHES as i64);
        for n in 0..passed {
            self.fastest[ring(stretch - n)] = i64::MAX;
        }
        self.stretch = self.stretch.max(stretch);
    }

    /// The transit of the fastest packet of the last seconds; `None` if there was none.
    pub(super) fn fastest(&self) -> Option<i64> {
        let best = self.fastest.iter().copied().min()?;
        (best != i64::MAX).then_some(best)
    }

    /// What the delay has to cover: the spread, and stalls where they recur.
    pub(super) fn to_cover(&self, clock: i64) -> i64 {
        let spread = self.spread();
        match self.stalls {
            [Some(last), Some(before)]
                if last.began - before.began < STALLS_RECUR
                    && clock - last.began < STALLS_RECUR =>
            {
                spread.max(last.late.min(before.late))
            }
            _ => spread,
        }
    }

    /// How much later than the fastest a packet comes, a few outliers apart; in units.
    pub(super) fn spread(&self) -> i64 {
        let mut outliers = self.noted.min(REMEMBERED) / OUTLIERS;
        for (step, count) in self.histogram.iter().enumerate().rev() {
            let count = usize::from(*count);
            if count > outliers {
                return (step as i64 + 1) * STEP;
            }
            outliers -= count;
        }
        0
    }
}

fn ring(stretch: i64) -> usize {
    stretch.rem_euclid(STRETCHES as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = 160;
    const MS: i64 = 8;

    /// Packet `n` comes `late(n)` ms later than the fastest could.
    fn arrivals(packets: i64, late: impl Fn(i64) -> i64) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for n in 0..packets {
            arrivals.note(1_000_000 + n * FRAME + late(n) * MS, n * FRAME);
        }
        arrivals
    }

    #[test]
    fn a_regular_stream_has_no_spread_to_speak_of() {
        assert_eq!(arrivals(500, |_| 0).spread(), STEP);
    }

    #[test]
    fn a_rise_is_seen_within_a_second_and_forgotten_after_some() {
        let uneven = |n: i64| (n * 37) % 11 * 10;
        let risen = arrivals(350, |n| if n < 300 { 0 } else { uneven(n) });
        assert!(risen.spread() >= 90 * MS, "{}", risen.spread());
        let calm = arrivals(600, |n| if n < 300 { uneven(n) } else { 0 });
        assert_eq!(calm.spread(), STEP);
    }

    #[test]
    fn a_single_outlier_does_not_count() {
        assert_eq!(
            arrivals(300, |n| if n == 290 { 150 } else { 0 }).spread(),
            STEP
        );
    }

    #[test]
    fn a_way_that_became_longer_for_good_is_the_new_fastest() {
        let longer = arrivals(900, |n| if n < 300 { 0 } else { 70 });
        assert_eq!(longer.spread(), STEP);
        assert_eq!(longer.fastest(), Some(1_000_000 + 70 * MS));
    }

    #[test]
    fn drift_is_no_spread() {
        let drifting = arrivals(3000, |n| n / 250);
        assert_eq!(drifting.spread(), STEP);
    }
}
