//! What the gateway remembers: one SQLite file.
//!
//! It holds the application-service transactions already seen, the virtual users and rooms that
//! exist on the homeserver, the calls in progress, and a record of every call. A call's record is
//! written when the call starts, and completed when it ends, so that a crash loses none.

mod calls;
mod rooms;
mod time;
mod transactions;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

pub use calls::{CallRecord, Direction, EndedBy, LiveCall, MatrixSide, RecordId};
pub use rooms::{Room, VirtualUser};
pub use time::UnixMillis;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a writer waits for another one before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The gateway's memory. Clones share one set of connections.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
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
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Open {
                path: path.to_owned(),
                source,
            })?;
        MIGRATIONS.run(&pool).await?;
        Ok(Store { pool })
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
        Ok(Store { pool })
    }

    /// Closes all connections once running statements are through, so that the log is folded into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
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
