//! What people have set for their lines: in memory for every call, in the database for the next run.

pub mod setting;

use std::sync::Arc;

use dashmap::DashMap;
use mxtrunk_store::{LineSettings, Store, StoreError};
use ruma::{OwnedUserId, UserId};
use tokio::sync::{Mutex, broadcast};

/// The settings of all lines.
#[derive(Debug, Clone)]
pub struct Settings {
    store: Store,
    now: Arc<DashMap<OwnedUserId, LineSettings>>,
    /// One change at a time: what is written is what is in memory.
    changing: Arc<Mutex<()>>,
    changed: broadcast::Sender<OwnedUserId>,
}

/// How many changes whoever listens may be behind.
const BEHIND: usize = 256;

impl Settings {
    /// Those that the database has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn load(store: &Store) -> Result<Self, StoreError> {
        let kept = store.lines().await?;
        let now = kept.into_iter().filter_map(|(user, settings)| {
            let user = UserId::parse(user).ok()?;
            Some((user, settings))
        });
        Ok(Settings {
            store: store.clone(),
            now: Arc::new(now.collect()),
            changing: Arc::default(),
            changed: broadcast::channel(BEHIND).0,
        })
    }

    /// Those of one line.
    #[must_use]
    pub fn of(&self, user: &UserId) -> LineSettings {
        self.now
            .get(user)
            .map(|kept| kept.clone())
            .unwrap_or_default()
    }

    /// The languages that people have chosen.
    #[must_use]
    pub fn languages(&self) -> Vec<(OwnedUserId, String)> {
        let all = self.now.iter();
        all.filter_map(|kept| Some((kept.key().clone(), kept.language.clone()?)))
            .collect()
    }

    /// Changes those of one line, for the next call on. Returns what holds now.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub async fn change(
        &self,
        user: &UserId,
        change: impl FnOnce(&mut LineSettings),
    ) -> Result<LineSettings, StoreError> {
        let one = self.changing.clone().lock_owned().await;
        let mut settings = self.of(user);
        change(&mut settings);
        let (all, user) = (self.clone(), user.to_owned());
        // A task of its own: who asked may hang up between the database and the memory, which would then differ.
        let keep = async move {
            let _one = one;
            all.store.put_line(user.as_str(), &settings).await?;
            all.now.insert(user.clone(), settings.clone());
            // Nobody may listen.
            let _ = all.changed.send(user);
            Ok(settings)
        };
        match tokio::spawn(keep).await {
            Ok(kept) => kept,
            Err(fault) => std::panic::resume_unwind(fault.into_panic()),
        }
    }

    /// Whose are changed from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<OwnedUserId> {
        self.changed.subscribe()
    }

    /// Forgets those of a line that is gone.
    pub(crate) fn forget(&self, user: &UserId) {
        self.now.remove(user);
    }
}

/// What is set, in short, for `mxtrunk lines` and the log.
#[must_use]
pub fn in_short(settings: &LineSettings) -> String {
    let mut parts = Vec::new();
    if settings.do_not_disturb {
        parts.push("do not disturb".to_owned());
    }
    let seconds = settings.no_answer_seconds;
    let after = seconds.map_or_else(String::new, |seconds| format!(" after {seconds} s"));
    for (what, to, more) in [
        ("always", &settings.forward_always, ""),
        ("busy", &settings.forward_busy, ""),
        ("no answer", &settings.forward_no_answer, after.as_str()),
        ("unreachable", &settings.forward_unreachable, ""),
    ] {
        if let Some(to) = to {
            parts.push(format!("forward {what}{more} to {to}"));
        }
    }
    if settings.withheld {
        parts.push("number withheld".to_owned());
    }
    if let Some(language) = &settings.language {
        parts.push(format!("language {language}"));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_changed_holds_at_once_and_in_the_next_run() {
        let store = Store::in_memory().await.expect("a store");
        let settings = Settings::load(&store).await.expect("loaded");
        let alice = UserId::parse("@alice:x").expect("a test user");
        let changed = settings.change(&alice, |settings| settings.do_not_disturb = true);
        assert!(changed.await.expect("kept").do_not_disturb);
        assert!(settings.of(&alice).do_not_disturb);
        let next = Settings::load(&store).await.expect("loaded");
        assert_eq!(next.of(&alice), settings.of(&alice));
        settings.forget(&alice);
        assert_eq!(settings.of(&alice), LineSettings::default());
    }

    #[tokio::test]
    async fn a_change_whose_asker_has_gone_away_in_the_middle_is_made_whole() {
        let store = Store::in_memory().await.expect("a store");
        let settings = Settings::load(&store).await.expect("loaded");
        let alice = UserId::parse("@alice:x").expect("a test user");
        let mut changes = settings.changes();
        {
            let mut changed =
                Box::pin(settings.change(&alice, |settings| settings.do_not_disturb = true));
            // Once, so that it has begun; then it is dropped.
            let first = std::future::poll_fn(|context| {
                std::task::Poll::Ready(changed.as_mut().poll(context).is_ready())
            });
            assert!(!first.await, "it was not dropped in the middle");
        }
        let told = tokio::time::timeout(std::time::Duration::from_secs(10), changes.recv());
        told.await.expect("in time").expect("a change");
        assert!(settings.of(&alice).do_not_disturb);
        let next = Settings::load(&store).await.expect("loaded");
        assert_eq!(next.of(&alice), settings.of(&alice));
    }

    #[tokio::test]
    async fn what_cannot_be_written_does_not_hold() {
        let store = Store::in_memory().await.expect("a store");
        let settings = Settings::load(&store).await.expect("loaded");
        store.close().await;
        let alice = UserId::parse("@alice:x").expect("a test user");
        let changed = settings.change(&alice, |settings| settings.do_not_disturb = true);
        assert!(changed.await.is_err());
        assert!(!settings.of(&alice).do_not_disturb);
    }
}
