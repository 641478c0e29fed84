//! The trunks of a user agent: others may take their place while it runs, and calls over those that are no more go on.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use crate::config::{Transport, TrunkConfig, TrunkName};
use crate::core::Core;
use crate::names::{self, Resolver};
use crate::options;
use crate::refused::StartError;
use crate::trunk::Trunk;

/// In the configured order, and behind them those that are no more and still have calls.
pub(crate) struct Trunks(RwLock<Arc<[Arc<Trunk>]>>);

/// What became of the trunks when others were put in their place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrunkChange {
    /// Those that there were not.
    pub added: Vec<TrunkName>,
    /// Those that are no more.
    pub removed: Vec<TrunkName>,
    /// Those that are somewhere else, or are spoken to over another transport or by another name: what is registered there
    /// is anew.
    pub moved: Vec<TrunkName>,
    /// Those of which something else is otherwise: it holds from their next call on.
    pub changed: Vec<TrunkName>,
}

impl TrunkChange {
    /// Whether anything is otherwise.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether what was at this trunk before is to be made anew.
    pub(crate) fn moves(&self, trunk: &TrunkName) -> bool {
        let mut all = self.removed.iter().chain(&self.moved);
        all.any(|name| name == trunk)
    }
}

/// What is to be done about trunks that take the place of others.
#[derive(Default)]
pub(crate) struct Replaced {
    pub(crate) change: TrunkChange,
    /// To be looked after from now on.
    pub(crate) new: Vec<Arc<Trunk>>,
    /// To be retired.
    pub(crate) old: Vec<Arc<Trunk>>,
    /// The peer of these has to show itself by other rules than before.
    pub(crate) distrusted: Vec<TrunkName>,
}

/// For the operator.
impl fmt::Display for TrunkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("moved", &self.moved),
            ("changed", &self.changed),
        ];
        let parts = words.into_iter().filter(|(_, names)| !names.is_empty());
        let parts = parts.map(|(word, names)| {
            let names: Vec<_> = names.iter().map(TrunkName::to_string).collect();
            format!("{word} {}", names.join(", "))
        });
        f.write_str(&parts.collect::<Vec<_>>().join("; "))
    }
}

impl Trunks {
    pub(crate) fn new(trunks: Vec<Arc<Trunk>>) -> Self {
        Self(RwLock::new(trunks.into()))
    }

    /// All that somebody may still speak for.
    pub(crate) fn all(&self) -> Arc<[Arc<Trunk>]> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Those that are configured.
    pub(crate) fn configured(&self) -> Vec<Arc<Trunk>> {
        let all = self.all();
        let configured = all.iter().filter(|trunk| !trunk.is_retired());
        configured.cloned().collect()
    }

    /// The configured one of this name.
    pub(crate) fn get(&self, name: &TrunkName) -> Option<Arc<Trunk>> {
        let all = self.all();
        let mut configured = all.iter().filter(|trunk| !trunk.is_retired());
        configured.find(|trunk| trunk.config.name == *name).cloned()
    }

    /// Puts trunks of these configurations in the place of those that there are; `make` makes a new one. One that is where it
    /// was stays, and is told what holds for it now, but for its limits ([`Trunk::limit`] sets those).
    pub(crate) fn replace(
        &self,
        configs: &[TrunkConfig],
        make: impl Fn(&TrunkConfig) -> Arc<Trunk>,
    ) -> Replaced {
        let before = self.configured();
        let (mut all, mut replaced) = (Vec::new(), Replaced::default());
        for config in configs {
            let old = before.iter().find(|old| old.config.name == config.name);
            all.push(match old {
                Some(old) if old.config.is_where(config) => {
                    replaced.note_changed(&old.now(), config);
                    old.becomes(config.clone());
                    old.clone()
                }
                old => {
                    let is_known = old.is_some();
                    replaced.note_new(make(config), is_known)
                }
            });
        }
        let stays = |old: &Arc<Trunk>| all.iter().any(|trunk| Arc::ptr_eq(trunk, old));
        replaced.old = before.iter().filter(|old| !stays(old)).cloned().collect();
        let is_gone = |old: &&Arc<Trunk>| all.iter().all(|new| new.config.name != old.config.name);
        let gone = replaced.old.iter().filter(is_gone);
        replaced.change.removed = gone.map(|old| old.config.name.clone()).collect();
        let retired = self.all();
        let retired = retired
            .iter()
            .filter(|old| old.is_retired() && old.is_here());
        all.extend(replaced.old.iter().chain(retired).cloned());
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all.into();
        replaced
    }
}

impl Replaced {
    fn note_changed(&mut self, before: &TrunkConfig, after: &TrunkConfig) {
        let limited_alike = TrunkConfig {
            max_calls: before.max_calls,
            new_calls_per_second: before.new_calls_per_second,
            ..after.clone()
        };
        if *before != limited_alike {
            self.change.changed.push(after.name.clone());
        }
        if before.tls != after.tls {
            self.distrusted.push(after.name.clone());
        }
    }

    fn note_new(&mut self, trunk: Arc<Trunk>, is_known: bool) -> Arc<Trunk> {
        let name = trunk.config.name.clone();
        match is_known {
            true => self.change.moved.push(name),
            false => self.change.added.push(name),
        }
        self.new.push(trunk.clone());
        trunk
    }
}

/// Sees to it that each trunk has a name of its own, targets, and listeners to reach them from: `is_served` says which
/// targets have one, `has_listener` whether names may lead to any.
pub(crate) fn check(
    trunks: &[TrunkConfig],
    is_served: impl Fn(&TrunkConfig, SocketAddr) -> bool,
    has_listener: impl Fn(Transport) -> bool,
) -> Result<(), StartError> {
    let mut names = HashSet::new();
    for trunk in trunks {
        if !names.insert(&trunk.name) {
            return Err(StartError::DuplicateTrunk(trunk.name.clone()));
        }
        let has_targets = !trunk.targets.is_empty() || !trunk.names.is_empty();
        let names_are_served = trunk.names.is_empty() || has_listener(trunk.transport);
        let mut targets = trunk.targets.iter();
        let is_reached = targets.all(|target| is_served(trunk, target.address));
        if !has_targets || !names_are_served || !is_reached {
            return Err(StartError::NoListener(trunk.name.clone()));
        }
    }
    Ok(())
}

/// Looks after a trunk: whether its targets are there, and where its names lead.
pub(crate) fn keep(core: &Arc<Core>, trunk: &Arc<Trunk>, resolver: Option<&Resolver>) {
    for target in trunk.targets.all().iter().cloned() {
        core.spawn(options::watch(core.clone(), trunk.clone(), target));
    }
    if let Some(resolver) = resolver {
        core.spawn(names::keep(core.clone(), trunk.clone(), resolver.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::config::{AccountName, Credentials};
    use crate::legs::Priority;

    fn config(name: &str, last: u8) -> TrunkConfig {
        TrunkConfig::new(name, ([192, 0, 2, last], 5060).into())
    }

    fn make(config: &TrunkConfig) -> Arc<Trunk> {
        Arc::new(Trunk::new(config.clone()))
    }

    const LONG: Duration = Duration::from_secs(60);

    fn name(name: &str) -> TrunkName {
        TrunkName(name.to_owned())
    }

    #[test]
    fn a_trunk_that_is_where_it_was_stays_and_knows_what_is_new_and_one_that_moved_is_made_anew() {
        let trunks = Trunks::new(["a", "b", "c"].map(|name| make(&config(name, 1))).into());
        let (a, b) = (
            trunks.get(&name("a")).unwrap(),
            trunks.get(&name("b")).unwrap(),
        );
        let mut trusted = config("a", 1);
        trusted.trust_identity = true;
        trusted.max_calls = 3;
        let wanted = [config("d", 1), config("b", 2), trusted];
        let replaced = trunks.replace(&wanted, make);
        let change = replaced.change;
        assert_eq!(change.to_string(), "added d; removed c; moved b; changed a");
        assert!(change.is_any() && change.moves(&name("b")) && !change.moves(&name("a")));
        assert_eq!((replaced.new.len(), replaced.old.len()), (2, 2));
        assert!(Arc::ptr_eq(&trunks.get(&name("a")).unwrap(), &a));
        assert!(a.now().trust_identity);
        assert!(!Arc::ptr_eq(&trunks.get(&name("b")).unwrap(), &b));
        for old in replaced.old {
            old.retire(LONG, HashMap::new());
        }
        assert!(trunks.get(&name("c")).is_none());
        let order: Vec<_> = trunks
            .configured()
            .iter()
            .map(|t| t.config.name.0.clone())
            .collect();
        assert_eq!(order, ["d", "b", "a"]);
        let mut limited = wanted.clone();
        limited[0].max_calls = 7;
        assert!(!trunks.replace(&limited, make).change.is_any());
    }

    #[test]
    fn whom_a_trunk_believes_in_other_rules_has_to_show_itself_again() {
        let trunks = Trunks::new(vec![make(&config("a", 1))]);
        let mut lenient = config("a", 1);
        lenient.tls.shows_certificate = false;
        let replaced = trunks.replace(&[lenient], make);
        assert_eq!(replaced.distrusted, [name("a")]);
        assert!(replaced.new.is_empty() && replaced.old.is_empty());
    }

    #[test]
    fn a_trunk_that_is_no_more_is_here_while_it_has_calls_and_a_while_after_the_last() {
        let trunks = Trunks::new(vec![make(&config("a", 1))]);
        let old = trunks.get(&name("a")).unwrap();
        let account = AccountName("2001".into());
        let credentials = Credentials {
            username: "alice".into(),
            password: "secret".into(),
            realm: None,
        };
        assert!(old.load.enter(Priority::Normal) && old.load.enter(Priority::Normal));
        trunks.replace(&[config("b", 2)], make);
        let lingers = Duration::from_millis(100);
        old.retire(
            lingers,
            HashMap::from([(account.clone(), credentials.clone())]),
        );
        std::thread::sleep(2 * lingers);
        assert!(old.is_retired() && old.is_here() && !old.has_gone());
        assert!(trunks.all().iter().any(|trunk| Arc::ptr_eq(trunk, &old)));
        assert_eq!(old.credentials_then(&account), Some(credentials));
        old.load.leave();
        old.load.leave();
        assert!(
            old.has_gone() && old.is_here(),
            "its last words are on the way"
        );
        std::thread::sleep(2 * lingers);
        assert!(!old.is_here());
    }
}
