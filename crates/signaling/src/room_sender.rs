//! One call's events on their way into its room: in order, each sent once, with the outcome reported
//! back to the call. A slow homeserver delays this queue and nothing else.

use mxtrunk_matrix::AppService;
use mxtrunk_matrix::call_events::CallEventOut;
use mxtrunk_matrix::voip_v1::SendOutcome;
use ruma::{OwnedRoomId, OwnedUserId};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::inbox::{CallInbox, Told};
use crate::router::Router;

/// More than one call ever has waiting; a call that fills it talks to a homeserver that is gone.
const QUEUE: usize = 64;

/// Something to write into a room.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A call event.
    Call(CallEventOut),
    /// A sentence for the person.
    Sentence(String),
}

/// Where a call's events go, and as whom they are sent.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) room: OwnedRoomId,
    pub(crate) virtual_user: OwnedUserId,
    /// Begins each transaction id, so that a repeated request is not a repeated event.
    pub(crate) transaction_prefix: String,
}

/// The queue's near end. When it is dropped, what is queued is still sent.
#[derive(Debug, Clone)]
pub(crate) struct RoomSender {
    queue: mpsc::Sender<Letter>,
}

impl RoomSender {
    /// Starts a queue whose outcomes are told to `call`, where there is one. A stop of the gateway waits
    /// until it is empty.
    pub(crate) fn start(
        app: AppService,
        address: Address,
        call: Option<CallInbox>,
        router: &Router,
    ) -> Self {
        let (queue, letters) = mpsc::channel(QUEUE);
        router.spawn(deliver(app, address, letters, call));
        RoomSender { queue }
    }

    /// Queues a letter. `false`: the queue is full, and the letter is lost.
    pub(crate) fn send(&self, letter: Letter) -> bool {
        let queued = self.queue.try_send(letter).is_ok();
        if !queued {
            warn!("a room's queue is full: the homeserver takes no events");
        }
        queued
    }
}

async fn deliver(
    app: AppService,
    to: Address,
    mut letters: mpsc::Receiver<Letter>,
    call: Option<CallInbox>,
) {
    let mut count: u64 = 0;
    while let Some(letter) = letters.recv().await {
        count += 1;
        let transaction = format!("{}-{count}", to.transaction_prefix);
        match letter {
            Letter::Sentence(text) => {
                if let Err(error) = app.send_notice(&to.room, &to.virtual_user, &text).await {
                    debug!(%error, "a sentence did not reach the room");
                }
            }
            Letter::Call(event) => {
                let sent = app
                    .send_call_event(&to.room, &to.virtual_user, &transaction, &event)
                    .await;
                let outcome = match sent {
                    Ok(_) => SendOutcome::Sent(event.kind()),
                    Err(error) => {
                        warn!(event = %event.kind(), %error, "a call event did not reach the room");
                        SendOutcome::Failed(event.kind())
                    }
                };
                if let Some(call) = &call {
                    call.tell(Told::Sent(outcome));
                }
            }
        }
    }
}
