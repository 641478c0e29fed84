//! What the gateway asks of a homeserver, and what Synapse answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Sent, Shared};

type Here = State<Arc<Shared>>;
type Parameters = Query<BTreeMap<String, String>>;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let v3 = Router::new()
        .route("/register", post(register))
        .route("/profile/{user}/displayname", put(display_name))
        .route("/createRoom", post(create_room))
        .route("/rooms/{room}/join", post(join))
        .route("/rooms/{room}/invite", post(invite))
        .route("/rooms/{room}/joined_members", get(joined_members))
        .route("/rooms/{room}/state/{event_type}/", get(state))
        .route("/rooms/{room}/state/{event_type}/{key}", get(member))
        .route("/rooms/{room}/send/{event_type}/{txn_id}", put(send));
    Router::new()
        .nest("/_matrix/client/v3", v3)
        .route("/_matrix/client/v1/appservice/{id}/ping", post(ping))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "M_UNRECOGNIZED") })
        .layer(from_fn_with_state(Arc::clone(&shared), gate))
        .with_state(shared)
}

async fn gate(State(shared): Here, request: Request, next: Next) -> Response {
    let shown = request.headers().get("authorization");
    let expected = format!("Bearer {}", shared.registration.as_token);
    match shown.is_some_and(|shown| shown.as_bytes() == expected.as_bytes()) {
        true => next.run(request).await,
        false => refusal(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
    }
}

fn refusal(status: StatusCode, errcode: &str) -> Response {
    let body = json!({ "errcode": errcode, "error": "the simulated homeserver does not do this" });
    (status, Json(body)).into_response()
}

fn done() -> Response {
    Json(json!({})).into_response()
}

impl Shared {
    fn mxid(&self, localpart: &str) -> String {
        format!("@{localpart}:{}", self.registration.server_name)
    }

    /// As whom the gateway asks.
    fn asking(&self, parameters: &BTreeMap<String, String>) -> String {
        match parameters.get("user_id") {
            Some(user) => user.clone(),
            None => self.mxid(&self.registration.sender),
        }
    }
}

async fn register(State(shared): Here, Json(body): Json<Value>) -> Response {
    let user = shared.mxid(body["username"].as_str().unwrap_or_default());
    match shared.known().users.insert(user.clone()) {
        true => Json(json!({ "user_id": user })).into_response(),
        false => refusal(StatusCode::BAD_REQUEST, "M_USER_IN_USE"),
    }
}

async fn display_name(State(shared): Here, Json(body): Json<Value>) -> Response {
    shared.known().names.push(body.to_string());
    done()
}

/// Invited users join at once, as with Synapse's `auto_accept_invites`.
async fn create_room(
    State(shared): Here,
    Query(parameters): Parameters,
    Json(body): Json<Value>,
) -> Response {
    shared.known().names.push(body.to_string());
    let invited = body["invite"].as_array().into_iter().flatten();
    let invited = invited.filter_map(|user| Some(user.as_str()?.to_owned()));
    let members = invited.chain([shared.asking(&parameters)]);
    let members = members.map(|user| (user, "join".to_owned())).collect();
    let server = &shared.registration.server_name;
    let room = format!("!made{}:{server}", shared.next_number());
    shared.known().rooms.insert(room.clone(), members);
    Json(json!({ "room_id": room })).into_response()
}

async fn join(
    State(shared): Here,
    Path(room): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let user = shared.asking(&parameters);
    match shared.known().rooms.get_mut(&room) {
        Some(members) => {
            members.insert(user, "join".to_owned());
            Json(json!({ "room_id": room })).into_response()
        }
        None => refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
    }
}

async fn invite(
    State(shared): Here,
    Path(room): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let user = body["user_id"].as_str().unwrap_or_default().to_owned();
    match shared.known().rooms.get_mut(&room) {
        Some(members) => {
            members.insert(user, "join".to_owned());
            done()
        }
        None => refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
    }
}

async fn joined_members(State(shared): Here, Path(room): Path<String>) -> Response {
    let known = shared.known();
    let Some(members) = known.rooms.get(&room) else {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    };
    let joined = members
        .iter()
        .filter(|(_, membership)| *membership == "join");
    let joined: BTreeMap<_, _> = joined.map(|(user, _)| (user, json!({}))).collect();
    Json(json!({ "joined": joined })).into_response()
}

/// No room is encrypted, nor has it any other state that the gateway asks for.
async fn state() -> Response {
    refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND")
}

async fn member(
    State(shared): Here,
    Path((room, event_type, user)): Path<(String, String, String)>,
) -> Response {
    let known = shared.known();
    let members = known.rooms.get(&room);
    match members.and_then(|members| members.get(&user)) {
        Some(membership) if event_type == "m.room.member" => {
            Json(json!({ "membership": membership })).into_response()
        }
        _ => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
    }
}

async fn send(
    State(shared): Here,
    Path((room, event_type, txn_id)): Path<(String, String, String)>,
    Query(parameters): Parameters,
    Json(content): Json<Value>,
) -> Response {
    let sender = shared.asking(&parameters);
    let mut known = shared.known();
    let members = known.rooms.get(&room);
    if members.and_then(|members| members.get(&sender)) != Some(&"join".to_owned()) {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    }
    let key = (sender.clone(), txn_id);
    let event_id = match known.transactions.get(&key) {
        Some(event_id) => event_id.clone(),
        None => {
            let event_id = format!("$sent{}", shared.next_number());
            known.transactions.insert(key, event_id.clone());
            let sent = Sent {
                room,
                sender,
                event_type,
                content,
                at: Instant::now(),
            };
            // Nobody listens: then nobody wants to know.
            let _ = shared.sent.send(sent);
            event_id
        }
    };
    Json(json!({ "event_id": event_id })).into_response()
}

async fn ping() -> Response {
    Json(json!({ "duration_ms": 1 })).into_response()
}
