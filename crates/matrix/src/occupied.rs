//! Call rooms that have a call in them: Element takes one call in each.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ruma::{OwnedRoomId, RoomId};

/// The rooms that have a call. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct OccupiedRooms(Arc<Mutex<HashSet<OwnedRoomId>>>);

/// A room that one call has for itself, until this is dropped.
#[derive(Debug)]
pub struct CallRoom {
    id: OwnedRoomId,
    among: OccupiedRooms,
}

impl OccupiedRooms {
    /// The room for one call; `None`: another has it.
    #[must_use]
    pub fn occupy(&self, room: &RoomId) -> Option<CallRoom> {
        let is_free = self.locked().insert(room.to_owned());
        is_free.then(|| CallRoom {
            id: room.to_owned(),
            among: self.clone(),
        })
    }

    fn locked(&self) -> MutexGuard<'_, HashSet<OwnedRoomId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallRoom {
    /// Which room.
    #[must_use]
    pub fn id(&self) -> &RoomId {
        &self.id
    }
}

impl Drop for CallRoom {
    fn drop(&mut self) {
        self.among.locked().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use ruma::room_id;

    use super::*;

    #[test]
    fn a_room_is_for_one_call_until_that_is_over() {
        let rooms = OccupiedRooms::default();
        let first = rooms.occupy(room_id!("!a"));
        assert_eq!(first.as_ref().unwrap().id(), "!a");
        assert!(rooms.occupy(room_id!("!a")).is_none());
        assert!(rooms.occupy(room_id!("!b")).is_some());
        drop(first);
        assert!(rooms.occupy(room_id!("!a")).is_some());
    }
}
