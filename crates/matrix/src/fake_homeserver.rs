//! A homeserver for tests: as much of the client API as the gateway uses, on loopback.

mod openid;
mod profile;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) use trouble::Trouble;

pub(crate) const AS_TOKEN: &str = "as-token";
pub(crate) const SERVICE_ACCOUNT: &str = "@mxtrunk:localtest";

/// What the homeserver knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) users: BTreeSet<String>,
    pub(crate) display_names: BTreeMap<String, String>,
    pub(crate) rooms: BTreeMap<String, FakeRoom>,
    /// What was uploaded, and as what.
    pub(crate) uploads: Vec<(String, Vec<u8>)>,
    /// Nothing may be uploaded.
    pub(crate) takes_no_uploads: bool,
    /// The picture of each user.
    pub(crate) pictures: BTreeMap<String, String>,
    /// Requests other than pings, as "METHOD path".
    pub(crate) requests: Vec<String>,
    pub(crate) pings: u32,
    pub(crate) aliases: BTreeMap<String, String>,
    /// Who left which room, or was shown out of it.
    pub(crate) left: Vec<(String, String)>,
    /// So many rooms are made whose answers get lost on the way.
    pub(crate) answers_to_lose: u32,
    /// So many next requests are answered with this status.
    pub(crate) trouble: Option<(u32, StatusCode)>,
    /// So many next requests are carried out, and answered after so long.
    pub(crate) late: Option<(u32, Duration)>,
    /// Whatever is asked about this room, it asks for a minute's patience.
    pub(crate) sick: Option<String>,
    /// Whether invited users join by themselves.
    pub(crate) auto_accept: bool,
    /// Whose each OpenID token is; `None`: the resource is not there.
    pub(crate) openid: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct FakeRoom {
    pub(crate) memberships: BTreeMap<String, String>,
    pub(crate) created_with: Value,
    pub(crate) encrypted: bool,
    /// By type and state key, beside memberships and encryption.
    pub(crate) state: BTreeMap<(String, String), Value>,
    /// Events that were withdrawn.
    pub(crate) redacted: BTreeSet<String>,
    /// Transaction id, event type, content, sender.
    pub(crate) events: Vec<(String, String, Value, String)>,
}

#[derive(Debug, Clone)]
pub(crate) struct FakeHomeserver {
    known: Arc<Mutex<Known>>,
    pub(crate) address: SocketAddr,
}

type Shared = State<Arc<Mutex<Known>>>;
type Parameters = Query<BTreeMap<String, String>>;

impl FakeHomeserver {
    pub(crate) async fn start() -> Self {
        let known = Arc::new(Mutex::new(Known {
            auto_accept: true,
            ..Known::default()
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = router(Arc::clone(&known));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        FakeHomeserver { known, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Makes a room with these joined members.
    pub(crate) fn put_room(&self, room: &str, joined: &[&str]) {
        let join = |user: &&str| ((*user).to_owned(), "join".to_owned());
        let room_state = FakeRoom {
            memberships: joined.iter().map(join).collect(),
            ..FakeRoom::default()
        };
        self.known().rooms.insert(room.to_owned(), room_state);
    }
}

fn router(known: Arc<Mutex<Known>>) -> Router {
    let v3 = Router::new()
        .route("/register", post(register))
        .route("/profile/{user}/displayname", put(profile::display_name))
        .route("/profile/{user}/avatar_url", put(profile::avatar_url))
        .route("/createRoom", post(create_room))
        .route("/rooms/{room}/join", post(join))
        .route("/rooms/{room}/invite", post(invite))
        .route("/rooms/{room}/joined_members", get(joined_members))
        .route("/rooms/{room}/leave", post(leave))
        .route("/rooms/{room}/kick", post(kick))
        .route("/rooms/{room}/messages", get(messages))
        .route("/rooms/{room}/state", get(all_state))
        .route(
            "/rooms/{room}/state/{event_type}/{key}",
            get(state).put(put_keyed_state),
        )
        .route(
            "/rooms/{room}/state/{event_type}/",
            get(unkeyed_state).put(put_state),
        )
        .route("/rooms/{room}/redact/{event}/{txn_id}", put(redact))
        .route("/directory/room/{alias}", get(alias).delete(delete_alias))
        .route("/rooms/{room}/send/{event_type}/{txn_id}", put(send));
    Router::new()
        .nest("/_matrix/client/v3", v3)
        .route("/_matrix/client/v1/appservice/mxtrunk/ping", post(ping))
        .route(openid::PATH, get(openid::userinfo))
        .route(profile::UPLOAD, post(profile::upload))
        .fallback(|| async { refusal(StatusCode::NOT_FOUND, "M_UNRECOGNIZED") })
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(&known),
            gate,
        ))
        .with_state(known)
}

async fn gate(
    State(known): Shared,
    headers: HeaderMap,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response {
    // Where an alias leads is told to anybody.
    let is_public = request.method() == "GET"
        && (request.uri().path().contains("/directory/room/")
            || request.uri().path() == openid::PATH);
    let token = headers.get("authorization").map(|token| token.as_bytes());
    if !is_public && token != Some(format!("Bearer {AS_TOKEN}").as_bytes()) {
        return refusal(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN");
    }
    let path = request.uri().path().to_owned();
    let mut trouble = None;
    if !path.ends_with("/ping") {
        let mut known = known.lock().unwrap();
        known.requests.push(format!("{} {path}", request.method()));
        if known.sick.as_ref().is_some_and(|room| path.contains(room)) {
            return trouble::patience();
        }
        trouble = trouble::met(&mut known);
    }
    trouble::meet(trouble, request, next).await
}

fn refusal(status: StatusCode, errcode: &str) -> Response {
    (status, Json(json!({ "errcode": errcode, "error": "no" }))).into_response()
}

fn asking(parameters: &BTreeMap<String, String>) -> String {
    let user = parameters.get("user_id").map(String::as_str);
    user.unwrap_or(SERVICE_ACCOUNT).to_owned()
}

async fn register(State(known): Shared, Json(body): Json<Value>) -> Response {
    assert_eq!(body["type"], "m.login.application_service");
    let user = format!("@{}:localtest", body["username"].as_str().unwrap());
    if !known.lock().unwrap().users.insert(user.clone()) {
        return refusal(StatusCode::BAD_REQUEST, "M_USER_IN_USE");
    }
    Json(json!({ "user_id": user })).into_response()
}

async fn create_room(
    State(known): Shared,
    Query(parameters): Parameters,
    Json(body): Json<Value>,
) -> Response {
    let mut known = known.lock().unwrap();
    let alias = body["room_alias_name"]
        .as_str()
        .map(|alias| format!("#{alias}:localtest"));
    if alias
        .as_ref()
        .is_some_and(|alias| known.aliases.contains_key(alias))
    {
        return refusal(StatusCode::BAD_REQUEST, "M_ROOM_IN_USE");
    }
    let accepted = if known.auto_accept { "join" } else { "invite" };
    let mut room = FakeRoom {
        created_with: body.clone(),
        ..FakeRoom::default()
    };
    room.memberships
        .insert(asking(&parameters), "join".to_owned());
    for invited in body["invite"].as_array().unwrap() {
        let user = invited.as_str().unwrap().to_owned();
        room.memberships.insert(user, accepted.to_owned());
    }
    for event in body["initial_state"].as_array().into_iter().flatten() {
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        let key = (text("type"), text("state_key"));
        room.state.insert(key, event["content"].clone());
    }
    let id = format!("!made{}", known.rooms.len());
    known.rooms.insert(id.clone(), room);
    if let Some(alias) = alias {
        known.aliases.insert(alias, id.clone());
    }
    if known.answers_to_lose > 0 {
        known.answers_to_lose -= 1;
        return refusal(StatusCode::BAD_GATEWAY, "M_UNKNOWN");
    }
    Json(json!({ "room_id": id })).into_response()
}

async fn join(
    State(known): Shared,
    Path(room): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let mut known = known.lock().unwrap();
    let user = asking(&parameters);
    if !known.users.contains(&user) {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    }
    let Some(state) = known.rooms.get_mut(&room) else {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    };
    state.memberships.insert(user, "join".to_owned());
    Json(json!({ "room_id": room })).into_response()
}

async fn invite(
    State(known): Shared,
    Path(room): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let mut known = known.lock().unwrap();
    let accepted = if known.auto_accept { "join" } else { "invite" };
    let user = body["user_id"].as_str().unwrap().to_owned();
    let state = known.rooms.get_mut(&room).unwrap();
    state.memberships.insert(user, accepted.to_owned());
    Json(json!({})).into_response()
}

async fn joined_members(
    State(known): Shared,
    Path(room): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let known = known.lock().unwrap();
    let Some(state) = known.rooms.get(&room) else {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    };
    let joined = |user: &str| {
        state
            .memberships
            .get(user)
            .is_some_and(|word| word == "join")
    };
    let user = asking(&parameters);
    if user != SERVICE_ACCOUNT && !joined(&user) {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    }
    let members = state.memberships.keys().filter(|user| joined(user));
    let members: BTreeMap<_, _> = members.map(|user| (user, json!({}))).collect();
    Json(json!({ "joined": members })).into_response()
}

async fn state(
    State(known): Shared,
    Path((room, event_type, key)): Path<(String, String, String)>,
) -> Response {
    let known = known.lock().unwrap();
    let Some(room) = known.rooms.get(&room) else {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    };
    if event_type != "m.room.member" {
        return content(room.state.get(&(event_type, key)));
    }
    let member = room.memberships.get(&key);
    content(member.map(|word| json!({ "membership": word })).as_ref())
}

fn content(content: Option<&Value>) -> Response {
    match content {
        Some(content) => Json(content.clone()).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
    }
}

async fn unkeyed_state(
    State(known): Shared,
    Path((room, event_type)): Path<(String, String)>,
) -> Response {
    let known = known.lock().unwrap();
    if event_type == "m.room.encryption" && known.rooms[&room].encrypted {
        return Json(json!({ "algorithm": "m.megolm.v1.aes-sha2" })).into_response();
    }
    content(known.rooms[&room].state.get(&(event_type, String::new())))
}

async fn all_state(State(known): Shared, Path(room): Path<String>) -> Response {
    let known = known.lock().unwrap();
    let events = known.rooms[&room].state.iter();
    let events = events.map(|((event_type, key), content)| {
        json!({ "type": event_type, "state_key": key, "content": content })
    });
    Json(Value::Array(events.collect())).into_response()
}

async fn put_keyed_state(
    known: Shared,
    Path((room, event_type, key)): Path<(String, String, String)>,
    parameters: Parameters,
    Json(content): Json<Value>,
) -> Response {
    set(&known.0, room, (event_type, key), &parameters.0, content)
}

async fn put_state(
    known: Shared,
    Path((room, event_type)): Path<(String, String)>,
    parameters: Parameters,
    Json(content): Json<Value>,
) -> Response {
    let key = (event_type, String::new());
    set(&known.0, room, key, &parameters.0, content)
}

fn set(
    known: &Mutex<Known>,
    room: String,
    key: (String, String),
    parameters: &BTreeMap<String, String>,
    content: Value,
) -> Response {
    let mut known = known.lock().unwrap();
    let state = known.rooms.get_mut(&room);
    let asking = asking(parameters);
    let Some(state) =
        state.filter(|room| room.memberships.get(&asking).is_some_and(|m| m == "join"))
    else {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    };
    state.state.insert(key, content);
    Json(json!({ "event_id": "$state" })).into_response()
}

async fn alias(State(known): Shared, Path(alias): Path<String>) -> Response {
    match known.lock().unwrap().aliases.get(&alias) {
        Some(room) => Json(json!({ "room_id": room, "servers": ["localtest"] })).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
    }
}

async fn delete_alias(State(known): Shared, Path(alias): Path<String>) -> Response {
    match known.lock().unwrap().aliases.remove(&alias) {
        Some(_) => Json(json!({})).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
    }
}

async fn leave(
    State(known): Shared,
    Path(room): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    out(&known, room, asking(&parameters))
}

async fn kick(State(known): Shared, Path(room): Path<String>, Json(body): Json<Value>) -> Response {
    let user = body["user_id"].as_str().unwrap().to_owned();
    out(&known, room, user)
}

fn out(known: &Mutex<Known>, room: String, user: String) -> Response {
    let mut known = known.lock().unwrap();
    if let Some(room) = known.rooms.get_mut(&room) {
        room.memberships.insert(user.clone(), "leave".to_owned());
    }
    known.left.push((room, user));
    Json(json!({})).into_response()
}

async fn redact(
    State(known): Shared,
    Path((room, event, txn_id)): Path<(String, String, String)>,
) -> Response {
    let mut known = known.lock().unwrap();
    let room = known.rooms.get_mut(&room).unwrap();
    room.redacted.insert(event);
    Json(json!({ "event_id": format!("${txn_id}") })).into_response()
}

/// The newest first, as with `dir=b`.
async fn messages(
    State(known): Shared,
    Path(room): Path<String>,
    Query(parameters): Parameters,
) -> Response {
    let known = known.lock().unwrap();
    let number = |field: &str| parameters.get(field).and_then(|text| text.parse().ok());
    let (from, limit) = (number("from").unwrap_or(0), number("limit").unwrap_or(10));
    let all = &known.rooms[&room].events;
    let events = all.iter().rev().skip(from).take(limit);
    let chunk = events.map(|(txn_id, event_type, content, sender)| {
        json!({ "event_id": format!("${txn_id}"), "type": event_type, "content": content,
                "sender": sender, "origin_server_ts": 0, "room_id": room })
    });
    let chunk: Vec<_> = chunk.collect();
    let mut page = json!({ "start": "s", "chunk": chunk });
    if from + limit < all.len() {
        page["end"] = json!((from + limit).to_string());
    }
    Json(page).into_response()
}

async fn send(
    State(known): Shared,
    Path((room, event_type, txn_id)): Path<(String, String, String)>,
    Query(parameters): Parameters,
    Json(content): Json<Value>,
) -> Response {
    let mut known = known.lock().unwrap();
    let Some(state) = known.rooms.get_mut(&room) else {
        return refusal(StatusCode::FORBIDDEN, "M_FORBIDDEN");
    };
    if !state.events.iter().any(|(known, ..)| *known == txn_id) {
        let sender = asking(&parameters);
        state
            .events
            .push((txn_id.clone(), event_type, content, sender));
    }
    Json(json!({ "event_id": format!("${txn_id}") })).into_response()
}

async fn ping(State(known): Shared) -> Response {
    known.lock().unwrap().pings += 1;
    Json(json!({ "duration_ms": 7 })).into_response()
}
