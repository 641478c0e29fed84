//! Direct chats with the service account, in which people write commands. Who may, and what they mean, is signaling's.

use std::collections::BTreeSet;

use mxtrunk_store::StoreError;
use ruma::{OwnedEventId, OwnedUserId, RoomId, UserId};

use crate::appservice::{AppService, Inner};
use crate::{HomeserverError, RoomError};

impl AppService {
    /// Joins a direct chat that the service account was invited to. `false`: it is encrypted, and what is written there
    /// cannot be read.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn join_commands(&self, room: &RoomId, user: &UserId) -> Result<bool, RoomError> {
        let inner = &self.inner;
        let service = inner.namespace.service_account();
        inner.homeserver.join(room, &service).await?;
        let store = &inner.store;
        store.put_command_room(room.as_str(), user.as_str()).await?;
        Ok(!inner.homeserver.is_encrypted(room, &service).await?)
    }

    /// Turns an invite of the service account down.
    ///
    /// # Errors
    /// [`HomeserverError`].
    pub async fn decline_invite(&self, room: &RoomId) -> Result<(), HomeserverError> {
        let service = self.inner.namespace.service_account();
        self.inner.homeserver.leave(room, Some(&service)).await
    }

    /// Answers a command.
    ///
    /// # Errors
    /// As [`AppService::send_notice`].
    pub async fn answer_command(
        &self,
        room: &RoomId,
        text: &str,
    ) -> Result<OwnedEventId, HomeserverError> {
        let service = self.inner.namespace.service_account();
        self.send_notice(room, &service, text).await
    }
}

impl Inner {
    /// Whether this is a room in which this person alone writes to the service account. One that the store has lost is
    /// known by its members.
    pub(crate) async fn is_command_room(
        &self,
        room: &RoomId,
        sender: &UserId,
    ) -> Result<bool, StoreError> {
        if let Some(user) = self.store.command_room(room.as_str()).await? {
            return Ok(user == sender.as_str());
        }
        // Messages in a call room are between people.
        if self.store.room(room.as_str()).await?.is_some() {
            return Ok(false);
        }
        let service = self.namespace.service_account();
        let members = match self.homeserver.joined_members(room, Some(&service)).await {
            Ok(members) => members,
            Err(error) => {
                tracing::debug!(%room, %error, "cannot tell who is in the room");
                return Ok(false);
            }
        };
        let both: BTreeSet<OwnedUserId> = BTreeSet::from([service, sender.to_owned()]);
        if members != both {
            return Ok(false);
        }
        let store = &self.store;
        store
            .put_command_room(room.as_str(), sender.as_str())
            .await?;
        Ok(true)
    }

    /// A member is out of a chat with the service account: it is over.
    pub(crate) async fn leave_commands(&self, room: &RoomId) -> Result<bool, StoreError> {
        if self.store.command_room(room.as_str()).await?.is_none() {
            return Ok(false);
        }
        self.store.forget_command_room(room.as_str()).await?;
        let service = self.namespace.service_account();
        if let Err(error) = self.homeserver.leave(room, Some(&service)).await {
            tracing::debug!(%room, %error, "a chat that is over could not be left");
        }
        Ok(true)
    }
}
