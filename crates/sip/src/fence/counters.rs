//! What the fence and the legs counted, for the admin side.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start; all only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CounterValues {
    /// Datagrams and connections from addresses of no trunk; dropped.
    pub unknown_source: u64,
    /// Those from addresses that are banned; dropped.
    pub banned: u64,
    /// Messages of known scanners under the address of a trunk; dropped.
    pub scanners: u64,
    /// Messages that are not SIP and could not be answered; dropped.
    pub malformed_dropped: u64,
    /// Malformed requests answered with an error.
    pub malformed_answered: u64,
    /// Messages over the rate of their source; dropped.
    pub over_message_rate: u64,
    /// Calls refused with 503, over a limit.
    pub over_call_limit: u64,
    /// Calls far over the limit, dropped without an answer.
    pub over_call_limit_dropped: u64,
    /// Outgoing calls not started, over a limit.
    pub calls_out_over_limit: u64,
    /// Calls to emergency numbers, both directions: no limit holds for them.
    pub emergencies: u64,
    /// Incoming calls let in.
    pub calls_in: u64,
    /// Calls that had to show a password first.
    pub challenged: u64,
    /// Calls with a wrong password.
    pub wrong_passwords: u64,
    /// Outgoing calls started.
    pub calls_out: u64,
    /// Times that an outgoing call turned to another target of its trunk.
    pub failovers: u64,
}

/// The counters themselves.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) unknown_source: AtomicU64,
    pub(crate) banned: AtomicU64,
    pub(crate) scanners: AtomicU64,
    pub(crate) malformed_dropped: AtomicU64,
    pub(crate) malformed_answered: AtomicU64,
    pub(crate) over_message_rate: AtomicU64,
    pub(crate) over_call_limit: AtomicU64,
    pub(crate) over_call_limit_dropped: AtomicU64,
    pub(crate) calls_out_over_limit: AtomicU64,
    pub(crate) emergencies: AtomicU64,
    pub(crate) calls_in: AtomicU64,
    pub(crate) challenged: AtomicU64,
    pub(crate) wrong_passwords: AtomicU64,
    pub(crate) calls_out: AtomicU64,
    pub(crate) failovers: AtomicU64,
}

impl Counters {
    pub(crate) fn values(&self) -> CounterValues {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            unknown_source: read(&self.unknown_source),
            banned: read(&self.banned),
            scanners: read(&self.scanners),
            malformed_dropped: read(&self.malformed_dropped),
            malformed_answered: read(&self.malformed_answered),
            over_message_rate: read(&self.over_message_rate),
            over_call_limit: read(&self.over_call_limit),
            over_call_limit_dropped: read(&self.over_call_limit_dropped),
            calls_out_over_limit: read(&self.calls_out_over_limit),
            emergencies: read(&self.emergencies),
            calls_in: read(&self.calls_in),
            challenged: read(&self.challenged),
            wrong_passwords: read(&self.wrong_passwords),
            calls_out: read(&self.calls_out),
            failovers: read(&self.failovers),
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
