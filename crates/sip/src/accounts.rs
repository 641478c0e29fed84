//! The trunks, accounts and subscriptions of a user agent as a whole: whether they can be, and others in their place while it
//! runs.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::{AccountName, TrunkConfig, TrunkName};
use crate::core::Core;
use crate::names::Resolver;
use crate::refused::StartError;
use crate::registration::{self, Account, RegistrationConfig};
use crate::subscription::{self, Interest, SubscriptionConfig};
use crate::target::Hop;
use crate::trunk::Trunk;
use crate::trunks::{self, Replaced, TrunkChange};
use crate::user_agent::UserAgent;

impl UserAgent {
    /// Puts other trunks, accounts and subscriptions in the place of those
    /// that there are. One whose configuration is the same stays as it is,
    /// undisturbed; an account that is no more is taken back politely, and a
    /// changed one, or one at a changed trunk, is registered anew after that.
    /// Calls that are up go on, over trunks that are no more, too. Limits of
    /// trunks are [`UserAgent::limit`]'s.
    ///
    /// # Errors
    /// As [`UserAgent::start`] has; all stays as it was then.
    pub fn replace(
        &self,
        trunks: &[TrunkConfig],
        registrations: &[RegistrationConfig],
        subscriptions: &[SubscriptionConfig],
    ) -> Result<TrunkChange, StartError> {
        let core = &self.core;
        let is_served = |trunk: &TrunkConfig, address: SocketAddr| {
            let transport = trunk.transport;
            let hop = Hop { transport, address };
            core.listeners.iter().any(|listener| listener.serves(hop))
        };
        let has_listener = |transport| {
            let mut listeners = core.listeners.iter();
            listeners.any(|listener| listener.transport == transport)
        };
        trunks::check(trunks, is_served, has_listener)?;
        check(trunks, registrations, subscriptions, &is_served)?;
        let is_new = |config: &&TrunkConfig| {
            let known = core.trunks.get(&config.name);
            known.is_none_or(|known| !known.config.is_where(config))
        };
        let new: Vec<_> = trunks.iter().filter(is_new).cloned().collect();
        let resolver = Resolver::of(&new, &core.config.nameservers)?;
        let replaced = core.trunks.replace(trunks, |config| {
            let proxies = proxies(&config.name, registrations);
            Arc::new(Trunk::behind(proxies, config.clone()))
        });
        self.part_with(&replaced);
        for trunk in core.trunks.configured() {
            trunk.move_behind(proxies(&trunk.config.name, registrations));
        }
        core.admission.learn_addresses();
        for trunk in replaced.new {
            trunks::keep(core, &trunk, resolver.as_ref());
        }
        let change = replaced.change;
        let is_elsewhere = |trunk: &TrunkName| change.moves(trunk);
        let changed = core.accounts.replace(registrations, is_elsewhere);
        let is_made_anew = |config: &SubscriptionConfig| {
            let name = config.account.as_ref();
            let is_new = |account: &Account| {
                account.config.trunk == config.trunk && Some(&account.config.contact) == name
            };
            is_elsewhere(&config.trunk) || changed.come.iter().any(|(account, _)| is_new(account))
        };
        let told = core.subscriptions.replace(subscriptions, is_made_anew);
        for gone in changed.gone {
            gone.leaving.cancel();
        }
        for (account, after) in changed.come {
            keep(core, account, after);
        }
        for interest in told {
            keep_told(core, interest);
        }
        Ok(change)
    }

    /// Has old trunks take no more calls, and whoever is to show itself by other rules do so.
    fn part_with(&self, replaced: &Replaced) {
        let core = &self.core;
        for old in &replaced.old {
            let credentials = core.accounts.credentials_at(&old.config.name);
            old.retire(core.config.timers.give_up(), credentials);
        }
        let gone = replaced.change.removed.iter();
        for trunk in gone.chain(&replaced.distrusted) {
            core.admission.streams.close_of(trunk);
        }
    }

    /// The same, with the trunks as they are.
    ///
    /// # Errors
    /// As [`UserAgent::replace`] has.
    pub fn replace_accounts(
        &self,
        registrations: &[RegistrationConfig],
        subscriptions: &[SubscriptionConfig],
    ) -> Result<(), StartError> {
        let trunks = self.core.trunks.configured();
        let trunks: Vec<_> = trunks.iter().map(|trunk| (*trunk.now()).clone()).collect();
        self.replace(&trunks, registrations, subscriptions)?;
        Ok(())
    }
}

/// Keeps an account registered; `after` is the one of its name before.
pub(crate) fn keep(core: &Arc<Core>, account: Arc<Account>, after: Option<Arc<Account>>) {
    if let Some(trunk) = core.trunks.get(&account.config.trunk) {
        let kept = registration::keep(core.clone(), trunk.clone(), account, after);
        core.spawn_waited(kept);
    }
}

/// Keeps a subscription.
pub(crate) fn keep_told(core: &Arc<Core>, interest: Arc<Interest>) {
    if let Some(trunk) = core.trunks.get(&interest.config.trunk) {
        let kept = subscription::keep(core.clone(), trunk.clone(), interest);
        core.spawn_waited(kept);
    }
}

/// What comes by way of an outbound proxy is the trunk's, too: the answers to
/// REGISTER, and the calls to what it has registered.
pub(crate) fn proxies(trunk: &TrunkName, registrations: &[RegistrationConfig]) -> Vec<IpAddr> {
    let own = registrations.iter().filter(|own| own.trunk == *trunk);
    let proxies = own.filter_map(|own| own.proxy);
    proxies.map(|proxy| proxy.ip()).collect()
}

/// Sees to it that each account has its trunk, a way there, and names that no
/// other has; and each subscription somebody to ask, and who asks.
pub(crate) fn check(
    trunks: &[TrunkConfig],
    registrations: &[RegistrationConfig],
    subscriptions: &[SubscriptionConfig],
    is_served: &impl Fn(&TrunkConfig, SocketAddr) -> bool,
) -> Result<(), StartError> {
    let mut users = HashSet::new();
    for account in registrations {
        let trunk = trunks.iter().find(|trunk| trunk.name == account.trunk);
        let trunk = trunk.ok_or_else(|| StartError::NoRegistrar {
            account: account.contact.clone(),
            trunk: account.trunk.clone(),
        })?;
        if !account.proxy.is_none_or(|proxy| is_served(trunk, proxy)) {
            return Err(StartError::NoListener(account.trunk.clone()));
        }
        let names = HashSet::from([&account.contact.0, &account.user]);
        for user in names {
            if !users.insert((&account.trunk, user)) {
                return Err(StartError::DuplicateAccount {
                    user: user.clone(),
                    trunk: account.trunk.clone(),
                });
            }
        }
    }
    for wanted in subscriptions {
        let has_trunk = trunks.iter().any(|trunk| trunk.name == wanted.trunk);
        let is_there = |name: &AccountName| {
            let mut accounts = registrations.iter();
            accounts.any(|own| own.trunk == wanted.trunk && own.contact == *name)
        };
        if !has_trunk || !wanted.account.as_ref().is_none_or(is_there) {
            return Err(StartError::NoNotifier {
                line: wanted.line.clone(),
                trunk: wanted.trunk.clone(),
            });
        }
    }
    Ok(())
}
