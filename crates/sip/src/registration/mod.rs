//! Accounts at registrars (RFC 3261 §10): each is registered, kept so, and
//! taken back at the stop; the calls to and from it are its own.

mod keep;
mod machine;
mod pace;
pub(crate) mod patience;
mod registrar;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

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
    /// Cancelled when it is to be taken back.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when nothing of it is kept up any more.
    pub(crate) left: CancellationToken,
}

impl Account {
    fn new(config: &RegistrationConfig, leaving: &CancellationToken) -> Arc<Self> {
        Arc::new(Account {
            config: config.clone(),
            standing: watch::Sender::new(Standing::Trying),
            leaving: leaving.child_token(),
            left: CancellationToken::new(),
        })
    }

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

/// All accounts that there are now.
#[derive(Debug)]
pub(crate) struct Accounts {
    now: RwLock<Table>,
    /// Takes all of them back.
    leaving: CancellationToken,
    /// Those that are being taken back.
    former: Mutex<Vec<Arc<Account>>>,
}

#[derive(Debug, Default)]
struct Table {
    all: Vec<Arc<Account>>,
    /// By trunk and by what calls to them arrive at: our Contact, or the
    /// account's address where a registrar does not look at that.
    by_user: HashMap<(TrunkName, String), Arc<Account>>,
}

/// What became of the accounts when others were put in their place.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// Those that are new, each with the one of its name that it takes the
    /// place of, and that has to be gone before.
    pub(crate) come: Vec<(Arc<Account>, Option<Arc<Account>>)>,
    /// Those that are to be taken back.
    pub(crate) gone: Vec<Arc<Account>>,
}

impl Table {
    fn of(all: Vec<Arc<Account>>) -> Self {
        let mut by_user = HashMap::new();
        for account in &all {
            for user in [&account.config.contact.0, &account.config.user] {
                let key = (account.config.trunk.clone(), user.clone());
                by_user.insert(key, account.clone());
            }
        }
        Self { all, by_user }
    }
}

impl Accounts {
    /// Those of `configs`, which `leaving` takes back.
    pub(crate) fn new(configs: &[RegistrationConfig], leaving: &CancellationToken) -> Self {
        let all = configs.iter().map(|config| Account::new(config, leaving));
        Self {
            now: RwLock::new(Table::of(all.collect())),
            leaving: leaving.clone(),
            former: Mutex::default(),
        }
    }

    /// Puts the accounts of `configs` in the place of those that there are.
    /// One whose configuration is the same stays as it is, unless its trunk
    /// is somewhere else (`is_elsewhere`).
    pub(crate) fn replace(
        &self,
        configs: &[RegistrationConfig],
        is_elsewhere: impl Fn(&TrunkName) -> bool,
    ) -> Changed {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut now.all);
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        former.retain(|account| !account.left.is_cancelled());
        let mut changed = Changed::default();
        let mut all = Vec::with_capacity(configs.len());
        for config in configs {
            let same = before.iter().find(|account| account.config == *config);
            if let Some(same) = same.filter(|_| !is_elsewhere(&config.trunk)) {
                all.push(same.clone());
                continue;
            }
            let account = Account::new(config, &self.leaving);
            // Whatever their trunks are called: it may be one registrar, and the later word counts there (RFC 3261 §10.3).
            let is_named_so = |old: &&Arc<Account>| old.config.contact == config.contact;
            let old = before.iter().find(is_named_so);
            let old = old.or_else(|| former.iter().rev().find(is_named_so));
            changed.come.push((account.clone(), old.cloned()));
            all.push(account);
        }
        let stays = |old: &Arc<Account>| all.iter().any(|account| Arc::ptr_eq(account, old));
        changed.gone = before.into_iter().filter(|old| !stays(old)).collect();
        former.extend(changed.gone.iter().cloned());
        *now = Table::of(all);
        changed
    }

    pub(crate) fn all(&self) -> Vec<Arc<Account>> {
        self.read(|table| table.all.clone())
    }

    pub(crate) fn len(&self) -> usize {
        self.read(|table| table.all.len())
    }

    pub(crate) fn states(&self) -> Vec<RegistrationState> {
        self.read(|table| table.all.iter().map(|account| account.state()).collect())
    }

    /// How many accounts at a trunk are registered, and how many there are.
    pub(crate) fn registered_at(&self, trunk: &TrunkName) -> (usize, usize) {
        self.read(|table| {
            let own = table.all.iter().filter(|own| own.config.trunk == *trunk);
            let standings = own.map(|own| *own.standing.borrow());
            standings.fold((0, 0), |(registered, all), standing| {
                let is_registered = standing == Standing::Registered;
                (registered + usize::from(is_registered), all + 1)
            })
        })
    }

    /// What the accounts at a trunk answer challenges with.
    pub(crate) fn credentials_at(&self, trunk: &TrunkName) -> HashMap<AccountName, Credentials> {
        let of = |account: &Arc<Account>| {
            let config = &account.config;
            (config.contact.clone(), config.credentials.clone())
        };
        self.read(|table| {
            let own = table.all.iter().filter(|own| own.config.trunk == *trunk);
            own.map(of).collect()
        })
    }

    /// What this account answers challenges with.
    pub(crate) fn credentials(&self, trunk: &TrunkName, name: &AccountName) -> Option<Credentials> {
        let account = self.of(trunk, name)?;
        Some(account.config.credentials.clone())
    }

    /// The account of this name.
    pub(crate) fn of(&self, trunk: &TrunkName, name: &AccountName) -> Option<Arc<Account>> {
        let account = self.called(trunk, &name.0)?;
        (account.config.contact == *name).then_some(account)
    }

    /// The account that a call of the trunk to this user is for.
    pub(crate) fn called(&self, trunk: &TrunkName, user: &str) -> Option<Arc<Account>> {
        self.read(|table| {
            if table.all.is_empty() {
                return None;
            }
            let key = (trunk.clone(), user.to_owned());
            table.by_user.get(&key).cloned()
        })
    }

    fn read<T>(&self, what: impl FnOnce(&Table) -> T) -> T {
        // It is put in its place in one go.
        what(&self.now.read().unwrap_or_else(PoisonError::into_inner))
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

    fn accounts(configs: &[RegistrationConfig]) -> Accounts {
        Accounts::new(configs, &CancellationToken::new())
    }

    #[test]
    fn of_other_accounts_those_that_are_the_same_stay_and_a_changed_one_waits_for_its_former_self()
    {
        let (alice, bob) = (config("2001", "alice"), config("2002", "bob"));
        let accounts = accounts(&[alice.clone(), bob.clone()]);
        let before = accounts.all();
        let mut changed = bob.clone();
        changed.credentials.password = "another".into();
        let carol = config("2003", "carol");
        let what = accounts.replace(&[alice, changed, carol], |_| false);
        assert!(Arc::ptr_eq(&accounts.all()[0], &before[0]));
        let come: Vec<_> = what
            .come
            .iter()
            .map(|(new, old)| (new.config.user.as_str(), old.is_some()))
            .collect();
        assert_eq!(come, [("bob", true), ("carol", false)]);
        assert!(what.gone.len() == 1 && Arc::ptr_eq(&what.gone[0], &before[1]));
        let pbx = TrunkName("pbx".into());
        assert!(accounts.called(&pbx, "carol").is_some());
        accounts.replace(&[], |_| false);
        assert!(accounts.called(&pbx, "alice").is_none());
    }

    #[test]
    fn a_call_is_for_the_account_whose_contact_or_address_it_is_sent_to() {
        let accounts = accounts(&[config("2001", "alice"), config("2002", "bob")]);
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
