//! Where a call goes on that a line got: in the person's room, or where the line has it sent.

use mxtrunk_call::{LegEvent, Reason, Side};
use mxtrunk_matrix::{CallRoom, RoomError};
use tracing::warn;

use super::Admitted;
use crate::inbox::{CallMail, Told};
use crate::legs::{self, SipNews};
use crate::router::Router;
use crate::treatment::{self, Forward};

/// Where a call goes on.
pub(super) enum Place {
    /// It rings in this room.
    Room(CallRoom),
    /// It is forwarded.
    Elsewhere(Forward),
}

/// A room to ring in; where there is none in time, where the line has calls sent that do not reach it.
pub(super) async fn place_for(
    router: &Router,
    admitted: &Admitted,
) -> Result<Place, (Side, Reason)> {
    let reason = match room_for(router, admitted).await {
        Ok(room) => return Ok(Place::Room(room)),
        Err(reason) => reason,
    };
    let settings = router.peers.line_settings.of(&admitted.line.user);
    let forward = treatment::of_failure(&settings, Reason::Unreachable)
        .or_else(|| treatment::of_failure(&settings, reason));
    forward.map(Place::Elsewhere).ok_or((Side::Gateway, reason))
}

async fn room_for(router: &Router, admitted: &Admitted) -> Result<CallRoom, Reason> {
    let app = &router.peers.app;
    let wait = router.settings.join_wait;
    app.ensure_call_room(
        &admitted.line.user,
        &admitted.number,
        &admitted.display,
        wait,
    )
    .await
    .map_err(|error| {
        warn!(%error, "there is no room to ring the person in");
        match error {
            RoomError::NotJoined { .. } => Reason::NoAnswer,
            _ => Reason::Unreachable,
        }
    })
}

/// Waits until the caller gives up.
pub(super) async fn caller_gone(far_end: &mut CallMail) -> (Side, Reason) {
    while let Some(told) = far_end.queue.recv().await {
        match *told {
            Told::Sip(_, happened) => {
                if let SipNews::Event(LegEvent::Ended(reason)) = legs::from_sip(&happened) {
                    return (Side::Caller, reason);
                }
            }
            Told::Finish(reason) => return (Side::Gateway, reason),
            Told::Matrix(_)
            | Told::Left(_)
            | Told::Unreadable(_)
            | Told::Sent(_)
            | Told::Media(..)
            | Told::Adopt(_)
            | Told::Replaced(_)
            | Told::Yield(..) => {}
        }
    }
    (Side::Gateway, Reason::ShuttingDown)
}
