//! The ledger of the running gateway, and what a call holds of it for as long as it costs.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use mxtrunk_call::Reason;
use mxtrunk_matrix::catalogue::{Language, LimitTold};
use mxtrunk_media_io::Priority;
use tracing::{debug, warn};

use super::ledger::Ticket;
use super::{Called, Exceeded, Ledger, Limit, Moment, Past, is_dear};
use crate::classes::Class;
use crate::directory::{Directory, Line};
use crate::numbers::Number;

/// What lines have called, and how often one was refused more.
#[derive(Debug, Clone, Default)]
pub struct LineLimits(Arc<Books>);

#[derive(Debug, Default)]
struct Books {
    ledger: Mutex<Ledger>,
    refused: [AtomicU64; Limit::COUNT],
}

/// A call that a line pays for, until this is dropped.
pub(crate) struct Charge {
    books: Arc<Books>,
    ticket: Ticket,
    /// How long, or how many at once: who would have it go on without us would get around that.
    is_bounded: bool,
}

/// What a line is to call, and as what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pays<'a> {
    pub(crate) directory: &'a Directory,
    pub(crate) line: &'a Line,
    pub(crate) number: &'a Number,
    pub(crate) priority: Priority,
}

impl LineLimits {
    /// Lets a line call a number, for as long as the charge lives; none is due for what costs nothing.
    pub(crate) fn charge(&self, pays: Pays<'_>) -> Result<Option<Charge>, Exceeded> {
        let called = match pays.priority {
            Priority::Emergency => Called::Emergency,
            Priority::Normal => Called::Number(pays.directory.plan().class_of(pays.number).0),
        };
        let line = pays.line;
        let admitted = self
            .0
            .lock()
            .admit(Moment::now(), &line.user, &line.limits, called);
        match admitted {
            Ok(ticket) => Ok(ticket.map(|ticket| Charge {
                books: self.0.clone(),
                ticket,
                is_bounded: line.limits.max_calls.is_some() || line.limits.dear_per_day.is_some(),
            })),
            Err(exceeded) => {
                self.0.count(exceeded.limit);
                debug!(user = %line.user, limit = exceeded.limit.word(), "whose limit it is");
                Err(exceeded)
            }
        }
    }

    /// Counts what a line called before this start.
    pub(super) fn recall(&self, now: Moment, line: &Line, class: Class, past: Past) {
        let mut ledger = self.0.lock();
        ledger.recall(now, &line.user, &line.limits, class, past);
    }

    /// How often each limit has refused a call, by its name in the configuration.
    #[must_use]
    pub fn refused(&self) -> [(&'static str, u64); Limit::COUNT] {
        let mut all = Limit::WORDS.map(|word| (word, 0));
        for ((_, count), refused) in all.iter_mut().zip(&self.0.refused) {
            *count = refused.load(Ordering::Relaxed);
        }
        all
    }
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        // A panic in it leaves counters that are off by one call.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, limit: Limit) {
        self.refused[limit.index()].fetch_add(1, Ordering::Relaxed);
    }
}

impl Charge {
    /// Whether the call has to stay in our hands while it costs.
    pub(crate) fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// When the line may not pay for the call any longer.
    pub(crate) fn runs_out(&self, now: Instant) -> Option<Instant> {
        // Most calls are not dear: they leave the lock alone.
        if !is_dear(self.ticket.class()) {
            return None;
        }
        let now = Moment {
            at: now,
            ..Moment::now()
        };
        self.books.lock().runs_out(now, &self.ticket)
    }

    /// It did; what the log and the person are told.
    pub(crate) fn ran_out(&self) -> Option<Exceeded> {
        let exceeded = self.books.lock().ran_out(Moment::now(), &self.ticket)?;
        self.books.count(exceeded.limit);
        Some(exceeded)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.books.lock().end(Moment::now(), &self.ticket);
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Charge({:?})", self.ticket.class())
    }
}

impl Exceeded {
    /// Tells the operator, once an hour for each line and limit.
    pub(crate) fn warn(&self, call: &str) {
        if self.is_first {
            warn!(
                %call,
                limit = self.limit.word(),
                "a line has reached a limit of its: its calls are refused meanwhile. `mxtrunk trace` and `records` show whose \
                 and what it called; if that is as it should be, raise the limit in [limits] or for the line, and send SIGHUP"
            );
        }
    }

    /// What the person reads whose call it was.
    pub(crate) fn sentence(&self, language: Language, number: &str) -> String {
        let told = match self.limit {
            Limit::AtOnce(most) => LimitTold::AtOnce { most },
            Limit::AnHour(most) => LimitTold::AnHour { most },
            Limit::ADay(most) => LimitTold::ADay { most },
            Limit::Dear(most) => LimitTold::Dear {
                minutes: most.as_secs() / 60,
            },
            Limit::Night => LimitTold::Night,
        };
        let until = self.until.map(|until| {
            let time = format!("{:02}:{:02}", until.hour(), until.minute());
            match until.date() == self.local.date() {
                true => time,
                false => {
                    let day = until.date().weekday().to_monday_zero_offset();
                    let day = language.weekday(usize::from(day.unsigned_abs()));
                    format!("{day} {time}")
                }
            }
        });
        language.limit(told, number, until.as_deref())
    }
}

/// Why a call is not placed: a reason, and what the line has come up against where that is it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) exceeded: Option<Box<Exceeded>>,
}

impl Refusal {
    /// What the person should read in the room, where anything.
    pub(crate) fn sentence(&self, language: Language, number: &str) -> Option<String> {
        match &self.exceeded {
            Some(exceeded) => Some(exceeded.sentence(language, number)),
            None => language.sentence(self.reason, number),
        }
    }

    /// Tells the operator, where that is due.
    pub(crate) fn warn(&self, call: &str) {
        if let Some(exceeded) = &self.exceeded {
            exceeded.warn(call);
        }
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Refusal {
            reason,
            exceeded: None,
        }
    }
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        Refusal {
            reason: Reason::OverLimit,
            exceeded: Some(Box::new(exceeded)),
        }
    }
}
