//! What was uploaded to the homeserver, and which users bear it.

use crate::{Store, StoreError};

impl Store {
    /// Where something stands that was uploaded, by its digest.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn upload(&self, digest: &str) -> Result<Option<String>, StoreError> {
        let found = sqlx::query_scalar("SELECT mxc FROM uploads WHERE digest = ?")
            .bind(digest)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found)
    }

    /// Keeps where something was uploaded to.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_upload(&self, digest: &str, mxc: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO uploads (digest, mxc) VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET mxc = excluded.mxc",
        )
        .bind(digest)
        .bind(mxc)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Up to so many virtual users that bear another picture, or none.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn users_without_picture(
        &self,
        picture: &str,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let users = sqlx::query_scalar(
            "SELECT user_id FROM virtual_users WHERE picture IS NOT ? ORDER BY user_id LIMIT ?",
        )
        .bind(picture)
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        Ok(users)
    }

    /// A virtual user bears this picture now.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mark_picture(&self, user_id: &str, picture: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE virtual_users SET picture = ? WHERE user_id = ?")
            .bind(picture)
            .bind(user_id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VirtualUser;

    #[tokio::test]
    async fn an_upload_is_found_by_what_it_is() {
        let store = Store::in_memory().await.unwrap();
        assert_eq!(store.upload("abc").await.unwrap(), None);
        for mxc in ["mxc://x/1", "mxc://x/2"] {
            store.put_upload("abc", mxc).await.unwrap();
            assert_eq!(store.upload("abc").await.unwrap().as_deref(), Some(mxc));
        }
    }

    #[tokio::test]
    async fn who_bears_a_picture_is_named_until_another_one_is_wanted_and_a_new_name_keeps_it() {
        let store = Store::in_memory().await.unwrap();
        let user = |display_name: &str| VirtualUser {
            user_id: "@tel_600:localtest".to_owned(),
            number: "600".to_owned(),
            display_name: display_name.to_owned(),
        };
        store.put_virtual_user(&user("600")).await.unwrap();
        let without = async |picture| store.users_without_picture(picture, 9).await.unwrap().len();
        assert_eq!(without("mxc://x/1").await, 1);
        let marked = store.mark_picture("@tel_600:localtest", "mxc://x/1");
        marked.await.unwrap();
        store.put_virtual_user(&user("Echo")).await.unwrap();
        assert_eq!(without("mxc://x/1").await, 0);
        assert_eq!(without("mxc://x/2").await, 1);
    }
}
