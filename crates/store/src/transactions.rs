//! Which transactions of the homeserver were taken in already.

use crate::{Store, StoreError, UnixMillis};

/// The homeserver repeats a transaction until it is confirmed, at most 512 s apart, and sends no
/// other before: a day and 10,000 of them are far more than it can ever come back to.
const KEEP_MILLIS: i64 = 24 * 60 * 60 * 1000;
const KEEP_COUNT: i64 = 10_000;

impl Store {
    /// Whether the transaction was marked before.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn is_transaction_seen(&self, id: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar("SELECT 1 FROM transactions WHERE id = ?")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found.is_some())
    }

    /// Marks the transaction as taken in, and forgets the oldest ones.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mark_transaction_seen(&self, id: &str) -> Result<(), StoreError> {
        self.mark_transaction_seen_at(id, UnixMillis::now()).await
    }

    async fn mark_transaction_seen_at(&self, id: &str, now: UnixMillis) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        sqlx::query("INSERT OR REPLACE INTO transactions (id, seen_at) VALUES (?, ?)")
            .bind(id)
            .bind(now.0)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM transactions WHERE seen_at < ?")
            .bind(now.0.saturating_sub(KEEP_MILLIS))
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "DELETE FROM transactions WHERE rowid IN
             (SELECT rowid FROM transactions ORDER BY seen_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
        )
        .bind(KEEP_COUNT)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_transaction_is_seen_once_it_is_marked() {
        let store = Store::in_memory().await.unwrap();
        assert!(!store.is_transaction_seen("7").await.unwrap());
        store.mark_transaction_seen("7").await.unwrap();
        store.mark_transaction_seen("7").await.unwrap();
        assert!(store.is_transaction_seen("7").await.unwrap());
    }

    #[tokio::test]
    async fn a_transaction_is_forgotten_after_a_day() {
        let store = Store::in_memory().await.unwrap();
        store
            .mark_transaction_seen_at("old", UnixMillis(1_000))
            .await
            .unwrap();
        store
            .mark_transaction_seen_at("new", UnixMillis(1_001 + KEEP_MILLIS))
            .await
            .unwrap();
        assert!(!store.is_transaction_seen("old").await.unwrap());
        assert!(store.is_transaction_seen("new").await.unwrap());
    }
}
