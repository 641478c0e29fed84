//! What the service account writes into history rooms.

use mxtrunk_store::UnixMillis;
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, UInt, UserId};
use serde_json::Value;

use crate::appservice::AppService;
use crate::catalogue::Language;
use crate::homeserver::HomeserverError;

/// How many events are looked through at a time for one whose answer was lost, and how often: behind a homeserver that was
/// away for a while there may be many.
const PAGE: u32 = 100;
const PAGES: usize = 5;

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

    /// Goes through the last messages of a room of the service account's own, newest first, by event id and content, until
    /// `is_enough`; not through more than 500 events.
    ///
    /// # Errors
    /// As [`AppService::write_as_service`].
    pub async fn look_back(
        &self,
        room: &RoomId,
        mut is_enough: impl FnMut(OwnedEventId, &Value) -> bool + Send,
    ) -> Result<(), HomeserverError> {
        let inner = &self.inner;
        let account = inner.namespace.service_account();
        let mut from = None;
        for _ in 0..PAGES {
            let (events, further) = inner.homeserver.last_events(room, from, PAGE).await?;
            let own = events.into_iter().filter(|(_, event)| {
                event["type"] == "m.room.message" && event["sender"] == account.as_str()
            });
            for (id, event) in own {
                if is_enough(id, &event["content"]) {
                    return Ok(());
                }
            }
            if further.is_none() {
                break;
            }
            from = further;
        }
        Ok(())
    }

    /// The homeserver does not let us write into a history room: the home is looked at anew, and mended.
    pub async fn doubt_home(&self, user: &UserId) {
        if let Err(error) = self.inner.left_home(user).await {
            tracing::warn!(%error, "a home that may not stand is not looked at");
        }
    }
}
