//! State and messages of rooms, and what a person sees of them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::client_api::{Here, Parameters, done, refusal};
use super::{Homeserver, Shared};

/// The mark that the gateway puts into the rooms of a person's home.
const MARK: &str = "org.mxtrunk.telephony";

/// A message as a person sees it: the last of its edits.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// The id of the event that stands.
    pub event_id: String,
    /// Its content, or that of its last edit.
    pub content: Value,
    /// How often it was edited.
    pub edits: usize,
}

impl Homeserver {
    /// The telephony space (`space`) or the call history (`history`) of a person.
    #[must_use]
    pub fn home_room(&self, user: &str, part: &str) -> Option<String> {
        let known = self.shared.known();
        let mut marks = known.state.iter().filter(|((_, kind, _), _)| kind == MARK);
        let found = marks.find(|(_, mark)| mark["user"] == user && mark["part"] == part);
        found.map(|((room, ..), _)| room.clone())
    }

    /// What state of this type a room has, by state key.
    #[must_use]
    pub fn state_of(&self, room: &str, event_type: &str) -> Vec<(String, Value)> {
        let known = self.shared.known();
        let of_type = known
            .state
            .iter()
            .filter(|((of, kind, _), _)| of == room && kind == event_type);
        of_type
            .map(|((_, _, key), content)| (key.clone(), content.clone()))
            .collect()
    }

    /// The messages of a room as a person sees them, oldest first; withdrawn ones are left out.
    #[must_use]
    pub fn timeline(&self, room: &str) -> Vec<Shown> {
        let known = self.shared.known();
        let mut shown: Vec<Shown> = Vec::new();
        for message in known.messages.iter().filter(|sent| sent.room == room) {
            let edited = message.content["m.relates_to"]["event_id"].as_str();
            match edited {
                None => shown.push(Shown {
                    event_id: message.event_id.clone(),
                    content: message.content.clone(),
                    edits: 0,
                }),
                Some(edited) => {
                    let of = shown.iter_mut().find(|shown| shown.event_id == edited);
                    if let Some(of) = of {
                        of.content = message.content["m.new_content"].clone();
                        of.edits += 1;
                    }
                }
            }
        }
        shown.retain(|message| !known.withdrawn.contains(&message.event_id));
        shown
    }
}

impl Shared {
    fn content(&self, room: String, event_type: String, key: String) -> Response {
        let known = self.known();
        let membership = (event_type == "m.room.member")
            .then(|| known.rooms.get(&room)?.get(&key))
            .flatten()
            .map(|membership| json!({ "membership": membership }));
        let content = membership.or_else(|| known.state.get(&(room, event_type, key)).cloned());
        match content {
            Some(content) => Json(content).into_response(),
            None => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
        }
    }

    fn set(&self, key: (String, String, String), content: Value) -> Response {
        self.known().state.insert(key, content);
        Json(json!({ "event_id": format!("$state{}", self.next_number()) })).into_response()
    }
}

pub(super) async fn unkeyed_state(
    State(shared): Here,
    Path((room, event_type)): Path<(String, String)>,
) -> Response {
    shared.content(room, event_type, String::new())
}

pub(super) async fn state(
    State(shared): Here,
    Path((room, event_type, key)): Path<(String, String, String)>,
) -> Response {
    shared.content(room, event_type, key)
}

pub(super) async fn put_unkeyed_state(
    State(shared): Here,
    Path((room, event_type)): Path<(String, String)>,
    Json(content): Json<Value>,
) -> Response {
    shared.set((room, event_type, String::new()), content)
}

pub(super) async fn put_state(
    State(shared): Here,
    Path((room, event_type, key)): Path<(String, String, String)>,
    Json(content): Json<Value>,
) -> Response {
    shared.set((room, event_type, key), content)
}

pub(super) async fn all_state(State(shared): Here, Path(room): Path<String>) -> Response {
    let known = shared.known();
    let of_room = known.state.iter().filter(|((of, ..), _)| *of == room);
    let events = of_room.map(|((_, event_type, key), content)| {
        json!({ "type": event_type, "state_key": key, "content": content })
    });
    Json(Value::Array(events.collect())).into_response()
}

pub(super) async fn alias(State(shared): Here, Path(alias): Path<String>) -> Response {
    match shared.known().aliases.get(&alias) {
        Some(room) => Json(json!({ "room_id": room, "servers": [] })).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
    }
}

pub(super) async fn delete_alias(State(shared): Here, Path(alias): Path<String>) -> Response {
    match shared.known().aliases.remove(&alias) {
        Some(_) => done(),
        None => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
    }
}

pub(super) async fn redact(
    State(shared): Here,
    Path((_room, event, _txn_id)): Path<(String, String, String)>,
) -> Response {
    shared.known().withdrawn.insert(event);
    Json(json!({ "event_id": format!("$redaction{}", shared.next_number()) })).into_response()
}

/// The newest first, as with `dir=b`; withdrawn ones without content.
pub(super) async fn messages(
    State(shared): Here,
    Path(room): Path<String>,
    Query(_): Parameters,
) -> Response {
    let known = shared.known();
    let of_room = known.messages.iter().rev().filter(|sent| sent.room == room);
    let chunk = of_room.map(|sent| {
        let content = match known.withdrawn.contains(&sent.event_id) {
            true => json!({}),
            false => sent.content.clone(),
        };
        json!({
            "event_id": sent.event_id, "type": sent.event_type, "sender": sent.sender,
            "room_id": sent.room, "content": content, "origin_server_ts": 0,
        })
    });
    let chunk: Vec<Value> = chunk.collect();
    Json(json!({ "start": "s", "chunk": chunk })).into_response()
}
