//! The targets of a trunk at work: where its peer takes calls, which of these
//! places do, and in what order a call tries them.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::address;
use crate::config::{self, Transport};
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

impl Hop {
    /// The URI of somebody there.
    pub(crate) fn uri(&self, user: &str) -> String {
        let mut uri = address::sip_uri(user, &self.address.to_string());
        uri.push_str(self.transport.uri_parameter());
        uri
    }
}

/// One address of a trunk's peer: its health, and the dialogs there.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) hop: Hop,
    priority: u16,
    weight: u16,
    up: AtomicBool,
    /// The peer asked us (503 with Retry-After) to call elsewhere until then.
    elsewhere_until: Mutex<Option<Instant>>,
    /// Dialogs, early ones included; each new one is announced, for the peer
    /// must be alive to begin one.
    dialogs: watch::Sender<usize>,
}

impl Target {
    pub(crate) fn new(target: config::Target, transport: Transport) -> Self {
        Self {
            hop: Hop {
                transport,
                address: target.address,
            },
            priority: target.priority,
            weight: target.weight,
            // Unknown counts as up: the first OPTIONS must not hold up calls.
            up: AtomicBool::new(true),
            elsewhere_until: Mutex::new(None),
            dialogs: watch::Sender::new(0),
        }
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
pub(crate) struct Targets(RwLock<Arc<[Arc<Target>]>>);

impl Targets {
    pub(crate) fn new(targets: impl Iterator<Item = Target>) -> Self {
        Self(RwLock::new(targets.map(Arc::new).collect()))
    }

    pub(crate) fn all(&self) -> Arc<[Arc<Target>]> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    pub(crate) fn has_ip(&self, ip: IpAddr) -> bool {
        let all = self.all();
        all.iter().any(|target| target.hop.address.ip() == ip)
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
            while let Some(first) = left.iter().map(|target| target.priority).min() {
                let at = draw(&left, first, &mut random);
                order.push(left.remove(at));
            }
        }
        order
    }
}

/// One of those of a priority, of which there is one at least.
fn draw(left: &[Arc<Target>], priority: u16, random: &mut impl FnMut(u32) -> u32) -> usize {
    let group = left.iter().enumerate();
    let group: Vec<_> = group.filter(|(_, t)| t.priority == priority).collect();
    let sum: u32 = group.iter().map(|(_, t)| u32::from(t.weight)).sum();
    let mut drawn = match sum {
        0 => 0,
        _ => random(sum),
    };
    for (at, target) in &group {
        let weight = u32::from(target.weight);
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
mod tests {
    use super::*;

    /// Targets at port 1, 2, … of one address, by priority and weight.
    fn targets(some: &[(u16, u16)]) -> Targets {
        let some = some.iter().zip(1..).map(|((priority, weight), port)| {
            let target = config::Target {
                address: ([192, 0, 2, 1], port).into(),
                priority: *priority,
                weight: *weight,
            };
            Target::new(target, Transport::Udp)
        });
        Targets::new(some)
    }

    fn ports(order: &[Arc<Target>]) -> Vec<u16> {
        order.iter().map(|t| t.hop.address.port()).collect()
    }

    fn order_of(targets: &Targets, urgency: Priority, random: fn(u32) -> u32) -> Vec<u16> {
        ports(&targets.order(urgency, Instant::now(), random))
    }

    #[test]
    fn the_lowest_priority_goes_first_and_chance_decides_within_one() {
        let targets = targets(&[(20, 1), (10, 1), (10, 3)]);
        assert_eq!(order_of(&targets, Priority::Normal, |_| 0), [2, 3, 1]);
        let highest = |below: u32| below - 1;
        assert_eq!(order_of(&targets, Priority::Normal, highest), [3, 2, 1]);
    }

    #[test]
    fn each_target_goes_first_as_often_as_its_weight_says() {
        let targets = targets(&[(0, 1), (0, 3), (0, 0)]);
        let mut firsts = [0; 3];
        for drawn in 0..4 {
            let order = targets.order(Priority::Normal, Instant::now(), |below| drawn % below);
            assert_eq!(order.len(), 3);
            firsts[usize::from(ports(&order)[0]) - 1] += 1;
        }
        assert_eq!(firsts, [1, 3, 0]);
    }

    #[test]
    fn what_does_not_take_calls_is_left_out_except_by_a_call_for_help() {
        let targets = targets(&[(0, 1), (1, 1), (2, 1)]);
        let now = Instant::now();
        targets.all()[0].set_up(false);
        targets.all()[1].call_elsewhere_for(Duration::from_secs(7), now);
        assert_eq!(order_of(&targets, Priority::Normal, |_| 0), [3]);
        assert_eq!(order_of(&targets, Priority::Emergency, |_| 0), [3, 1, 2]);
        targets.all()[2].set_up(false);
        // With none it is no worse to try than not to.
        assert_eq!(order_of(&targets, Priority::Normal, |_| 0), [1, 2, 3]);
        assert!(targets.all()[1].takes_calls(now + Duration::from_secs(7)));
    }

    #[test]
    fn no_503_shuts_a_target_off_for_hours() {
        let targets = targets(&[(0, 1)]);
        let (target, now) = (targets.all()[0].clone(), Instant::now());
        target.call_elsewhere_for(Duration::from_secs(86_400), now);
        assert!(!target.takes_calls(now + Duration::from_secs(299)));
        assert!(target.takes_calls(now + Duration::from_secs(300)));
    }

    #[test]
    fn a_peer_that_speaks_from_another_port_is_the_one_target_there() {
        let target = |ip: [u8; 4], port| {
            let target = config::Target::from(SocketAddr::from((ip, port)));
            Target::new(target, Transport::Tcp)
        };
        let (one, other) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let some = [target(one, 1), target(other, 1), target(other, 2)];
        let targets = Targets::new(some.into_iter());
        let of = |ip: [u8; 4], port| targets.of((ip, port).into()).map(|t| t.hop.address);
        assert_eq!(of(one, 40_000), Some((one, 1).into()));
        assert_eq!(of(other, 2), Some((other, 2).into()));
        assert_eq!(of(other, 40_000), None);
        assert_eq!(of([192, 0, 2, 3], 1), None);
    }

    #[test]
    fn a_dialog_that_begins_is_news_and_one_that_ends_is_not() {
        let target = targets(&[(0, 1)]).all()[0].clone();
        let mut dialogs = target.dialogs();
        let dialog = InDialog::with(Some(target));
        assert!(dialogs.has_changed().expect("the target lives"));
        assert_eq!(*dialogs.borrow_and_update(), 1);
        drop(dialog);
        assert!(!dialogs.has_changed().unwrap_or(false));
        assert_eq!(*dialogs.borrow(), 0);
    }

    #[test]
    fn only_a_change_of_health_is_news() {
        let target = targets(&[(0, 1)]).all()[0].clone();
        assert!(target.is_up());
        assert!(!target.set_up(true));
        assert!(target.set_up(false));
        assert!(!target.is_up());
    }
}
