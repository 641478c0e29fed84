//! Virtual users come when they are invited: Element waits for that before it calls.

use std::sync::Arc;

use mxtrunk_store::StoreError;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::appservice::{AccountError, Inner};

impl Inner {
    /// Lets a virtual user join a room, in the background: a slow homeserver must not hold up the
    /// events of others, until very many are on their way. The pair is kept at once, because a call may
    /// follow the join at any moment.
    pub(crate) async fn accept_invite(
        self: &Arc<Self>,
        room: OwnedRoomId,
        inviter: OwnedUserId,
        virtual_user: OwnedUserId,
    ) -> Result<(), StoreError> {
        self.remember(&room, &inviter, &virtual_user).await?;
        let Ok(permit) = Arc::clone(&self.joining).acquire_owned().await else {
            return Ok(());
        };
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let _permit = permit;
            match inner.join(&room, &virtual_user).await {
                Ok(()) => tracing::debug!(%room, %inviter, %virtual_user, "joined a call room"),
                Err(error) => {
                    tracing::warn!(%room, %error, "a virtual user could not join the room it was invited to");
                    forget(&inner, &room).await;
                }
            }
        });
        Ok(())
    }

    async fn join(&self, room: &RoomId, virtual_user: &UserId) -> Result<(), AccountError> {
        // An invite to a user that does not exist goes through at Synapse.
        let number = self.namespace.number_of(virtual_user).unwrap_or_default();
        let display_name = self.numbering.display_name(&number);
        self.ensure_account(virtual_user, &number, &display_name)
            .await?;
        self.homeserver.join(room, virtual_user).await?;
        Ok(())
    }
}

async fn forget(inner: &Inner, room: &RoomId) {
    if let Err(error) = inner.store.forget_room(room.as_str()).await {
        tracing::warn!(%room, %error, "the room stays in the store");
    }
}
