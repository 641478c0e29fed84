//! What the service account asks for its own rooms, and what furnishes call rooms.

use ruma::api::client::alias::{delete_alias, get_alias};
use ruma::api::client::membership::{kick_user, leave_room};
use ruma::api::client::message::get_message_events;
use ruma::api::client::redact::redact_event;
use ruma::api::client::room::create_room;
use ruma::api::client::state::{get_state_events, send_state_event};
use ruma::events::StateEventType;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomAliasId, RoomId, UInt,
    UserId,
};
use serde_json::{Value, json};

use super::{Homeserver, HomeserverError, Repeat, raw};

/// A room that only the service account writes in.
#[derive(Debug)]
pub(crate) struct OwnRoom<'a> {
    /// Local part of its alias, which keeps it from being made twice.
    pub(crate) alias: &'a str,
    pub(crate) name: &'a str,
    pub(crate) topic: &'a str,
    pub(crate) is_space: bool,
    pub(crate) power_levels: Value,
    /// Type, state key and content of each.
    pub(crate) state: Vec<(&'a str, String, Value)>,
    pub(crate) invite: OwnedUserId,
}

impl Homeserver {
    /// Makes a room of the service account's own. May be repeated: where its alias stands, it is refused with
    /// `M_ROOM_IN_USE`.
    pub(crate) async fn create_own_room(
        &self,
        room: OwnRoom<'_>,
    ) -> Result<OwnedRoomId, HomeserverError> {
        let mut request = create_room::v3::Request::new();
        request.preset = Some(create_room::v3::RoomPreset::PrivateChat);
        request.room_alias_name = Some(room.alias.to_owned());
        request.name = Some(room.name.to_owned());
        request.topic = Some(room.topic.to_owned());
        request.invite = vec![room.invite];
        request.power_level_content_override = Some(raw(&room.power_levels)?.cast_unchecked());
        if room.is_space {
            let creation = json!({ "type": "m.space" });
            request.creation_content = Some(raw(&creation)?.cast_unchecked());
        }
        for (event_type, state_key, content) in room.state {
            let event = json!({ "type": event_type, "state_key": state_key, "content": content });
            request.initial_state.push(raw(&event)?.cast_unchecked());
        }
        let answer = self.request(Repeat::Safe, None, request).await?;
        Ok(answer.room_id)
    }

    /// The room that an alias leads to.
    pub(crate) async fn room_of_alias(
        &self,
        alias: &RoomAliasId,
    ) -> Result<Option<OwnedRoomId>, HomeserverError> {
        let request = get_alias::v3::Request::new(alias.to_owned());
        match self.request(Repeat::Safe, None, request).await {
            Ok(answer) => Ok(Some(answer.room_id)),
            Err(error) if error.is_refusal("M_NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes an alias away. One that is not there is success.
    pub(crate) async fn delete_alias(&self, alias: &RoomAliasId) -> Result<(), HomeserverError> {
        let request = delete_alias::v3::Request::new(alias.to_owned());
        match self.request(Repeat::Safe, None, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_refusal("M_NOT_FOUND") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Sets state. The same again changes nothing.
    pub(crate) async fn set_state(
        &self,
        room: &RoomId,
        as_user: Option<&UserId>,
        event_type: &str,
        state_key: &str,
        content: &Value,
    ) -> Result<(), HomeserverError> {
        let request = send_state_event::v3::Request::new_raw(
            room.to_owned(),
            StateEventType::from(event_type),
            state_key.to_owned(),
            raw(content)?.cast_unchecked(),
        );
        self.request(Repeat::Safe, as_user, request).await?;
        Ok(())
    }

    /// All state of a room that the service account is in: type, state key and content.
    pub(crate) async fn all_state(
        &self,
        room: &RoomId,
    ) -> Result<Vec<(String, String, Value)>, HomeserverError> {
        let request = get_state_events::v3::Request::new(room.to_owned());
        let answer = self.request(Repeat::Safe, None, request).await?;
        let read = |text: &str| {
            let mut event: Value = serde_json::from_str(text).ok()?;
            let content = event.get_mut("content").map(Value::take)?;
            let field = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
            Some((field("type")?, field("state_key")?, content))
        };
        let state = answer.room_state.iter();
        Ok(state.filter_map(|event| read(event.json().get())).collect())
    }

    /// Withdraws an event of the service account's own.
    pub(crate) async fn redact(
        &self,
        room: &RoomId,
        event: &EventId,
        txn_id: &str,
    ) -> Result<(), HomeserverError> {
        let request = redact_event::v3::Request::new(
            room.to_owned(),
            event.to_owned(),
            OwnedTransactionId::from(txn_id),
        );
        self.request(Repeat::Safe, None, request).await?;
        Ok(())
    }

    /// The last events of a room that the service account is in, newest first: event id and the whole event; `limit` at
    /// most. Then from where there may be more.
    pub(crate) async fn last_events(
        &self,
        room: &RoomId,
        from: Option<String>,
        limit: u32,
    ) -> Result<(Vec<(OwnedEventId, Value)>, Option<String>), HomeserverError> {
        let mut request = get_message_events::v3::Request::backward(room.to_owned());
        request.limit = UInt::from(limit);
        request.from = from;
        let answer = self.request(Repeat::Safe, None, request).await?;
        let read = |text: &str| {
            let event: Value = serde_json::from_str(text).ok()?;
            let id = event.get("event_id")?.as_str()?;
            Some((EventId::parse(id).ok()?, event))
        };
        let events = answer.chunk.iter();
        let events = events.filter_map(|event| read(event.json().get()));
        Ok((events.collect(), answer.end))
    }

    /// Leaves a room. One that the user is not in is success.
    pub(crate) async fn leave(
        &self,
        room: &RoomId,
        as_user: Option<&UserId>,
    ) -> Result<(), HomeserverError> {
        let request = leave_room::v3::Request::new(room.to_owned());
        match self.request(Repeat::Safe, as_user, request).await {
            Ok(_) | Err(HomeserverError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Shows a user out of a room of the service account's own. One who is not in it is success.
    pub(crate) async fn show_out(
        &self,
        room: &RoomId,
        user: &UserId,
        why: &str,
    ) -> Result<(), HomeserverError> {
        let mut request = kick_user::v3::Request::new(room.to_owned(), user.to_owned());
        request.reason = Some(why.to_owned());
        match self.request(Repeat::Safe, None, request).await {
            Ok(_) | Err(HomeserverError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
