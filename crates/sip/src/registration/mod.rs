//! Accounts at registrars (RFC 3261 §10): each is registered, kept so, and
//! taken back at the stop; the calls to and from it are its own.

mod keep;
mod machine;
mod pace;
pub(crate) mod patience;
mod registrar;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{AccountName, Credentials, TrunkName};

pub(crate) use keep::keep;
pub(crate) use machine::Answer;
pub use machine::Standing;
pub(crate) use pace::Pace;
pub(crate) use patience::Jitter;
pub(crate) use registrar::{refusal, route, seconds};

/// An account at a trunk's PBX at which we register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationConfig {
    /// The trunk whose peer is the registrar.
    pub trunk: TrunkName,
    /// User part of the account's address there: From and To of its REGISTER,
    /// From of its calls.
    pub user: String,
    /// What its challenges are answered with.
    pub credentials: Credentials,
    /// User part of our Contact: what calls to the account arrive at. One
    /// account has it.
    pub contact: AccountName,
    /// For how long each registration asks, whole seconds.
    pub expires: Duration,
    /// By way of whom its requests go, instead of straight to a target of the
    /// trunk; what comes from its address is the trunk's.
    pub proxy: Option<SocketAddr>,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationState {
    /// The trunk at whose peer it is registered.
    pub trunk: TrunkName,
    /// Which account.
    pub account: AccountName,
    /// How it stands there.
    pub standing: Standing,
}

/// An account at work.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) config: RegistrationConfig,
    standing: watch::Sender<Standing>,
}

impl Account {
    fn set_standing(&self, standing: Standing) {
        self.standing
            .send_if_modified(|stood| std::mem::replace(stood, standing) != standing);
    }

    /// Changes with how it stands.
    pub(crate) fn watch(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    fn state(&self) -> RegistrationState {
        RegistrationState {
            trunk: self.config.trunk.clone(),
            account: self.config.contact.clone(),
            standing: *self.standing.borrow(),
        }
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    all: Vec<Arc<Account>>,
    /// By trunk and by what calls to them arrive at: our Contact, or the
    /// account's address where a registrar does not look at that.
    by_user: HashMap<(TrunkName, String), usize>,
}

impl Accounts {
    pub(crate) fn new(configs: &[RegistrationConfig]) -> Self {
        let mut accounts = Self::default();
        for (at, config) in configs.iter().enumerate() {
            for user in [&config.contact.0, &config.user] {
                let key = (config.trunk.clone(), user.clone());
                accounts.by_user.insert(key, at);
            }
            accounts.all.push(Arc::new(Account {
                config: config.clone(),
                standing: watch::Sender::new(Standing::Trying),
            }));
        }
        accounts
    }

    pub(crate) fn all(&self) -> &[Arc<Account>] {
        &self.all
    }

    pub(crate) fn states(&self) -> Vec<RegistrationState> {
        self.all.iter().map(|account| account.state()).collect()
    }

    /// The account of this name.
    pub(crate) fn of(&self, trunk: &TrunkName, name: &AccountName) -> Option<&Arc<Account>> {
        let account = self.called(trunk, &name.0)?;
        (account.config.contact == *name).then_some(account)
    }

    /// The account that a call of the trunk to this user is for.
    pub(crate) fn called(&self, trunk: &TrunkName, user: &str) -> Option<&Arc<Account>> {
        if self.all.is_empty() {
            return None;
        }
        let at = self.by_user.get(&(trunk.clone(), user.to_owned()))?;
        Some(&self.all[*at])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config(contact: &str, user: &str) -> RegistrationConfig {
        RegistrationConfig {
            trunk: TrunkName("pbx".into()),
            user: user.into(),
            credentials: Credentials {
                username: format!("auth-{user}"),
                password: "secret".into(),
                realm: None,
            },
            contact: AccountName(contact.into()),
            expires: Duration::from_secs(3_600),
            proxy: None,
        }
    }

    #[test]
    fn a_call_is_for_the_account_whose_contact_or_address_it_is_sent_to() {
        let accounts = Accounts::new(&[config("2001", "alice"), config("2002", "bob")]);
        let pbx = TrunkName("pbx".into());
        let who = |trunk: &TrunkName, user: &str| {
            let account = accounts.called(trunk, user);
            account.map(|account| account.config.contact.0.clone())
        };
        assert_eq!(who(&pbx, "bob").as_deref(), Some("2002"));
        assert_eq!(who(&pbx, "2001").as_deref(), Some("2001"));
        assert_eq!(who(&pbx, "2003"), None);
        assert_eq!(who(&TrunkName("other".into()), "bob"), None);
        let named = |name: &str| accounts.of(&pbx, &AccountName(name.into())).is_some();
        assert!(named("2002") && !named("bob"));
    }
}
