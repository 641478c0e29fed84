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
    /// Those that are otherwise now: their next calls are.
    pub changed: Vec<TrunkName>,
}

impl TrunkChange {
    /// Whether anything is otherwise.
    #[must_use]
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// Whether what was at this trunk before is to be made anew.
    pub(crate) fn concerns(&self, trunk: &TrunkName) -> bool {
        let mut all = self.removed.iter().chain(&self.changed);
        all.any(|name| name == trunk)
    }
}

/// For the operator.
impl fmt::Display for TrunkChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            ("added", &self.added),
            ("removed", &self.removed),
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

    /// Puts trunks of these configurations in the place of those that there are; `make` makes a new one. One whose
    /// configuration is the same stays as it is, whatever its limits say ([`Trunk::limit`] sets those). Returns the new
    /// ones, too.
    pub(crate) fn replace(
        &self,
        configs: &[TrunkConfig],
        make: impl Fn(&TrunkConfig) -> Arc<Trunk>,
    ) -> (TrunkChange, Vec<Arc<Trunk>>) {
        let before = self.configured();
        let (mut all, mut new, mut change) = (Vec::new(), Vec::new(), TrunkChange::default());
        for config in configs {
            let named = before.iter().find(|old| old.config.name == config.name);
            let same = named.filter(|old| old.config.is_same_but_for_limits(config));
            if let Some(same) = same {
                all.push(same.clone());
                continue;
            }
            match named {
                Some(_) => change.changed.push(config.name.clone()),
                None => change.added.push(config.name.clone()),
            }
            let trunk = make(config);
            new.push(trunk.clone());
            all.push(trunk);
        }
        let names: HashSet<_> = configs.iter().map(|config| &config.name).collect();
        let gone = before
            .iter()
            .filter(|old| !names.contains(&old.config.name));
        change.removed = gone.map(|old| old.config.name.clone()).collect();
        let stays = |old: &Arc<Trunk>| all.iter().any(|trunk| Arc::ptr_eq(trunk, old));
        let retired: Vec<_> = self
            .all()
            .iter()
            .filter(|old| !stays(old))
            .cloned()
            .collect();
        for old in &retired {
            old.retire();
        }
        all.extend(retired.into_iter().filter(|old| old.is_here()));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all.into();
        (change, new)
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
    use super::*;
    use crate::legs::Priority;

    fn config(name: &str, last: u8) -> TrunkConfig {
        TrunkConfig::new(name, ([192, 0, 2, last], 5060).into())
    }

    fn make(config: &TrunkConfig) -> Arc<Trunk> {
        Arc::new(Trunk::new(config.clone()))
    }

    fn name(name: &str) -> TrunkName {
        TrunkName(name.to_owned())
    }

    #[test]
    fn a_trunk_that_is_the_same_stays_and_one_that_is_not_is_made_anew() {
        let trunks = Trunks::new(["a", "b", "c"].map(|name| make(&config(name, 1))).into());
        let (a, b) = (trunks.get(&name("a")), trunks.get(&name("b")));
        let mut limited = config("a", 1);
        limited.max_calls = 3;
        let wanted = [config("d", 1), config("b", 2), limited];
        let (change, new) = trunks.replace(&wanted, make);
        assert_eq!(change.to_string(), "added d; removed c; changed b");
        assert!(change.is_any() && change.concerns(&name("b")) && !change.concerns(&name("d")));
        assert_eq!(new.len(), 2);
        assert!(Arc::ptr_eq(&trunks.get(&name("a")).unwrap(), &a.unwrap()));
        assert!(!Arc::ptr_eq(&trunks.get(&name("b")).unwrap(), &b.unwrap()));
        assert!(trunks.get(&name("c")).is_none());
        let order: Vec<_> = trunks
            .configured()
            .iter()
            .map(|t| t.config.name.0.clone())
            .collect();
        assert_eq!(order, ["d", "b", "a"]);
        assert!(!trunks.replace(&wanted, make).0.is_any());
    }

    #[test]
    fn a_trunk_that_is_no_more_is_here_while_it_has_calls() {
        let trunks = Trunks::new(vec![make(&config("a", 1))]);
        let old = trunks.get(&name("a")).unwrap();
        assert!(old.enter(Priority::Normal));
        trunks.replace(&[config("b", 2)], make);
        assert!(old.is_retired() && old.is_here());
        assert!(trunks.all().iter().any(|trunk| Arc::ptr_eq(trunk, &old)));
        // What it still has to say after its last call it may: it went a moment ago.
        old.leave();
        assert!(old.is_here());
    }
}
