//! A trunk at work: its configuration, targets and load.

mod load;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::challenge::Challenger;
use crate::config::{AccountName, Credentials, Transport, TrunkConfig, TrunkLimits, TrunkName};
use crate::registration::Pace;
use crate::target::{Hop, InDialog, Place, Targets};
use crate::tls::Judge;

pub(crate) use self::load::Load;

/// One configured peer.
#[derive(Debug)]
pub(crate) struct Trunk {
    /// As it was made: its name, and where it is, which stay. All else may have changed ([`Self::now`]).
    pub(crate) config: TrunkConfig,
    now: RwLock<Arc<TrunkConfig>>,
    pub(crate) targets: Arc<Targets>,
    /// The outbound proxies of its accounts.
    proxies: RwLock<Vec<IpAddr>>,
    /// Where it has to show a password.
    challenger: RwLock<Option<Arc<Challenger>>>,
    /// Its calls, and how many more it may have.
    pub(crate) load: Load,
    /// Turns of the accounts that register here.
    registrations: Mutex<Pace>,
    /// How often it has come back, or one of its targets has gone.
    back: watch::Sender<u64>,
    /// What is left to it since it is configured no more.
    retired: OnceLock<Retirement>,
}

/// How a trunk stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkState {
    /// Which.
    pub trunk: TrunkName,
    /// Whether it takes calls.
    pub is_up: bool,
    /// Its calls, both ways.
    pub calls: usize,
    /// As many as it may have.
    pub max_calls: usize,
    /// Where its calls are sent.
    pub targets: Vec<TargetState>,
}

/// How one target of a trunk stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetState {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it takes calls: it answers OPTIONS and has not asked to be left alone.
    pub is_up: bool,
}

/// A trunk that is configured no more.
#[derive(Debug)]
struct Retirement {
    since: Instant,
    /// For how long it is still heard after its last call, and after it went: with an answer to our BYE, or to the REGISTER
    /// that takes an account back. No transaction lasts longer than 64*T1.
    lingers: Duration,
    /// What the challenges in its calls are answered with, by account.
    credentials: HashMap<AccountName, Credentials>,
}

impl Trunk {
    #[cfg(test)]
    pub(crate) fn new(config: TrunkConfig) -> Self {
        Self::behind(Vec::new(), config)
    }

    /// One whose messages may come by way of these proxies, too.
    pub(crate) fn behind(proxies: Vec<IpAddr>, config: TrunkConfig) -> Self {
        let now = Instant::now();
        let places = config.targets.iter().map(Place::from);
        let limits = TrunkLimits {
            max_calls: config.max_calls,
            new_calls_per_second: config.new_calls_per_second,
        };
        Self {
            targets: Arc::new(Targets::new(places, config.transport)),
            challenger: RwLock::new(challenger(&config, now)),
            load: Load::new(limits, now),
            registrations: Mutex::new(Pace::new(now)),
            back: watch::Sender::new(0),
            proxies: RwLock::new(proxies),
            retired: OnceLock::new(),
            now: RwLock::new(Arc::new(config.clone())),
            config,
        }
    }

    /// What holds for it now.
    pub(crate) fn now(&self) -> Arc<TrunkConfig> {
        read(&self.now).clone()
    }

    /// From now on this holds, which has its name and is where it is ([`TrunkConfig::is_where`]). Calls that there are go on;
    /// limits are [`Load::limit`]'s.
    pub(crate) fn becomes(&self, config: TrunkConfig) {
        let asks_anew = read(&self.now).require_auth != config.require_auth;
        if asks_anew {
            *write(&self.challenger) = challenger(&config, Instant::now());
        }
        *write(&self.now) = Arc::new(config);
    }

    /// Who asks it for its password, where it has to show one.
    pub(crate) fn challenger(&self) -> Option<Arc<Challenger>> {
        read(&self.challenger).clone()
    }

    /// It is configured no more: its calls go on, and it gets no new ones. `lingers`: how long it is heard after the last.
    pub(crate) fn retire(&self, lingers: Duration, credentials: HashMap<AccountName, Credentials>) {
        self.retired.get_or_init(|| Retirement {
            since: Instant::now(),
            lingers,
            credentials,
        });
    }

    /// What the account's calls answered challenges with when this was retired.
    pub(crate) fn credentials_then(&self, account: &AccountName) -> Option<Credentials> {
        self.retired.get()?.credentials.get(account).cloned()
    }

    /// Whether it is configured no more.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.get().is_some()
    }

    /// Whether it is configured no more, and its last call is over.
    pub(crate) fn has_gone(&self) -> bool {
        self.is_retired() && self.load.calls() == 0
    }

    /// Whether there is anything that it could still have to say to us.
    pub(crate) fn is_here(&self) -> bool {
        let lingers = |retired: &Retirement| {
            let quiet = self.load.left().max(retired.since);
            quiet.elapsed() < retired.lingers
        };
        !self.has_gone() || self.retired.get().is_some_and(lingers)
    }

    pub(crate) fn state(&self) -> TrunkState {
        let now = Instant::now();
        let all = self.targets.all();
        let targets = all.iter().map(|target| TargetState {
            address: target.hop.address,
            is_up: target.takes_calls(now),
        });
        TrunkState {
            trunk: self.config.name.clone(),
            is_up: self.takes_calls(),
            calls: self.load.calls(),
            max_calls: self.load.max_calls(),
            targets: targets.collect(),
        }
    }

    /// Whether any of its targets takes calls.
    pub(crate) fn takes_calls(&self) -> bool {
        let now = Instant::now();
        self.targets.all().iter().any(|t| t.takes_calls(now))
    }

    /// Whether any of its targets answers.
    pub(crate) fn is_up(&self) -> bool {
        self.targets.all().iter().any(|target| target.is_up())
    }

    /// Whether one of its targets is at exactly this address.
    pub(crate) fn is_at(&self, address: SocketAddr) -> bool {
        let all = self.targets.all();
        all.iter().any(|target| target.hop.address == address)
    }

    /// Whether requests from `ip` belong to this trunk.
    pub(crate) fn allows(&self, ip: IpAddr) -> bool {
        let allow = &self.now().allow;
        let is_own = match allow.is_empty() {
            true => self.targets.has_ip(ip),
            false => allow.contains(&ip),
        };
        is_own || self.proxies(|proxies| proxies.contains(&ip))
    }

    /// Whether what comes from there belongs to this trunk: one over TLS has
    /// nothing to do with what comes without.
    pub(crate) fn is_from(&self, hop: Hop) -> bool {
        self.takes(hop.transport) && self.allows(hop.address.ip())
    }

    /// Whether it is spoken to over this transport. UDP and TCP are one: who
    /// sends long messages changes from one to the other (RFC 3261 §18.1.1).
    pub(crate) fn takes(&self, transport: Transport) -> bool {
        let is_tls = |transport| transport == Transport::Tls;
        is_tls(self.config.transport) == is_tls(transport)
    }

    /// Whom the peer has to be where we connect to it.
    pub(crate) fn judge_at(&self, address: SocketAddr) -> Judge {
        let all = self.targets.all();
        let mut at = all.iter().filter(|target| target.hop.address == address);
        let names = match (self.now().tls.name.clone(), at.next()) {
            (Some(name), _) => vec![name],
            (None, Some(target)) => vec![target.host()],
            // A Contact elsewhere, or a proxy.
            (None, None) => self.names_of_targets(address.ip()),
        };
        self.judge(names)
    }

    /// Whom the peer has to be that connects to us.
    pub(crate) fn judge_of_caller(&self, ip: IpAddr) -> Judge {
        let names = match self.now().tls.name.clone() {
            Some(name) => vec![name],
            None => self.names_of_targets(ip),
        };
        self.judge(names)
    }

    fn names_of_targets(&self, ip: IpAddr) -> Vec<String> {
        let all = self.targets.all();
        let mut names: Vec<_> = all.iter().map(|target| target.host()).collect();
        names.push(ip.to_string());
        names.sort();
        names.dedup();
        names
    }

    fn judge(&self, names: Vec<String>) -> Judge {
        let tls = &self.now().tls;
        Judge {
            trust: tls.trust.clone(),
            names,
            shows_certificate: tls.shows_certificate,
            identity: tls.identity.clone(),
        }
    }

    /// The addresses that [`Self::allows`] allows.
    pub(crate) fn allowed(&self) -> Vec<IpAddr> {
        let allow = &self.now().allow;
        let mut all = match allow.is_empty() {
            true => self.targets.addresses(),
            false => allow.clone(),
        };
        self.proxies(|proxies| all.extend(proxies));
        all
    }

    /// Its messages may come by way of these proxies from now on.
    pub(crate) fn move_behind(&self, proxies: Vec<IpAddr>) {
        *write(&self.proxies) = proxies;
    }

    fn proxies<T>(&self, what: impl FnOnce(&[IpAddr]) -> T) -> T {
        what(&read(&self.proxies))
    }

    /// When the next account may send its REGISTER.
    pub(crate) fn registration_turn(&self, now: Instant) -> Instant {
        lock(&self.registrations).turn(now)
    }

    /// What was registered here may be forgotten, or be at a target that is
    /// gone.
    pub(crate) fn note_back(&self) {
        self.back.send_modify(|times| *times += 1);
    }

    /// Changes with each [`Self::note_back`].
    pub(crate) fn back(&self) -> watch::Receiver<u64> {
        self.back.subscribe()
    }

    /// Counts a dialog with the peer at this address, early or established,
    /// for as long as the result lives.
    pub(crate) fn begin_dialog(&self, peer: SocketAddr) -> InDialog {
        InDialog::with(self.targets.of(peer))
    }
}

fn challenger(config: &TrunkConfig, now: Instant) -> Option<Arc<Challenger>> {
    let required = config.require_auth.clone()?;
    Some(Arc::new(Challenger::new(required, now)))
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(what: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    what.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(what: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    what.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> TrunkConfig {
        TrunkConfig::new("pbx", ([192, 0, 2, 1], 5060).into())
    }

    #[test]
    fn a_trunk_without_a_list_allows_only_its_targets() {
        let mut config = config();
        let second = SocketAddr::from(([192, 0, 2, 2], 5060));
        config.targets.push(second.into());
        let trunk = Trunk::new(config);
        assert!(trunk.allows([192, 0, 2, 1].into()));
        assert!(trunk.allows([192, 0, 2, 2].into()));
        assert!(!trunk.allows([192, 0, 2, 3].into()));
    }

    #[test]
    fn a_listed_address_is_allowed_and_the_target_then_only_if_listed() {
        let mut config = config();
        config.allow = vec![[192, 0, 2, 7].into()];
        let trunk = Trunk::new(config);
        assert!(trunk.allows([192, 0, 2, 7].into()));
        assert!(!trunk.allows([192, 0, 2, 1].into()));
    }

    #[test]
    fn accounts_register_one_after_the_other() {
        let trunk = Trunk::new(config());
        let now = Instant::now();
        assert_eq!(trunk.registration_turn(now), now);
        assert!(trunk.registration_turn(now) > now);
    }

    #[test]
    fn a_trunk_is_up_while_one_of_its_targets_is() {
        let mut config = config();
        let second = SocketAddr::from(([192, 0, 2, 2], 5060));
        config.targets.push(second.into());
        let trunk = Trunk::new(config);
        trunk.targets.all()[0].set_up(false);
        assert!(trunk.is_up() && trunk.takes_calls());
        let (now, wait) = (Instant::now(), std::time::Duration::from_secs(60));
        trunk.targets.all()[1].call_elsewhere_for(wait, now);
        assert!(trunk.is_up() && !trunk.takes_calls());
        trunk.targets.all()[1].set_up(false);
        assert!(!trunk.is_up());
    }
}
