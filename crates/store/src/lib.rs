//! What the gateway remembers: one SQLite file.
//!
//! It holds the application-service transactions already seen, the virtual users and rooms that
//! exist on the homeserver, the calls in progress, a record of every call, and how far each is told in its person's history. A call's record is
//! written when the call starts, and completed when it ends, so that a crash loses none.

mod calls;
mod history;
mod homes;
mod lines;
mod pictures;
mod records;
mod rooms;
mod time;
mod transactions;
#[cfg(test)]
mod upgrade_tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};

use calls::Finishing;
pub use calls::{CallRecord, Direction, EndedBy, LiveCall, MatrixSide, RecordId};
pub use history::{Mailbox, Stage, Untold};
pub use homes::Home;
pub use lines::LineSettings;
pub use records::{Pushed, Wanted};
pub use rooms::{Room, VirtualUser};
pub use time::UnixMillis;
use tokio::sync::watch;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a writer waits for another one before it gives up: for one of ours, and then for one of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that read. They never wait for a writer: that is what the write-ahead log is for.
const READERS: u32 = 4;

/// The gateway's memory. Clones share one set of connections.
#[derive(Debug, Clone)]
pub struct Store {
    /// Reads.
    pool: SqlitePool,
    /// One connection, on which all writing is done in turn. While another process keeps the file locked, only this one
    /// waits inside of SQLite, where nobody can call it off; whoever writes waits for it, and may give up.
    writer: SqlitePool,
    changes: watch::Sender<u64>,
    finishing: Finishing,
    /// Records are pushed somewhere: none is forgotten before it has been.
    keeps_unpushed: Arc<AtomicBool>,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error("cannot open the database {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The file is not ours, or was written by a newer version.
    #[error("cannot bring the database up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A statement failed (disk full, file locked for too long, file damaged).
    #[error("the database refused: {0}")]
    Query(#[from] sqlx::Error),
    /// A row holds a word that this version does not know.
    #[error("the database holds {value:?} where {field} is expected")]
    UnknownWord {
        /// The column.
        field: &'static str,
        /// What it holds.
        value: String,
    },
}

impl Store {
    /// Opens the database at `path`, creates it when it is missing, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] or [`StoreError::Migrate`].
    pub async fn open(path: &Path) -> Result<Store, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // With a write-ahead log this survives a killed process; only a power cut may lose the last moments.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            // In KiB for each connection; SQLite's own 2 MB would fill up with rows that are read once.
            .pragma("cache_size", "-256")
            .busy_timeout(BUSY_TIMEOUT);
        let refused = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(BUSY_TIMEOUT)
            .after_release(|connection, _| Box::pin(is_clean(connection)))
            .connect_with(options.clone())
            .await
            .map_err(refused)?;
        MIGRATIONS.run(&writer).await?;
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options)
            .await
            .map_err(refused)?;
        Ok(Store::over(pool, writer))
    }

    /// A store that forgets everything when its last clone is dropped. For tests.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn in_memory() -> Result<Store, StoreError> {
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .foreign_keys(true);
        // Every connection to `:memory:` is a database of its own, which lives as long as the connection.
        let pool = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Store::over(pool.clone(), pool))
    }

    fn over(pool: SqlitePool, writer: SqlitePool) -> Self {
        Store {
            pool,
            writer,
            changes: watch::channel(0).0,
            finishing: Finishing::default(),
            keeps_unpushed: Arc::default(),
        }
    }

    /// From now on records are not forgotten, nor erased with their line, before they have been pushed.
    pub fn keep_unpushed(&self) {
        self.keeps_unpushed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn keeps_unpushed(&self) -> bool {
        self.keeps_unpushed.load(Ordering::Relaxed)
    }

    /// Tells that there may be something new for a person's history: a call that began, was answered or ended, or a home.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn changed(&self) {
        self.changes
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Closes all connections once running statements are through, so that the log is folded into the file. The ends of
    /// calls that were not taken so far get a last moment.
    pub async fn close(&self) {
        self.finish_now().await;
        // The readers first: the last connection folds the log in.
        self.pool.close().await;
        self.writer.close().await;
    }
}

/// Whether a connection that is given back has no transaction left; one that has is closed, and the next writer gets a
/// new one. Where SQLite itself rolls back (disk full, I/O error), sqlx's own ROLLBACK is refused and it goes on
/// counting one transaction more than there is: what came afterwards would be a savepoint in a transaction that nobody
/// commits, reported as written, and lost when the process ends.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    // A transaction that was dropped is rolled back behind this.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

#[cfg(test)]
mod tests {
    use sqlx::ConnectOptions as _;

    use super::*;

    #[tokio::test]
    async fn an_empty_directory_gets_a_database_that_a_second_start_accepts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mxtrunk.db");
        let first = Store::open(&path).await.unwrap();
        first.mark_transaction_seen("1").await.unwrap();
        first.close().await;

        let second = Store::open(&path).await.unwrap();
        assert!(second.is_transaction_seen("1").await.unwrap());
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_with_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mxtrunk.db");
        std::fs::write(
            &path,
            "this is a letter to my aunt, not a database".repeat(100),
        )
        .unwrap();
        let error = Store::open(&path).await.unwrap_err();
        assert!(error.to_string().contains("mxtrunk.db"), "{error}");
    }

    #[tokio::test]
    async fn the_log_is_written_ahead() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("mxtrunk.db")).await.unwrap();
        let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&store.pool)
            .await
            .unwrap();
        assert_eq!(mode, "wal");
    }

    #[tokio::test]
    async fn while_another_process_keeps_the_file_locked_everything_can_be_read_and_writers_may_give_up()
     {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mxtrunk.db");
        let store = Store::open(&path).await.unwrap();
        store.mark_transaction_seen("1").await.unwrap();
        let mut other = SqliteConnectOptions::new()
            .filename(&path)
            .connect()
            .await
            .unwrap();
        sqlx::query("BEGIN EXCLUSIVE")
            .execute(&mut other)
            .await
            .unwrap();
        // More than there are connections.
        for n in 0..8 {
            let id = format!("given up {n}");
            let soon = Duration::from_millis(20);
            let written = tokio::time::timeout(soon, store.mark_transaction_seen(&id)).await;
            assert!(written.is_err(), "it was not locked");
        }
        let read = tokio::time::timeout(Duration::from_secs(1), store.is_transaction_seen("1"));
        assert!(read.await.expect("nothing to wait for").unwrap());
        sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        store.mark_transaction_seen("2").await.unwrap();
        assert!(store.is_transaction_seen("2").await.unwrap());
    }

    #[tokio::test]
    async fn two_writers_on_one_file_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mxtrunk.db");
        let stores = [
            Store::open(&path).await.unwrap(),
            Store::open(&path).await.unwrap(),
        ];
        let writers = stores.iter().enumerate().map(|(writer, store)| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    let id = format!("{writer}-{n}");
                    store.mark_transaction_seen(&id).await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        for writer in 0..2 {
            for n in 0..50 {
                let id = format!("{writer}-{n}");
                assert!(stores[0].is_transaction_seen(&id).await.unwrap(), "{id}");
            }
        }
    }
}
