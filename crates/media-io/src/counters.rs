//! What the workers counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start, over all workers; all only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterValues {
    /// Calls that a worker took while it spared: G.711 where the browser has it, Opus at low complexity.
    pub shed_calls: u64,
    /// Emergency calls that were spared nothing while their worker spared.
    pub emergencies_under_load: u64,
    /// How often a worker began to spare.
    pub shedding_began: u64,
    /// How often a worker stopped taking calls.
    pub refusing_began: u64,
    /// Datagrams that the system did not take.
    pub unsent: u64,
    /// Directions that were silent on the wire for 5 s though sound should have come.
    pub silences: u64,
    /// Phone legs whose peer sent nothing at all for too long.
    pub media_timeouts: u64,
    /// Phone legs that found no port or no descriptor.
    pub without_port: u64,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) shed_calls: AtomicU64,
    pub(crate) emergencies_under_load: AtomicU64,
    pub(crate) shedding_began: AtomicU64,
    pub(crate) refusing_began: AtomicU64,
    pub(crate) unsent: AtomicU64,
    pub(crate) silences: AtomicU64,
    pub(crate) media_timeouts: AtomicU64,
    pub(crate) without_port: AtomicU64,
}

impl Counters {
    pub(crate) fn values(&self) -> CounterValues {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            shed_calls: read(&self.shed_calls),
            emergencies_under_load: read(&self.emergencies_under_load),
            shedding_began: read(&self.shedding_began),
            refusing_began: read(&self.refusing_began),
            unsent: read(&self.unsent),
            silences: read(&self.silences),
            media_timeouts: read(&self.media_timeouts),
            without_port: read(&self.without_port),
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
