//! How each line stands, for `mxtrunk lines`.

use std::collections::HashSet;
use std::fmt::Write as _;

use mxtrunk_sip::Standing;
use mxtrunk_store::{CallRecord, Direction};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::Peers;
use crate::directory::Line;
use crate::line_settings::in_short;
use crate::trace::utc;

/// How one line stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineState {
    /// Whose it is.
    pub user: String,
    /// Its extension.
    pub extension: String,
    /// Its number from outside.
    pub did: Option<String>,
    /// Where it stands: `gateway.toml`, `csv`, …
    pub source: String,
    /// What it may call.
    pub permissions: String,
    /// How it is reached, and whether it is.
    pub reached: String,
    /// What its person has set.
    pub settings: String,
    /// Whether its person's telephony rooms are there.
    pub rooms: String,
    /// Its last call.
    pub last_call: Option<String>,
}

/// Every line, in the directory's order.
pub async fn lines(peers: &Peers) -> Vec<LineState> {
    let directory = peers.directory.now();
    let last = peers.store.last_calls().await.unwrap_or_else(|error| {
        warn!(%error, "the last calls of lines could not be looked up");
        Default::default()
    });
    let homes = peers.app.homes_ready().await.unwrap_or_else(|error| {
        warn!(%error, "it could not be looked up whose telephony rooms are there");
        Some(HashSet::new())
    });
    let rooms = |user: &str| match &homes {
        None => "none (telephony_rooms is off)",
        Some(ready) if ready.contains(user) => "ready",
        Some(_) => "being made",
    };
    let registrations = peers.phones.registrations();
    let state = |line: &Line| {
        let account = line.account.as_ref();
        let standing = account.and_then(|account| {
            let mut all = registrations.iter();
            let own = all.find(|own| own.account == account.name && own.trunk == account.trunk);
            own.map(|own| own.standing)
        });
        let reached = match (account, standing) {
            (None, _) => "by a trunk, as its number".to_owned(),
            (Some(account), standing) => format!("{} at {:?}", word(standing), account.trunk.0),
        };
        LineState {
            user: line.user.to_string(),
            extension: line.extension.to_string(),
            did: line.did.as_ref().map(ToString::to_string),
            source: line.source.clone(),
            permissions: line.permissions.to_string(),
            reached,
            settings: in_short(&peers.line_settings.of(&line.user)),
            rooms: rooms(line.user.as_str()).to_owned(),
            last_call: last.get(line.user.as_str()).map(told),
        }
    };
    directory.lines().iter().map(state).collect()
}

fn word(standing: Option<Standing>) -> String {
    match standing {
        Some(Standing::Registered) => "registered".into(),
        Some(Standing::Rejected { status }) => format!("refused ({status})"),
        Some(_) | None => "waiting to be registered".into(),
    }
}

fn told(record: &CallRecord) -> String {
    let way = match record.direction {
        Direction::Outgoing => "to",
        Direction::Incoming => "from",
    };
    let outcome = match (&record.reason, record.answered_at) {
        (None, Some(_)) => "talking",
        (None, None) => "ringing",
        (Some(reason), _) => reason,
    };
    format!(
        "{} {way} {}: {outcome}",
        utc(record.started_at.0),
        record.number
    )
}

/// The lines as a table in text.
#[must_use]
pub fn table(lines: &[LineState]) -> String {
    let mut told = String::new();
    for line in lines {
        let did = line
            .did
            .as_ref()
            .map_or_else(String::new, |did| format!(", {did}"));
        let _ = writeln!(
            told,
            "{}  {}{did}  [{}]",
            line.user, line.extension, line.source
        );
        let settings = match line.settings.as_str() {
            "" => "nothing set",
            settings => settings,
        };
        let last = line.last_call.as_deref().unwrap_or("none");
        for (key, what) in [
            ("reached", line.reached.as_str()),
            ("may call", &line.permissions),
            ("settings", settings),
            ("rooms", line.rooms.as_str()),
            ("last call", last),
        ] {
            let _ = writeln!(told, "  {key:<10}{what}");
        }
    }
    if lines.is_empty() {
        told.push_str("There is no line: add a [[line]] to gateway.toml, or set [directory].\n");
    }
    told
}
