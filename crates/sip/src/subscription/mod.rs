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

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use rsipstack::transaction::Transaction;
use tokio::sync::mpsc;

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
    now: Mutex<(SubscriptionStanding, Option<Known>)>,
}

impl Interest {
    fn set_standing(&self, standing: SubscriptionStanding) {
        self.now().0 = standing;
    }

    /// Whether it is news.
    fn learn(&self, known: Known) -> bool {
        self.now().1.replace(known) != Some(known)
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
#[derive(Default)]
pub(crate) struct Subscriptions {
    all: Vec<Arc<Interest>>,
    by_dialog: Arc<DashMap<DialogKey, (Arc<Trunk>, Inbox)>>,
}

impl Subscriptions {
    pub(crate) fn new(configs: &[SubscriptionConfig]) -> Self {
        let interests = configs.iter().map(|config| {
            Arc::new(Interest {
                config: config.clone(),
                now: Mutex::new((SubscriptionStanding::Trying, None)),
            })
        });
        Self {
            all: interests.collect(),
            by_dialog: Arc::default(),
        }
    }

    pub(crate) fn all(&self) -> &[Arc<Interest>] {
        &self.all
    }

    pub(crate) fn states(&self) -> Vec<SubscriptionState> {
        self.all.iter().map(|interest| interest.state()).collect()
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

#[doc(hidden)]
pub mod fuzzing {
    //! What the fuzz targets in `fuzz/` feed with bytes of anybody's making. No
    //! part of the crate's interface.

    use super::dialogs::Dialogs;
    use super::summary::MessageSummary;

    /// Bodies of `message-summary`.
    pub fn message_summary(bytes: &[u8]) {
        let _ = MessageSummary::parse(bytes);
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
