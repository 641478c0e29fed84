//! A homeserver for tests: as much of the client API as the gateway uses, on loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Json;
use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) const AS_TOKEN: &str = "as-token";
pub(crate) const SERVICE_ACCOUNT: &str = "@mxtrunk:localtest";

/// What the homeserver knows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) users: BTreeSet<String>,
    pub(crate) display_names: BTreeMap<String, String>,
    pub(crate) rooms: BTreeMap<String, FakeRoom>,
    /// Requests other than pings, as "METHOD path".
    pub(crate) requests: Vec<String>,
    pub(crate) pings: u32,
    /// So many next requests are answered with this status.
    pub(crate) trouble: Option<(u32, StatusCode)>,
    /// Whether invited users join by themselves.
    pub(crate) auto_accept: bool,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct FakeRoom {
    pub(crate) memberships: BTreeMap<String, String>,
    pub(crate) created_with: Value,
    pub(crate) encrypted: bool,
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
        .route("/profile/{user}/displayname", put(display_name))
        .route("/createRoom", post(create_room))
        .route("/rooms/{room}/join", post(join))
        .route("/rooms/{room}/invite", post(invite))
        .route("/rooms/{room}/joined_members", get(joined_members))
        .route("/rooms/{room}/state/{event_type}/{key}", get(state))
        .route("/rooms/{room}/state/{event_type}/", get(encryption))
        .route("/rooms/{room}/send/{event_type}/{txn_id}", put(send));
    Router::new()
        .nest("/_matrix/client/v3", v3)
        .route("/_matrix/client/v1/appservice/mxtrunk/ping", post(ping))
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
    if headers["authorization"] != format!("Bearer {AS_TOKEN}") {
        return refusal(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN");
    }
    let path = request.uri().path().to_owned();
    if !path.ends_with("/ping") {
        let mut known = known.lock().unwrap();
        known.requests.push(format!("{} {path}", request.method()));
        if let Some((left, status)) = &mut known.trouble
            && *left > 0
        {
            *left -= 1;
            return refusal(*status, "M_UNKNOWN");
        }
    }
    next.run(request).await
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

async fn display_name(
    State(known): Shared,
    Path(user): Path<String>,
    Query(parameters): Parameters,
    Json(body): Json<Value>,
) -> Response {
    assert_eq!(asking(&parameters), user);
    let name = body["displayname"].as_str().unwrap().to_owned();
    known.lock().unwrap().display_names.insert(user, name);
    Json(json!({})).into_response()
}

async fn create_room(
    State(known): Shared,
    Query(parameters): Parameters,
    Json(body): Json<Value>,
) -> Response {
    let mut known = known.lock().unwrap();
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
    let id = format!("!made{}", known.rooms.len());
    known.rooms.insert(id.clone(), room);
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
    assert_eq!(event_type, "m.room.member");
    match known
        .rooms
        .get(&room)
        .and_then(|room| room.memberships.get(&key))
    {
        Some(word) => Json(json!({ "membership": word })).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
    }
}

async fn encryption(
    State(known): Shared,
    Path((room, event_type)): Path<(String, String)>,
) -> Response {
    assert_eq!(event_type, "m.room.encryption");
    if known.lock().unwrap().rooms[&room].encrypted {
        return Json(json!({ "algorithm": "m.megolm.v1.aes-sha2" })).into_response();
    }
    refusal(StatusCode::NOT_FOUND, "M_NOT_FOUND")
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
