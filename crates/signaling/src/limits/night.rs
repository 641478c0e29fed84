//! Times of the day at which a line may call less.

use std::fmt;

use jiff::ToSpan as _;
use jiff::civil::{Date, DateTime, Time, Weekday};

use crate::classes::{Class, Permissions};

/// A stretch of the day, every week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Night {
    /// When it begins.
    pub from: Time,
    /// When it ends: on the next day, where that is not after `from`.
    pub to: Time,
    /// The days on which it begins.
    pub days: Days,
    /// What may be called meanwhile, of what the line may call at all.
    pub permissions: Permissions,
}

/// Days of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days([bool; 7]);

impl Days {
    /// All of them.
    pub const ALL: Self = Days([true; 7]);

    fn has(self, date: Date) -> bool {
        self.0[place(date.weekday())]
    }
}

impl FromIterator<Weekday> for Days {
    fn from_iter<T: IntoIterator<Item = Weekday>>(days: T) -> Self {
        let mut all = [false; 7];
        for day in days {
            all[place(day)] = true;
        }
        Days(all)
    }
}

fn place(day: Weekday) -> usize {
    // 0 to 6.
    usize::from(day.to_monday_zero_offset().unsigned_abs())
}

/// For the operator.
impl fmt::Display for Night {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Time| format!("{:02}:{:02}", time.hour(), time.minute());
        let (from, to) = (time(self.from), time(self.to));
        let on_some_days = match self.days == Days::ALL {
            true => "",
            false => " on some days",
        };
        write!(f, "{from} to {to}{on_some_days} only {}", self.permissions)
    }
}

impl Night {
    /// Whether numbers of this class may be called in it.
    pub(super) fn lets_call(&self, class: Class) -> bool {
        self.permissions.has(class)
    }

    /// When it ends, where it is such a night now.
    pub(super) fn end_of(&self, now: DateTime) -> Option<DateTime> {
        let today = now.date();
        let yesterday = today.checked_sub(1.day()).ok()?;
        let nights = [yesterday, today].into_iter();
        let nights = nights.filter(|date| self.days.has(*date));
        let ends = nights.filter_map(|date| {
            let last = match self.to > self.from {
                true => date,
                false => date.checked_add(1.day()).ok()?,
            };
            let (from, to) = (date.to_datetime(self.from), last.to_datetime(self.to));
            (from <= now && now < to).then_some(to)
        });
        ends.max()
    }
}
