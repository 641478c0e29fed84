//! What a leg's task has of the register.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::replaceable::Stage;
use super::{DialogKey, Inbox, InviteKey, Legs, lock};
use crate::event::{EndCause, Event, Happened, LegId};
use crate::snapshot::DialogSnapshot;
use crate::trunk::Trunk;

/// A leg's place in the register, given back when its task ends, however it
/// ends.
pub(crate) struct Place {
    pub(crate) id: LegId,
    pub(super) legs: Arc<Legs>,
    pub(super) trunk: Arc<Trunk>,
    pub(super) key: DialogKey,
    pub(super) invite: Option<InviteKey>,
    pub(super) inbox: Inbox,
    pub(super) dialog: Arc<Mutex<DialogSnapshot>>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) over: AtomicBool,
    pub(super) stage: Arc<Mutex<Stage>>,
}

impl Place {
    /// Somebody talks in the leg's dialog from now on.
    pub(crate) fn confirm(&self) {
        *lock(&self.stage) = Stage::Confirmed;
    }

    /// The leg goes on in another dialog, that with the next target.
    pub(crate) fn move_to(&mut self, dialog: &DialogSnapshot) {
        let key = DialogKey {
            call_id: dialog.call_id.clone(),
            local_tag: dialog.local_tag.clone(),
        };
        self.legs.by_dialog.insert(key.clone(), self.id);
        let left = std::mem::replace(&mut self.key, key);
        self.legs.by_dialog.remove(&left);
        *lock(&self.stage) = Stage::Begun;
        self.publish(dialog);
    }

    /// Publishes the dialog's state for [`crate::UserAgent::dialog`].
    pub(crate) fn publish(&self, dialog: &DialogSnapshot) {
        *lock(&self.dialog) = dialog.clone();
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Our side knows, or need not know, that the leg is over.
    pub(crate) fn settle(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.legs.by_id.remove(&self.id);
        self.legs.by_dialog.remove(&self.key);
        if *lock(&self.stage) == Stage::Confirmed {
            let remote_tag = lock(&self.dialog).remote_tag.clone();
            let trunk = self.trunk.clone();
            self.legs.ended.remember(&self.key, remote_tag, trunk);
        }
        if let Some(invite) = &self.invite {
            self.legs.invites.remove(invite);
        }
        self.legs.count.fetch_sub(1, Ordering::Relaxed);
        self.trunk.load.leave();
        if !self.is_settled() {
            // The task panicked or was stopped: the call must not wait for a
            // leg that is gone. Full means that nobody reads any more.
            let _ = self.events.try_send(Event {
                leg: self.id,
                what: Happened::Ended {
                    reason: None,
                    cause: EndCause::Fault,
                },
            });
        }
    }
}
