//! `/health/live`: is the process of any use, or should it be started anew? `/health/ready`: should calls be sent here?
//! Both are for whoever asks, and name nobody.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use mxtrunk_matrix::AppService;
use tokio::sync::Mutex;

use super::{House, Route};

pub(super) const ROUTES: [fn() -> Route; 2] = [
    || Route {
        path: "/health/live",
        methods: &["get"],
        answer: get(live),
    },
    || Route {
        path: "/health/ready",
        methods: &["get"],
        answer: get(ready),
    },
];

/// After so long without a beat of the router nothing is routed any more; it beats every 10 s.
const DEAD: Duration = Duration::from_secs(60);

/// For so long an answer of the homeserver, or of the database, is as good as a new one: anybody may ask us.
const FRESH: Duration = Duration::from_secs(10);

/// How long each of them may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Whether the homeserver reaches us, as it was last seen.
#[derive(Debug, Default)]
pub(crate) struct Homeserver(Mutex<Option<(Instant, Result<(), String>)>>);

impl Homeserver {
    /// Has the homeserver ping us, unless it has just been asked.
    pub(super) async fn reaches_us(&self, app: &AppService) -> Result<(), String> {
        // Who asks meanwhile waits, and gets the same answer.
        let mut last = self.0.lock().await;
        if let Some((at, outcome)) = &*last
            && at.elapsed() < FRESH
        {
            return outcome.clone();
        }
        let outcome = match tokio::time::timeout(PATIENCE, app.ping()).await {
            Ok(Ok(_)) => Ok(()),
            // What it says may hold addresses.
            Ok(Err(error)) if error.is_transient() => Err("it does not answer".to_owned()),
            Ok(Err(_)) => Err("it refuses to ping us: see that the registration is up to date, and that its `url` leads here".to_owned()),
            Err(_) => Err("it takes too long to answer".to_owned()),
        };
        *last = Some((Instant::now(), outcome.clone()));
        outcome
    }
}

/// Everything that stands in the way of calls, in words.
pub(super) async fn missing(house: &House) -> Vec<String> {
    let mut missing = Vec::new();
    if house.admission.is_draining() {
        missing.push("the gateway is draining: it takes no new calls, and stops".to_owned());
    }
    if let Some(why) = dead(house) {
        missing.push(why);
    }
    let app = &house.peers.app;
    if let Err(why) = house.homeserver.reaches_us(app).await {
        missing.push(format!("the homeserver does not reach us: {why}"));
    }
    if !house.peers.phones.is_serving() {
        missing.push("the SIP side does not listen any more: start the gateway anew".to_owned());
    }
    let trunks = house.peers.phones.trunks();
    if !trunks.iter().any(|trunk| trunk.is_up) {
        missing.push(format!(
            "no trunk takes calls ({} configured): see that a PBX answers OPTIONS",
            trunks.len()
        ));
    }
    match tokio::time::timeout(PATIENCE, house.peers.store.records(1)).await {
        Ok(Ok(_)) => {}
        Ok(Err(_)) => missing.push("the database does not answer: see the log".to_owned()),
        Err(_) => missing.push("the database takes too long to answer".to_owned()),
    }
    missing
}

fn dead(house: &House) -> Option<String> {
    let silent = house.heartbeat.last_beat();
    (silent > DEAD).then(|| {
        let seconds = silent.as_secs();
        format!("nothing has been routed for {seconds} s: start the gateway anew")
    })
}

async fn live(State(house): State<Arc<House>>) -> Response {
    match dead(&house) {
        None => (StatusCode::OK, "alive\n").into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn ready(State(house): State<Arc<House>>) -> Response {
    let missing = missing(&house).await;
    match missing.is_empty() {
        true => (StatusCode::OK, "ready\n").into_response(),
        false => {
            let told = format!("not ready:\n- {}\n", missing.join("\n- "));
            (StatusCode::SERVICE_UNAVAILABLE, told).into_response()
        }
    }
}
