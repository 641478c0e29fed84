//! Call rooms as they should be: calls allowed for both, bridge info, a place in the person's telephony space.

use std::sync::Arc;
use std::time::Duration;

use mxtrunk_store::Room;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use crate::appservice::Inner;
use crate::homeserver::HomeserverError;
use crate::namespace::Namespace;
use crate::resting::Resting;
use crate::rooms::RoomError;

/// How many rooms are asked for at once.
const BATCH: u32 = 20;

/// While the homeserver is away; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// In a child of a space: whose room it is, so that a store which has lost its memory finds it again.
pub(crate) const VIRTUAL_USER: &str = "org.mxtrunk.virtual_user";

/// The history stands first in the space.
pub(crate) const ORDER_OF_HISTORY: &str = "0";

/// The event that Element's voice button asks the power level of.
const CALL_MEMBER: &str = "org.matrix.msc3401.call.member";

/// What somebody writes, and what only looks like it.
const MESSAGES: [&str; 2] = ["m.room.message", "m.sticker"];

/// The level of whoever has nothing to set in a room is 0: at this one they only read.
const MODERATORS: u8 = 50;

/// Furnishes rooms until the gateway stops.
pub(crate) async fn keep(inner: Arc<Inner>) {
    let mut resting = Resting::default();
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = tokio::select! {
            outcome = furnish_all(&inner, &mut resting) => outcome,
            () = inner.stop.cancelled() => return,
        };
        let again = match outcome {
            Ok(()) => {
                pause = FIRST_PAUSE;
                resting.next()
            }
            Err(error) => {
                warn!(%error, retry_s = pause.as_secs(), "call rooms do not stand in their spaces yet");
                let again = Instant::now() + pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                Some(again)
            }
        };
        tokio::select! {
            () = inner.homes.unfurnished.notified() => {}
            () = until(again) => {}
            () = inner.stop.cancelled() => return,
        }
    }
}

pub(crate) async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Furnishes all rooms but those that rest: a room that is sick shall not keep the others out of their spaces.
async fn furnish_all(inner: &Inner, resting: &mut Resting) -> Result<(), RoomError> {
    if inner.homes.residents.borrow().is_empty() {
        return Ok(());
    }
    loop {
        let now = Instant::now();
        // Else those that rest would take the others' places.
        let at_rest = u32::try_from(resting.resting(now).count()).unwrap_or(u32::MAX);
        let mut rooms = inner
            .store
            .rooms_outside(BATCH.saturating_add(at_rest))
            .await?;
        // Their turn comes with the join.
        rooms.retain(|(room, _)| !inner.homes.is_being_joined(&room.room_id));
        rooms.retain(|(room, _)| !resting.rests(&room.room_id, now));
        if rooms.is_empty() {
            // Those that are due and not here were left, or their home is looked at anew.
            resting.forget_due(now);
            return Ok(());
        }
        for (room, space) in rooms {
            inner.homes.let_calls_by().await;
            match inner.furnish(&room, &space).await {
                Err(RoomError::Homeserver(error)) if !error.is_away() => {
                    warn!(%error, "a call room does not stand in its space yet");
                    debug!(room = %room.room_id, "which");
                    resting.failed(&room.room_id, Instant::now());
                }
                outcome => {
                    outcome?;
                    inner.store.mark_in_space(&room.room_id).await?;
                    resting.is_well(&room.room_id);
                }
            }
        }
    }
}

impl Inner {
    /// Does all that can be done; what the homeserver refuses (a room that we have not joined yet, or have no say in)
    /// stays as it is.
    async fn furnish(&self, room: &Room, space: &str) -> Result<(), RoomError> {
        let Some((room, space, virtual_user)) = parsed(room, space) else {
            return Ok(());
        };
        let number = self.namespace.number_of(&virtual_user).unwrap_or_default();
        passing(self.settle_levels(&room, &virtual_user).await)?;
        let info = self.bridge_info(&virtual_user, &number);
        let (homeserver, as_user) = (&self.homeserver, Some(&*virtual_user));
        let key = bridge_key(&number);
        let set = homeserver.set_state(&room, as_user, "uk.half-shot.bridge", &key, &info);
        passing(set.await)?;
        let parent = parent(&self.namespace);
        let set = homeserver.set_state(&room, as_user, "m.space.parent", space.as_str(), &parent);
        passing(set.await)?;
        let mut child = child(&self.namespace, &order_of(&number));
        child[VIRTUAL_USER] = json!(virtual_user);
        let set = homeserver.set_state(&space, None, "m.space.child", room.as_str(), &child);
        passing(set.await)?;
        debug!(%room, %space, "a call room stands in its space");
        Ok(())
    }

    /// What people may do in a call room.
    async fn settle_levels(&self, room: &RoomId, as_user: &UserId) -> Result<(), HomeserverError> {
        let levels = self.homeserver.power_levels(room, as_user).await?;
        let before = levels.unwrap_or_else(|| json!({}));
        let levels = levels_of_calls(before.clone(), self.lets_people_write);
        if levels == before {
            return Ok(());
        }
        let homeserver = &self.homeserver;
        homeserver
            .set_state(room, Some(as_user), "m.room.power_levels", "", &levels)
            .await
    }

    /// What Element shows in a room's settings of the bridge that it leads to (MSC2346).
    pub(crate) fn bridge_info(&self, virtual_user: &UserId, number: &str) -> Value {
        let mut protocol = json!({ "id": "tel", "displayname": "Telephone" });
        if let Some(picture) = self.pictures.telephone() {
            protocol["avatar_url"] = json!(picture);
        }
        json!({
            "bridgebot": self.namespace.service_account(),
            "creator": virtual_user,
            "protocol": protocol,
            "channel": { "id": number, "displayname": number },
            "com.beeper.room_type": "dm",
        })
    }

    /// A room of the person's has a new place, or none yet.
    pub(crate) fn wants_furnishing(&self) {
        self.homes.unfurnished.notify_one();
    }
}

/// Element takes its voice button away from whoever may not send that event. A message in a call room reaches no telephone: where
/// people are not to write them, Element says so in the place of its text field. Who has made a room is its master, and may all.
fn levels_of_calls(mut levels: Value, lets_people_write: bool) -> Value {
    levels["events"][CALL_MEMBER] = json!(0);
    for message in MESSAGES {
        match (lets_people_write, levels["events"].get(message)) {
            (false, _) => levels["events"][message] = json!(MODERATORS),
            (true, Some(_)) => levels["events"][message] = json!(0),
            (true, None) => {}
        }
    }
    levels
}

fn parsed(room: &Room, space: &str) -> Option<(OwnedRoomId, OwnedRoomId, OwnedUserId)> {
    Some((
        RoomId::parse(&room.room_id).ok()?,
        RoomId::parse(space).ok()?,
        UserId::parse(&room.virtual_user).ok()?,
    ))
}

/// A refusal is no trouble that passes.
fn passing(outcome: Result<(), HomeserverError>) -> Result<(), HomeserverError> {
    match outcome {
        Err(error @ HomeserverError::Refused { .. }) => {
            debug!(%error, "a call room could not be furnished as a whole");
            Ok(())
        }
        other => other,
    }
}

/// `m.space.child`, with its place among the others.
pub(crate) fn child(namespace: &Namespace, order: &str) -> Value {
    json!({ "via": [namespace.server_name()], "order": order })
}

/// `m.space.parent`.
pub(crate) fn parent(namespace: &Namespace) -> Value {
    json!({ "via": [namespace.server_name()], "canonical": true })
}

/// Behind the history, by number. An order is at most 50 characters of ASCII (specification, "Ordering of children").
fn order_of(number: &str) -> String {
    let legal = number.chars().filter(|c| c.is_ascii_graphic());
    std::iter::once('1').chain(legal).take(50).collect()
}

/// The state key of [`Inner::bridge_info`].
pub(crate) fn bridge_key(number: &str) -> String {
    format!("org.mxtrunk://tel/{number}")
}
