//! What the service account writes into history rooms.

use mxtrunk_store::UnixMillis;
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, UInt, UserId};
use serde_json::Value;

use crate::appservice::AppService;
use crate::catalogue::Language;
use crate::homeserver::HomeserverError;

/// How far back an event is looked for whose answer was lost.
const LOOK_BACK: u32 = 100;

impl AppService {
    /// What a person with a line is written to in: the language of their choice, else the line's; English where that is not
    /// known.
    #[must_use]
    pub fn language_of(&self, user: &UserId) -> Language {
        self.inner.language_of(user)
    }

    /// Writes a message as the service account, shown as sent at a time of ours. The same `txn_id` again does not write
    /// it twice, as long as the homeserver remembers that.
    ///
    /// # Errors
    /// [`HomeserverError`], after the attempts that fit into 8 s.
    pub async fn write_as_service(
        &self,
        room: &RoomId,
        txn_id: &str,
        content: &Value,
        at: Option<UnixMillis>,
    ) -> Result<OwnedEventId, HomeserverError> {
        let inner = &self.inner;
        let account = inner.namespace.service_account();
        let at = at.and_then(|at| UInt::try_from(at.0).ok());
        let at = at.map(MilliSecondsSinceUnixEpoch);
        let homeserver = &inner.homeserver;
        homeserver
            .send_at(room, &account, "m.room.message", txn_id, content, at)
            .await
    }

    /// Withdraws an event of the service account's.
    ///
    /// # Errors
    /// As [`AppService::write_as_service`].
    pub async fn withdraw(
        &self,
        room: &RoomId,
        event: &EventId,
        txn_id: &str,
    ) -> Result<(), HomeserverError> {
        self.inner.homeserver.redact(room, event, txn_id).await
    }

    /// The last messages of a room of the service account's own, newest first: event id and content.
    ///
    /// # Errors
    /// As [`AppService::write_as_service`].
    pub async fn last_messages(
        &self,
        room: &RoomId,
    ) -> Result<Vec<(OwnedEventId, Value)>, HomeserverError> {
        let inner = &self.inner;
        let account = inner.namespace.service_account();
        let events = inner.homeserver.last_events(room, LOOK_BACK).await?;
        let own = events.into_iter().filter(|(_, event)| {
            event["type"] == "m.room.message" && event["sender"] == account.as_str()
        });
        let contents = own.map(|(id, mut event)| (id, event["content"].take()));
        Ok(contents.collect())
    }

    /// The homeserver does not let us write into a history room: the home is looked at anew, and mended.
    pub async fn doubt_home(&self, user: &UserId) {
        if let Err(error) = self.inner.left_home(user).await {
            tracing::warn!(%error, "a home that may not stand is not looked at");
        }
    }
}
