//! Who may speak to us and how much, asked before anything is answered.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::counters::{Counters, count};
use super::rate::Bucket;
use crate::legs::Legs;
use crate::trunk::Trunk;

/// The trunks, their limits, and what was counted at the door.
pub(crate) struct Admission {
    trunks: Vec<Arc<Trunk>>,
    pub(super) legs: Arc<Legs>,
    /// Message rates of the known addresses, and of no other: it cannot grow.
    rates: HashMap<IpAddr, Mutex<Bucket>>,
    pub(crate) counters: Counters,
    closing: AtomicBool,
}

impl Admission {
    pub(crate) fn new(trunks: Vec<Arc<Trunk>>, legs: Arc<Legs>, messages_per_second: u32) -> Self {
        let now = Instant::now();
        let addresses = trunks
            .iter()
            .flat_map(|trunk| match trunk.config.allow.is_empty() {
                true => vec![trunk.config.target.ip()],
                false => trunk.config.allow.clone(),
            });
        let rates = addresses
            .map(|ip| (ip, Mutex::new(Bucket::new(messages_per_second, now))))
            .collect();
        Self {
            trunks,
            legs,
            rates,
            counters: Counters::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// Whether requests from this address are any trunk's.
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        self.rates.contains_key(&ip)
    }

    /// Whether a stream from this address is accepted; counts it if not.
    pub(crate) fn lets_connect(&self, ip: IpAddr) -> bool {
        let known = self.knows(ip);
        if !known {
            count(&self.counters.unknown_source);
        }
        known
    }

    /// Whether the address is within its message rate.
    pub(crate) fn may_send(&self, ip: IpAddr) -> bool {
        self.rates.get(&ip).is_some_and(|bucket| {
            let mut bucket = bucket
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            bucket.take(Instant::now())
        })
    }

    /// The trunk of a source: the one that lives at exactly this address and
    /// port, else the first that allows the address.
    pub(crate) fn trunk_of(&self, source: SocketAddr) -> Option<&Arc<Trunk>> {
        let exact = self
            .trunks
            .iter()
            .find(|trunk| trunk.config.target == source && trunk.config.allows(source.ip()));
        exact.or_else(|| {
            let mut trunks = self.trunks.iter();
            trunks.find(|trunk| trunk.config.allows(source.ip()))
        })
    }

    /// Counts an outgoing call.
    pub(crate) fn count_call_out(&self) {
        count(&self.counters.calls_out);
    }

    /// Counts an incoming call that was let in.
    pub(crate) fn count_call_in(&self) {
        count(&self.counters.calls_in);
    }

    /// From now on every new call gets 503.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether a new call of this trunk is one too many.
    pub(super) fn over_limit(&self, trunk: &Trunk) -> bool {
        self.closing.load(Ordering::Relaxed)
            || self.legs.is_full()
            || trunk.is_full()
            || !trunk.may_call()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TrunkConfig;

    fn admission(messages_per_second: u32) -> Admission {
        let trunk = |name: &str, port| {
            let target = ([192, 0, 2, 1], port).into();
            Arc::new(Trunk::new(TrunkConfig::new(name, target), 0, 10))
        };
        let trunks = vec![trunk("a", 5060), trunk("b", 5070)];
        Admission::new(trunks, Arc::new(Legs::new(9)), messages_per_second)
    }

    #[test]
    fn trunks_at_one_address_are_told_apart_by_port() {
        let admission = admission(10);
        let name = |source: SocketAddr| {
            let trunk = admission.trunk_of(source);
            trunk.map(|trunk| trunk.config.name.0.clone())
        };
        assert_eq!(name(([192, 0, 2, 1], 5070).into()).as_deref(), Some("b"));
        assert_eq!(name(([192, 0, 2, 1], 40_000).into()).as_deref(), Some("a"));
        assert_eq!(name(([192, 0, 2, 2], 5060).into()), None);
    }

    #[test]
    fn an_address_over_its_rate_is_silenced_and_an_unknown_one_always() {
        let admission = admission(2);
        let known = [192, 0, 2, 1].into();
        assert!(admission.may_send(known) && admission.may_send(known));
        assert!(!admission.may_send(known));
        assert!(!admission.may_send([192, 0, 2, 9].into()));
    }
}
