//! `/api/…`: what the gateway's own commands and an operator's tools ask, as JSON.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use mxtrunk_signaling::overview::{self, LineState};
use mxtrunk_signaling::trace::{About, Trace, ladder};
use mxtrunk_signaling::{NotEnded, OngoingCall};
use mxtrunk_sip::Standing;
use mxtrunk_store::{UnixMillis, Wanted};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{info, warn};

use super::{House, Route, line, metrics};
use crate::records::{PAGE, Record, Records};
use crate::reload::{Report, Wish};

/// Where the configuration is read anew.
pub(super) const RELOAD: &str = "/api/reload";

/// The description of all of this.
pub(super) const OPENAPI: &str = include_str!("../../docs/openapi.json");

/// The longest drain, seconds.
const LONGEST_DRAIN: u64 = 86_400;

pub(super) const ROUTES: [fn() -> Route; 12] = [
    || Route {
        path: "/metrics",
        methods: &["get"],
        answer: get(metrics::show),
    },
    || Route {
        path: "/api/openapi.json",
        methods: &["get"],
        answer: get(|| async { ([(CONTENT_TYPE, "application/json")], OPENAPI) }),
    },
    || Route {
        path: "/api/calls",
        methods: &["get"],
        answer: get(live_calls),
    },
    || Route {
        path: "/api/calls/{call}",
        methods: &["get", "delete"],
        answer: get(call).delete(hang_up),
    },
    || Route {
        path: "/api/traces",
        methods: &["get"],
        answer: get(traces),
    },
    || Route {
        path: "/api/drain",
        methods: &["get", "post"],
        answer: get(drain_state).post(drain),
    },
    || Route {
        path: RELOAD,
        methods: &["post"],
        answer: post(reload),
    },
    || Route {
        path: "/api/lines",
        methods: &["get"],
        answer: get(lines),
    },
    || Route {
        path: "/api/lines/{user}",
        methods: &["get", "post"],
        answer: get(line::show).post(line::change),
    },
    || Route {
        path: "/api/trunks",
        methods: &["get"],
        answer: get(trunks),
    },
    || Route {
        path: "/api/records",
        methods: &["get"],
        answer: get(records),
    },
    || Route {
        path: "/api/registrations",
        methods: &["get"],
        answer: get(registrations),
    },
];

/// Why a request was not met.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    #[serde(skip)]
    status: u16,
    /// In words.
    pub(crate) error: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Failure {
            status: status.as_u16(),
            error: error.into(),
        }
    }
}

/// One that stands there twice, for instance.
impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self)).into_response()
    }
}

/// The calls there are now.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LiveCalls {
    pub(crate) calls: Vec<OngoingCall>,
}

/// The last calls.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Traces {
    pub(crate) traces: Vec<About>,
}

/// One call, by what it has said.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// How it stands, while there is such a call.
    pub(crate) now: Option<OngoingCall>,
    pub(crate) trace: Trace,
    /// That as text.
    pub(crate) ladder: String,
}

/// All lines.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LinesAnswer {
    pub(crate) lines: Vec<LineState>,
}

pub(super) async fn not_found(uri: axum::http::Uri) -> Failure {
    let path = uri.path();
    Failure::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {path}: docs/openapi.json says what there is"),
    )
}

pub(super) async fn wrong_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this cannot be done there: docs/openapi.json says what can",
    )
}

async fn live_calls(State(house): State<Arc<House>>) -> Json<LiveCalls> {
    let calls = house.peers.ongoing.all();
    Json(LiveCalls { calls })
}

async fn traces(State(house): State<Arc<House>>) -> Json<Traces> {
    let traces = house.peers.traces.recent();
    Json(Traces { traces })
}

async fn call(
    State(house): State<Arc<House>>,
    Path(name): Path<String>,
) -> Result<Json<Detail>, Failure> {
    let trace = find(&house, &name)?;
    let mut now = house.peers.ongoing.all().into_iter();
    let now = now.find(|call| call.call == trace.about.call);
    let ladder = ladder(&trace, false);
    Ok(Json(Detail { now, trace, ladder }))
}

/// A call of the last 1,000.
pub(super) fn find(house: &House, name: &str) -> Result<Trace, Failure> {
    let found = house.peers.traces.find(name);
    found.ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            format!("the gateway knows no call {name}: it keeps the last 1,000 since its start; mxtrunk trace lists them"),
        )
    })
}

async fn hang_up(State(house): State<Arc<House>>, Path(name): Path<String>) -> Response {
    match house.peers.ongoing.hang_up(&name) {
        Ok(call) => {
            info!(%call, "an operator ends the call");
            (StatusCode::ACCEPTED, Json(json!({ "call": call }))).into_response()
        }
        Err(error @ NotEnded::Unknown(_)) => {
            Failure::new(StatusCode::NOT_FOUND, error.to_string()).into_response()
        }
        Err(error @ NotEnded::Ambiguous(..)) => {
            Failure::new(StatusCode::CONFLICT, error.to_string()).into_response()
        }
    }
}

#[derive(Debug, Deserialize)]
struct DrainQuery {
    /// How long calls may go on, seconds.
    seconds: Option<String>,
}

async fn drain(
    State(house): State<Arc<House>>,
    asked: Result<Query<DrainQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(asked) = asked?;
    let seconds = match asked.seconds {
        None => house.drain_seconds,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| *seconds <= LONGEST_DRAIN)
            .ok_or_else(|| {
                Failure::new(
                    StatusCode::BAD_REQUEST,
                    format!("seconds has to be a whole number up to {LONGEST_DRAIN}"),
                )
            })?,
    };
    house.drain.begin(Duration::from_secs(seconds));
    Ok((StatusCode::ACCEPTED, Json(drain_told(&house))).into_response())
}

async fn drain_state(State(house): State<Arc<House>>) -> Json<serde_json::Value> {
    Json(drain_told(&house))
}

fn drain_told(house: &House) -> serde_json::Value {
    let until = house.drain.until();
    let left = until.map(|at| {
        at.saturating_duration_since(tokio::time::Instant::now())
            .as_secs()
    });
    json!({
        "draining": until.is_some(),
        "calls": house.peers.ongoing.all().len(),
        "seconds_left": left,
    })
}

#[derive(Debug, Deserialize)]
struct ReloadQuery {
    check: Option<String>,
    lines_may_go: Option<String>,
}

/// No word is a no.
fn yes_or_no(key: &str, word: Option<&str>) -> Result<bool, Failure> {
    match word {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => {
            let why = format!("{key} has to be true or false");
            Err(Failure::new(StatusCode::BAD_REQUEST, why))
        }
    }
}

async fn reload(
    State(house): State<Arc<House>>,
    asked: Result<Query<ReloadQuery>, QueryRejection>,
) -> Result<Json<Report>, Failure> {
    let asked = asked?.0;
    let wish = Wish {
        only_check: yes_or_no("check", asked.check.as_deref())?,
        lines_may_go: yes_or_no("lines_may_go", asked.lines_may_go.as_deref())?,
    };
    match house.reload.ask(wish).await {
        Some(Ok(report)) => Ok(Json(report)),
        Some(Err(problems)) => {
            let why = format!(
                "everything stays as it was, since what is new cannot be used:\n{}",
                problems.join("\n")
            );
            Err(Failure::new(StatusCode::CONFLICT, why))
        }
        None => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "others ask for it now, or the gateway stops: try again",
        )),
    }
}

async fn lines(State(house): State<Arc<House>>) -> Json<LinesAnswer> {
    let lines = overview::lines(&house.peers).await;
    Json(LinesAnswer { lines })
}

async fn trunks(State(house): State<Arc<House>>) -> Json<serde_json::Value> {
    let trunks = house.peers.phones.trunks();
    let trunks: Vec<_> = trunks
        .iter()
        .map(|trunk| {
            let targets: Vec<_> = trunk
                .targets
                .iter()
                .map(|target| json!({ "address": target.address.to_string(), "up": target.is_up }))
                .collect();
            json!({
                "trunk": trunk.trunk.0,
                "up": trunk.is_up,
                "calls": trunk.calls,
                "max_calls": trunk.max_calls,
                "targets": targets,
            })
        })
        .collect();
    Json(json!({ "trunks": trunks }))
}

async fn registrations(State(house): State<Arc<House>>) -> Json<serde_json::Value> {
    let states = house.peers.phones.registrations();
    let states: Vec<_> = states
        .iter()
        .map(|state| {
            let (word, status) = standing(state.standing);
            json!({
                "trunk": state.trunk.0,
                "account": state.account.0,
                "state": word,
                "sip_status": status,
            })
        })
        .collect();
    Json(json!({ "registrations": states }))
}

#[derive(Debug, Deserialize)]
struct RecordsQuery {
    after: Option<String>,
    since_ms: Option<String>,
    until_ms: Option<String>,
    limit: Option<String>,
}

async fn records(
    State(house): State<Arc<House>>,
    asked: Result<Query<RecordsQuery>, QueryRejection>,
) -> Result<Json<Records>, Failure> {
    let Query(asked) = asked?;
    let number = |name: &str, text: Option<String>, default: i64, most: i64| match text {
        None => Ok(default),
        Some(text) => {
            let value = text.parse().ok().filter(|value| (0..=most).contains(value));
            value.ok_or_else(|| {
                let why = format!("{name} has to be a whole number from 0 to {most}");
                Failure::new(StatusCode::BAD_REQUEST, why)
            })
        }
    };
    let limit = number("limit", asked.limit, PAGE.into(), PAGE.into())?;
    let limit = u32::try_from(limit).unwrap_or(PAGE).max(1);
    let wanted = Wanted {
        after: number("after", asked.after, 0, i64::MAX)?,
        since: UnixMillis(number("since_ms", asked.since_ms, 0, i64::MAX)?),
        until: UnixMillis(number("until_ms", asked.until_ms, i64::MAX, i64::MAX)?),
        limit,
    };
    let found = house.peers.store.records_page(&wanted).await;
    let found = found.map_err(|error| {
        warn!(%error, "records could not be read");
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the database does not answer: see the log",
        )
    })?;
    let next = found.last().map(|(position, _)| *position);
    let next = next.filter(|_| found.len() == limit as usize);
    let records = found.into_iter().map(|(_, record)| Record::from(record));
    Ok(Json(Records {
        records: records.collect(),
        next,
    }))
}

/// In one word, and what the PBX answered.
pub(super) fn standing(standing: Standing) -> (&'static str, Option<u16>) {
    match standing {
        Standing::Registered => ("registered", None),
        Standing::Rejected { status } => ("rejected", Some(status)),
        _ => ("waiting", None),
    }
}
