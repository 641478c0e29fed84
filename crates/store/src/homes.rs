//! The rooms of ours that each person with a line has.

use std::collections::HashMap;

use crate::{Room, Store, StoreError};

/// A person's telephony space, and the call history in it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Home {
    /// The Mxid of the line's user.
    #[sqlx(rename = "user_id")]
    pub user: String,
    /// The space, once it is made.
    #[sqlx(rename = "space_id")]
    pub space: Option<String>,
    /// The history room, once it is made.
    #[sqlx(rename = "history_id")]
    pub history: Option<String>,
    /// The language that both are named in, as a stable word.
    pub language: Option<String>,
    /// Where the widget in the history leads, once there is one.
    pub widget: Option<String>,
    /// The picture that both bear.
    pub picture: Option<String>,
    /// Whether both stand as they should.
    pub settled: bool,
}

impl Home {
    /// A home of which nothing is there yet.
    #[must_use]
    pub fn nowhere(user: impl Into<String>) -> Self {
        Home {
            user: user.into(),
            space: None,
            history: None,
            language: None,
            widget: None,
            picture: None,
            settled: false,
        }
    }
}

impl Store {
    /// The home of a line's user, as far as it is known.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn home(&self, user: &str) -> Result<Option<Home>, StoreError> {
        let found = sqlx::query_as("SELECT * FROM homes WHERE user_id = ?")
            .bind(user)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found)
    }

    /// The home that a space or a history room belongs to.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn home_with(&self, room: &str) -> Result<Option<Home>, StoreError> {
        let found = sqlx::query_as("SELECT * FROM homes WHERE space_id = ?1 OR history_id = ?1")
            .bind(room)
            .fetch_optional(&self.pool)
            .await?;
        Ok(found)
    }

    /// The settled homes, by user.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn settled_homes(&self) -> Result<HashMap<String, Home>, StoreError> {
        let homes: Vec<Home> = sqlx::query_as("SELECT * FROM homes WHERE settled = 1")
            .fetch_all(&self.pool)
            .await?;
        let pairs = homes.into_iter().map(|home| (home.user.clone(), home));
        Ok(pairs.collect())
    }

    /// Keeps what is known of a home.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn put_home(&self, home: &Home) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO homes (user_id, space_id, history_id, language, widget, picture, settled) VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (user_id) DO UPDATE SET space_id = excluded.space_id, history_id = excluded.history_id,
                 language = excluded.language, widget = excluded.widget, picture = excluded.picture, settled = excluded.settled",
        )
        .bind(&home.user)
        .bind(home.space.as_deref())
        .bind(home.history.as_deref())
        .bind(home.language.as_deref())
        .bind(home.widget.as_deref())
        .bind(home.picture.as_deref())
        .bind(home.settled)
        .execute(&self.writer)
        .await?;
        self.changed();
        Ok(())
    }

    /// A home may not stand as it should any more. Whether there is one.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn unsettle_home(&self, user: &str) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE homes SET settled = 0 WHERE user_id = ?")
            .bind(user)
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Forgets a person whose line is gone: home, call rooms, mailbox. Records of calls stay.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn forget_home(&self, user: &str) -> Result<(), StoreError> {
        let mut tx = self.writer.begin().await?;
        for statement in [
            "DELETE FROM homes WHERE user_id = ?",
            "DELETE FROM rooms WHERE user_id = ?",
            "DELETE FROM mailboxes WHERE user_id = ?",
        ] {
            sqlx::query(statement).bind(user).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Call rooms that do not stand in their person's space yet, each with the space; `limit` at most.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn rooms_outside(&self, limit: u32) -> Result<Vec<(Room, String)>, StoreError> {
        let rows: Vec<(String, String, String, String)> = sqlx::query_as(
            "SELECT rooms.room_id, rooms.user_id, rooms.virtual_user, homes.space_id FROM rooms
             JOIN homes ON homes.user_id = rooms.user_id
             WHERE rooms.in_space = 0 AND rooms.replaced = 0 AND homes.settled = 1 AND homes.space_id IS NOT NULL
             ORDER BY rooms.used_at DESC LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let rooms = rows
            .into_iter()
            .map(|(room_id, user, virtual_user, space)| {
                let room = Room {
                    room_id,
                    user,
                    virtual_user,
                };
                (room, space)
            });
        Ok(rooms.collect())
    }

    /// A call room has to be looked after once more.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mark_outside(&self, room: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE rooms SET in_space = 0 WHERE room_id = ?")
            .bind(room)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// A call room stands in its person's space, or never will.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn mark_in_space(&self, room: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE rooms SET in_space = 1 WHERE room_id = ?")
            .bind(room)
            .execute(&self.writer)
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "@alice:localtest";

    fn settled() -> Home {
        Home {
            space: Some("!space".to_owned()),
            history: Some("!history".to_owned()),
            language: Some("en".to_owned()),
            widget: Some("https://phone.example.org/".to_owned()),
            settled: true,
            ..Home::nowhere(ALICE)
        }
    }

    #[tokio::test]
    async fn a_home_is_found_by_its_person_and_by_each_of_its_rooms() {
        let store = Store::in_memory().await.unwrap();
        store.put_home(&settled()).await.unwrap();
        assert_eq!(store.home(ALICE).await.unwrap(), Some(settled()));
        for room in ["!space", "!history"] {
            assert_eq!(store.home_with(room).await.unwrap(), Some(settled()));
        }
        assert_eq!(store.home_with("!other").await.unwrap(), None);
        assert!(store.unsettle_home(ALICE).await.unwrap());
        assert!(store.settled_homes().await.unwrap().is_empty());
        store.forget_home(ALICE).await.unwrap();
        assert_eq!(store.home(ALICE).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_call_room_waits_for_a_settled_home_and_goes_into_its_space_once() {
        let store = Store::in_memory().await.unwrap();
        store
            .put_room("!a", ALICE, "@tel_600:localtest")
            .await
            .unwrap();
        assert!(store.rooms_outside(9).await.unwrap().is_empty());
        store.put_home(&settled()).await.unwrap();
        let outside = store.rooms_outside(9).await.unwrap();
        assert_eq!(outside.len(), 1);
        assert_eq!(outside[0].1, "!space");
        store.mark_in_space("!a").await.unwrap();
        // It is used again: that takes it out of nothing.
        store
            .put_room("!a", ALICE, "@tel_600:localtest")
            .await
            .unwrap();
        assert!(store.rooms_outside(9).await.unwrap().is_empty());
    }
}
