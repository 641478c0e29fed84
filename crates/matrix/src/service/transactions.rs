//! Events of rooms, as the homeserver pushes them.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use mxtrunk_store::StoreError;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::Service;
use super::reply::{Empty, Refusal};
use crate::RoomEvent;
use crate::appservice::{DATABASE, Inner};

/// How many transactions are remembered beside the database. The homeserver has one on its way at a time.
const REMEMBERED: usize = 64;

/// Takes transactions in: one after the other, and each one once.
pub(super) struct Intake {
    inner: Arc<Inner>,
    events: mpsc::Sender<RoomEvent>,
    /// Held while one is taken in.
    taken: Mutex<Taken>,
}

/// What went to signaling in this run of ours.
#[derive(Debug, Default)]
struct Taken {
    /// The last transactions of which everything did.
    whole: VecDeque<String>,
    /// One that has to come again, and the event that it got to.
    begun: Option<(String, usize)>,
}

/// Why a transaction has to come again.
#[derive(Debug, thiserror::Error)]
enum IntakeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the gateway is stopping")]
    Stopping,
}

pub(super) async fn put(
    State(service): State<Arc<Service>>,
    Path(txn_id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Empty, Refusal> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(),
        _ => Refusal::not_json(),
    })?;
    let transaction: Value = serde_json::from_slice(&body).map_err(|_| Refusal::not_json())?;
    let events = match transaction {
        Value::Object(mut fields) => fields.remove("events"),
        _ => None,
    };
    let Some(Value::Array(events)) = events else {
        return Err(Refusal::bad_json());
    };
    // In a task of its own: when the homeserver loses patience and hangs up, a half taken in
    // transaction would be taken in twice.
    let inner = Arc::clone(&service.inner);
    let taken = inner.tasks.spawn(async move {
        let outcome = service.intake.take(&txn_id, events).await;
        if let Err(error) = &outcome {
            tracing::warn!(%txn_id, %error, "transaction not taken in; the homeserver will repeat it");
        }
        outcome
    });
    match taken.await {
        Ok(Ok(())) => Ok(Empty),
        Ok(Err(_)) => Err(Refusal::not_now("the events could not be taken in")),
        Err(_) => Err(Refusal::not_now("taking the events in failed")),
    }
}

/// What tells a transaction from others. Its id alone does not: Synapse on SQLite counts from 1 again whenever it is
/// started, while a repeated transaction always ends with the event that it ended with before.
fn key(txn_id: &str, events: &[Value]) -> String {
    let last = events.last().and_then(|event| event["event_id"].as_str());
    match last {
        Some(event_id) => format!("{txn_id} {event_id}"),
        None => txn_id.to_owned(),
    }
}

impl Intake {
    pub(super) fn new(inner: Arc<Inner>, events: mpsc::Sender<RoomEvent>) -> Self {
        Intake {
            inner,
            events,
            taken: Mutex::default(),
        }
    }

    /// Gives the events of a transaction to signaling, and marks it as seen only then: a gateway that
    /// is killed in between gets it again.
    async fn take(&self, txn_id: &str, events: Vec<Value>) -> Result<(), IntakeError> {
        let mut taken = self.taken.lock().await;
        let key = &key(txn_id, &events);
        if taken.whole.contains(key) || self.is_seen(key).await {
            self.inner.counters.repeated_transactions.add_one();
            return Ok(());
        }
        let begun = taken.begun.take().filter(|(begun, _)| begun == key);
        let refused = begun.map(|(_, position)| position);
        for (position, event) in events.iter().enumerate().skip(refused.unwrap_or(0)) {
            // Should it have to come again, then from here on.
            taken.begun = Some((key.clone(), position));
            match self.inner.take_in(event).await {
                Ok(Some(event)) => self.queue(event).await?,
                Ok(None) => {}
                // Nothing else comes before this one is done with: calls go before what a database keeps.
                Err(error) if refused == Some(position) => tracing::warn!(
                    %txn_id, position, %error,
                    "the database has refused this event twice: it is passed over"
                ),
                Err(error) => return Err(error.into()),
            }
        }
        taken.begun = None;
        taken.whole.push_back(key.clone());
        if taken.whole.len() > REMEMBERED {
            taken.whole.pop_front();
        }
        self.mark_seen(key).await;
        Ok(())
    }

    /// Whether a run of ours took it in. A database that does not say so makes no difference to calls.
    async fn is_seen(&self, key: &str) -> bool {
        let seen = timeout(DATABASE, self.inner.store.is_transaction_seen(key)).await;
        matches!(seen, Ok(Ok(true)))
    }

    /// The homeserver repeats only what we did not confirm, so this matters where both happen: the confirmation is lost,
    /// and we are started anew. It is no reason to be deaf to all that follows while a disk is full.
    async fn mark_seen(&self, key: &str) {
        let marked = timeout(DATABASE, self.inner.store.mark_transaction_seen(key));
        match marked.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                transaction = key, %error,
                "a transaction of the homeserver could not be marked as taken in: see that the database can be written to"
            ),
            Err(_) => tracing::warn!(
                transaction = key,
                "the database is slow: a transaction of the homeserver was not marked as taken in"
            ),
        }
    }

    /// Waits while the queue is full: that is what slows the homeserver down.
    async fn queue(&self, event: RoomEvent) -> Result<(), IntakeError> {
        tokio::select! {
            sent = self.events.send(event) => sent.map_err(|_| IntakeError::Stopping),
            () = self.inner.stop.cancelled() => Err(IntakeError::Stopping),
        }
    }
}
