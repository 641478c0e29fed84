//! Undoing an attempt at a target that another one has replaced: it may still
//! be alive, and no call may ring or be answered twice.

use std::sync::Arc;

use rsipstack::sip::{Response, StatusCodeKind};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::core::Core;
use crate::legs::{Inbox, Input};
use crate::message;
use crate::outgoing;
use crate::snapshot::DialogSnapshot;
use crate::transact::{self, InviteSent};
use crate::trunk::Trunk;

/// Responses of the attempt that may wait.
const INBOX: usize = 8;

/// An attempt that is being undone.
pub(crate) struct Undone {
    pub(crate) cseq: u32,
    inbox: Inbox,
}

impl Undone {
    /// A response that had reached the leg before the attempt was given up.
    pub(crate) fn hear(&self, response: Response) {
        // Closed: the attempt is over already.
        let _ = self
            .inbox
            .try_send(Box::new(Input::Response(self.cseq, response)));
    }
}

/// Cancels an INVITE that had no response, as soon as the protocol lets us
/// (RFC 3261 §9.1: not before a provisional response), and ends the dialog
/// that it makes all the same.
pub(crate) fn start(
    core: &Arc<Core>,
    trunk: &Arc<Trunk>,
    dialog: DialogSnapshot,
    invite: InviteSent,
) -> Undone {
    let (inbox, responses) = mpsc::channel(INBOX);
    invite.divert(inbox.clone());
    let undone = Undone {
        cseq: invite.cseq,
        inbox,
    };
    let (own, trunk) = (core.clone(), trunk.clone());
    core.spawn_waited(async move {
        undo(&own, &trunk, dialog, &invite, responses).await;
        invite.abandon();
    });
    undone
}

async fn undo(
    core: &Arc<Core>,
    trunk: &Arc<Trunk>,
    dialog: DialogSnapshot,
    invite: &InviteSent,
    mut responses: mpsc::Receiver<Box<Input>>,
) {
    let until = Instant::now() + core.config.timers.give_up();
    let mut cancelled = false;
    while let Ok(Some(input)) = tokio::time::timeout_at(until, responses.recv()).await {
        let Input::Response(_, response) = *input else {
            break;
        };
        match response.status_code.kind() {
            StatusCodeKind::Provisional if cancelled => {}
            StatusCodeKind::Provisional => {
                cancelled = true;
                cancel(core, invite);
            }
            StatusCodeKind::Successful => {
                // The answer crossed our CANCEL.
                let mut branch = dialog;
                branch.learn_from_response(&response);
                let (request, cseq) = (&invite.request, invite.cseq);
                return outgoing::decline(core, trunk, &branch, request, cseq);
            }
            _ => return,
        }
    }
}

fn cancel(core: &Arc<Core>, invite: &InviteSent) {
    let cancel = message::cancel_of(&invite.request, None);
    let (own, path) = (core.clone(), invite.path.clone());
    core.spawn_waited(async move {
        let outcome = transact::exchange(&own, &path, cancel).await;
        tracing::trace!(?outcome, "CANCEL of an earlier attempt is through");
    });
}
