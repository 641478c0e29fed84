//! Call records on their way out: read page by page, pushed, and forgotten.

use sqlx::Row;

use crate::calls::record_from;
use crate::{CallRecord, RecordId, Store, StoreError, UnixMillis};

/// Which records are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Those that stand behind this position; 0: from the first on.
    pub after: i64,
    /// Calls that began then or later.
    pub since: UnixMillis,
    /// Calls that began before.
    pub until: UnixMillis,
    /// So many at most.
    pub limit: u32,
}

/// What became of a record that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was taken.
    Taken,
    /// It is not wanted there, and not offered again.
    Refused,
    /// It could not be taken for so long that others go before it.
    Later,
}

impl Store {
    /// Records in the order in which they were written first, each with its position; calls in progress included. No position is
    /// ever given out twice, and none before a lower one: who asks for those behind the last one they saw misses none.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::UnknownWord`].
    pub async fn records_page(
        &self,
        wanted: &Wanted,
    ) -> Result<Vec<(i64, CallRecord)>, StoreError> {
        // Whoever has read some finds the others by their position, and need not pass over all that there ever were; left to
        // itself SQLite goes by the time alone.
        let page = match wanted.after == 0 && wanted.since.0 > 0 {
            true => {
                "SELECT * FROM call_records
                 WHERE position > ? AND started_at >= ? AND started_at < ? ORDER BY position LIMIT ?"
            }
            false => {
                "SELECT * FROM call_records
                 WHERE position > ? AND +started_at >= ? AND +started_at < ? ORDER BY position LIMIT ?"
            }
        };
        let rows = sqlx::query(page)
            .bind(wanted.after)
            .bind(wanted.since.0)
            .bind(wanted.until.0)
            .bind(wanted.limit)
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| Ok((row.try_get("position")?, record_from(row)?)))
            .collect()
    }

    /// Complete records that have not been pushed, the earliest end first; those that are to come later stand behind the others.
    ///
    /// # Errors
    /// [`StoreError::Query`], [`StoreError::UnknownWord`].
    pub async fn unpushed(&self, limit: u32) -> Result<Vec<CallRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM call_records WHERE pushed IN (0, 3) AND ended_at IS NOT NULL ORDER BY pushed, ended_at LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(record_from).collect()
    }

    /// What became of a record that was pushed.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mark_pushed(&self, record: &RecordId, how: Pushed) -> Result<(), StoreError> {
        let how = match how {
            Pushed::Taken => 1,
            Pushed::Refused => 2,
            Pushed::Later => 3,
        };
        sqlx::query("UPDATE call_records SET pushed = ? WHERE id = ?")
            .bind(how)
            .bind(&record.0)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Forgets complete records of calls that ended before; after [`Store::keep_unpushed`] only those that have been
    /// pushed. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn forget_records(&self, before: UnixMillis) -> Result<u64, StoreError> {
        let gone = sqlx::query(
            "DELETE FROM call_records WHERE ended_at < ? AND (pushed IN (1, 2) OR NOT ?)
             AND id NOT IN (SELECT record_id FROM live_calls)",
        )
        .bind(before.0)
        .bind(self.keeps_unpushed())
        .execute(&self.writer)
        .await?;
        Ok(gone.rows_affected())
    }

    /// Whether all complete records, and there are some, are of calls that ended before.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn are_all_older(&self, than: UnixMillis) -> Result<bool, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(ended_at) FROM call_records")
            .fetch_one(&self.pool)
            .await?;
        Ok(last.is_some_and(|last| last < than.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, LiveCall};

    async fn with_calls(calls: &[(&str, i64, Option<i64>)]) -> Store {
        let store = Store::in_memory().await.unwrap();
        for (id, started, ended) in calls {
            begin(&store, id, *started, *ended).await;
        }
        store
    }

    async fn begin(store: &Store, id: &str, started: i64, ended: Option<i64>) {
        let id = RecordId(id.to_owned());
        let began = UnixMillis(started);
        let mut record = CallRecord::started(id.clone(), Direction::Outgoing, "@a:x", "600", began);
        let live = LiveCall::begun(id, "one", began);
        store.begin_call(&record, &live).await.unwrap();
        if let Some(ended) = ended {
            record.ended_at = Some(UnixMillis(ended));
            store.finish_call(&record).await.unwrap();
        }
    }

    fn ids(records: &[CallRecord]) -> Vec<&str> {
        records.iter().map(|record| record.id.0.as_str()).collect()
    }

    #[tokio::test]
    async fn pages_follow_each_other_and_keep_to_their_time() {
        let store = with_calls(&[("a", 1, Some(2)), ("b", 5, None), ("c", 9, Some(10))]).await;
        let mut wanted = Wanted {
            after: 0,
            since: UnixMillis(1),
            until: UnixMillis(9),
            limit: 1,
        };
        let mut seen = Vec::new();
        while let [(position, record)] = store.records_page(&wanted).await.unwrap().as_slice() {
            wanted.after = *position;
            seen.push(record.id.0.clone());
        }
        assert_eq!(seen, ["a", "b"]);
    }

    #[tokio::test]
    async fn who_keeps_the_place_of_a_record_that_is_forgotten_misses_no_later_one() {
        let page = async |store: &Store, after| {
            let wanted = Wanted {
                after,
                since: UnixMillis(0),
                until: UnixMillis(i64::MAX),
                limit: 9,
            };
            store.records_page(&wanted).await.unwrap()
        };
        let store = with_calls(&[("a", 1, Some(2)), ("b", 1, Some(2))]).await;
        let mut kept = page(&store, 0).await[1].0;
        for id in ["c", "d"] {
            // All of them, by retention; then all of one line.
            match id {
                "c" => assert_eq!(store.forget_records(UnixMillis(9)).await.unwrap(), 2),
                _ => store.erase_line("@a:x").await.unwrap(),
            }
            assert_eq!(page(&store, 0).await, []);
            begin(&store, id, 1, Some(2)).await;
            let later = page(&store, kept).await;
            assert_eq!(later.len(), 1, "{id} is missed");
            assert_eq!(later[0].1.id.0, id);
            kept = later[0].0;
        }
    }

    #[tokio::test]
    async fn a_record_keeps_its_place_when_its_call_ends_and_takes_none_from_the_next() {
        let store = with_calls(&[("a", 1, None)]).await;
        let record = store.records(1).await.unwrap().remove(0);
        store.finish_call(&record).await.unwrap();
        begin(&store, "b", 1, None).await;
        let places = sqlx::query_scalar("SELECT position FROM call_records ORDER BY id");
        let places: Vec<i64> = places.fetch_all(&store.pool).await.unwrap();
        assert_eq!(places, [1, 2]);
    }

    #[tokio::test]
    async fn a_record_is_pushed_once_it_is_complete_and_only_once() {
        let store = with_calls(&[("a", 1, Some(7)), ("b", 2, Some(3)), ("c", 3, None)]).await;
        assert_eq!(ids(&store.unpushed(10).await.unwrap()), ["b", "a"]);
        let mark = |id: &str, how| {
            let (store, id) = (store.clone(), RecordId(id.to_owned()));
            async move { store.mark_pushed(&id, how).await.unwrap() }
        };
        mark("b", Pushed::Taken).await;
        assert_eq!(ids(&store.unpushed(10).await.unwrap()), ["a"]);
        mark("a", Pushed::Refused).await;
        assert_eq!(store.unpushed(10).await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_record_that_is_to_come_later_stands_behind_the_others_and_is_not_forgotten() {
        let store = with_calls(&[("a", 1, Some(2)), ("b", 1, Some(3))]).await;
        store.keep_unpushed();
        let first = RecordId("a".to_owned());
        store.mark_pushed(&first, Pushed::Later).await.unwrap();
        assert_eq!(ids(&store.unpushed(10).await.unwrap()), ["b", "a"]);
        assert_eq!(store.forget_records(UnixMillis(9)).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_old_is_forgotten_and_what_goes_on_is_not() {
        let store = with_calls(&[("old", 1, Some(2)), ("on", 1, None), ("new", 1, Some(9))]).await;
        assert_eq!(store.forget_records(UnixMillis(9)).await.unwrap(), 1);
        let left = store.records(10).await.unwrap();
        assert_eq!(left.len(), 2);
        assert!(!ids(&left).contains(&"old"));
    }

    #[tokio::test]
    async fn where_records_are_pushed_none_is_forgotten_before_it_has_been() {
        let store = with_calls(&[("a", 1, Some(2)), ("b", 1, Some(2)), ("c", 1, Some(2))]).await;
        store.keep_unpushed();
        for (id, how) in [("b", Pushed::Taken), ("c", Pushed::Refused)] {
            let id = RecordId(id.to_owned());
            store.mark_pushed(&id, how).await.unwrap();
        }
        assert_eq!(store.forget_records(UnixMillis(9)).await.unwrap(), 2);
        assert_eq!(ids(&store.records(10).await.unwrap()), ["a"]);
    }

    #[tokio::test]
    async fn that_all_records_are_old_is_told_and_none_are_not_all() {
        let older = |store: Store| async move { store.are_all_older(UnixMillis(9)).await.unwrap() };
        assert!(!older(with_calls(&[("on", 1, None)]).await).await);
        assert!(older(with_calls(&[("a", 1, Some(2)), ("on", 1, None)]).await).await);
        assert!(!older(with_calls(&[("a", 1, Some(2)), ("b", 1, Some(9))]).await).await);
    }
}
