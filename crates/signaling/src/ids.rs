//! Ids of legs and records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mxtrunk_call::LegId;
use mxtrunk_store::RecordId;

/// Gives each leg an id of its own, whichever side of the house makes it.
#[derive(Debug, Clone, Default)]
pub struct LegIds(Arc<AtomicU64>);

impl LegIds {
    /// The next id.
    #[must_use]
    pub fn next(&self) -> LegId {
        LegId(1 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// An id for a call's record; with 80 random bits it needs no coordination between instances.
pub(crate) fn new_record_id() -> RecordId {
    RecordId(random_text(16))
}

/// A random text of letters and digits, for call ids and party ids.
pub(crate) fn random_text(length: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    (0..length)
        .map(|_| char::from(LETTERS[usize::from(rand::random::<u8>() & 31)]))
        .collect()
}
