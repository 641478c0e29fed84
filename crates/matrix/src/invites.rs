//! Virtual users come when they are invited: Element waits for that before it calls.

use std::sync::Arc;
use std::time::Instant;

use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::appservice::{AccountError, Inner};

impl Inner {
    /// Lets a virtual user join a room, in the background: a slow homeserver must not hold up the
    /// events of others, until very many are on their way. The pair is kept at once, because a call may
    /// follow the join at any moment. Whoever has no line learns no name by it, and cannot go through all numbers.
    pub(crate) async fn accept_invite(
        self: &Arc<Self>,
        room: OwnedRoomId,
        inviter: OwnedUserId,
        virtual_user: OwnedUserId,
    ) {
        let has_line = self.numbering.has_line(&inviter);
        if !has_line && !self.strangers.admits(Instant::now()) {
            self.counters.lookups_refused.add_one();
            return;
        }
        self.homes.joins(&room, true);
        self.remember(&room, &inviter, &virtual_user).await;
        let Ok(permit) = Arc::clone(&self.joining).acquire_owned().await else {
            return;
        };
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let _permit = permit;
            let joined = inner.join(&room, &virtual_user, has_line).await;
            inner.homes.joins(&room, false);
            match joined {
                Ok(()) => {
                    tracing::debug!(%room, %inviter, %virtual_user, "joined a call room");
                    inner.furnish_anew(&room).await;
                }
                Err(error) => {
                    tracing::warn!(%room, %error, "a virtual user could not join the room it was invited to");
                    forget(&inner, &room).await;
                }
            }
        });
    }

    async fn join(
        &self,
        room: &RoomId,
        virtual_user: &UserId,
        named: bool,
    ) -> Result<(), AccountError> {
        // An invite to a user that does not exist goes through at Synapse.
        let number = self.namespace.number_of(virtual_user).unwrap_or_default();
        if named {
            let display_name = self.numbering.display_name(&number);
            self.ensure_account(virtual_user, &number, &display_name)
                .await?;
        } else {
            self.ensure_nameless(virtual_user, &number).await?;
        }
        self.homeserver.join(room, virtual_user).await?;
        Ok(())
    }
}

impl Inner {
    /// Before the join nothing could be set in the room.
    async fn furnish_anew(&self, room: &RoomId) {
        if let Err(error) = self.store.mark_outside(room.as_str()).await {
            tracing::warn!(%room, %error, "a call room is not furnished");
        }
        self.wants_furnishing();
    }
}

async fn forget(inner: &Inner, room: &RoomId) {
    if let Err(error) = inner.store.forget_room(room.as_str()).await {
        tracing::warn!(%room, %error, "the room stays in the store");
    }
}
