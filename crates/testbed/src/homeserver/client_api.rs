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

use super::{Sent, Shared, timeline, trouble};

pub(super) type Here = State<Arc<Shared>>;
pub(super) type Parameters = Query<BTreeMap<String, String>>;

/// Anybody may ask whose a token is.
const OPENID: &str = "/_matrix/federation/v1/openid/userinfo";

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let v3 = Router::new()
        .route("/register", post(register))
        .route("/profile/{user}/displayname", put(display_name))
        .route("/profile/{user}/avatar_url", put(async || done()))
        .route("/presence/{user}/status", get(presence).put(set_presence))
        .route("/createRoom", post(create_room))
        .route("/rooms/{room}/join", post(join))
        .route("/rooms/{room}/invite", post(invite))
        .route("/rooms/{room}/joined_members", get(joined_members))
        .route("/rooms/{room}/state", get(timeline::all_state))
        .route(
            "/rooms/{room}/state/{event_type}/",
            get(timeline::unkeyed_state).put(timeline::put_unkeyed_state),
        )
        .route(
            "/rooms/{room}/state/{event_type}/{key}",
            get(timeline::state).put(timeline::put_state),
        )
        .route(
            "/rooms/{room}/redact/{event}/{txn_id}",
            put(timeline::redact),
        )
        .route("/rooms/{room}/messages", get(timeline::messages))
        .route(
            "/directory/room/{alias}",
            get(timeline::alias).delete(timeline::delete_alias),
        )
        .route("/rooms/{room}/leave", post(leave))
        .route("/rooms/{room}/send/{event_type}/{txn_id}", put(send));
    Router::new()
        .nest("/_matrix/client/v3", v3)
        .route("/_matrix/client/v1/appservice/{id}/ping", post(ping))
        .route(OPENID, get(owner))
        .route("/_matrix/media/v3/upload", post(upload))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "M_UNRECOGNIZED") })
        .layer(from_fn_with_state(Arc::clone(&shared), gate))
        .with_state(shared)
}

async fn gate(State(shared): Here, request: Request, next: Next) -> Response {
    let shown = request.headers().get("authorization");
    let expected = format!("Bearer {}", shared.registration.as_token);
    let path = request.uri().path();
    // Where an alias leads is told to anybody.
    let is_public =
        path == OPENID || path.contains("/directory/room/") && request.method() == "GET";
    if !is_public && shown.is_none_or(|shown| shown.as_bytes() != expected.as_bytes()) {
        return refusal(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN");
    }
    let fate = trouble::fate(&mut shared.known(), path);
    trouble::meet(fate, request, next).await
}

pub(super) fn refusal(status: StatusCode, errcode: &str) -> Response {
    let body = json!({ "errcode": errcode, "error": "the simulated homeserver does not do this" });
    (status, Json(body)).into_response()
}

pub(super) fn done() -> Response {
    Json(json!({})).into_response()
}

impl Shared {
    fn mxid(&self, localpart: &str) -> String {
        format!("@{localpart}:{}", self.registration.server_name)
    }

    /// As whom the gateway asks.
    pub(super) fn asking(&self, parameters: &BTreeMap<String, String>) -> String {
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

/// As Synapse does it: one whose presence is off takes what is set, and shows everybody as offline.
async fn set_presence(
    State(shared): Here,
    Path(user): Path<String>,
    Query(parameters): Parameters,
    Json(body): Json<Value>,
) -> Response {
    if shared.asking(&parameters) != user {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    }
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let shown = (text("presence").unwrap_or_default(), text("status_msg"));
    let mut known = shared.known();
    known.presences_set += 1;
    if !known.has_no_presence {
        known.presences.insert(user, shown);
    }
    done()
}

async fn presence(State(shared): Here, Path(user): Path<String>) -> Response {
    let shown = shared.known().presences.get(&user).cloned();
    let (presence, status) = shown.unwrap_or_else(|| ("offline".to_owned(), None));
    Json(json!({ "presence": presence, "status_msg": status })).into_response()
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
    let alias = body["room_alias_name"].as_str();
    let alias = alias.map(|alias| format!("#{alias}:{server}"));
    let mut known = shared.known();
    if alias
        .as_ref()
        .is_some_and(|alias| known.aliases.contains_key(alias))
    {
        return refusal(StatusCode::BAD_REQUEST, "M_ROOM_IN_USE");
    }
    let room = format!("!made{}:{server}", shared.next_number());
    known.rooms.insert(room.clone(), members);
    known
        .aliases
        .extend(alias.map(|alias| (alias, room.clone())));
    for event in body["initial_state"].as_array().into_iter().flatten() {
        let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
        let key = (room.clone(), text("type"), text("state_key"));
        known.state.insert(key, event["content"].clone());
    }
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

async fn leave(
    State(shared): Here,
    Path(room): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let user = shared.asking(&parameters);
    if let Some(members) = shared.known().rooms.get_mut(&room) {
        members.insert(user, "leave".to_owned());
    }
    done()
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
                event_id: event_id.clone(),
                room,
                sender,
                event_type,
                content,
                at: Instant::now(),
            };
            if sent.event_type == "m.room.message" {
                known.messages.push(sent.clone());
            }
            // Nobody listens: then nobody wants to know.
            let _ = shared.sent.send(sent);
            event_id
        }
    };
    Json(json!({ "event_id": event_id })).into_response()
}

async fn owner(State(shared): Here, Query(parameters): Parameters) -> Response {
    let token = parameters.get("access_token");
    let known = shared.known();
    match token.and_then(|token| known.vouched.get(token)) {
        Some(user) => Json(json!({ "sub": user })).into_response(),
        None => refusal(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
    }
}

async fn upload(State(shared): Here) -> Response {
    let server = &shared.registration.server_name;
    let uri = format!("mxc://{server}/uploaded{}", shared.next_number());
    Json(json!({ "content_uri": uri })).into_response()
}

async fn ping() -> Response {
    Json(json!({ "duration_ms": 1 })).into_response()
}
