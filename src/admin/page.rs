//! The status page: rendered here, whole without JavaScript, and live with it. Everything that comes from outside goes
//! through maud, which escapes it.

mod view;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Extension, Form};
use maud::Markup;
use mxtrunk_signaling::trace::{Trace, ladder};
use mxtrunk_store::{CallRecord, UnixMillis};
use serde::Deserialize;

use super::access::{Peer, Shown, too_often};
use super::{House, Route, api, health};

/// How many of the last calls are looked through for failures, and how many of these are shown.
const LOOKED_THROUGH: u32 = 300;
const FAILURES: usize = 10;

/// How many registrations that do not stand are shown one by one.
const REGISTRATIONS: usize = 50;

/// What anybody may load: the form, and what it looks like.
pub(super) const OPEN: [fn() -> Route; 3] = [
    || Route {
        path: "/login",
        methods: &["get", "post"],
        answer: get(form).post(log_in),
    },
    || Route {
        path: "/style.css",
        methods: &["get"],
        answer: get(|| async { ([(CONTENT_TYPE, "text/css")], include_str!("page/style.css")) }),
    },
    || Route {
        path: "/live.js",
        methods: &["get"],
        answer: get(|| async {
            (
                [(CONTENT_TYPE, "text/javascript")],
                include_str!("page/live.js"),
            )
        }),
    },
];

pub(super) const OWN: [fn() -> Route; 3] = [
    || Route {
        path: "/",
        methods: &["get"],
        answer: get(status),
    },
    || Route {
        path: "/calls/{call}",
        methods: &["get"],
        answer: get(call),
    },
    || Route {
        path: "/logout",
        methods: &["get"],
        answer: get(log_out),
    },
];

#[derive(Deserialize)]
struct Login {
    token: String,
}

async fn form(State(house): State<Arc<House>>) -> Markup {
    view::login(house.access.has_token(), false)
}

async fn log_in(
    State(house): State<Arc<House>>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    Form(login): Form<Login>,
) -> Response {
    // Over the Unix socket there is none, and it is the gateway's own user.
    let peer = peer.map_or(Peer(Ipv4Addr::LOCALHOST.into()), |Extension(peer)| peer);
    let (access, now) = (&house.access, Instant::now());
    let from = access.visitor(peer, &headers);
    match access.judge(login.token.trim().as_bytes(), from, now) {
        Shown::Right => {}
        Shown::TooOften(wait) => return too_often(wait),
        Shown::Wrong => {
            let again = view::login(access.has_token(), true);
            return (StatusCode::UNAUTHORIZED, again).into_response();
        }
    }
    match access.log_in(now) {
        Some(cookie) => ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

async fn log_out(State(house): State<Arc<House>>, headers: HeaderMap) -> Response {
    let cookie = house.access.log_out(&headers);
    ([(SET_COOKIE, cookie)], Redirect::to("/login")).into_response()
}

async fn status(State(house): State<Arc<House>>) -> Markup {
    let phones = &house.peers.phones;
    let registrations = phones.registrations();
    let down = registrations
        .iter()
        .filter(|state| api::standing(state.standing).0 != "registered")
        .take(REGISTRATIONS);
    view::status(&view::Status {
        now: UnixMillis::now(),
        missing: health::missing(&house).await,
        calls: house.peers.ongoing.all(),
        trunks: phones.trunks(),
        registered: registrations
            .iter()
            .filter(|state| api::standing(state.standing).0 == "registered")
            .count(),
        accounts: registrations.len(),
        down: down.cloned().collect(),
        workers: house.peers.media.loads(),
        failures: failures(&house).await,
    })
}

/// The last calls that did not end as calls do, the latest first, with what they said where that is still known.
async fn failures(house: &House) -> Vec<(CallRecord, Option<String>)> {
    let records = house.peers.store.records(LOOKED_THROUGH).await;
    let failed = records.unwrap_or_default().into_iter().filter(is_failure);
    let with_ladder = |record: CallRecord| {
        let trace: Option<Trace> = house.peers.traces.find(&record.id.0);
        let ladder = trace.map(|trace| ladder(&trace, false));
        (record, ladder)
    };
    failed.take(FAILURES).map(with_ladder).collect()
}

/// What a person had a part in is no failure; sound that went one way is one, however the call ended.
fn is_failure(record: &CallRecord) -> bool {
    let by_people = [
        "hung_up",
        "cancelled",
        "answered_elsewhere",
        "busy",
        "declined",
        "no_answer",
    ];
    let Some(reason) = record.reason.as_deref() else {
        return false;
    };
    let one_way = record.answered_at.is_some() && record.audio.as_deref() != Some("both");
    !by_people.contains(&reason) || one_way
}

async fn call(State(house): State<Arc<House>>, Path(name): Path<String>) -> Response {
    match api::find(&house, &name) {
        Ok(trace) => {
            let mut all = house.peers.ongoing.all().into_iter();
            let now = all.find(|call| call.call == trace.about.call);
            view::call(&trace, now.as_ref()).into_response()
        }
        Err(failure) => (StatusCode::NOT_FOUND, view::no_call(&failure.error)).into_response(),
    }
}

#[cfg(test)]
mod tests;
