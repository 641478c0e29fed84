//! The history that each person with a line reads in Element: one notice for each call, edited while it lives; a missed
//! call stands as a message of its own, which raises an unread mark. It is written from the call records, behind the
//! calls: what the homeserver does not take now it takes later, and what a crash has cut off is found and completed.

mod doubts;
pub(crate) mod entry;
mod mailboxes;

use std::collections::BTreeMap;
use std::time::Duration;

use mxtrunk_matrix::HomeserverError;
use mxtrunk_store::{CallRecord, RecordId, Stage, Store, StoreError, UnixMillis, Untold};
use ruma::{EventId, OwnedEventId, RoomId, UserId};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::Peers;
use doubts::{Came, Doubts};
use entry::{Entry, Party};
use mailboxes::Mailboxes;

/// What is told of a call at all is told within this time: beyond it nobody is helped by it any more.
const KEEP: Duration = Duration::from_secs(3 * 24 * 3600);

/// The call itself goes first: its own events are on their way to the same homeserver.
const BEHIND: Duration = Duration::from_millis(250);

/// How many calls are caught up with at once, and in how many rooms at a time.
const BATCH: u32 = 100;
const ROOMS: usize = 8;

/// After trouble; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often it is looked at what waits in mailboxes.
const MAILBOXES: Duration = Duration::from_secs(2);

/// Why a history is still behind.
#[derive(Debug, thiserror::Error)]
enum Behind {
    #[error(transparent)]
    Homeserver(#[from] HomeserverError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Behind {
    /// Whether it may well pass, and is trouble with one room and not with the whole homeserver, or with us.
    fn is_of_one_room(&self) -> bool {
        matches!(self, Behind::Homeserver(error) if error.is_transient() && !error.is_away())
    }
}

/// Writes histories until `stop`.
pub async fn keep_history(peers: Peers, stop: CancellationToken) {
    let mut changes = peers.store.changes();
    let mut doubts = Doubts::of_a_start();
    let mut mailboxes = Mailboxes::default();
    let mut pause = FIRST_PAUSE;
    if let Err(error) = peers.store.forget_told(oldest()).await {
        warn!(%error, "old histories are not forgotten");
    }
    loop {
        changes.mark_unchanged();
        let outcome = tokio::select! {
            outcome = catch_up(&peers, &mut doubts) => outcome,
            () = stop.cancelled() => return,
        };
        let outcome = match outcome {
            Ok(()) => mailboxes.catch_up(&peers).await,
            behind => behind,
        };
        if let Err(error) = &outcome {
            warn!(%error, retry_s = pause.as_secs(), "call histories are behind");
        }
        let again = match outcome {
            Ok(()) => MAILBOXES,
            Err(_) => pause,
        };
        pause = match outcome {
            Ok(()) => FIRST_PAUSE,
            Err(_) => (pause * 2).min(LONGEST_PAUSE),
        };
        tokio::select! {
            changed = changes.changed(), if outcome.is_ok() => match changed {
                Ok(()) => sleep(BEHIND).await,
                Err(_) => return,
            },
            () = sleep(again) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// How many calls there are of which histories are still to tell.
///
/// # Errors
/// [`StoreError::Query`].
pub async fn count_behind(store: &Store) -> Result<u64, StoreError> {
    store.count_untold(oldest()).await
}

fn oldest() -> UnixMillis {
    let millis = i64::try_from(KEEP.as_millis()).unwrap_or(i64::MAX);
    UnixMillis(UnixMillis::now().0.saturating_sub(millis))
}

/// Writes all that is behind: in each room in order, in several rooms at once. What a room does not take now rests, and
/// the others go on; an error is one of the whole house.
async fn catch_up(peers: &Peers, doubts: &mut Doubts) -> Result<(), Behind> {
    loop {
        let resting: Vec<_> = doubts.resting.resting(Instant::now()).collect();
        let untold = peers.store.untold(oldest(), BATCH, &resting).await?;
        let is_last = untold.len() < BATCH as usize;
        let mut rooms: BTreeMap<String, Vec<Untold>> = BTreeMap::new();
        for one in untold {
            rooms.entry(one.room.clone()).or_default().push(one);
        }
        let mut writing = JoinSet::new();
        let mut trouble = None;
        for (room, calls) in rooms {
            while writing.len() >= ROOMS {
                doubts.settle(writing.join_next().await, &mut trouble);
            }
            if trouble.is_some() {
                break;
            }
            let calls: Vec<_> = calls
                .into_iter()
                .map(|call| {
                    let (in_doubt, refused) = (doubts.are_of(&call), doubts.refused(&call));
                    (call, in_doubt, refused)
                })
                .collect();
            writing.spawn(write_room(peers.clone(), room, calls));
        }
        while let Some(done) = writing.join_next().await {
            doubts.settle(Some(done), &mut trouble);
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        if is_last {
            doubts.are_looked_into();
            return Ok(());
        }
    }
}

/// Writes what is behind in one room, one call after the other.
async fn write_room(peers: Peers, room: String, calls: Vec<(Untold, bool, bool)>) -> Came {
    for (call, in_doubt, refused) in calls {
        let id = call.record.id.clone();
        let Err(behind) = write(&peers, &call, in_doubt).await else {
            continue;
        };
        let is_refusal = matches!(&behind, Behind::Homeserver(error) if !error.is_transient());
        if is_refusal && let Ok(user) = UserId::parse(&call.record.user) {
            peers.app.doubt_home(&user).await;
        }
        if is_refusal && refused {
            warn!(call = %id.0, %behind, "a call is left out of its person's history");
            let stage = Stage::of(&call.record);
            let let_go = peers.store.put_told(&id, stage, None).await;
            if let Err(error) = let_go {
                return (room, Err((id, error.into())));
            }
            continue;
        }
        return (room, Err((id, behind)));
    }
    (room, Ok(()))
}

/// Tells of one call what is not told yet. `in_doubt`: some of it may stand in the room although we do not know.
async fn write(peers: &Peers, call: &Untold, in_doubt: bool) -> Result<(), Behind> {
    let Ok(room) = RoomId::parse(&call.room) else {
        return Ok(());
    };
    let stage = Stage::of(&call.record);
    let entry = Entry::of(
        &call.record,
        &party(peers, &call.record).await?,
        language(peers, call),
    );
    let known = call.event.as_deref().and_then(|id| EventId::parse(id).ok());
    let mut stands = Stands {
        told: call.told,
        event: known,
        is_text: false,
    };
    if in_doubt {
        stands.look(peers, &room, &call.record).await?;
    }
    if stands.told >= stage && stands.is_text == entry.is_missed {
        return keep(peers, call, stage, stands.event).await;
    }
    let id = &call.record.id.0;
    let (event, txn_id) = match stands.event {
        Some(event) if entry.is_missed => {
            let txn_id = format!("history-{id}-withdrawn");
            peers.app.withdraw(&room, &event, &txn_id).await?;
            keep(peers, call, call.told, None).await?;
            (None, format!("history-{id}-missed"))
        }
        event => (event, format!("history-{id}-{}", entry::word(stage))),
    };
    let started = Some(call.record.started_at);
    let event = match event {
        None => {
            let content = entry.content();
            let app = &peers.app;
            app.write_as_service(&room, &txn_id, &content, started)
                .await?
        }
        Some(event) => {
            let content = entry.edit_of(&event);
            let app = &peers.app;
            app.write_as_service(&room, &txn_id, &content, None).await?;
            event
        }
    };
    keep(peers, call, stage, Some(event)).await
}

async fn keep(
    peers: &Peers,
    call: &Untold,
    told: Stage,
    event: Option<OwnedEventId>,
) -> Result<(), Behind> {
    let event = event.as_ref().map(|event| event.as_str());
    peers.store.put_told(&call.record.id, told, event).await?;
    Ok(())
}

/// What the room says of a call.
struct Stands {
    told: Stage,
    event: Option<OwnedEventId>,
    /// Whether it stands as a message that raises an unread mark.
    is_text: bool,
}

impl Stands {
    /// Looks into the room: an answer of the homeserver may have been lost, or we have died before we kept it.
    async fn look(
        &mut self,
        peers: &Peers,
        room: &RoomId,
        call: &CallRecord,
    ) -> Result<(), Behind> {
        let looked = peers.app.look_back(room, |event, content| {
            entry::is_long_before(content, call, KEEP) || self.takes(event, content, &call.id)
        });
        Ok(looked.await?)
    }

    /// Takes in a message, newest first; what was withdrawn has no content any more. `true`: it is the first of the call.
    fn takes(&mut self, event: OwnedEventId, content: &serde_json::Value, id: &RecordId) -> bool {
        let Some(told) = entry::stage_in(content, id) else {
            return false;
        };
        self.told = self.told.max(told);
        let is_first = content.get("m.relates_to").is_none();
        if is_first {
            self.event = Some(event);
            self.is_text = content["msgtype"] == "m.text";
        }
        is_first
    }
}

fn language(peers: &Peers, call: &Untold) -> mxtrunk_matrix::catalogue::Language {
    let user = UserId::parse(&call.record.user);
    user.map(|user| peers.app.language_of(&user))
        .unwrap_or_default()
}

/// Who was at the other end, as the virtual user is called.
pub(crate) async fn party(peers: &Peers, record: &CallRecord) -> Result<Party, StoreError> {
    let number = &record.number;
    let virtual_user = peers.app.virtual_user_of(number);
    let known = peers.store.virtual_user(virtual_user.as_str()).await?;
    let name = match known {
        Some(known) => known.display_name,
        None => peers.directory.now().display_name(number),
    };
    Ok(Party {
        name,
        link: virtual_user.matrix_to_uri().to_string(),
    })
}
