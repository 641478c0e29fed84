//! Lines: what their people have set, the rooms in which they do that, their last calls; and the end of it all.

use std::collections::HashMap;

use sqlx::Row as _;

use crate::calls::record_from;
use crate::{CallRecord, Store, StoreError};

/// What a person has set for their line. Numbers are normalised.
#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub struct LineSettings {
    /// Calls are refused as busy.
    pub do_not_disturb: bool,
    /// Where every call goes.
    pub forward_always: Option<String>,
    /// Where calls go while the person is in one.
    pub forward_busy: Option<String>,
    /// Where calls go that nobody has answered for a while.
    pub forward_no_answer: Option<String>,
    /// For how long, seconds; where it is not set, a usual while.
    pub no_answer_seconds: Option<u32>,
    /// Where calls go while the person cannot be reached.
    pub forward_unreachable: Option<String>,
    /// Called people are not told the line's number.
    pub withheld: bool,
    /// The language of what the person reads, `en` or `fr`; the site's where it is not set.
    pub language: Option<String>,
}

/// A person in whose name something is kept, and a row of theirs.
#[derive(sqlx::FromRow)]
struct Kept {
    user_id: String,
    #[sqlx(flatten)]
    settings: LineSettings,
}

impl Store {
    /// Every line that is known, with its settings.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn lines(&self) -> Result<HashMap<String, LineSettings>, StoreError> {
        let kept: Vec<Kept> = sqlx::query_as("SELECT * FROM lines")
            .fetch_all(&self.pool)
            .await?;
        let pairs = kept.into_iter().map(|kept| (kept.user_id, kept.settings));
        Ok(pairs.collect())
    }

    /// Makes lines known; those that are known already stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn know_lines(&self, users: &[String]) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        for user in users {
            sqlx::query("INSERT INTO lines (user_id) VALUES (?) ON CONFLICT (user_id) DO NOTHING")
                .bind(user)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Keeps what a person has set.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_line(&self, user: &str, settings: &LineSettings) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO lines (user_id, do_not_disturb, forward_always, forward_busy, forward_no_answer,
                 no_answer_seconds, forward_unreachable, withheld, language) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (user_id) DO UPDATE SET do_not_disturb = excluded.do_not_disturb,
                 forward_always = excluded.forward_always, forward_busy = excluded.forward_busy,
                 forward_no_answer = excluded.forward_no_answer, no_answer_seconds = excluded.no_answer_seconds,
                 forward_unreachable = excluded.forward_unreachable, withheld = excluded.withheld,
                 language = excluded.language",
        )
        .bind(user)
        .bind(settings.do_not_disturb)
        .bind(settings.forward_always.as_deref())
        .bind(settings.forward_busy.as_deref())
        .bind(settings.forward_no_answer.as_deref())
        .bind(settings.no_answer_seconds)
        .bind(settings.forward_unreachable.as_deref())
        .bind(settings.withheld)
        .bind(settings.language.as_deref())
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// What a line and its PBX last agreed on, as it was put.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn at_pbx(&self, user: &str) -> Result<Option<String>, StoreError> {
        let kept: Option<(Option<String>,)> =
            sqlx::query_as("SELECT at_pbx FROM lines WHERE user_id = ?")
                .bind(user)
                .fetch_optional(&self.pool)
                .await?;
        Ok(kept.and_then(|(kept,)| kept))
    }

    /// Keeps what a line and its PBX agree on. Nothing is kept of a line that is not known.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_at_pbx(&self, user: &str, agreed: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE lines SET at_pbx = ? WHERE user_id = ?")
            .bind(agreed)
            .bind(user)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Erases all that is kept of a line whose person has it no more: settings, rooms, and the records of calls that
    /// are over. A call that is up keeps what ends it after a crash. After [`Store::keep_unpushed`] records that have not
    /// been pushed stay, and the line with them, without its settings: it is erased after a later start.
    ///
    /// # Errors
    /// [`StoreError::Query`]; nothing is erased then.
    pub async fn erase_line(&self, user: &str) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        for erase in [
            "DELETE FROM lines WHERE user_id = ?",
            "DELETE FROM command_rooms WHERE user_id = ?",
            "DELETE FROM rooms WHERE user_id = ?",
            "DELETE FROM mailboxes WHERE user_id = ?",
        ] {
            sqlx::query(erase).bind(user).execute(&mut *tx).await?;
        }
        sqlx::query(
            "DELETE FROM call_records WHERE user_id = ? AND (pushed IN (1, 2) OR NOT ?)
             AND id NOT IN (SELECT record_id FROM live_calls)",
        )
        .bind(user)
        .bind(self.keeps_unpushed())
        .execute(&mut *tx)
        .await?;
        if self.keeps_unpushed() {
            sqlx::query(
                "INSERT INTO lines (user_id) SELECT ? WHERE EXISTS
                 (SELECT 1 FROM call_records WHERE user_id = ? AND pushed IN (0, 3))",
            )
            .bind(user)
            .bind(user)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whether a call of a person is in progress.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn is_in_call(&self, user: &str) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM live_calls JOIN call_records ON call_records.id = live_calls.record_id
             WHERE user_id = ?)",
        )
        .bind(user)
        .fetch_one(&self.pool)
        .await?;
        Ok(found)
    }

    /// The last call of each line's person.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::UnknownWord`].
    pub async fn last_calls(&self) -> Result<HashMap<String, CallRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY user_id ORDER BY started_at DESC) AS place
             FROM call_records) AS latest WHERE place = 1",
        )
        .fetch_all(&self.pool)
        .await?;
        let records = rows.iter().map(record_from);
        records
            .map(|record| record.map(|record| (record.user.clone(), record)))
            .collect()
    }

    /// Remembers a room in which a person writes commands.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_command_room(&self, room_id: &str, user: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO command_rooms (room_id, user_id) VALUES (?, ?)
             ON CONFLICT (room_id) DO UPDATE SET user_id = excluded.user_id",
        )
        .bind(room_id)
        .bind(user)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The person who writes commands in this room.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn command_room(&self, room_id: &str) -> Result<Option<String>, StoreError> {
        let found = sqlx::query("SELECT user_id FROM command_rooms WHERE room_id = ?")
            .bind(room_id)
            .fetch_optional(&self.pool)
            .await?;
        found
            .map(|row| row.try_get("user_id").map_err(StoreError::from))
            .transpose()
    }

    /// The rooms in which a person writes commands.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn command_rooms_of(&self, user: &str) -> Result<Vec<String>, StoreError> {
        let found = sqlx::query_scalar("SELECT room_id FROM command_rooms WHERE user_id = ?")
            .bind(user)
            .fetch_all(&self.pool)
            .await?;
        Ok(found)
    }

    /// Forgets a room in which commands were written.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn forget_command_room(&self, room_id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM command_rooms WHERE room_id = ?")
            .bind(room_id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, LiveCall, Pushed, RecordId, UnixMillis};

    const ALICE: &str = "@alice:localtest";
    const BOB: &str = "@bob:localtest";

    fn settings() -> LineSettings {
        LineSettings {
            do_not_disturb: true,
            forward_no_answer: Some("2002".into()),
            no_answer_seconds: Some(20),
            withheld: true,
            language: Some("fr".into()),
            ..LineSettings::default()
        }
    }

    #[tokio::test]
    async fn what_is_set_is_there_after_a_restart_and_a_line_that_is_known_again_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mxtrunk.db");
        let store = Store::open(&path).await.unwrap();
        store.put_line(ALICE, &settings()).await.unwrap();
        store.close().await;
        let store = Store::open(&path).await.unwrap();
        let known = [ALICE, BOB].map(String::from);
        store.know_lines(&known).await.unwrap();
        let lines = store.lines().await.unwrap();
        assert_eq!(lines[ALICE], settings());
        assert_eq!(lines[BOB], LineSettings::default());
    }

    async fn call(store: &Store, id: &str, user: &str, at: i64) -> CallRecord {
        let (record, at) = (RecordId(id.into()), UnixMillis(at));
        let record = CallRecord::started(record, Direction::Incoming, user, "600", at);
        let live = LiveCall::begun(record.id.clone(), "one", UnixMillis(at.0 + 1));
        store.begin_call(&record, &live).await.unwrap();
        record
    }

    #[tokio::test]
    async fn of_an_erased_line_nothing_is_left_but_what_ends_a_call_that_is_up() {
        let store = Store::in_memory().await.unwrap();
        for user in [ALICE, BOB] {
            store.put_line(user, &settings()).await.unwrap();
            let room = format!("!{user}");
            store.put_room(&room, user, "@tel_600:x").await.unwrap();
            store
                .put_command_room(&format!("!c{user}"), user)
                .await
                .unwrap();
            let over = call(&store, &format!("over {user}"), user, 1).await;
            store.finish_call(&over).await.unwrap();
            call(&store, &format!("up {user}"), user, 2).await;
        }
        assert!(store.is_in_call(ALICE).await.unwrap());
        assert!(!store.is_in_call("@eve:localtest").await.unwrap());
        store.erase_line(ALICE).await.unwrap();
        assert_eq!(store.lines().await.unwrap().len(), 1);
        assert_eq!(store.room("!@alice:localtest").await.unwrap(), None);
        assert_eq!(
            store.command_room("!c@alice:localtest").await.unwrap(),
            None
        );
        assert!(
            store
                .command_room("!c@bob:localtest")
                .await
                .unwrap()
                .is_some()
        );
        let left = store.records(10).await.unwrap();
        let mut left: Vec<_> = left.iter().map(|record| record.id.0.as_str()).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "over @bob:localtest",
                "up @alice:localtest",
                "up @bob:localtest"
            ]
        );
    }

    #[tokio::test]
    async fn an_erased_line_keeps_its_records_until_they_are_pushed() {
        let store = Store::in_memory().await.unwrap();
        store.keep_unpushed();
        store.put_line(ALICE, &settings()).await.unwrap();
        for id in ["waits", "taken"] {
            let mut over = call(&store, id, ALICE, 1).await;
            over.ended_at = Some(UnixMillis(2));
            store.finish_call(&over).await.unwrap();
        }
        let taken = RecordId("taken".into());
        store.mark_pushed(&taken, Pushed::Taken).await.unwrap();
        store.erase_line(ALICE).await.unwrap();
        let waits = store.unpushed(10).await.unwrap();
        assert_eq!(store.records(10).await.unwrap(), waits);
        assert_eq!(waits[0].id.0, "waits");
        assert_eq!(
            store.lines().await.unwrap()[ALICE],
            LineSettings::default(),
            "it is not known any more that the line is to be erased"
        );
        store
            .mark_pushed(&waits[0].id, Pushed::Taken)
            .await
            .unwrap();
        store.erase_line(ALICE).await.unwrap();
        assert_eq!(store.records(10).await.unwrap(), []);
        assert!(store.lines().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_last_call_of_each_person_is_found() {
        let store = Store::in_memory().await.unwrap();
        for (id, user, at) in [("a1", ALICE, 5), ("a2", ALICE, 9), ("b1", BOB, 7)] {
            call(&store, id, user, at).await;
        }
        let last = store.last_calls().await.unwrap();
        assert_eq!(last[ALICE].id.0, "a2");
        assert_eq!(last[BOB].id.0, "b1");
    }
}
