//! How far each call is told in its person's history, and what waits in the mailboxes.

use sqlx::{QueryBuilder, Row, Sqlite};

use crate::calls::record_from;
use crate::{CallRecord, RecordId, Store, StoreError, UnixMillis};

/// How far a call has come, as far as its person is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Nothing.
    Nothing,
    /// It rings.
    Begun,
    /// Somebody picked up.
    Answered,
    /// It is over.
    Ended,
}

impl Stage {
    /// Where a call stands by its record.
    #[must_use]
    pub fn of(record: &CallRecord) -> Self {
        match (record.ended_at, record.answered_at) {
            (Some(_), _) => Stage::Ended,
            (None, Some(_)) => Stage::Answered,
            (None, None) => Stage::Begun,
        }
    }

    pub(crate) fn number(self) -> i64 {
        self as i64
    }

    fn from_number(number: i64) -> Self {
        match number {
            ..=0 => Stage::Nothing,
            1 => Stage::Begun,
            2 => Stage::Answered,
            _ => Stage::Ended,
        }
    }
}

/// A call whose history is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untold {
    /// The call.
    pub record: CallRecord,
    /// The history room of its person.
    pub room: String,
    /// What the history says already.
    pub told: Stage,
    /// The event that says it, where one stands.
    pub event: Option<String>,
}

/// What waits in a mailbox, and what the person's history says of it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Mailbox {
    /// The Mxid of the line's user.
    #[sqlx(rename = "user_id")]
    pub user: String,
    /// Messages not heard yet.
    #[sqlx(rename = "fresh")]
    pub new: u32,
    /// Messages heard and kept.
    #[sqlx(rename = "kept")]
    pub old: u32,
    /// How often the history was told of it.
    pub revision: u32,
    /// The event that stands for it.
    #[sqlx(rename = "event_id")]
    pub event: Option<String>,
}

/// What is behind, of calls that began after; of people without a history room nothing is ever told.
const BEHIND: &str = " FROM history
     JOIN call_records ON call_records.id = history.record_id
     JOIN homes ON homes.user_id = call_records.user_id
     WHERE history.told < history.due AND homes.settled = 1 AND homes.history_id IS NOT NULL
         AND call_records.started_at > ";

impl Store {
    /// Calls that began after `since` and whose history is behind, oldest first; `limit` at most. Those of people
    /// without a history room are left out, and those of the rooms `but`.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::UnknownWord`].
    pub async fn untold(
        &self,
        since: UnixMillis,
        limit: u32,
        but: &[&str],
    ) -> Result<Vec<Untold>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT call_records.*, history.told, history.event_id, homes.history_id",
        );
        query
            .push(BEHIND)
            .push_bind(since.0)
            .push(" AND homes.history_id NOT IN (");
        let mut rooms = query.separated(", ");
        for room in but {
            rooms.push_bind(*room);
        }
        query.push(") ORDER BY call_records.started_at, call_records.rowid LIMIT ");
        let rows = query.push_bind(limit).build().fetch_all(&self.pool).await?;
        let untold = rows.iter().map(|row| {
            Ok(Untold {
                record: record_from(row)?,
                room: row.try_get("history_id")?,
                told: Stage::from_number(row.try_get("told")?),
                event: row.try_get("event_id")?,
            })
        });
        untold.collect()
    }

    /// How many calls there are that began after `since` and whose history is behind; those of people without a history
    /// room are left out.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn count_untold(&self, since: UnixMillis) -> Result<u64, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT count(*)");
        let query = query.push(BEHIND).push_bind(since.0);
        let count: i64 = query.build_query_scalar().fetch_one(&self.pool).await?;
        Ok(count.unsigned_abs())
    }

    /// The history says so much of a call, in this event.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_told(
        &self,
        record: &RecordId,
        told: Stage,
        event: Option<&str>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE history SET told = ?, event_id = ? WHERE record_id = ?")
            .bind(told.number())
            .bind(event)
            .bind(&record.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Forgets how far calls are told that began before this: nothing more is told of them.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn forget_told(&self, before: UnixMillis) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM history WHERE record_id IN
             (SELECT id FROM call_records WHERE started_at <= ? AND ended_at IS NOT NULL)",
        )
        .bind(before.0)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// What the history says of a person's mailbox.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mailbox(&self, user: &str) -> Result<Option<Mailbox>, StoreError> {
        let found = sqlx::query_as("SELECT * FROM mailboxes WHERE user_id = ?")
            .bind(user)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found)
    }

    /// Keeps what the history says of a mailbox.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_mailbox(&self, mailbox: &Mailbox) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO mailboxes (user_id, fresh, kept, revision, event_id) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT (user_id) DO UPDATE SET fresh = excluded.fresh, kept = excluded.kept,
                 revision = excluded.revision, event_id = excluded.event_id",
        )
        .bind(&mailbox.user)
        .bind(mailbox.new)
        .bind(mailbox.old)
        .bind(mailbox.revision)
        .bind(mailbox.event.as_deref())
        .execute(&self.writer)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Home, LiveCall};

    const EVER: UnixMillis = UnixMillis(0);

    async fn store_with_a_home() -> Store {
        let store = Store::in_memory().await.unwrap();
        let home = Home {
            history: Some("!history".to_owned()),
            settled: true,
            ..Home::nowhere("@alice:localtest")
        };
        store.put_home(&home).await.unwrap();
        store
    }

    async fn begin(store: &Store, id: &str, user: &str) -> (CallRecord, LiveCall) {
        let id = RecordId(id.to_owned());
        let at = UnixMillis(1_000);
        let record = CallRecord::started(id.clone(), Direction::Incoming, user, "600", at);
        let live = LiveCall::begun(id, "test", at);
        store.begin_call(&record, &live).await.unwrap();
        (record, live)
    }

    async fn stages(store: &Store) -> Vec<(Stage, Stage)> {
        let untold = store.untold(EVER, 9, &[]).await.unwrap();
        let stages = untold.iter().map(|one| (one.told, Stage::of(&one.record)));
        stages.collect()
    }

    #[tokio::test]
    async fn a_call_is_behind_until_it_is_told_how_far_it_came() {
        let store = store_with_a_home().await;
        let mut news = store.changes();
        let (mut record, mut live) = begin(&store, "r", "@alice:localtest").await;
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        assert_eq!(stages(&store).await, [(Stage::Nothing, Stage::Begun)]);
        store
            .put_told(&record.id, Stage::Begun, Some("$1"))
            .await
            .unwrap();
        assert!(stages(&store).await.is_empty());
        live.answered = true;
        store.update_live(&live).await.unwrap();
        assert!(news.has_changed().unwrap());
        assert_eq!(stages(&store).await, [(Stage::Begun, Stage::Answered)]);
        record.ended_at = Some(UnixMillis(2_000));
        store.finish_call(&record).await.unwrap();
        let untold = store.untold(EVER, 9, &[]).await.unwrap();
        assert_eq!(untold[0].event.as_deref(), Some("$1"));
        assert_eq!(stages(&store).await, [(Stage::Begun, Stage::Ended)]);
        store
            .put_told(&record.id, Stage::Ended, Some("$1"))
            .await
            .unwrap();
        assert!(stages(&store).await.is_empty());
    }

    #[tokio::test]
    async fn nothing_is_behind_of_old_calls_and_of_people_without_a_history() {
        let store = store_with_a_home().await;
        begin(&store, "other", "@bob:localtest").await;
        let (mut record, _) = begin(&store, "old", "@alice:localtest").await;
        assert_eq!(stages(&store).await.len(), 1);
        let old = store.untold(UnixMillis(1_000), 9, &[]).await.unwrap();
        assert!(old.is_empty());
        record.ended_at = Some(UnixMillis(2_000));
        store.finish_call(&record).await.unwrap();
        store.forget_told(UnixMillis(1_000)).await.unwrap();
        assert!(stages(&store).await.is_empty());
    }

    /// With no telephony rooms at all it was the number of all calls that there ever were.
    #[tokio::test]
    async fn a_call_that_nobody_will_be_told_of_is_not_counted_as_behind() {
        let store = store_with_a_home().await;
        let behind = async |since| store.count_untold(UnixMillis(since)).await.unwrap();
        let (mut record, _) = begin(&store, "other", "@bob:localtest").await;
        record.ended_at = Some(UnixMillis(2_000));
        store.finish_call(&record).await.unwrap();
        assert_eq!(behind(0).await, 0);
        begin(&store, "r", "@alice:localtest").await;
        assert_eq!(behind(0).await, 1);
        assert_eq!(behind(1_000).await, 0);
    }

    #[tokio::test]
    async fn the_calls_of_a_room_that_rests_take_no_place_among_the_others() {
        let store = store_with_a_home().await;
        begin(&store, "r", "@alice:localtest").await;
        let but = async |room| store.untold(EVER, 1, &[room]).await.unwrap().len();
        assert_eq!(but("!history").await, 0);
        assert_eq!(but("!other").await, 1);
    }

    /// A database of the version before, with a call in it.
    #[tokio::test]
    async fn calls_of_a_time_before_there_was_a_history_are_not_told() {
        let store = Store::in_memory().await.unwrap();
        sqlx::query("INSERT INTO call_records (id, direction, user_id, number, started_at) VALUES ('r', 'incoming', '@alice:localtest', '600', 1)")
            .execute(&store.pool)
            .await
            .unwrap();
        let home = Home {
            history: Some("!history".to_owned()),
            settled: true,
            ..Home::nowhere("@alice:localtest")
        };
        store.put_home(&home).await.unwrap();
        assert!(stages(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_mailbox_is_kept() {
        let store = Store::in_memory().await.unwrap();
        let mut mailbox = Mailbox {
            user: "@alice:localtest".to_owned(),
            new: 2,
            old: 1,
            revision: 1,
            event: Some("$1".to_owned()),
        };
        store.put_mailbox(&mailbox).await.unwrap();
        mailbox.new = 0;
        store.put_mailbox(&mailbox).await.unwrap();
        let kept = store.mailbox("@alice:localtest").await.unwrap();
        assert_eq!(kept, Some(mailbox));
        assert_eq!(store.mailbox("@bob:localtest").await.unwrap(), None);
    }
}
