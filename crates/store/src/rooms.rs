//! Virtual users, and the rooms in which a line's user meets them.

use crate::{Store, StoreError, UnixMillis};

/// A remote number as a user on the homeserver.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct VirtualUser {
    /// Its Mxid.
    pub user_id: String,
    /// The number it stands for.
    pub number: String,
    /// The display name last given to it.
    pub display_name: String,
}

/// A call room: one line's user and one virtual user.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Room {
    /// Its id.
    pub room_id: String,
    /// The Mxid of the line's user.
    #[sqlx(rename = "user_id")]
    pub user: String,
    /// The Mxid of the virtual user.
    pub virtual_user: String,
}

impl Store {
    /// The virtual user with this Mxid, if it was made before.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn virtual_user(&self, user_id: &str) -> Result<Option<VirtualUser>, StoreError> {
        let found = sqlx::query_as(
            "SELECT user_id, number, display_name FROM virtual_users WHERE user_id = ?",
        )
        .bind(user_id)
        .fetch_optional(&self.pool)
        .await?;
        Ok(found)
    }

    /// Adds a virtual user, or gives it a new display name.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_virtual_user(&self, user: &VirtualUser) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO virtual_users (user_id, number, display_name) VALUES (?, ?, ?)
             ON CONFLICT (user_id) DO UPDATE SET number = excluded.number, display_name = excluded.display_name",
        )
        .bind(&user.user_id)
        .bind(&user.number)
        .bind(&user.display_name)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// The rooms of this pair, most recently used first. There may be several: Element makes a new
    /// one for a number that the user's `m.direct` does not know.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn rooms_of(&self, user: &str, virtual_user: &str) -> Result<Vec<Room>, StoreError> {
        let rooms = sqlx::query_as(
            "SELECT room_id, user_id, virtual_user FROM rooms
             WHERE user_id = ? AND virtual_user = ? AND replaced = 0 ORDER BY used_at DESC, rowid DESC",
        )
        .bind(user)
        .bind(virtual_user)
        .fetch_all(&self.pool)
        .await?;
        Ok(rooms)
    }

    /// The room with this id, if it is one of ours.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn room(&self, room_id: &str) -> Result<Option<Room>, StoreError> {
        let found =
            sqlx::query_as("SELECT room_id, user_id, virtual_user FROM rooms WHERE room_id = ?")
                .bind(room_id)
                .fetch_optional(&self.pool)
                .await?;
        Ok(found)
    }

    /// Adds a room, or marks it as the one used last.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_room(
        &self,
        room_id: &str,
        user: &str,
        virtual_user: &str,
    ) -> Result<(), StoreError> {
        // A clock may stand still or go back: "used last" must hold all the same.
        sqlx::query(
            "INSERT INTO rooms (room_id, user_id, virtual_user, used_at)
             VALUES (?1, ?2, ?3, max(?4, (SELECT coalesce(max(used_at) + 1, 0) FROM rooms WHERE user_id = ?2 AND virtual_user = ?3)))
             ON CONFLICT (room_id) DO UPDATE SET
                 user_id = excluded.user_id, virtual_user = excluded.virtual_user, used_at = excluded.used_at",
        )
        .bind(room_id)
        .bind(user)
        .bind(virtual_user)
        .bind(UnixMillis::now().0)
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    /// Another room has taken the place of this one: a call that is on goes on in it, and no other begins there.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mark_replaced(&self, room_id: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE rooms SET replaced = 1 WHERE room_id = ?")
            .bind(room_id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// The person is told that this room is encrypted. Whether that is the first time.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mark_told_encrypted(&self, room_id: &str) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE rooms SET told_encrypted = 1 WHERE room_id = ? AND told_encrypted = 0",
        )
        .bind(room_id)
        .execute(&self.writer)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// All call rooms of a line's user.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn rooms_of_user(&self, user: &str) -> Result<Vec<Room>, StoreError> {
        let rooms =
            sqlx::query_as("SELECT room_id, user_id, virtual_user FROM rooms WHERE user_id = ?")
                .bind(user)
                .fetch_all(&self.pool)
                .await?;
        Ok(rooms)
    }

    /// Forgets a room that its members left.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn forget_room(&self, room_id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM rooms WHERE room_id = ?")
            .bind(room_id)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "@alice:localtest";
    const TEL: &str = "@tel_600:localtest";

    async fn ids_of(store: &Store) -> Vec<String> {
        let rooms = store.rooms_of(ALICE, TEL).await.unwrap();
        rooms.into_iter().map(|room| room.room_id).collect()
    }

    #[tokio::test]
    async fn the_room_used_last_comes_first() {
        let store = Store::in_memory().await.unwrap();
        store.put_room("!a", ALICE, TEL).await.unwrap();
        store.put_room("!b", ALICE, TEL).await.unwrap();
        assert_eq!(ids_of(&store).await, ["!b", "!a"]);
        store.put_room("!a", ALICE, TEL).await.unwrap();
        assert_eq!(ids_of(&store).await, ["!a", "!b"]);
    }

    #[tokio::test]
    async fn a_room_that_another_has_replaced_is_known_and_not_used() {
        let store = Store::in_memory().await.unwrap();
        store.put_room("!a", ALICE, TEL).await.unwrap();
        store.mark_replaced("!a").await.unwrap();
        assert!(ids_of(&store).await.is_empty());
        assert!(store.room("!a").await.unwrap().is_some());
        assert!(store.mark_told_encrypted("!a").await.unwrap());
        assert!(!store.mark_told_encrypted("!a").await.unwrap());
    }

    #[tokio::test]
    async fn a_forgotten_room_is_gone() {
        let store = Store::in_memory().await.unwrap();
        store.put_room("!a", ALICE, TEL).await.unwrap();
        assert_eq!(store.room("!a").await.unwrap().unwrap().user, ALICE);
        store.forget_room("!a").await.unwrap();
        assert_eq!(store.room("!a").await.unwrap(), None);
        assert!(ids_of(&store).await.is_empty());
    }

    #[tokio::test]
    async fn a_virtual_user_takes_a_new_display_name() {
        let store = Store::in_memory().await.unwrap();
        let mut user = VirtualUser {
            user_id: TEL.to_owned(),
            number: "600".to_owned(),
            display_name: "600".to_owned(),
        };
        store.put_virtual_user(&user).await.unwrap();
        user.display_name = "Echo".to_owned();
        store.put_virtual_user(&user).await.unwrap();
        assert_eq!(store.virtual_user(TEL).await.unwrap(), Some(user));
        assert_eq!(
            store.virtual_user("@tel_601:localtest").await.unwrap(),
            None
        );
    }
}
