//! The conditions: what a link does to the calls on it.

use std::fmt;
use std::time::Duration;

use crate::link::Weather;
use crate::load::generator::Place;

/// How many packets a burst takes, in the mean: 80 ms.
const BURST: f64 = 4.0;

/// One kind of weather, and who has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What tables and `--conditions` call it.
    pub name: &'static str,
    pub(super) place: Place,
    pub(super) weather: Weather,
    /// How fast the clock of the end that has the weather runs, in parts per million.
    pub(super) ppm: f64,
}

impl Condition {
    /// The condition that the goal is set for.
    pub(super) const AIM: &'static str = "loss-5-jitter-30";
    /// Nothing happens to the datagrams.
    pub(super) const FINE: &'static str = "fine";

    /// All of them, in the order of the table.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let fine = Weather::default();
        let loss = |percent: f64| Weather {
            loss: percent / 100.0,
            ..fine
        };
        let bursts = |percent: f64| Weather {
            in_a_row: BURST,
            ..loss(percent)
        };
        let jitter = |ms| Weather {
            jitter: Duration::from_millis(ms),
            ..fine
        };
        let both = Weather {
            loss: 0.05,
            ..jitter(30)
        };
        let reordered = Weather {
            reordered: 0.05,
            ..fine
        };
        let doubled = Weather {
            doubled: 0.1,
            ..fine
        };
        let of = |place, ppm| {
            move |(name, weather)| Self {
                name,
                place,
                weather,
                ppm,
            }
        };
        let internet = [
            (Self::FINE, fine),
            ("loss-1", loss(1.0)),
            ("loss-5", loss(5.0)),
            ("loss-10", loss(10.0)),
            ("loss-20", loss(20.0)),
            ("bursts-5", bursts(5.0)),
            ("bursts-10", bursts(10.0)),
            ("jitter-30", jitter(30)),
            ("jitter-100", jitter(100)),
            (Self::AIM, both),
            ("reordered-5", reordered),
            ("doubled-10", doubled),
        ];
        let phones = [
            ("phone-loss-5", loss(5.0)),
            ("phone-jitter-30", jitter(30)),
            ("phone-reordered-5", reordered),
        ];
        let internet = internet.map(of(Place::Browser, 0.0));
        let fast = of(Place::Browser, 500.0)(("drift-fast", fine));
        let slow = of(Place::Browser, -500.0)(("drift-slow", fine));
        let phones = phones.map(of(Place::Phone, 0.0));
        internet
            .into_iter()
            .chain([fast, slow])
            .chain(phones)
            .collect()
    }

    pub(super) fn file_name(&self) -> &str {
        self.name
    }

    /// Drift has to build up before it is heard.
    pub(super) fn settles(&self) -> Duration {
        match self.ppm {
            0.0 => Duration::from_secs(12),
            _ => Duration::from_secs(40),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weather {
            jitter,
            loss,
            in_a_row,
            reordered,
            doubled,
            ..
        } = self.weather;
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let mut said = Vec::new();
        if loss > 0.0 && in_a_row > 1.0 {
            said.push(format!("{} lost, {in_a_row:.0} in a row", percent(loss)));
        } else if loss > 0.0 {
            said.push(format!("{} lost", percent(loss)));
        }
        if jitter > Duration::ZERO {
            said.push(format!("jitter {} ms", jitter.as_millis()));
        }
        if reordered > 0.0 {
            said.push(format!("{} reordered", percent(reordered)));
        }
        if doubled > 0.0 {
            said.push(format!("{} twice", percent(doubled)));
        }
        if self.ppm != 0.0 {
            said.push(format!("drift {:+.0} ppm", self.ppm));
        }
        if said.is_empty() {
            said.push("fine weather".to_owned());
        }
        let place = match self.place {
            Place::Browser => "",
            Place::Phone => "at the phone: ",
        };
        f.pad(&format!("{place}{}", said.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_has_a_name_and_a_description_of_its_own() {
        let all = Condition::all();
        for (number, condition) in all.iter().enumerate() {
            let others = &all[number + 1..];
            assert!(others.iter().all(|other| other.name != condition.name));
            let described = condition.to_string();
            assert!(others.iter().all(|other| other.to_string() != described));
        }
        let aim = all
            .iter()
            .find(|condition| condition.name == Condition::AIM);
        assert_eq!(aim.unwrap().to_string(), "5 % lost, jitter 30 ms");
    }
}
