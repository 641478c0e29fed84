//! What those who look after rooms have in common, and what they wait for: calls go before rooms.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use ruma::{OwnedUserId, RoomId, UserId};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use super::Resident;
use crate::catalogue::Language;

/// Rooms are looked after when no call was heard of for so long: a homeserver that makes rooms is slow to pass calls on.
const QUIET: Duration = Duration::from_secs(2);
/// Where calls never stop coming, each step waits no longer.
const LONGEST_QUIET: Duration = Duration::from_secs(4);

/// What the two tasks that look after rooms have in common.
#[derive(Debug)]
pub(crate) struct Homes {
    pub(crate) residents: watch::Sender<Arc<Vec<Resident>>>,
    /// A home wants looking after.
    pub(crate) unsettled: Notify,
    /// A call room wants furnishing.
    pub(crate) unfurnished: Notify,
    /// Aliases that lead to rooms which we are not in, since when.
    pub(super) in_the_making: Mutex<HashMap<String, Instant>>,
    /// When a call was heard of last.
    last_call: Mutex<Option<Instant>>,
    /// Call rooms that a virtual user is on its way into: nothing can be set in them yet.
    being_joined: Mutex<HashSet<String>>,
    /// What people have chosen to be written to in.
    chosen: RwLock<HashMap<OwnedUserId, Language>>,
}

impl Default for Homes {
    fn default() -> Self {
        Homes {
            residents: watch::channel(Arc::default()).0,
            unsettled: Notify::new(),
            unfurnished: Notify::new(),
            in_the_making: Mutex::default(),
            last_call: Mutex::default(),
            being_joined: Mutex::default(),
            chosen: RwLock::default(),
        }
    }
}

impl Homes {
    /// Whether a person's language is another one than before.
    pub(super) fn choose(&self, user: &UserId, language: Language) -> bool {
        let mut chosen = self.chosen.write().unwrap_or_else(PoisonError::into_inner);
        chosen.insert(user.to_owned(), language) != Some(language)
    }

    pub(super) fn forget_choice(&self, user: &UserId) {
        let mut chosen = self.chosen.write().unwrap_or_else(PoisonError::into_inner);
        chosen.remove(user);
    }

    /// The language that a person has chosen.
    pub(crate) fn chosen_by(&self, user: &UserId) -> Option<Language> {
        let chosen = self.chosen.read().unwrap_or_else(PoisonError::into_inner);
        chosen.get(user).copied()
    }

    /// A virtual user is (`true`) on its way into a call room, or is there or was not let in.
    pub(crate) fn joins(&self, room: &RoomId, is_on_its_way: bool) {
        let mut rooms = self
            .being_joined
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match is_on_its_way {
            true => rooms.insert(room.to_string()),
            false => rooms.remove(room.as_str()),
        };
    }

    pub(crate) fn is_being_joined(&self, room: &str) -> bool {
        let rooms = self
            .being_joined
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        rooms.contains(room)
    }

    /// A person calls, is called, or is about to call.
    pub(crate) fn hear_of_call(&self) {
        *self
            .last_call
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Waits until calls are set up: they go before rooms.
    pub(crate) async fn let_calls_by(&self) {
        let until = Instant::now() + LONGEST_QUIET;
        loop {
            let last = *self
                .last_call
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let Some(quiet) = last.map(|last| (last + QUIET).min(until)) else {
                return;
            };
            if quiet <= Instant::now() {
                return;
            }
            sleep_until(quiet).await;
        }
    }
}
