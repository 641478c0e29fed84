//! The application service between a homeserver of our own and a queue.

mod bad_days;
mod commands;
mod homes;
mod homeserver_asks;
mod openid;
mod pictures;
mod rooms;
mod transactions;
mod we_ask;
mod widget;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mxtrunk_store::Store;
use ruma::UserId;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::fake_homeserver::{AS_TOKEN, FakeHomeserver};
use crate::{AppService, MatrixConfig, Numbering, RoomEvent, Secret};

const ALICE: &str = "@alice:localtest";
/// Has no line.
const MALLORY: &str = "@mallory:localtest";
const TEL: &str = "@tel_600:localtest";
const ROOM: &str = "!room";

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// Knows numbers of digits, `+`, `*` and `#`.
struct Digits;

impl Numbering for Digits {
    fn normalise(&self, typed: &str) -> Option<String> {
        let number: String = typed.chars().filter(|c| !" -()".contains(*c)).collect();
        let legal = |c: char| c.is_ascii_digit() || "+*#".contains(c);
        (!number.is_empty() && number.chars().all(legal)).then_some(number)
    }

    fn is_emergency(&self, number: &str) -> bool {
        number.replace('-', "") == "112"
    }

    fn display_name(&self, number: &str) -> String {
        format!("Tel. {number}")
    }

    fn has_line(&self, user: &UserId) -> bool {
        user != MALLORY
    }
}

/// An application service, its homeserver, and what it tells.
struct Scene {
    homeserver: FakeHomeserver,
    service: AppService,
    events: mpsc::Receiver<RoomEvent>,
    http: reqwest::Client,
    database: PathBuf,
    /// Where the widget of each history leads, from the next start on.
    widget: Option<String>,
    _directory: TempDir,
}

impl Scene {
    async fn start() -> Self {
        Scene::start_with_queue(16).await
    }

    async fn start_with_queue(length: usize) -> Self {
        let homeserver = FakeHomeserver::start().await;
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("mxtrunk.db");
        let (service, events) = serve(&homeserver, &database, length, None).await;
        Scene::of(homeserver, service, events, database, directory)
    }

    fn of(
        homeserver: FakeHomeserver,
        service: AppService,
        events: mpsc::Receiver<RoomEvent>,
        database: PathBuf,
        directory: TempDir,
    ) -> Self {
        Scene {
            homeserver,
            service,
            events,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            database,
            widget: None,
            _directory: directory,
        }
    }

    /// Stops the service and starts it anew on the same database.
    async fn restart(&mut self) {
        self.service.clone().shutdown().await;
        let widget = self.widget.clone();
        let (service, events) = serve(&self.homeserver, &self.database, 16, widget).await;
        self.service = service;
        self.events = events;
    }

    /// A room of Alice and the virtual user of 600, known to all.
    async fn with_room(self) -> Self {
        self.homeserver.put_room(ROOM, &[ALICE, TEL]);
        self.store().put_room(ROOM, ALICE, TEL).await.unwrap();
        self
    }

    fn store(&self) -> &Store {
        &self.service.inner.store
    }

    /// Another process that has the database open.
    async fn other(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(&self.database);
        options.connect().await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/_matrix/app/v1{path}", self.service.local_addr())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.http.get(self.url(path)).bearer_auth("hs-token");
        answer(request).await
    }

    async fn push(&self, txn_id: &str, events: Value) -> (u16, Value) {
        self.push_body(txn_id, json!({ "events": events }).to_string())
            .await
    }

    async fn push_body(&self, txn_id: &str, body: String) -> (u16, Value) {
        let url = self.url(&format!("/transactions/{txn_id}"));
        answer(self.http.put(url).bearer_auth("hs-token").body(body)).await
    }

    async fn next_event(&mut self) -> RoomEvent {
        let event = timeout(PATIENCE, self.events.recv()).await;
        event.expect("an event within ten seconds").unwrap()
    }

    /// Nothing came: all that is pushed is queued before it is answered.
    fn expect_no_event(&mut self) {
        assert_eq!(self.events.try_recv().ok(), None);
    }
}

async fn serve(
    homeserver: &FakeHomeserver,
    database: &std::path::Path,
    queue: usize,
    widget: Option<String>,
) -> (AppService, mpsc::Receiver<RoomEvent>) {
    let change = |config: &mut MatrixConfig| {
        config.widget = widget;
        // Beside the requests that a test counts.
        config.pictures = false;
    };
    serve_with(homeserver, database, queue, change).await
}

async fn serve_with(
    homeserver: &FakeHomeserver,
    database: &std::path::Path,
    queue: usize,
    change: impl FnOnce(&mut MatrixConfig),
) -> (AppService, mpsc::Receiver<RoomEvent>) {
    let mut config = MatrixConfig::new(
        homeserver.url(),
        "localtest",
        Secret::new(AS_TOKEN),
        Secret::new("hs-token"),
        ([127, 0, 0, 1], 0).into(),
    );
    change(&mut config);
    let store = Store::open(database).await.unwrap();
    let (sender, events) = mpsc::channel(queue);
    let service = AppService::start(config, store, Arc::new(Digits), sender)
        .await
        .unwrap();
    (service, events)
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    )
}

/// Waits until `holds`.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "{what}");
}

fn event(event_type: &str, sender: &str, content: Value) -> Value {
    json!({ "type": event_type, "sender": sender, "room_id": ROOM, "event_id": "$1",
            "content": content, "origin_server_ts": 0, "unsigned": { "age": 39 } })
}

fn hangup(sender: &str) -> Value {
    event(
        "m.call.hangup",
        sender,
        json!({ "call_id": "c", "party_id": "P", "version": "1" }),
    )
}

fn member(sender: &str, user: &str, membership: &str) -> Value {
    let mut event = event("m.room.member", sender, json!({ "membership": membership }));
    event["state_key"] = json!(user);
    event
}
