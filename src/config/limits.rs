//! `[limits]`, and `limits` of a `[[line]]`: what keeps one line from costing a fortune.

use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use mxtrunk_signaling::classes::Class;
use mxtrunk_signaling::limits::{Days, Limits, Night};
use serde::Deserialize;

use super::Problem;

/// `[limits]`: what every line may that has none of its own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SiteLimits {
    time_zone: Option<String>,
    max_calls: u32,
    calls_per_hour: u32,
    calls_per_day: u32,
    dear_minutes_per_day: u32,
    night: Vec<WrittenNight>,
}

impl Default for SiteLimits {
    fn default() -> Self {
        SiteLimits {
            time_zone: None,
            max_calls: 5,
            calls_per_hour: 100,
            calls_per_day: 500,
            dear_minutes_per_day: 0,
            night: Vec::new(),
        }
    }
}

/// `limits` of a `[[line]]`: what it has otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnLimits {
    max_calls: Option<u32>,
    calls_per_hour: Option<u32>,
    calls_per_day: Option<u32>,
    dear_minutes_per_day: Option<u32>,
    night: Option<Vec<WrittenNight>>,
}

/// One entry of `night`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenNight {
    from: String,
    to: String,
    days: Option<Vec<Day>>,
    permissions: Vec<Class>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl SiteLimits {
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.of_line("limits", None).err().into_iter().collect()
    }

    /// What a line may. `place`: where what it has of its own stands.
    pub(super) fn of_line(&self, place: &str, own: Option<&OwnLimits>) -> Result<Limits, Problem> {
        let most = |own: Option<u32>, all: u32| match own.unwrap_or(all) {
            0 => None,
            most => Some(most),
        };
        let minutes = most(
            own.and_then(|own| own.dear_minutes_per_day),
            self.dear_minutes_per_day,
        );
        let night = own.and_then(|own| own.night.as_ref());
        let nights = night.unwrap_or(&self.night).iter();
        Ok(Limits {
            zone: self.zone()?,
            max_calls: most(own.and_then(|own| own.max_calls), self.max_calls),
            calls_per_hour: most(own.and_then(|own| own.calls_per_hour), self.calls_per_hour),
            calls_per_day: most(own.and_then(|own| own.calls_per_day), self.calls_per_day),
            dear_per_day: minutes.map(|minutes| Duration::from_secs(60 * u64::from(minutes))),
            nights: nights
                .map(|night| night.read(place))
                .collect::<Result<_, _>>()?,
        })
    }

    fn zone(&self) -> Result<TimeZone, Problem> {
        match &self.time_zone {
            None => Ok(TimeZone::system()),
            Some(name) => TimeZone::get(name).map_err(|_| {
                Problem::new(
                    "limits.time_zone",
                    format!("{name:?} is no time zone that is known here"),
                    "write its name as in the IANA database, for instance \"Europe/Paris\", or leave it out",
                )
            }),
        }
    }
}

impl WrittenNight {
    fn read(&self, place: &str) -> Result<Night, Problem> {
        let time = |key: &str, text: &str| {
            // Just that: jiff would take a "20:00:00.5" and more.
            let written = Time::strptime("%H:%M", text);
            written.map_err(|_| {
                Problem::new(
                    format!("{place}: night"),
                    format!("{key} {text:?} is no time of the day"),
                    "write hours and minutes, \"20:00\" for instance; midnight is \"00:00\"",
                )
            })
        };
        Ok(Night {
            from: time("from", &self.from)?,
            to: time("to", &self.to)?,
            days: match &self.days {
                None => Days::ALL,
                Some(days) => days.iter().map(|day| Weekday::from(*day)).collect(),
            },
            permissions: self.permissions.iter().copied().collect(),
        })
    }
}

impl From<Day> for Weekday {
    fn from(day: Day) -> Self {
        match day {
            Day::Mon => Weekday::Monday,
            Day::Tue => Weekday::Tuesday,
            Day::Wed => Weekday::Wednesday,
            Day::Thu => Weekday::Thursday,
            Day::Fri => Weekday::Friday,
            Day::Sat => Weekday::Saturday,
            Day::Sun => Weekday::Sunday,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::check::tests::{SHIPPED, complaints};
    use ruma::UserId;

    use super::*;

    fn limits_of(text: &str, user: &str) -> Limits {
        let config = Config::parse(text).expect("it is sound");
        let directory = config.directory().expect("it is sound");
        let user = UserId::parse(user).expect("a test user");
        let line = directory.line_of(&user).expect("a line");
        line.limits.clone()
    }

    /// The shipped file with `now` in the place of `before`.
    fn shipped_with(before: &str, now: &str) -> String {
        assert!(
            SHIPPED.contains(before),
            "{before} is not in the shipped file"
        );
        SHIPPED.replacen(before, now, 1)
    }

    #[test]
    fn what_a_line_has_of_its_own_goes_before_what_all_have_key_by_key() {
        let night = "\nnight = [{ from = \"20:00\", to = \"07:00\", days = [\"mon\"], permissions = [\"internal\"] }]\n";
        let text = shipped_with("\nnight = []\n", night)
            .replace("calls_per_day = 500", "calls_per_day = 0")
            .replace("\n# time_zone = ", "\ntime_zone = ");
        let text = text.replace(
            "extension = \"2001\"",
            "extension = \"2001\"\nlimits = { max_calls = 1, dear_minutes_per_day = 30, night = [] }",
        );
        let (alice, bob) = (
            limits_of(&text, "@alice:example.org"),
            limits_of(&text, "@bob:example.org"),
        );
        assert_eq!((alice.max_calls, bob.max_calls), (Some(1), Some(5)));
        assert_eq!(alice.dear_per_day, Some(Duration::from_secs(1800)));
        assert_eq!(bob.dear_per_day, None);
        assert_eq!(alice.calls_per_hour, Some(100));
        assert_eq!((alice.calls_per_day, bob.calls_per_day), (None, None));
        assert!(alice.nights.is_empty());
        assert_eq!(bob.nights.len(), 1);
        assert_eq!(bob.zone, TimeZone::get("Europe/Paris").expect("a zone"));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_place() {
        let night = |entry: &str| {
            let night = format!("\nnight = [{{ {entry} }}]\n");
            complaints(&shipped_with("\nnight = []\n", &night))
        };
        let zone = "\n[limits]\ntime_zone = \"Mars/Olympus\"\n";
        let nowhere = complaints(&shipped_with("\n[limits]\n", zone));
        for (said, part) in [
            (nowhere, "limits.time_zone"),
            (
                night("from = \"25:00\", to = \"07:00\", permissions = []"),
                "limits: night",
            ),
            (
                night("from = \"20:00\", to = \"24:00\", permissions = []"),
                "\"24:00\" is no time",
            ),
            (
                night("from = \"20:00\", to = \"7 o'clock\", permissions = []"),
                "no time of the day",
            ),
            (
                night("from = \"20:00\", to = \"07:00\", days = [\"monday\"], permissions = []"),
                "monday",
            ),
            (night("from = \"20:00\", to = \"07:00\""), "permissions"),
        ] {
            assert!(said.contains(part), "{part} is missing in {said}");
        }
        let own = SHIPPED.replace(
            "extension = \"2001\"",
            "extension = \"2001\"\nlimits = { night = [{ from = \"x\", to = \"07:00\", permissions = [] }] }",
        );
        let said = complaints(&own);
        assert!(said.contains("@alice:example.org"), "{said}");
    }
}
