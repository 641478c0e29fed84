//! What waits in the mailbox of each line, as its PBX tells it, in the person's history.

use std::collections::HashMap;

use mxtrunk_matrix::Resting;
use mxtrunk_sip::{Known, MessageSummary, SubscriptionStanding};
use mxtrunk_store::{Home, Mailbox};
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Behind;
use crate::Peers;

/// Where in an event's content a machine finds it.
const DATA: &str = "org.mxtrunk.mailbox";

/// What each person's history says.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    told: HashMap<String, (u32, u32)>,
    /// People whose rooms took nothing: the others do not wait for them.
    resting: Resting,
}

impl Mailboxes {
    /// Tells what has changed.
    pub(super) async fn catch_up(&mut self, peers: &Peers) -> Result<(), Behind> {
        for state in peers.phones.subscriptions() {
            let Some(Known::Messages(summary)) = state.known else {
                continue;
            };
            let directory = peers.directory.now();
            let line = directory.line_called(&state.line);
            let Some(user) = line.map(|line| line.user.clone()) else {
                continue;
            };
            let counts = counts(summary);
            // What a PBX that is away has told before may be out of date: it stays as it is told.
            let is_fresh = state.standing == SubscriptionStanding::Active;
            if !is_fresh || self.told.get(user.as_str()) == Some(&counts) {
                continue;
            }
            if self.resting.rests(user.as_str(), Instant::now()) {
                continue;
            }
            let home = peers.store.home(user.as_str()).await?;
            let Some(home) = home.filter(|home| home.settled) else {
                continue;
            };
            match tell(peers, &user, &home, counts).await {
                Err(Behind::Homeserver(error)) if !error.is_transient() => {
                    warn!(%error, "a mailbox cannot be told of in its history");
                    peers.app.doubt_home(&user).await;
                }
                Err(behind) if behind.is_of_one_room() => {
                    warn!(%behind, "a mailbox is not told of in its history yet");
                    self.resting.failed(user.as_str(), Instant::now());
                    continue;
                }
                told => told?,
            }
            self.resting.is_well(user.as_str());
            self.told.insert(user.to_string(), counts);
        }
        Ok(())
    }
}

/// New and old ones; a PBX that does not count has one that waits, or none.
fn counts(summary: MessageSummary) -> (u32, u32) {
    match summary.voice {
        Some(voice) => (voice.new, voice.old),
        None => (u32::from(summary.waiting), 0),
    }
}

async fn tell(
    peers: &Peers,
    user: &UserId,
    home: &Home,
    (new, old): (u32, u32),
) -> Result<(), Behind> {
    let Some(Ok(room)) = home.history.as_deref().map(RoomId::parse) else {
        return Ok(());
    };
    let before = peers.store.mailbox(user.as_str()).await?;
    let mut mailbox = before.unwrap_or_else(|| Mailbox {
        user: user.to_string(),
        new: 0,
        old: 0,
        revision: 0,
        event: None,
    });
    let (had, is_told) = ((mailbox.new, mailbox.old), mailbox.event.is_some());
    if had == (new, old) || (!is_told && new == 0) {
        return Ok(());
    }
    // Named by what is said, so that an attempt whose answer was lost is the same again.
    let revision = mailbox.revision + 1;
    let txn_id = |what: &str| format!("mailbox-{}-{revision}-{what}", user.localpart());
    let text = peers.app.language_of(user).voice_messages(new, old);
    let content = content(&text, (new, old), new > had.0);
    let event: Option<OwnedEventId> = mailbox
        .event
        .as_deref()
        .and_then(|id| EventId::parse(id).ok());
    let event = match event {
        // An edit would raise no unread mark.
        Some(event) if new > had.0 => {
            peers
                .app
                .withdraw(&room, &event, &txn_id("withdrawn"))
                .await?;
            None
        }
        event => event,
    };
    let stands = match event {
        Some(event) => {
            let mut edit = content.clone();
            edit["body"] = json!(format!("* {text}"));
            edit["m.new_content"] = content;
            edit["m.relates_to"] = json!({ "rel_type": "m.replace", "event_id": event });
            let app = &peers.app;
            app.write_as_service(&room, &txn_id("edit"), &edit, None)
                .await?;
            event
        }
        None => {
            let app = &peers.app;
            app.write_as_service(&room, &txn_id("new"), &content, None)
                .await?
        }
    };
    debug!(new, old, "a mailbox is told of in its history");
    mailbox.new = new;
    mailbox.old = old;
    mailbox.revision = revision;
    mailbox.event = Some(stands.to_string());
    peers.store.put_mailbox(&mailbox).await?;
    Ok(())
}

/// More than before raises an unread mark.
fn content(text: &str, (new, old): (u32, u32), is_more: bool) -> Value {
    let msgtype = match is_more {
        true => "m.text",
        false => "m.notice",
    };
    json!({ "msgtype": msgtype, "body": text, DATA: { "new": new, "old": old } })
}
