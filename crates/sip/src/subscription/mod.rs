//! What the PBX is asked to tell about lines (RFC 6665): each subscription is
//! made once its account is registered, kept, and ended at the stop; what it
//! told last is kept for whoever asks.

mod dialogs;
mod keep;
mod machine;
mod notify;
mod package;
mod request;
mod summary;
mod words;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use dashmap::DashMap;
use rsipstack::transaction::Transaction;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{AccountName, TrunkName};
use crate::legs::DialogKey;
use crate::target::Hop;
use crate::trunk::Trunk;

pub use dialogs::Activity;
pub(crate) use keep::keep;
pub use package::Package;
pub use summary::{MessageSummary, VoiceMessages};
pub use words::SubscriptionStanding;

/// What a trunk's PBX is to tell about a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionConfig {
    /// The trunk whose peer tells.
    pub trunk: TrunkName,
    /// The line, by its extension; a name for our own side.
    pub line: String,
    /// The account in whose name we ask, once it is registered; else it is
    /// the trunk that asks, from the start.
    pub account: Option<AccountName>,
    /// User part of the address that is watched.
    pub user: String,
    /// What is to be told.
    pub package: Package,
    /// For how long each SUBSCRIBE asks, whole seconds.
    pub expires: Duration,
}

/// What a subscription was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// By [`Package::MessageSummary`].
    Messages(MessageSummary),
    /// By [`Package::Dialog`].
    Activity(Activity),
}

/// How a subscription stands, and what it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    /// The trunk whose peer tells.
    pub trunk: TrunkName,
    /// The line, by its extension.
    pub line: String,
    /// What is told.
    pub package: Package,
    /// How it stands: what is known is up to date while it is active.
    pub standing: SubscriptionStanding,
    /// What was told last; nothing before the first time.
    pub known: Option<Known>,
}

/// A subscription at work.
#[derive(Debug)]
pub(crate) struct Interest {
    pub(crate) config: SubscriptionConfig,
    /// Cancelled when it is to be ended.
    pub(crate) leaving: CancellationToken,
    now: Mutex<(SubscriptionStanding, Option<Known>)>,
    /// Of all subscriptions.
    changes: watch::Sender<()>,
}

impl Interest {
    fn new(
        config: &SubscriptionConfig,
        leaving: &CancellationToken,
        changes: &watch::Sender<()>,
    ) -> Arc<Self> {
        Arc::new(Interest {
            config: config.clone(),
            leaving: leaving.child_token(),
            now: Mutex::new((SubscriptionStanding::Trying, None)),
            changes: changes.clone(),
        })
    }

    fn set_standing(&self, standing: SubscriptionStanding) {
        let before = std::mem::replace(&mut self.now().0, standing);
        if before != standing {
            self.changes.send_replace(());
        }
    }

    /// Whether it is news.
    fn learn(&self, known: Known) -> bool {
        let is_news = self.now().1.replace(known) != Some(known);
        if is_news {
            self.changes.send_replace(());
        }
        is_news
    }

    fn state(&self) -> SubscriptionState {
        let (standing, known) = *self.now();
        SubscriptionState {
            trunk: self.config.trunk.clone(),
            line: self.config.line.clone(),
            package: self.config.package,
            standing,
            known,
        }
    }

    fn now(&self) -> MutexGuard<'_, (SubscriptionStanding, Option<Known>)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the NOTIFYs of a dialog.
pub(crate) type Inbox = mpsc::Sender<Box<Transaction>>;

/// All subscriptions, and the dialogs that they are in.
pub(crate) struct Subscriptions {
    all: RwLock<Vec<Arc<Interest>>>,
    /// Ends all of them.
    leaving: CancellationToken,
    changes: watch::Sender<()>,
    by_dialog: Arc<DashMap<DialogKey, (Arc<Trunk>, Inbox)>>,
}

impl Subscriptions {
    /// Those of `configs`, which `leaving` ends.
    pub(crate) fn new(configs: &[SubscriptionConfig], leaving: &CancellationToken) -> Self {
        let changes = watch::channel(()).0;
        let all = configs.iter();
        let all = all.map(|config| Interest::new(config, leaving, &changes));
        Self {
            all: RwLock::new(all.collect()),
            leaving: leaving.clone(),
            changes,
            by_dialog: Arc::default(),
        }
    }

    /// Puts the subscriptions of `configs` in the place of those that there
    /// are, and ends the others. One whose configuration is the same stays,
    /// unless its account or its trunk is not the same any more (`is_made_anew`). Returns
    /// those that are new.
    pub(crate) fn replace(
        &self,
        configs: &[SubscriptionConfig],
        is_made_anew: impl Fn(&SubscriptionConfig) -> bool,
    ) -> Vec<Arc<Interest>> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *all);
        let mut come = Vec::new();
        for config in configs {
            let same = before
                .iter()
                .position(|interest| interest.config == *config);
            let interest = match same.filter(|_| !is_made_anew(config)) {
                Some(at) => before.swap_remove(at),
                None => {
                    let interest = Interest::new(config, &self.leaving, &self.changes);
                    come.push(interest.clone());
                    interest
                }
            };
            all.push(interest);
        }
        for gone in before {
            gone.leaving.cancel();
        }
        self.changes.send_replace(());
        come
    }

    pub(crate) fn all(&self) -> Vec<Arc<Interest>> {
        self.read(|all| all.to_vec())
    }

    pub(crate) fn len(&self) -> usize {
        self.read(<[_]>::len)
    }

    pub(crate) fn states(&self) -> Vec<SubscriptionState> {
        self.read(|all| all.iter().map(|interest| interest.state()).collect())
    }

    /// Marked at each change of what [`Subscriptions::states`] tells.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    fn read<T>(&self, what: impl FnOnce(&[Arc<Interest>]) -> T) -> T {
        what(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who takes the NOTIFYs of a dialog, provided they come from its
    /// trunk.
    pub(crate) fn of_dialog(&self, key: &DialogKey, from: Hop) -> Option<Inbox> {
        let entry = self.by_dialog.get(key)?;
        let (trunk, inbox) = &*entry;
        trunk.is_from(from).then(|| inbox.clone())
    }

    fn enter(&self, key: DialogKey, trunk: &Arc<Trunk>, inbox: &Inbox) -> Place {
        let entry = (trunk.clone(), inbox.clone());
        self.by_dialog.insert(key.clone(), entry);
        Place {
            key,
            by_dialog: self.by_dialog.clone(),
        }
    }
}

/// The place of a dialog, until it is over.
struct Place {
    key: DialogKey,
    by_dialog: Arc<DashMap<DialogKey, (Arc<Trunk>, Inbox)>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.by_dialog.remove(&self.key);
    }
}

pub(crate) mod fuzzing {
    //! What the fuzz targets in `fuzz/` feed with bytes of anybody's making. No
    //! part of the crate's interface.

    use rsipstack::sip::Request;

    use super::dialogs::Dialogs;
    use super::summary::MessageSummary;
    use super::{Package, notify as head};

    /// Bodies of `message-summary`.
    pub fn message_summary(bytes: &[u8]) {
        let _ = MessageSummary::parse(bytes);
    }

    /// The head of a NOTIFY, for each package.
    pub(crate) fn notify(request: &Request) {
        for package in [Package::MessageSummary, Package::Dialog] {
            let _ = head::read(request, package);
            let _ = head::has_body(request, package);
        }
    }

    /// Documents of `dialog`, one after the other, a zero byte between them:
    /// one that is refused changes nothing.
    pub fn dialog_info(bytes: &[u8]) {
        let mut dialogs = Dialogs::default();
        for document in bytes.split(|byte| *byte == 0) {
            let before = dialogs.activity();
            if dialogs.take(document).is_err() {
                assert_eq!(dialogs.activity(), before);
            }
        }
    }
}
