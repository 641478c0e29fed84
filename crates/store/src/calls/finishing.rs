//! A call's end is written down, and if the database does not take it now, later: a call whose end is not known would be
//! billed until the gateway stops.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::{CallRecord, Store};

/// Between attempts; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Between attempts once the gateway stops, and how long it waits for them.
const LAST_PAUSE: Duration = Duration::from_millis(100);
const LAST_MOMENT: Duration = Duration::from_secs(3);

/// Ends that are still to be written, and whether it is time to hurry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Finishing {
    waiting: watch::Sender<usize>,
    hurry: watch::Sender<bool>,
}

impl Store {
    /// Completes a call's record as [`Store::finish_call`] does. One that is not taken is offered again in the
    /// background until it is; [`Store::close`] waits a moment for it.
    pub async fn finish_surely(&self, record: CallRecord) {
        let Err(error) = self.finish_call(&record).await else {
            return;
        };
        warn!(
            call = %record.id.0, %error,
            "the call record could not be completed: it is kept in memory, and tried again until the database takes it"
        );
        self.finishing.waiting.send_modify(|count| *count += 1);
        let store = self.clone();
        tokio::spawn(async move {
            store.insist(&record).await;
            store.finishing.waiting.send_modify(|count| *count -= 1);
        });
    }

    async fn insist(&self, record: &CallRecord) {
        let mut hurry = self.finishing.hurry.subscribe();
        let mut pause = FIRST_PAUSE;
        loop {
            if *hurry.borrow_and_update() {
                sleep(LAST_PAUSE).await;
            } else {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = hurry.changed() => {}
                }
            }
            if self.finish_call(record).await.is_ok() {
                info!(call = %record.id.0, "the call record is complete after all");
                return;
            }
            if self.writer.is_closed() {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The gateway stops: what waits is tried at once, and for a moment.
    pub(crate) async fn finish_now(&self) {
        self.finishing.hurry.send_replace(true);
        let mut waiting = self.finishing.waiting.subscribe();
        let all = waiting.wait_for(|count| *count == 0);
        if timeout(LAST_MOMENT, all).await.is_err() {
            let lost = *self.finishing.waiting.borrow();
            warn!(
                records = lost,
                "the ends of calls could not be written down: the next start takes them for ended when their leases were last renewed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, LiveCall, RecordId, UnixMillis};

    fn call(id: &str, at: i64) -> (CallRecord, LiveCall) {
        let (id, at) = (RecordId(id.to_owned()), UnixMillis(at));
        let record = CallRecord::started(id.clone(), Direction::Outgoing, "@a:x", "600", at);
        (record, LiveCall::begun(id, "one", at))
    }

    async fn begun() -> (Store, CallRecord) {
        let store = Store::in_memory().await.unwrap();
        let (mut record, live) = call("a", 1);
        store.begin_call(&record, &live).await.unwrap();
        record.ended_at = Some(UnixMillis(7));
        (store, record)
    }

    async fn read_only(store: &Store, on: bool) {
        let pragma = match on {
            true => "PRAGMA query_only = ON",
            false => "PRAGMA query_only = OFF",
        };
        sqlx::query(pragma).execute(&store.writer).await.unwrap();
    }

    #[tokio::test]
    async fn an_end_that_the_database_did_not_take_is_written_once_it_does() {
        let (store, record) = begun().await;
        read_only(&store, true).await;
        store.finish_surely(record.clone()).await;
        assert_eq!(store.records(1).await.unwrap()[0].ended_at, None);
        read_only(&store, false).await;
        let mut waiting = store.finishing.waiting.subscribe();
        let written = waiting.wait_for(|count| *count == 0);
        timeout(Duration::from_secs(20), written)
            .await
            .expect("in time")
            .unwrap();
        assert_eq!(store.records(1).await.unwrap(), [record]);
        assert!(!store.is_in_call("@a:x").await.unwrap());
    }

    #[tokio::test]
    async fn a_stop_tries_once_more_what_was_not_taken() {
        let (store, record) = begun().await;
        read_only(&store, true).await;
        store.finish_surely(record.clone()).await;
        read_only(&store, false).await;
        store.finish_now().await;
        assert_eq!(store.records(1).await.unwrap(), [record]);
    }

    #[tokio::test]
    async fn a_stop_does_not_wait_for_ever() {
        let (store, record) = begun().await;
        read_only(&store, true).await;
        store.finish_surely(record).await;
        timeout(Duration::from_secs(20), store.close())
            .await
            .expect("it stops");
    }

    #[tokio::test]
    async fn what_is_written_after_the_database_itself_has_rolled_back_is_there_for_other_readers()
    {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("calls.db")).await.unwrap();
        // A full disk has SQLite refuse either way: the transaction is gone, or the statement alone.
        for how in ["ROLLBACK", "ABORT"] {
            let full = format!(
                "CREATE TRIGGER full BEFORE INSERT ON live_calls BEGIN SELECT RAISE({how}, 'full'); END"
            );
            let full = sqlx::query(sqlx::AssertSqlSafe(full));
            full.execute(&store.writer).await.unwrap();
            let (record, live) = call("lost", 1);
            store.begin_call(&record, &live).await.unwrap_err();
            let room = sqlx::query("DROP TRIGGER full");
            room.execute(&store.writer).await.unwrap();
        }
        let (record, live) = call("after", 9);
        store.begin_call(&record, &live).await.unwrap();
        assert_eq!(store.records(1).await.unwrap(), [record]);
    }
}
