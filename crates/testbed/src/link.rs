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
    /// The share of datagrams that are lost, 0.0 ..= 1.0.
    pub loss: f64,
    /// How many are lost in a row, in the mean (Gilbert's model); up to 1.0 each is lost by a chance of its own.
    pub in_a_row: f64,
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
    losing: bool,
    chance: StdRng,
}

/// One direction of a way. Media has a link of its own beside that of the rest (ICE, DTLS, RTCP), which is timed by
/// chance: that must not change which packets of sound are lost.
#[derive(Debug)]
pub struct Way {
    media: Link,
    rest: Link,
}

impl Link {
    /// A link in fine weather.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            weather: Weather::default(),
            since: Duration::ZERO,
            losing: false,
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
        let lost = self.loses(lost);
        let Weather {
            delay,
            jitter,
            bursts,
            reordered,
            doubled: share,
            ..
        } = self.weather;
        let in_burst = bursts.is_some_and(|bursts| bursts.rage(now - self.since));
        let copies = match (lost || in_burst, doubled < share) {
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

    /// Whether the next datagram is lost, by a draw from 0.0 to 1.0.
    fn loses(&mut self, drawn: f64) -> bool {
        let Weather { loss, in_a_row, .. } = self.weather;
        if in_a_row <= 1.0 {
            return drawn < loss;
        }
        let ends = in_a_row.recip();
        self.losing = match self.losing {
            true => drawn >= ends,
            // As often as makes the share of lost ones what it shall be.
            false => drawn < ends * loss / (1.0 - loss).max(f64::MIN_POSITIVE),
        };
        self.losing
    }
}

impl Way {
    /// In fine weather.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            media: Link::new(seed),
            // Far from the seeds of any other way's media.
            rest: Link::new(!seed),
        }
    }

    /// The weather changes, at `now`.
    pub fn turns(&mut self, now: Duration, weather: Weather) {
        self.media.turns(now, weather);
        self.rest.turns(now, weather);
    }

    /// As [`Link::send`], by the link that this datagram takes.
    pub fn send(
        &mut self,
        now: Duration,
        datagram: &[u8],
    ) -> impl Iterator<Item = Duration> + use<> {
        let link = match is_media(datagram) {
            true => &mut self.media,
            false => &mut self.rest,
        };
        link.send(now)
    }
}

/// RTP, not RTCP (RFC 5761), STUN or DTLS (RFC 7983).
fn is_media(datagram: &[u8]) -> bool {
    match datagram {
        [first, second, ..] => (128..=191).contains(first) && !(192..=223).contains(second),
        _ => false,
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
    fn losses_come_in_rows_as_long_as_asked_for_and_as_often() {
        let weather = Weather {
            loss: 0.1,
            in_a_row: 4.0,
            ..Weather::default()
        };
        let arrived = arrivals(weather, 50_000);
        let lost = arrived.iter().filter(|times| times.is_empty()).count();
        let rows = arrived
            .windows(2)
            .filter(|pair| !pair[0].is_empty() && pair[1].is_empty());
        let row = lost as f64 / rows.count() as f64;
        assert!((share(lost, 50_000) - 0.1).abs() < 0.01, "{lost}");
        assert!((row - 4.0).abs() < 0.3, "{row}");
    }

    #[test]
    fn the_same_seed_brings_the_same_fate_and_another_seed_another() {
        let fates = |seed| {
            let mut link = Link::new(seed);
            let weather = Weather {
                loss: 0.2,
                jitter: FRAME,
                doubled: 0.1,
                ..Weather::default()
            };
            link.turns(Duration::ZERO, weather);
            let fates = (0..200).map(|n| link.send(FRAME * n).collect::<Vec<_>>());
            fates.collect::<Vec<_>>()
        };
        assert_eq!(fates(1), fates(1));
        assert_ne!(fates(1), fates(2));
    }

    #[test]
    fn what_is_no_media_does_not_change_which_packets_of_sound_are_lost() {
        let lost = |reports: u32| {
            let mut way = Way::new(3);
            let weather = Weather {
                loss: 0.3,
                ..Weather::default()
            };
            way.turns(Duration::ZERO, weather);
            let packets = (0..100).map(|n| {
                for _ in 0..reports {
                    assert!(way.send(FRAME * n, &[0x80, 201]).count() <= 1);
                }
                way.send(FRAME * n, &[0x80, 111]).count()
            });
            packets.collect::<Vec<_>>()
        };
        assert_eq!(lost(0), lost(2));
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
