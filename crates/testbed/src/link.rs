//! A network link that loses, delays, reorders and doubles datagrams, in whatever time its owner keeps: virtual
//! in a test, real in a relay between sockets.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How long a datagram that is reordered is held up: the next one, 20 ms behind it, overtakes it.
const HELD_UP: Duration = Duration::from_millis(30);

/// What a link does to the datagrams on it. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// What every datagram takes.
    pub delay: Duration,
    /// Each datagram takes up to this much longer, by chance: they overtake one another, as under `netem`.
    pub jitter: Duration,
    /// The share of datagrams that are lost, each by a chance of its own, 0.0 ..= 1.0.
    pub loss: f64,
    /// Stretches in which everything is lost.
    pub bursts: Option<Bursts>,
    /// The share of datagrams that the next one overtakes, 0.0 ..= 1.0.
    pub reordered: f64,
    /// The share of datagrams that come twice, 0.0 ..= 1.0.
    pub doubled: f64,
}

/// Loss in bursts: at the end of each period nothing comes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// The period.
    pub every: Duration,
    /// How long nothing comes through.
    pub length: Duration,
}

/// One direction of a link. The same seed and the same datagrams meet the same fate.
#[derive(Debug)]
pub struct Link {
    weather: Weather,
    since: Duration,
    chance: StdRng,
}

impl Link {
    /// A link in fine weather.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            weather: Weather::default(),
            since: Duration::ZERO,
            chance: StdRng::seed_from_u64(seed),
        }
    }

    /// The weather changes, at `now`.
    pub fn turns(&mut self, now: Duration, weather: Weather) {
        self.weather = weather;
        self.since = now;
    }

    /// When a datagram that is sent `now` arrives: never, once, or twice.
    pub fn send(&mut self, now: Duration) -> impl Iterator<Item = Duration> + use<> {
        // The same number of draws for each datagram, so that one clause does not shift another's luck.
        let [lost, held_up, doubled] = [(); 3].map(|()| self.chance.random::<f64>());
        let late = [(); 2].map(|()| self.chance.random::<f64>());
        let Weather {
            delay,
            jitter,
            loss,
            bursts,
            reordered,
            doubled: share,
        } = self.weather;
        let in_burst = bursts.is_some_and(|bursts| bursts.rage(now - self.since));
        let copies = match (lost < loss || in_burst, doubled < share) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        let held_up = if held_up < reordered {
            HELD_UP
        } else {
            Duration::ZERO
        };
        let arrivals = late.map(|late| now + delay + held_up + jitter.mul_f64(late));
        arrivals.into_iter().take(copies)
    }
}

impl Bursts {
    fn rage(self, elapsed: Duration) -> bool {
        let into = elapsed.as_micros() % self.every.as_micros().max(1);
        into >= (self.every.saturating_sub(self.length)).as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(20);

    /// When each of `count` datagrams, one every 20 ms, arrives.
    fn arrivals(weather: Weather, count: u32) -> Vec<Vec<Duration>> {
        let mut link = Link::new(7);
        link.turns(Duration::ZERO, weather);
        (0..count).map(|n| link.send(FRAME * n).collect()).collect()
    }

    fn share(of: usize, all: usize) -> f64 {
        of as f64 / all as f64
    }

    #[test]
    fn in_fine_weather_everything_arrives_at_once() {
        let arrived = arrivals(Weather::default(), 100);
        assert!((0..100).all(|n| arrived[n as usize] == [FRAME * n]));
    }

    #[test]
    fn the_share_that_is_lost_or_doubled_is_the_one_asked_for() {
        let weather = Weather {
            loss: 0.2,
            doubled: 0.1,
            ..Weather::default()
        };
        let arrived = arrivals(weather, 20_000);
        let lost = arrived.iter().filter(|times| times.is_empty()).count();
        let doubled = arrived.iter().filter(|times| times.len() == 2).count();
        assert!((share(lost, 20_000) - 0.2).abs() < 0.01);
        assert!((share(doubled, 20_000 - lost) - 0.1).abs() < 0.01);
    }

    #[test]
    fn jitter_spreads_over_its_whole_width_and_no_further() {
        let jitter = Duration::from_millis(100);
        let weather = Weather {
            delay: FRAME,
            jitter,
            ..Weather::default()
        };
        let arrived = arrivals(weather, 1_000);
        let taken: Vec<Duration> = (0..1_000)
            .map(|n| arrived[n][0] - FRAME * n as u32)
            .collect();
        assert!(
            taken
                .iter()
                .all(|taken| (FRAME..=FRAME + jitter).contains(taken))
        );
        assert!(*taken.iter().min().unwrap() < FRAME + jitter / 20);
        assert!(*taken.iter().max().unwrap() > FRAME + jitter * 19 / 20);
    }

    #[test]
    fn a_reordered_datagram_comes_after_the_next_one() {
        let weather = Weather {
            reordered: 0.05,
            ..Weather::default()
        };
        let arrived = arrivals(weather, 10_000);
        let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((share(overtaken, 10_000) - 0.05).abs() < 0.01);
    }

    #[test]
    fn bursts_take_the_end_of_each_period() {
        let bursts = Bursts {
            every: Duration::from_secs(1),
            length: Duration::from_millis(200),
        };
        let weather = Weather {
            bursts: Some(bursts),
            ..Weather::default()
        };
        let arrived = arrivals(weather, 100);
        for (n, times) in arrived.iter().enumerate() {
            assert_eq!(times.is_empty(), n % 50 >= 40, "datagram {n}");
        }
    }
}
