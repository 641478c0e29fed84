//! One call's events on their way into its room: in order, each sent once, with the outcome reported
//! back to the call. A slow homeserver delays this queue and nothing else.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mxtrunk_matrix::AppService;
use mxtrunk_matrix::call_events::CallEventOut;
use mxtrunk_matrix::voip_v1::SendOutcome;
use ruma::{OwnedRoomId, OwnedUserId};
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, warn};

use crate::inbox::{CallInbox, Told};
use crate::router::Router;

/// A client shows a call, and rings, until it is told that it is over: it is told again and again while the homeserver is
/// away, so often, and for so long. A ringing client gives up by itself after a minute, one that talks when it misses the
/// sound; a homeserver that is away for longer than this is another matter.
const PAUSE: Duration = Duration::from_secs(2);
const INSISTS: Duration = Duration::from_secs(600);

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
    desk: Arc<Desk>,
    tasks: TaskTracker,
}

/// What is sent, by whom, and who is told. A task runs only while there is something to send: a call has nothing to say
/// for most of its life.
#[derive(Debug)]
struct Desk {
    app: AppService,
    to: Address,
    call: Option<CallInbox>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    letters: VecDeque<Letter>,
    /// Letters taken out so far.
    count: u64,
    /// A task takes them out.
    is_served: bool,
}

impl RoomSender {
    /// A queue whose outcomes are told to `call`, where there is one. A stop of the gateway waits until it is empty.
    pub(crate) fn start(
        app: AppService,
        address: Address,
        call: Option<CallInbox>,
        router: &Router,
    ) -> Self {
        let desk = Desk {
            app,
            to: address,
            call,
            queue: Mutex::default(),
        };
        RoomSender {
            desk: Arc::new(desk),
            tasks: router.tasks().clone(),
        }
    }

    /// Queues a letter. `false`: the queue is full, and the letter is lost.
    pub(crate) fn send(&self, letter: Letter) -> bool {
        let mut queue = self.desk.queue();
        if queue.letters.len() >= QUEUE {
            warn!("a room's queue is full: the homeserver takes no events");
            return false;
        }
        queue.letters.push_back(letter);
        if !std::mem::replace(&mut queue.is_served, true) {
            let deliver = Arc::clone(&self.desk).deliver();
            self.tasks.spawn(deliver.in_current_span());
        }
        true
    }
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next letter and its number; with none left, whoever took them is done.
    fn take(&self) -> Option<(Letter, u64)> {
        let mut queue = self.queue();
        let Some(letter) = queue.letters.pop_front() else {
            queue.letters = VecDeque::new();
            queue.is_served = false;
            return None;
        };
        queue.count += 1;
        Some((letter, queue.count))
    }

    async fn deliver(self: Arc<Self>) {
        let _served = Served(&self);
        while let Some((letter, count)) = self.take() {
            let outcome = match letter {
                Letter::Sentence(text) => {
                    self.write(&text).await;
                    continue;
                }
                Letter::Call(event) => self.post(&event, count).await,
            };
            if let Some(call) = &self.call {
                call.tell(Told::Sent(outcome));
            }
        }
    }

    async fn write(&self, text: &str) {
        let Address {
            room, virtual_user, ..
        } = &self.to;
        if let Err(error) = self.app.send_notice(room, virtual_user, text).await {
            debug!(%error, "a sentence did not reach the room");
        }
    }

    async fn post(&self, event: &CallEventOut, count: u64) -> SendOutcome {
        let Address {
            room,
            virtual_user,
            transaction_prefix,
        } = &self.to;
        introduce(&self.app, event).await;
        let transaction = format!("{transaction_prefix}-{count}");
        let send = async || {
            self.app
                .send_call_event(room, virtual_user, &transaction, event)
                .await
        };
        let mut sent = send().await;
        let begun = Instant::now();
        while is_goodbye(event)
            && let Err(error) = &sent
            && error.is_transient()
            && begun.elapsed() < INSISTS
        {
            debug!(event = %event.kind(), %error, "the room is not told yet that its call is over");
            sleep(PAUSE).await;
            sent = send().await;
        }
        match sent {
            Ok(_) => SendOutcome::Sent(event.kind()),
            Err(error) => {
                warn!(event = %event.kind(), %error, "a call event did not reach the room");
                SendOutcome::Failed(event.kind())
            }
        }
    }
}

/// What ends a call for its person.
fn is_goodbye(event: &CallEventOut) -> bool {
    matches!(
        event,
        CallEventOut::Hangup { .. } | CallEventOut::Reject { .. }
    )
}

/// While this lives, somebody takes the letters. A fault in that is not the end of the queue: the next letter has it go on.
struct Served<'a>(&'a Desk);

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.queue().is_served = false;
        }
    }
}

/// Whoever an event names has to be somebody, with a name.
async fn introduce(app: &AppService, event: &CallEventOut) {
    if let CallEventOut::AssertedIdentity {
        id, display_name, ..
    } = event
        && let Some(number) = app.number_of(id)
        && let Err(error) = app.ensure_virtual_user(&number, display_name).await
    {
        debug!(%error, "a virtual user could not be made");
    }
}
