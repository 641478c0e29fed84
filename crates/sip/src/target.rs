//! The targets of a trunk at work: where its peer takes calls, which of these
//! places do, and in what order a call tries them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rsipstack::transport::{SipAddr, SipConnection};
use tokio::sync::watch;

use crate::address;
use crate::config::{self, NamedTarget, Transport};
use crate::legs::Priority;

/// The longest that a 503 may keep us from a target: no peer knows its own
/// load better, and a mistyped one would shut it off for hours.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Where a message goes, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hop {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
}

/// Where a trunk's peer is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) rank: Rank,
    /// The name that led there, with its port where that is configured.
    pub(crate) name: Option<NamedTarget>,
}

/// When it is a target's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank {
    /// The configured priority, and that of SRV within it.
    pub(crate) priority: (u16, u16),
    pub(crate) weight: u16,
}

impl From<&config::Target> for Place {
    fn from(target: &config::Target) -> Self {
        Self {
            address: target.address,
            rank: Rank {
                priority: (target.priority, 0),
                weight: target.weight,
            },
            name: None,
        }
    }
}

impl Hop {
    /// What a message came over that came from this address.
    pub(crate) fn from(connection: &SipConnection, from: &SipAddr) -> Option<Self> {
        let transport = match connection.transport() {
            rsipstack::sip::Transport::Tcp => Transport::Tcp,
            rsipstack::sip::Transport::Tls => Transport::Tls,
            _ => Transport::Udp,
        };
        Some(Self {
            transport,
            address: from.get_socketaddr().ok()?,
        })
    }

    /// Where a connection leads.
    pub(crate) fn of(connection: &SipConnection) -> Option<Self> {
        Self::from(connection, connection.get_remote_addr()?)
    }
}

/// One address of a trunk's peer: its health, and the dialogs there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) hop: Hop,
    /// The name that led here.
    name: Option<NamedTarget>,
    rank: Mutex<Rank>,
    up: AtomicBool,
    /// No name leads here any more.
    gone: AtomicBool,
    /// The peer asked us (503 with Retry-After) to call elsewhere until then.
    elsewhere_until: Mutex<Option<Instant>>,
    /// Dialogs, early ones included; each new one is announced, for the peer
    /// must be alive to begin one.
    dialogs: watch::Sender<usize>,
}

impl Target {
    pub(crate) fn new(place: Place, transport: Transport) -> Self {
        Self {
            hop: Hop {
                transport,
                address: place.address,
            },
            name: place.name,
            rank: Mutex::new(place.rank),
            gone: AtomicBool::new(false),
            // Unknown counts as up: the first OPTIONS must not hold up calls.
            up: AtomicBool::new(true),
            elsewhere_until: Mutex::new(None),
            dialogs: watch::Sender::new(0),
        }
    }

    /// Who it is, as its certificate has to say (RFC 5922 §7.4): the name that
    /// is configured and not the one that SRV led to; else the address.
    pub(crate) fn host(&self) -> String {
        match &self.name {
            Some(named) => named.name.clone(),
            None => self.hop.address.ip().to_string(),
        }
    }

    /// The URI of somebody there; `domain` is what the trunk calls itself.
    pub(crate) fn uri(&self, user: &str, domain: Option<&str>) -> String {
        let own = match &self.name {
            Some(named) => named.authority(),
            None => self.hop.address.to_string(),
        };
        let mut uri = address::sip_uri(user, domain.unwrap_or(&own));
        uri.push_str(self.hop.transport.uri_parameter());
        uri
    }

    /// Whose addresses of record are there: its name, else its address.
    pub(crate) fn domain(&self) -> String {
        let name = self.name().map(ToOwned::to_owned);
        name.unwrap_or_else(|| address::host_of(self.hop.address.ip()))
    }

    /// The name that led here, where one did.
    pub(crate) fn name(&self) -> Option<&str> {
        Some(self.name.as_ref()?.name.as_str())
    }

    fn rank(&self) -> Rank {
        *lock(&self.rank)
    }

    /// Whether nobody has anything to do with it any more.
    pub(crate) fn is_left(&self) -> bool {
        self.gone.load(Ordering::Relaxed) && *self.dialogs.borrow() == 0
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Notes the target's health and returns whether that changed it.
    pub(crate) fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::Relaxed) != up
    }

    /// The peer wants no call here for so long (RFC 3261 §21.5.4).
    pub(crate) fn call_elsewhere_for(&self, wait: Duration, now: Instant) {
        let until = now + wait.min(LONGEST_RETRY_AFTER);
        *lock(&self.elsewhere_until) = Some(until);
    }

    /// Whether it answers, and takes calls.
    pub(crate) fn takes_calls(&self, now: Instant) -> bool {
        self.is_up() && lock(&self.elsewhere_until).is_none_or(|until| until <= now)
    }

    /// The number of dialogs; it changes when one begins.
    pub(crate) fn dialogs(&self) -> watch::Receiver<usize> {
        self.dialogs.subscribe()
    }
}

/// A dialog, early or established, for as long as it lives; `None` where the
/// peer speaks from an address that is no target's.
#[derive(Debug)]
pub(crate) struct InDialog(Option<Arc<Target>>);

impl InDialog {
    pub(crate) fn with(target: Option<Arc<Target>>) -> Self {
        if let Some(target) = &target {
            target.dialogs.send_modify(|dialogs| *dialogs += 1);
        }
        Self(target)
    }
}

impl Drop for InDialog {
    fn drop(&mut self) {
        let Some(target) = &self.0 else {
            return;
        };
        target.dialogs.send_if_modified(|dialogs| {
            *dialogs -= 1;
            // Its end may be our own doing, and shows nothing.
            false
        });
    }
}

/// All targets of a trunk.
#[derive(Debug)]
pub(crate) struct Targets {
    transport: Transport,
    all: RwLock<Arc<[Arc<Target>]>>,
    /// Those that are none any more, and have dialogs still.
    leaving: Mutex<Vec<Arc<Target>>>,
}

impl Targets {
    pub(crate) fn new(places: impl Iterator<Item = Place>, transport: Transport) -> Self {
        let all = places.map(|place| Arc::new(Target::new(place, transport)));
        Self {
            transport,
            all: RwLock::new(all.collect()),
            leaving: Mutex::default(),
        }
    }

    pub(crate) fn all(&self) -> Arc<[Arc<Target>]> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// From now on the targets are at these places; those that stay keep what
    /// is known of them. Returns the new ones.
    pub(crate) fn move_to(&self, places: Vec<Place>) -> Vec<Arc<Target>> {
        let mut leaving = lock(&self.leaving);
        leaving.retain(|target| !target.is_left());
        let mut known: Vec<_> = self.all().iter().chain(leaving.iter()).cloned().collect();
        let (mut all, mut new) = (Vec::<Arc<Target>>::new(), Vec::new());
        for place in places {
            if all.iter().any(|target| target.hop.address == place.address) {
                // Two names, or two records, lead to one place: the first does.
                continue;
            }
            let is_there = |target: &Arc<Target>| {
                target.hop.address == place.address && target.name == place.name
            };
            match known.iter().position(is_there) {
                Some(at) => {
                    let target = known.remove(at);
                    *lock(&target.rank) = place.rank;
                    target.gone.store(false, Ordering::Relaxed);
                    all.push(target);
                }
                None => {
                    let target = Arc::new(Target::new(place, self.transport));
                    new.push(target.clone());
                    all.push(target);
                }
            }
        }
        for target in &known {
            target.gone.store(true, Ordering::Relaxed);
        }
        *leaving = known;
        leaving.retain(|target| !target.is_left());
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = all.into();
        new
    }

    /// Whether a target is at this address, or was when a call began that is
    /// still up.
    pub(crate) fn has_ip(&self, ip: IpAddr) -> bool {
        let is_there = |target: &Arc<Target>| target.hop.address.ip() == ip;
        self.all().iter().any(is_there) || self.leaves(ip)
    }

    /// The addresses that [`Self::has_ip`] knows.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let (all, leaving) = (self.all(), lock(&self.leaving));
        let targets = all.iter().chain(leaving.iter());
        targets.map(|target| target.hop.address.ip()).collect()
    }

    fn leaves(&self, ip: IpAddr) -> bool {
        let leaving = lock(&self.leaving);
        let mut left = leaving.iter().filter(|target| !target.is_left());
        left.any(|target| target.hop.address.ip() == ip)
    }

    /// The target that speaks from this address: the one there, else the only
    /// one at its IP (a peer sends from other ports than it listens on, TCP
    /// always), else the only one there is.
    pub(crate) fn of(&self, peer: SocketAddr) -> Option<Arc<Target>> {
        let all = self.all();
        if let Some(there) = all.iter().find(|target| target.hop.address == peer) {
            return Some(there.clone());
        }
        let same_ip = |target: &&Arc<Target>| target.hop.address.ip() == peer.ip();
        only(all.iter().filter(same_ip)).or_else(|| only(all.iter()))
    }

    /// In what order a call tries them (RFC 2782): by priority, and within one
    /// by chance, each by its weight. Those that do not take calls are left
    /// out, except by calls for help, which come to them last, and where none
    /// does. `random` gives a number below its argument.
    pub(crate) fn order(
        &self,
        urgency: Priority,
        now: Instant,
        mut random: impl FnMut(u32) -> u32,
    ) -> Vec<Arc<Target>> {
        let all = self.all();
        let (able, unable): (Vec<_>, Vec<_>) =
            all.iter().cloned().partition(|t| t.takes_calls(now));
        let mut order = Vec::new();
        let with_unable = urgency == Priority::Emergency || able.is_empty();
        for mut left in [Some(able), with_unable.then_some(unable)]
            .into_iter()
            .flatten()
        {
            while let Some(first) = left.iter().map(|target| target.rank().priority).min() {
                let at = draw(&left, first, &mut random);
                order.push(left.remove(at));
            }
        }
        order
    }
}

/// One of those of a priority, of which there is one at least.
fn draw(left: &[Arc<Target>], priority: (u16, u16), random: &mut impl FnMut(u32) -> u32) -> usize {
    let group = left.iter().enumerate();
    let group: Vec<_> = group
        .filter(|(_, t)| t.rank().priority == priority)
        .collect();
    let sum: u32 = group.iter().map(|(_, t)| u32::from(t.rank().weight)).sum();
    let mut drawn = match sum {
        0 => 0,
        _ => random(sum),
    };
    for (at, target) in &group {
        let weight = u32::from(target.rank().weight);
        if drawn < weight {
            return *at;
        }
        drawn -= weight;
    }
    // All that are left have no weight.
    group.first().map_or(0, |(at, _)| *at)
}

fn only<'a>(mut some: impl Iterator<Item = &'a Arc<Target>>) -> Option<Arc<Target>> {
    let first = some.next()?;
    some.next().is_none().then(|| first.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
