//! A simulated homeserver: as much of Synapse as the gateway sees of it. It keeps rooms with their members, takes what
//! the gateway sends, and pushes what simulated clients say. No federation, no sync, no access control beyond the
//! gateway's token.

mod client_api;
mod timeline;
mod trouble;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc};

use crate::{gateway, synapse};

pub use timeline::Shown;
pub use trouble::Late;
use trouble::Troubles;

/// Synapse's own limit (its `MAX_PERSISTENT_EVENTS_PER_TRANSACTION`).
const EVENTS_A_TRANSACTION: usize = 100;
/// What subscribers may be behind.
const BEHIND: usize = 4_096;
/// Before a transaction that was not taken in is pushed again; Synapse begins with more, and doubles it.
const PAUSE: Duration = Duration::from_millis(200);

/// How homeserver and gateway know each other.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where the homeserver listens.
    pub listen: SocketAddr,
    /// The homeserver's name.
    pub server_name: String,
    /// Where the gateway serves the homeserver: `http://ADDRESS:PORT`.
    pub gateway: String,
    /// What the gateway shows.
    pub as_token: String,
    /// What the homeserver shows.
    pub hs_token: String,
    /// The local part of the gateway's service account.
    pub sender: String,
    /// In front of every transaction's number. A gateway that keeps its database takes in no transaction twice: a
    /// homeserver that starts anew beside it needs another one.
    pub transactions: String,
}

impl Registration {
    /// In Synapse's place, for the testbed's gateway.
    ///
    /// # Errors
    /// None but a mistake in Synapse's address.
    pub fn in_synapses_place(transactions: String) -> anyhow::Result<Self> {
        Ok(Self {
            listen: synapse::URL.trim_start_matches("http://").parse()?,
            server_name: synapse::SERVER_NAME.to_owned(),
            gateway: format!("http://{}", gateway::APPSERVICE),
            as_token: gateway::AS_TOKEN.to_owned(),
            hs_token: gateway::HS_TOKEN.to_owned(),
            sender: "mxtrunk".to_owned(),
            transactions,
        })
    }
}

/// An event that the gateway sent into a room.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its id.
    pub event_id: String,
    /// The room.
    pub room: String,
    /// As whom it was sent.
    pub sender: String,
    /// The type, as `m.call.answer`.
    pub event_type: String,
    /// The content.
    pub content: Value,
    /// When it came.
    pub at: Instant,
}

/// A running homeserver; its clones are the same one. It ends with the runtime that it was started on.
#[derive(Debug, Clone)]
pub struct Homeserver {
    shared: Arc<Shared>,
    pushes: mpsc::UnboundedSender<Value>,
}

#[derive(Debug)]
struct Shared {
    registration: Registration,
    known: Mutex<Known>,
    sent: broadcast::Sender<Sent>,
    numbers: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    users: BTreeSet<String>,
    /// Members of each room, with `join`, `invite`, …
    rooms: BTreeMap<String, BTreeMap<String, String>>,
    /// Sender and transaction ids of what was sent: a repeated one is no second event.
    transactions: BTreeMap<(String, String), String>,
    /// Every name that the gateway gave.
    names: Vec<String>,
    /// Rooms by alias.
    aliases: BTreeMap<String, String>,
    /// Content by room, type and state key; members stand in `rooms`.
    state: BTreeMap<(String, String, String), Value>,
    /// Messages of the gateway, oldest first.
    messages: Vec<Sent>,
    /// Ids of events that were withdrawn.
    withdrawn: BTreeSet<String>,
    /// What is shown of users: their presence, and its words.
    presences: BTreeMap<String, (String, Option<String>)>,
    /// How often any was set.
    presences_set: u64,
    has_no_presence: bool,
    /// Whose each OpenID token is.
    vouched: BTreeMap<String, String>,
    troubles: Troubles,
}

impl Homeserver {
    /// On port 0 it listens on one that is free.
    ///
    /// # Errors
    /// When the address is taken.
    pub async fn start(mut registration: Registration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(registration.listen).await;
        let listener = listener.with_context(|| registration.listen.to_string())?;
        registration.listen = listener.local_addr()?;
        let (pushes, waiting) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            registration,
            known: Mutex::default(),
            sent: broadcast::channel(BEHIND).0,
            numbers: AtomicU64::new(0),
        });
        let api = client_api::router(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, api).await });
        tokio::spawn(push_all(Arc::clone(&shared), waiting));
        Ok(Self { shared, pushes })
    }

    /// Makes a room with these joined members. The gateway hears nothing of it.
    pub fn put_room(&self, room: &str, joined: &[&str]) {
        let members = joined
            .iter()
            .map(|user| ((*user).to_owned(), "join".to_owned()));
        self.shared
            .known()
            .rooms
            .insert(room.to_owned(), members.collect());
    }

    /// A client sends an event: the gateway gets it after all that were sent before.
    pub fn push(&self, room: &str, sender: &str, event_type: &str, content: Value) {
        let event = self.shared.event(room, sender, event_type, content);
        // Nobody takes it any more when the runtime has ended.
        let _ = self.pushes.send(event);
    }

    /// A person changes a room's state; their own membership too.
    pub fn push_state(&self, room: &str, sender: &str, (kind, key): (&str, &str), content: Value) {
        if let (true, Some(membership)) = (kind == "m.room.member", content["membership"].as_str())
        {
            let mut known = self.shared.known();
            if let Some(members) = known.rooms.get_mut(room) {
                members.insert(key.to_owned(), membership.to_owned());
            }
        }
        let mut event = self.shared.event(room, sender, kind, content);
        event["state_key"] = json!(key);
        let _ = self.pushes.send(event);
    }

    /// A client invites somebody into a direct chat: the gateway gets it after all that were sent before.
    pub fn push_invite(&self, room: &str, sender: &str, invited: &str) {
        let content = json!({"membership": "invite", "is_direct": true});
        let mut event = self.shared.event(room, sender, "m.room.member", content);
        event["state_key"] = invited.into();
        let _ = self.pushes.send(event);
    }

    /// What is shown of a user: the presence, and its words.
    #[must_use]
    pub fn presence(&self, user: &str) -> Option<(String, Option<String>)> {
        self.shared.known().presences.get(user).cloned()
    }

    /// How often the presence of anybody was set.
    #[must_use]
    pub fn presences_set(&self) -> u64 {
        self.shared.known().presences_set
    }

    /// From now on nobody's presence is shown, as with Synapse's `presence: enabled: false`.
    pub fn show_no_presence(&self) {
        let mut known = self.shared.known();
        known.has_no_presence = true;
        known.presences.clear();
    }

    /// Who is in a room.
    #[must_use]
    pub fn members(&self, room: &str) -> Vec<String> {
        let known = self.shared.known();
        let members = known.rooms.get(room).into_iter().flatten();
        members.map(|(user, _)| user.clone()).collect()
    }

    /// The rooms in which these are, and nobody else.
    #[must_use]
    pub fn rooms_of(&self, members: &[&str]) -> Vec<String> {
        let wanted: BTreeSet<&str> = members.iter().copied().collect();
        let known = self.shared.known();
        let theirs = known.rooms.iter().filter(|(_, members)| {
            let members: BTreeSet<&str> = members.keys().map(String::as_str).collect();
            members == wanted
        });
        theirs.map(|(room, _)| room.clone()).collect()
    }

    /// Every name that the gateway gave: of users, rooms, and their topics.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.shared.known().names.clone()
    }

    /// Whoever shows this OpenID token is this person.
    pub fn vouch(&self, token: &str, user: &str) {
        let mut known = self.shared.known();
        known.vouched.insert(token.to_owned(), user.to_owned());
    }

    /// What the gateway sends from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Sent> {
        self.shared.sent.subscribe()
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        // What a panicking request left is still good enough for the others.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn event(&self, room: &str, sender: &str, event_type: &str, content: Value) -> Value {
        json!({
            "type": event_type, "room_id": room, "sender": sender, "content": content,
            "event_id": format!("$pushed{}", self.next_number()),
            "origin_server_ts": now_ms(), "unsigned": {},
        })
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_millis() as u64
}

/// A transaction as Synapse writes it at each attempt: with the age that each event has by then.
fn transaction(events: &mut [Value]) -> String {
    let now = now_ms();
    for event in &mut *events {
        let sent = event["origin_server_ts"].as_u64().unwrap_or(now);
        event["unsigned"]["age"] = json!(now.saturating_sub(sent));
    }
    json!({ "events": events }).to_string()
}

/// One transaction at a time, as the specification wants it (Application Service API, "Pushing events").
async fn push_all(shared: Arc<Shared>, mut waiting: mpsc::UnboundedReceiver<Value>) {
    let Ok(client) = reqwest::Client::builder().no_proxy().build() else {
        return;
    };
    let Registration {
        gateway,
        hs_token,
        transactions,
        ..
    } = &shared.registration;
    let mut events = Vec::new();
    let mut number = 0_u64;
    while waiting.recv_many(&mut events, EVENTS_A_TRANSACTION).await > 0 {
        number += 1;
        let url = format!("{gateway}/_matrix/app/v1/transactions/{transactions}{number}");
        loop {
            trouble::is_there(&shared, PAUSE).await;
            let request = client.put(&url).bearer_auth(hs_token);
            let request = request.header("content-type", "application/json");
            let answer = request.body(transaction(&mut events)).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        events.clear();
    }
}

#[cfg(test)]
mod tests;
