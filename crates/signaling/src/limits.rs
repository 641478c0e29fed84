//! What keeps one line from costing a fortune, whoever has got hold of it: how many outside numbers it may have at once, try
//! an hour and a day, how long it may talk where that is dear, and what it may call at which time of the day.
//!
//! Settings here and in [`night`], counters in [`ledger`], all of them told what time it is; [`charge`] is their place in
//! the running gateway, and [`recall`] what they know of the time before it. A call for help meets none of them ([`Called::Emergency`]).

mod charge;
mod ledger;
mod night;
mod recall;

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

pub use charge::LineLimits;
pub(crate) use charge::{Charge, Pays, Refusal};
pub use ledger::{Ledger, Ticket};
pub use night::{Days, Night};
pub use recall::recall;

use crate::classes::Class;

/// What one line may. `None`: as much as it likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The site's, by which its days begin and its nights are.
    pub zone: TimeZone,
    /// Calls to outside numbers at once, those that ring included.
    pub max_calls: Option<u32>,
    /// Outside numbers tried within any hour.
    pub calls_per_hour: Option<u32>,
    /// Outside numbers tried on one day.
    pub calls_per_day: Option<u32>,
    /// How long calls to dear numbers may last on one day, all together, from when they are placed.
    pub dear_per_day: Option<Duration>,
    /// When it may call less.
    pub nights: Vec<Night>,
}

impl Limits {
    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Limits {
            zone: TimeZone::UTC,
            max_calls: None,
            calls_per_hour: None,
            calls_per_day: None,
            dear_per_day: None,
            nights: Vec::new(),
        }
    }

    /// Whether any outside call is counted, by whichever limit; nights count none.
    pub(crate) fn count_any(&self) -> bool {
        // Taken apart, so that no limit to come is forgotten here.
        let Limits {
            zone: _,
            max_calls,
            calls_per_hour,
            calls_per_day,
            dear_per_day,
            nights: _,
        } = self;
        let calls = [max_calls, calls_per_hour, calls_per_day];
        calls.into_iter().any(Option::is_some) || dear_per_day.is_some()
    }

    /// The time at the site.
    fn local(&self, wall: Timestamp) -> DateTime {
        self.zone.to_datetime(wall)
    }

    /// Until when no night lets this class be called; `None`: it may be.
    fn closed_until(&self, class: Class, local: DateTime) -> Option<DateTime> {
        let mut until = None;
        // One night may begin as another ends; those of a whole week, and the week is closed.
        for _ in 0..=7 {
            let at = until.unwrap_or(local);
            let closed = self.nights.iter().filter(|night| !night.lets_call(class));
            match closed.filter_map(|night| night.end_of(at)).max() {
                Some(end) => until = Some(end),
                None => break,
            }
        }
        until
    }
}

/// For the operator.
impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = |most: Option<u32>, what: &str| most.map(|most| format!("{most} {what}"));
        let minutes = self.dear_per_day.map(|dear| dear.as_secs() / 60);
        let parts = [
            most(self.max_calls, "at once"),
            most(self.calls_per_hour, "an hour"),
            most(self.calls_per_day, "a day"),
            minutes.map(|minutes| format!("{minutes} min a day where it is dear")),
        ];
        let nights = self.nights.iter().map(|night| Some(night.to_string()));
        let all: Vec<String> = parts.into_iter().chain(nights).flatten().collect();
        match all.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&all.join(", ")),
        }
    }
}

/// One moment, on the clock that never jumps and on the wall.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// What time is measured by.
    pub at: Instant,
    /// What days and nights are told by.
    pub wall: Timestamp,
}

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        Moment {
            at: Instant::now(),
            wall: Timestamp::now(),
        }
    }
}

/// A call that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past {
    /// How long ago it was placed.
    pub ago: Duration,
    /// How long it lasted from then on.
    pub lasted: Duration,
}

/// What a line calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// An emergency number: nothing stands in its way, and nothing is counted.
    Emergency,
    /// A number of this class.
    Number(Class),
}

/// What a line has come up against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So many calls at once.
    AtOnce(u32),
    /// So many an hour.
    AnHour(u32),
    /// So many a day.
    ADay(u32),
    /// So long at dear numbers a day.
    Dear(Duration),
    /// The time of the day.
    Night,
}

impl Limit {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    /// As it is called in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS[self.index()]
    }

    /// Each one's word, by its index.
    pub(crate) const WORDS: [&'static str; Self::COUNT] = [
        "max_calls",
        "calls_per_hour",
        "calls_per_day",
        "dear_minutes_per_day",
        "night",
    ];

    pub(crate) fn index(self) -> usize {
        match self {
            Limit::AtOnce(_) => 0,
            Limit::AnHour(_) => 1,
            Limit::ADay(_) => 2,
            Limit::Dear(_) => 3,
            Limit::Night => 4,
        }
    }
}

/// A call that a line may not have now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    /// By which limit.
    pub limit: Limit,
    /// When that is over, at the site; `None`: when one of the line's calls is.
    pub until: Option<DateTime>,
    /// What time it is there.
    pub local: DateTime,
    /// The first of this line and this limit within an hour: the log is told.
    pub is_first: bool,
}

/// Where time is money.
fn is_dear(class: Class) -> bool {
    matches!(class, Class::International | Class::Premium)
}

#[cfg(test)]
mod tests;
