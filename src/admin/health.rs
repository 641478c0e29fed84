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

use super::{House, Route, socket};
use crate::config::Config;

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

/// After so long without a beat of the router nothing is routed any more; it beats every 10 s. A media worker that carries
/// sound measures itself every second.
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
    let (calls, headroom) = (
        house.peers.ongoing.all().len(),
        house.peers.media.headroom(),
    );
    if house.admission.is_full(calls, headroom) {
        missing.push(format!(
            "with {calls} calls the gateway is full: see [media] max_calls and [load]"
        ));
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
    told_dead(house.heartbeat.last_beat(), house.workers.silent())
}

fn told_dead(router: Duration, workers: Duration) -> Option<String> {
    let (what, silent) = match (router > DEAD, workers > DEAD) {
        (true, _) => ("nothing has been routed", router),
        (false, true) => ("a media worker with calls has stood still", workers),
        (false, false) => return None,
    };
    let seconds = silent.as_secs();
    Some(format!("{what} for {seconds} s: start the gateway anew"))
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

/// What the running gateway says of its health; an error where that is not good.
pub(crate) fn ask(config: &Config, only_alive: bool) -> anyhow::Result<String> {
    let what = match only_alive {
        true => "/health/live",
        false => "/health/ready",
    };
    let (is_good, told) = socket::words(&config.admin_socket(), what)?;
    let told = told.trim_end().to_owned();
    anyhow::ensure!(is_good, told);
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_or_a_media_worker_that_stands_still_for_a_minute_is_dead() {
        let after =
            |router, workers| told_dead(Duration::from_secs(router), Duration::from_secs(workers));
        assert_eq!(after(60, 60), None);
        assert!(
            after(61, 0).is_some_and(|why| why.starts_with("nothing has been routed for 61 s"))
        );
        assert!(after(0, 61).is_some_and(|why| why.starts_with("a media worker")));
    }
}
