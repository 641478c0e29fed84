//! What each line has called: the counters behind [`Limits`].

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use jiff::civil::{Date, DateTime, Time};
use ruma::{OwnedUserId, UserId};

use super::{Called, Exceeded, Limit, Limits, Moment, Past, is_dear};
use crate::classes::Class;

const HOUR: Duration = Duration::from_secs(3600);

/// Numbers tried within the last hour that are remembered of one line that may try as many as it likes, should it be
/// limited meanwhile.
pub(super) const REMEMBERED: usize = 10_000;

/// What all lines have called.
#[derive(Debug, Default)]
pub struct Ledger {
    lines: HashMap<OwnedUserId, Account>,
    calls: u64,
}

/// A call that is counted, until it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    line: OwnedUserId,
    call: u64,
    class: Class,
}

impl Ticket {
    /// What class of number it is for.
    pub(super) fn class(&self) -> Class {
        self.class
    }
}

/// What one line has called.
#[derive(Debug)]
struct Account {
    /// As they were when it called last.
    limits: Limits,
    /// When it tried outside numbers within the last hour.
    tried: VecDeque<Instant>,
    today: Option<Date>,
    tried_today: u32,
    /// How long those to dear numbers have lasted today that are over.
    dear_today: Duration,
    /// Those that are on, and since when they count for today.
    running: HashMap<u64, (Class, Instant)>,
    /// When the log was last told of each limit.
    told: [Option<Instant>; Limit::COUNT],
}

impl Ledger {
    /// Lets a line call, and counts it; no ticket is due for what costs nothing.
    ///
    /// # Errors
    /// What the line has come up against.
    pub fn admit(
        &mut self,
        now: Moment,
        line: &UserId,
        limits: &Limits,
        called: Called,
    ) -> Result<Option<Ticket>, Exceeded> {
        let class = match called {
            Called::Emergency => return Ok(None),
            Called::Number(class) => class,
        };
        let new = || Account::new(limits);
        let account = self.lines.entry(line.to_owned()).or_insert_with(new);
        account.limits.clone_from(limits);
        account.turn(now);
        if let Some((limit, until)) = account.obstacle(now, class) {
            return Err(Exceeded {
                limit,
                until,
                local: limits.local(now.wall),
                is_first: account.is_first(limit, now.at),
            });
        }
        if class == Class::Internal {
            return Ok(None);
        }
        self.calls += 1;
        account.begin(self.calls, class, now.at);
        Ok(Some(Ticket {
            line: line.to_owned(),
            call: self.calls,
            class,
        }))
    }

    /// Counts a call to such an outside number that was over before this start; the earlier ones first.
    pub fn recall(
        &mut self,
        now: Moment,
        line: &UserId,
        limits: &Limits,
        class: Class,
        past: Past,
    ) {
        let new = || Account::new(limits);
        let account = self.lines.entry(line.to_owned()).or_insert_with(new);
        account.turn(now);
        if past.ago < HOUR
            && let Some(tried) = now.at.checked_sub(past.ago)
        {
            account.remember(tried);
        }
        let began = now.wall.checked_sub(past.ago).ok();
        if began.map(|began| limits.local(began).date()) == account.today {
            account.tried_today = account.tried_today.saturating_add(1);
            if is_dear(class) {
                account.dear_today += past.lasted;
            }
        }
    }

    /// The call is over.
    pub fn end(&mut self, now: Moment, ticket: &Ticket) {
        if let Some(account) = self.lines.get_mut(&ticket.line) {
            account.turn(now);
            account.end(ticket.call, now.at);
        }
    }

    /// When this call has used up what its line may talk to dear numbers today; `None`: never. What is said holds until
    /// the line calls again.
    pub fn runs_out(&mut self, now: Moment, ticket: &Ticket) -> Option<Instant> {
        if !is_dear(ticket.class) {
            return None;
        }
        let account = self.lines.get_mut(&ticket.line)?;
        account.turn(now);
        let most = account.limits.dear_per_day?;
        let calls = u32::try_from(account.dear_calls().count()).ok()?;
        let left = most.saturating_sub(account.dear(now.at));
        Some(now.at + left.checked_div(calls)?)
    }

    /// The call was ended since it ran out.
    pub fn ran_out(&mut self, now: Moment, ticket: &Ticket) -> Option<Exceeded> {
        let account = self.lines.get_mut(&ticket.line)?;
        let limit = Limit::Dear(account.limits.dear_per_day?);
        let local = account.limits.local(now.wall);
        Some(Exceeded {
            limit,
            until: midnight(local),
            local,
            is_first: account.is_first(limit, now.at),
        })
    }
}

impl Account {
    fn new(limits: &Limits) -> Self {
        Account {
            limits: limits.clone(),
            tried: VecDeque::new(),
            today: None,
            tried_today: 0,
            dear_today: Duration::ZERO,
            running: HashMap::new(),
            told: [None; Limit::COUNT],
        }
    }

    /// Forgets what does not count any more.
    fn turn(&mut self, now: Moment) {
        let is_over = |tried: &Instant| now.at.saturating_duration_since(*tried) >= HOUR;
        while self.tried.pop_front_if(|tried| is_over(tried)).is_some() {}
        let today = self.limits.local(now.wall).date();
        if self.today.replace(today) != Some(today) {
            self.tried_today = 0;
            self.dear_today = Duration::ZERO;
            for (_, since) in self.running.values_mut() {
                *since = now.at;
            }
        }
    }

    fn dear_calls(&self) -> impl Iterator<Item = Instant> {
        let all = self.running.values();
        all.filter(|(class, _)| is_dear(*class)).map(|(_, at)| *at)
    }

    /// How long calls to dear numbers have lasted today.
    fn dear(&self, now: Instant) -> Duration {
        let lasted = self
            .dear_calls()
            .map(|at| now.saturating_duration_since(at));
        self.dear_today + lasted.sum::<Duration>()
    }

    /// What is in the way of one more call, and when it is not any more.
    fn obstacle(&self, now: Moment, class: Class) -> Option<(Limit, Option<DateTime>)> {
        let limits = &self.limits;
        let local = limits.local(now.wall);
        if let Some(until) = limits.closed_until(class, local) {
            return Some((Limit::Night, Some(until)));
        }
        if class == Class::Internal {
            return None;
        }
        if let Some(most) = limits.max_calls
            && self.running.len() >= most as usize
        {
            return Some((Limit::AtOnce(most), None));
        }
        if let Some(most) = limits.calls_per_hour
            && let Some(over) = self.tried.len().checked_sub(most as usize)
        {
            // Once that one is an hour old there is room again; where nothing may be tried, never.
            let free = self.tried.get(over).map(|tried| *tried + HOUR);
            let wait = free.map(|at| at.saturating_duration_since(now.at));
            let until = wait.and_then(|wait| now.wall.checked_add(wait).ok());
            return Some((Limit::AnHour(most), until.map(|at| limits.local(at))));
        }
        if let Some(most) = limits.calls_per_day
            && self.tried_today >= most
        {
            return Some((Limit::ADay(most), midnight(local)));
        }
        match limits.dear_per_day {
            Some(most) if is_dear(class) && self.dear(now.at) >= most => {
                Some((Limit::Dear(most), midnight(local)))
            }
            _ => None,
        }
    }

    fn remember(&mut self, tried: Instant) {
        if self.tried.len() == REMEMBERED {
            self.tried.pop_front();
        }
        self.tried.push_back(tried);
    }

    fn begin(&mut self, call: u64, class: Class, now: Instant) {
        self.remember(now);
        self.tried_today = self.tried_today.saturating_add(1);
        self.running.insert(call, (class, now));
    }

    fn end(&mut self, call: u64, now: Instant) {
        if let Some((class, since)) = self.running.remove(&call)
            && is_dear(class)
        {
            self.dear_today += now.saturating_duration_since(since);
        }
    }

    fn is_first(&mut self, limit: Limit, now: Instant) -> bool {
        let told = &mut self.told[limit.index()];
        let is_first = told.is_none_or(|told| now.saturating_duration_since(told) >= HOUR);
        if is_first {
            *told = Some(now);
        }
        is_first
    }
}

/// When the day is over.
fn midnight(local: DateTime) -> Option<DateTime> {
    let tomorrow = local.date().tomorrow().ok()?;
    Some(tomorrow.to_datetime(Time::midnight()))
}
