//! What a person sees of their own line, for the widget: how it stands, what is set, the last calls.

use mxtrunk_matrix::catalogue::Language;
use mxtrunk_sip::Standing;
use mxtrunk_store::{CallRecord, Direction, LineSettings, Stage, StoreError};
use serde::Serialize;

use crate::Peers;
use crate::directory::Line;
use crate::history::{entry, party};
use crate::treatment::USUAL_WHILE;

/// So many of the last calls are shown.
const CALLS: u32 = 20;

/// How a line is reached from the telephone network, and whether it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// It is registered at the PBX.
    Registered,
    /// It is not registered yet, or not any more; that is being tried.
    Registering,
    /// The PBX does not take its registration.
    Refused,
    /// The PBX sends its calls over a trunk, which is up.
    Trunk,
    /// The PBX does not answer.
    Down,
}

/// What holds for a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Calls are refused as busy.
    pub do_not_disturb: bool,
    /// Called people are not told the number.
    pub withheld: bool,
    /// Where every call goes.
    pub always: Option<String>,
    /// Where calls go while the person is in one.
    pub busy: Option<String>,
    /// Where calls go that nobody has answered …
    pub no_answer: Option<String>,
    /// … for so many seconds.
    pub no_answer_seconds: u64,
    /// Where calls go while the person cannot be reached.
    pub unreachable: Option<String>,
    /// What the person is written to in.
    pub language: Language,
}

impl Held {
    fn of(settings: LineSettings, language: Language) -> Self {
        let seconds = settings.no_answer_seconds.map(u64::from);
        Held {
            do_not_disturb: settings.do_not_disturb,
            withheld: settings.withheld,
            always: settings.forward_always,
            busy: settings.forward_busy,
            no_answer: settings.forward_no_answer,
            no_answer_seconds: seconds.unwrap_or(USUAL_WHILE.as_secs()),
            unreachable: settings.forward_unreachable,
            language,
        }
    }
}

/// One of the last calls, in the person's language where it is words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecentCall {
    /// Its record.
    pub id: String,
    /// `outgoing` or `incoming`.
    pub direction: &'static str,
    /// Nobody took it.
    pub missed: bool,
    /// `ringing`, `answered` or `ended`.
    pub state: &'static str,
    /// The other end.
    pub who: String,
    /// Where it is called back from.
    pub link: Option<String>,
    /// When it began, milliseconds since the Unix epoch.
    pub at: i64,
    /// How long, how it ended, by whom it was forwarded; may be empty.
    pub details: String,
}

/// A line, as its person sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OwnLine {
    /// The number by which colleagues call it.
    pub extension: String,
    /// The number from outside.
    pub did: Option<String>,
    /// The name that called telephones are shown.
    pub name: Option<String>,
    /// How it is reached.
    pub reached: Reached,
    /// A call of the person's is in progress.
    pub in_call: bool,
    /// What is set.
    pub settings: Held,
    /// The last calls, newest first.
    pub calls: Vec<RecentCall>,
}

/// How a line stands now.
///
/// # Errors
/// [`StoreError`].
pub async fn own_line(peers: &Peers, line: &Line) -> Result<OwnLine, StoreError> {
    let language = peers.app.language_of(&line.user);
    let mut calls = Vec::new();
    for record in peers.store.records_of(line.user.as_str(), CALLS).await? {
        calls.push(recent(peers, &record, language).await?);
    }
    Ok(OwnLine {
        extension: line.extension.to_string(),
        did: line.did.as_ref().map(ToString::to_string),
        name: line.name.clone(),
        reached: reached(peers, line),
        in_call: peers.store.is_in_call(line.user.as_str()).await?,
        settings: Held::of(peers.line_settings.of(&line.user), language),
        calls,
    })
}

fn reached(peers: &Peers, line: &Line) -> Reached {
    let Some(account) = &line.account else {
        return match peers.phones.trunks().iter().any(|trunk| trunk.is_up) {
            true => Reached::Trunk,
            false => Reached::Down,
        };
    };
    if !peers.phones.trunk_is_up(&account.trunk) {
        return Reached::Down;
    }
    let mut all = peers.phones.registrations().into_iter();
    let own = all.find(|own| own.account == account.name && own.trunk == account.trunk);
    match own.map(|own| own.standing) {
        Some(Standing::Registered) => Reached::Registered,
        Some(Standing::Rejected { .. }) => Reached::Refused,
        Some(Standing::Trying) | None => Reached::Registering,
    }
}

async fn recent(
    peers: &Peers,
    record: &CallRecord,
    language: Language,
) -> Result<RecentCall, StoreError> {
    let party = party(peers, record).await?;
    Ok(RecentCall {
        id: record.id.0.clone(),
        direction: match record.direction {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        },
        missed: entry::is_missed(record),
        state: entry::word(Stage::of(record)),
        who: entry::plain_name(record, &party, language),
        link: entry::link(record, &party).map(str::to_owned),
        at: record.started_at.0,
        details: entry::details(record, language),
    })
}
