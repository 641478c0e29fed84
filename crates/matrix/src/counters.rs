//! What went wrong on the Matrix side without anybody being told.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start; none ever goes down.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) wrong_tokens: Counter,
    pub(crate) repeated_transactions: Counter,
    pub(crate) malformed_events: Counter,
    pub(crate) foreign_senders: Counter,
    pub(crate) strange_rooms: Counter,
    pub(crate) lookups_refused: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests without the homeserver's token, or with a wrong one.
    pub wrong_tokens: u64,
    /// Transactions that had been taken in before.
    pub repeated_transactions: u64,
    /// Events that were not understood.
    pub malformed_events: u64,
    /// Events of users of other homeservers.
    pub foreign_senders: u64,
    /// Events of rooms in which no single virtual user is joined.
    pub strange_rooms: u64,
    /// Look-ups above the limit, and invites of people without a line above theirs.
    pub lookups_refused: u64,
}

impl Counters {
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            wrong_tokens: self.wrong_tokens.count(),
            repeated_transactions: self.repeated_transactions.count(),
            malformed_events: self.malformed_events.count(),
            foreign_senders: self.foreign_senders.count(),
            strange_rooms: self.strange_rooms.count(),
            lookups_refused: self.lookups_refused.count(),
        }
    }
}
