//! A person whose line is gone: our users leave the rooms that they shared.

use ruma::{RoomId, UserId};

use crate::AppService;
use crate::rooms::RoomError;

impl AppService {
    /// Leaves every room that is known of a person: the call rooms, and those in which they wrote commands. A room that
    /// is not there any more, or that we are out of, is left already.
    ///
    /// # Errors
    /// [`RoomError`], where the homeserver or the store do not do their part; some rooms may be left then.
    pub(crate) async fn leave_rooms_of(&self, user: &UserId) -> Result<(), RoomError> {
        let inner = &self.inner;
        let mut rooms: Vec<(String, String)> = Vec::new();
        for room in inner.store.rooms_of_user(user.as_str()).await? {
            rooms.push((room.room_id, room.virtual_user));
        }
        let service = inner.namespace.service_account().to_string();
        for room in inner.store.command_rooms_of(user.as_str()).await? {
            rooms.push((room, service.clone()));
        }
        for (room, member) in rooms {
            let (Ok(room), Ok(member)) = (RoomId::parse(room), UserId::parse(member)) else {
                continue;
            };
            inner.homeserver.leave(&room, Some(&member)).await?;
        }
        Ok(())
    }
}
