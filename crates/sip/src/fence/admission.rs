//! Who may speak to us and how much, asked before anything is answered.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rsipstack::sip::{Header, Request};
use tracing::{debug, info, warn};

use super::counters::{Counters, count};
use super::rate::Bucket;
use super::strangers::{Met, Strangers};
use crate::challenge::Shown;
use crate::config::{Bans, Transport};
use crate::legs::{Legs, Priority};
use crate::streams::OpenStreams;
use crate::target::Hop;
use crate::trunk::Trunk;
use crate::trunks::Trunks;

/// How often the log says that calls are refused.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// How often the log says that strangers are banned.
const SAY_BANNED_AGAIN: Duration = Duration::from_secs(600);

/// Whether a called number is an emergency number.
type IsEmergency = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The trunks, their limits, and what was counted at the door.
pub(crate) struct Admission {
    trunks: Arc<Trunks>,
    pub(super) legs: Arc<Legs>,
    /// Message rates of the known addresses, and of no other: it cannot grow.
    rates: RwLock<HashMap<IpAddr, Arc<Mutex<Bucket>>>>,
    messages_per_second: AtomicU32,
    strangers: Mutex<Strangers>,
    said_banned: Mutex<Refusals>,
    is_emergency: IsEmergency,
    pub(crate) counters: Counters,
    /// The connections that are open: over TLS they say whose they are.
    pub(crate) streams: Arc<OpenStreams>,
    refused: Mutex<Refusals>,
    said_wrong_password: Mutex<Option<Instant>>,
    closing: AtomicBool,
}

/// What was refused, or banned, since that was last said.
#[derive(Default)]
struct Refusals {
    said: Option<Instant>,
    since: u64,
}

impl Admission {
    pub(crate) fn new(
        trunks: Arc<Trunks>,
        legs: Arc<Legs>,
        messages_per_second: u32,
        is_emergency: IsEmergency,
    ) -> Self {
        let admission = Self {
            trunks,
            legs,
            rates: RwLock::default(),
            messages_per_second: AtomicU32::new(messages_per_second),
            strangers: Mutex::new(Strangers::new(Bans::default())),
            said_banned: Mutex::default(),
            is_emergency,
            counters: Counters::default(),
            streams: Arc::default(),
            refused: Mutex::default(),
            said_wrong_password: Mutex::default(),
            closing: AtomicBool::new(false),
        };
        admission.learn_addresses();
        admission
    }

    /// From now on strangers are banned so.
    pub(crate) fn ban(&self, bans: Bans) {
        self.strangers().set(bans);
    }

    /// How many addresses are banned.
    pub(crate) fn banned(&self) -> usize {
        self.strangers().banned(Instant::now())
    }

    /// Counts what comes from an address that no trunk has over this transport.
    pub(super) fn turn_away(&self, ip: IpAddr, said: &[u8]) {
        // Who has it over another one may be who is meant: it is never banned.
        let is_of = |trunk: &Arc<Trunk>| trunk.is_here() && trunk.allows(ip);
        let met = match self.trunks.all().iter().any(is_of) {
            true => Met::Stranger,
            false => self.strangers().meet(ip, said, Instant::now()),
        };
        match met {
            Met::Stranger => count(&self.counters.unknown_source),
            Met::Banned => count(&self.counters.banned),
            Met::BannedNow => {
                count(&self.counters.unknown_source);
                self.note_banned(ip);
            }
        }
    }

    fn note_banned(&self, ip: IpAddr) {
        debug!(address = %ip, "an address of no trunk is banned");
        let mut banned = lock(&self.said_banned);
        banned.since += 1;
        let now = Instant::now();
        if banned
            .said
            .is_none_or(|said| now - said >= SAY_BANNED_AGAIN)
        {
            info!(
                banned = banned.since,
                "addresses of no trunk that keep sending SIP are banned: none of them was answered, and nothing is to be done. \
                 Which they are is said at debug"
            );
            *banned = Refusals {
                said: Some(now),
                since: 0,
            };
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        lock(&self.strangers)
    }

    /// The addresses of the trunks are others than before.
    pub(crate) fn learn_addresses(&self) {
        let mut rates = self.rates.write().unwrap_or_else(PoisonError::into_inner);
        let known = std::mem::take(&mut *rates);
        let now = Instant::now();
        for ip in self.trunks.all().iter().flat_map(|trunk| trunk.allowed()) {
            let rate = self.messages_per_second.load(Ordering::Relaxed);
            let new = || Arc::new(Mutex::new(Bucket::new(rate, now)));
            rates.insert(ip, known.get(&ip).cloned().unwrap_or_else(new));
        }
    }

    /// So many messages a second may come from each address from now on.
    pub(crate) fn limit_messages(&self, per_second: u32) {
        self.messages_per_second
            .store(per_second, Ordering::Relaxed);
        let rates = self.rates.read().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for bucket in rates.values() {
            lock(bucket).set_rate(per_second, now);
        }
    }

    /// Whether requests from this address, over this transport, are any
    /// trunk's.
    pub(crate) fn knows(&self, ip: IpAddr, transport: Transport) -> bool {
        let trunks = self.trunks.all();
        let is_of = |trunk: &Arc<Trunk>| trunk.takes(transport) && trunk.allows(ip);
        trunks.iter().any(|trunk| trunk.is_here() && is_of(trunk))
    }

    /// The trunks that a peer at this address may be who comes over TLS.
    pub(crate) fn trunks_over_tls(&self, ip: IpAddr) -> Vec<Arc<Trunk>> {
        let trunks = self.trunks.all();
        let is_of = |trunk: &&Arc<Trunk>| trunk.takes(Transport::Tls) && trunk.allows(ip);
        let theirs: Vec<_> = trunks.iter().filter(is_of).cloned().collect();
        let (old, now): (Vec<_>, Vec<_>) = theirs.into_iter().partition(|own| own.is_retired());
        match now.is_empty() {
            // Its calls end over it; beside another one its rules count no more.
            true => old.into_iter().filter(|own| own.is_here()).collect(),
            false => now,
        }
    }

    /// Whether a stream from this address is accepted; counts it if not.
    pub(crate) fn lets_connect(&self, ip: IpAddr, transport: Transport) -> bool {
        let known = self.knows(ip, transport);
        if !known {
            self.turn_away(ip, b"");
        }
        known
    }

    /// Whether the address is within its message rate.
    pub(crate) fn may_send(&self, ip: IpAddr) -> bool {
        let bucket = {
            let rates = self.rates.read().unwrap_or_else(PoisonError::into_inner);
            rates.get(&ip).cloned()
        };
        bucket.is_some_and(|bucket| {
            let mut bucket = bucket
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            bucket.take(Instant::now())
        })
    }

    /// The trunk of a source: over TLS the one that the peer has shown to be;
    /// else the one that has a target at exactly this address and port, else
    /// the first that allows the address. One that is configured no more, where
    /// no other is.
    pub(crate) fn trunk_of(&self, source: Hop) -> Option<Arc<Trunk>> {
        let all = self.trunks.all();
        let of = |are_retired: bool| {
            let trunks = all.iter().filter(|trunk| trunk.is_retired() == are_retired);
            let mut trunks = trunks.filter(|trunk| trunk.is_here() && trunk.is_from(source));
            if source.transport == Transport::Tls {
                let shown = self.streams.trunk_at(source)?;
                return trunks.find(|trunk| trunk.config.name == shown);
            }
            let first = trunks.clone().next()?;
            let at = |trunk: &&Arc<Trunk>| trunk.is_at(source.address);
            Some(trunks.find(at).unwrap_or(first))
        };
        of(false).or_else(|| of(true)).cloned()
    }

    /// Counts an outgoing call.
    pub(crate) fn count_call_out(&self, priority: Priority) {
        count(&self.counters.calls_out);
        self.count_emergency(priority);
    }

    /// Whether a call has shown the password of its trunk, where it has to;
    /// else the challenge that it is answered with.
    pub(crate) fn admits_caller(
        &self,
        trunk: &Trunk,
        request: &Request,
        from: IpAddr,
    ) -> Result<(), Header> {
        let Some(challenger) = trunk.challenger() else {
            return Ok(());
        };
        let now = Instant::now();
        let shown = challenger.judge(request, from, now);
        match shown {
            Shown::Right => return Ok(()),
            Shown::None | Shown::Stale => count(&self.counters.challenged),
            Shown::Wrong => {
                count(&self.counters.wrong_passwords);
                self.note_wrong_password(trunk);
            }
        }
        Err(challenger.challenge(shown, from, now))
    }

    fn note_wrong_password(&self, trunk: &Trunk) {
        let mut said = self
            .said_wrong_password
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        if said.is_none_or(|said| now - said >= SAY_AGAIN) {
            *said = Some(now);
            warn!(
                trunk = %trunk.config.name,
                "a call with a wrong user name or password is not let in: compare the PBX's account with require_auth"
            );
        }
    }

    /// Counts an outgoing call that turns to its next target.
    pub(crate) fn count_failover(&self) {
        count(&self.counters.failovers);
    }

    /// Counts an outgoing call that is not started, over a limit.
    pub(crate) fn count_call_out_refused(&self, trunk: &Trunk) {
        count(&self.counters.calls_out_over_limit);
        self.note_refused(trunk);
    }

    /// Counts an incoming call that was let in.
    pub(crate) fn count_call_in(&self, priority: Priority) {
        count(&self.counters.calls_in);
        self.count_emergency(priority);
    }

    fn count_emergency(&self, priority: Priority) {
        if priority == Priority::Emergency {
            count(&self.counters.emergencies);
        }
    }

    /// From now on every new call gets 503.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// How a call to this number is treated.
    pub(crate) fn priority_of(&self, called: &str) -> Priority {
        match (self.is_emergency)(called) {
            true => Priority::Emergency,
            false => Priority::Normal,
        }
    }

    /// Whether a new call of this trunk is one too many. One to an emergency
    /// number never is, but for a flood of them.
    pub(super) fn over_limit(&self, trunk: &Trunk, priority: Priority) -> bool {
        let full = priority == Priority::Normal && (self.legs.is_full() || trunk.load.is_full());
        self.closing.load(Ordering::Relaxed) || full || !trunk.load.may_call(priority)
    }

    /// A call is refused, over a limit: says so in the log, now and then.
    pub(crate) fn note_refused(&self, trunk: &Trunk) {
        let mut refused = self
            .refused
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        refused.since += 1;
        let now = Instant::now();
        if refused.said.is_some_and(|said| now - said < SAY_AGAIN) {
            return;
        }
        warn!(
            trunk = %trunk.config.name,
            calls = self.legs.len(),
            refused = refused.since,
            "new calls are over a limit (max_calls, or their rate) and refused"
        );
        *refused = Refusals {
            said: Some(now),
            since: 0,
        };
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::config::TrunkConfig;

    fn admission(messages_per_second: u32) -> Admission {
        let trunk = |name: &str, port| {
            let target = ([192, 0, 2, 1], port).into();
            Arc::new(Trunk::new(TrunkConfig::new(name, target)))
        };
        let trunks = Arc::new(Trunks::new(vec![trunk("a", 5060), trunk("b", 5070)]));
        let legs = Arc::new(Legs::new(9));
        Admission::new(
            trunks,
            legs,
            messages_per_second,
            Arc::new(|to| to == "112"),
        )
    }

    #[test]
    fn trunks_at_one_address_are_told_apart_by_port() {
        let admission = admission(10);
        let name = |address: SocketAddr| {
            let source = Hop {
                transport: Transport::Udp,
                address,
            };
            let trunk = admission.trunk_of(source);
            trunk.map(|trunk| trunk.config.name.0.clone())
        };
        assert_eq!(name(([192, 0, 2, 1], 5070).into()).as_deref(), Some("b"));
        assert_eq!(name(([192, 0, 2, 1], 40_000).into()).as_deref(), Some("a"));
        assert_eq!(name(([192, 0, 2, 2], 5060).into()), None);
    }

    #[test]
    fn an_address_of_a_trunk_is_never_banned_though_it_speaks_as_no_trunk_does() {
        let mut over_tls = TrunkConfig::new("tls", ([192, 0, 2, 3], 5061).into());
        over_tls.transport = Transport::Tls;
        let mut listed = TrunkConfig::new("listed", ([192, 0, 2, 4], 5061).into());
        listed.transport = Transport::Tls;
        listed.allow = vec![[192, 0, 2, 5].into()];
        let trunks = [over_tls, listed].map(|config| Arc::new(Trunk::new(config)));
        let trunks = Arc::new(Trunks::new(trunks.to_vec()));
        let legs = Arc::new(Legs::new(9));
        let admission = Admission::new(trunks, legs, 1, Arc::new(|_| false));
        admission.ban(Bans {
            after: 2,
            ..Bans::default()
        });
        let scanner = b"OPTIONS sip:x SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n";
        for pbx in [[192, 0, 2, 3], [192, 0, 2, 5]] {
            let pbx = pbx.into();
            assert!(!admission.knows(pbx, Transport::Udp));
            for _ in 0..10 {
                admission.turn_away(pbx, scanner);
            }
            assert!(admission.knows(pbx, Transport::Tls));
        }
        let counters = admission.counters.values();
        assert_eq!((counters.unknown_source, counters.banned), (20, 0));
        assert_eq!(admission.banned(), 0);
        for _ in 0..10 {
            admission.turn_away([192, 0, 2, 9].into(), b"");
        }
        let counters = admission.counters.values();
        assert_eq!((counters.unknown_source, counters.banned), (22, 8));
        assert_eq!(admission.banned(), 1);
    }

    #[test]
    fn an_address_over_its_rate_is_silenced_and_an_unknown_one_always() {
        let admission = admission(2);
        let known = [192, 0, 2, 1].into();
        assert!(admission.may_send(known) && admission.may_send(known));
        assert!(!admission.may_send(known));
        admission.limit_messages(1_000_000);
        // A microsecond is all it takes.
        std::thread::sleep(Duration::from_millis(1));
        assert!(admission.may_send(known));
        assert!(!admission.may_send([192, 0, 2, 9].into()));
    }
}
