//! `/api/lines/{user}`: one line, and what is set for it, in the words that its person writes in the chat.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use mxtrunk_matrix::catalogue::Language;
use mxtrunk_signaling::commands;
use mxtrunk_signaling::line_settings::setting::{NotSet, Setting, set};
use mxtrunk_signaling::overview::{self, LineState};
use ruma::UserId;
use serde::Deserialize;
use tracing::info;

use super::House;
use super::api::Failure;

/// What can be set.
const WORDS: &str = "dnd on (or off), forward always 2002 (or busy, no-answer, unreachable; after 20 seconds; off), \
                     withhold on (or off), language en (or fr)";

#[derive(Debug, Deserialize)]
pub(super) struct Change {
    /// The words.
    set: Option<String>,
}

/// How the line stands.
pub(super) async fn show(
    State(house): State<Arc<House>>,
    Path(user): Path<String>,
) -> Result<Json<LineState>, Failure> {
    let lines = overview::lines(&house.peers).await;
    let line = lines.into_iter().find(|line| line.user == user);
    line.map(Json).ok_or_else(|| nobody(&user))
}

/// Sets one thing, as its person could. Answers how the line stands then.
pub(super) async fn change(
    State(house): State<Arc<House>>,
    Path(user): Path<String>,
    asked: Result<Query<Change>, QueryRejection>,
) -> Result<Json<LineState>, Failure> {
    let Query(Change { set: words }) = asked?;
    let directory = house.peers.directory.now();
    let id = UserId::parse(&user).map_err(|_| nobody(&user))?;
    let line = directory.line_of(&id).ok_or_else(|| nobody(&user))?;
    let setting = words.as_deref().and_then(commands::setting);
    let setting = setting.ok_or_else(|| {
        let why = format!("set has to say what is set: {WORDS}");
        Failure::new(StatusCode::BAD_REQUEST, why)
    })?;
    let made = set(&house.peers, line, &setting).await;
    made.map_err(|why| not_set(why, &setting))?;
    info!("an operator has set something for a line");
    show(State(house.clone()), Path(user)).await
}

fn nobody(user: &str) -> Failure {
    let why = format!("{user} has no line here: mxtrunk lines lists those who have");
    Failure::new(StatusCode::NOT_FOUND, why)
}

fn not_set(why: NotSet, setting: &Setting) -> Failure {
    let raw = match setting {
        Setting::Forward { to: Some(raw), .. } => raw,
        _ => "",
    };
    let status = match why {
        NotSet::NotKept => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    // What is said to the person holds for whoever acts for them.
    Failure::new(status, commands::refusal(why, raw, Language::English))
}
