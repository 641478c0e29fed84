//! Accounts at registrars (RFC 3261 §10): each is registered, kept so, and
//! taken back at the stop; the calls to and from it are its own.

mod keep;
mod machine;
mod pace;
mod registrar;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::address::{self, NameAddr};
use crate::config::{Credentials, TrunkName};

pub(crate) use keep::keep;
pub use machine::Standing;
pub(crate) use pace::Pace;

/// An account at a trunk's PBX at which we register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationConfig {
    /// The trunk whose peer is the registrar.
    pub trunk: TrunkName,
    /// Who we are there; the user name is the account's address, too.
    pub credentials: Credentials,
    /// User part of our Contact: what calls to the account arrive at. One
    /// account has it.
    pub contact: String,
    /// For how long each registration asks, whole seconds.
    pub expires: Duration,
    /// By way of whom the REGISTER goes, instead of straight to a target of
    /// the trunk; what comes from its address is the trunk's.
    pub proxy: Option<SocketAddr>,
}

/// How an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationState {
    /// The trunk at whose peer it is registered.
    pub trunk: TrunkName,
    /// User part of its Contact.
    pub contact: String,
    /// How it stands there.
    pub standing: Standing,
}

/// An account at work.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) config: RegistrationConfig,
    standing: Mutex<Standing>,
}

impl Account {
    fn set_standing(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }

    fn state(&self) -> RegistrationState {
        RegistrationState {
            trunk: self.config.trunk.clone(),
            contact: self.config.contact.clone(),
            standing: *self.standing.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// All accounts.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    all: Vec<Arc<Account>>,
    /// By trunk and by who they are in From and To: the user name in calls of
    /// ours, our Contact in those of the PBX.
    by_user: HashMap<(TrunkName, String), usize>,
}

impl Accounts {
    pub(crate) fn new(configs: &[RegistrationConfig]) -> Self {
        let mut accounts = Self::default();
        for (at, config) in configs.iter().enumerate() {
            for user in [&config.contact, &config.credentials.username] {
                let key = (config.trunk.clone(), user.clone());
                accounts.by_user.insert(key, at);
            }
            accounts.all.push(Arc::new(Account {
                config: config.clone(),
                standing: Mutex::new(Standing::Trying),
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

    /// The credentials of whoever we are in a dialog: `local` is our side of
    /// it, as a name-addr.
    pub(crate) fn credentials(&self, trunk: &TrunkName, local: &str) -> Option<&Credentials> {
        if self.all.is_empty() {
            return None;
        }
        let user = address::user_of(&NameAddr::parse(local)?.uri);
        let at = self.by_user.get(&(trunk.clone(), user))?;
        Some(&self.all[*at].config.credentials)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config(contact: &str, username: &str) -> RegistrationConfig {
        RegistrationConfig {
            trunk: TrunkName("pbx".into()),
            credentials: Credentials {
                username: username.into(),
                password: "secret".into(),
                realm: None,
            },
            contact: contact.into(),
            expires: Duration::from_secs(3_600),
            proxy: None,
        }
    }

    #[test]
    fn a_dialog_has_the_credentials_of_its_account_and_of_no_other() {
        let accounts = Accounts::new(&[config("2001", "alice"), config("2002", "bob")]);
        let pbx = TrunkName("pbx".into());
        let who = |trunk: &TrunkName, local: &str| {
            let credentials = accounts.credentials(trunk, local);
            credentials.map(|credentials| credentials.username.clone())
        };
        assert_eq!(who(&pbx, "\"B\" <sip:bob@h>").as_deref(), Some("bob"));
        assert_eq!(who(&pbx, "<sip:2001@h:5070>").as_deref(), Some("alice"));
        assert_eq!(who(&pbx, "<sip:2003@h>"), None);
        assert_eq!(who(&TrunkName("other".into()), "<sip:bob@h>"), None);
    }
}
