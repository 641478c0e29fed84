//! Events of rooms, as the homeserver pushes them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use mxtrunk_store::StoreError;
use serde_json::Value;
use tokio::sync::{Mutex, mpsc};

use super::Service;
use super::reply::{Empty, Refusal};
use crate::RoomEvent;
use crate::appservice::Inner;

/// Takes transactions in: one after the other, and each one once.
pub(super) struct Intake {
    inner: Arc<Inner>,
    events: mpsc::Sender<RoomEvent>,
    /// The last transaction whose events all went to signaling. Held while one is taken in.
    queued: Mutex<Option<String>>,
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

impl Intake {
    pub(super) fn new(inner: Arc<Inner>, events: mpsc::Sender<RoomEvent>) -> Self {
        Intake {
            inner,
            events,
            queued: Mutex::new(None),
        }
    }

    /// Gives the events of a transaction to signaling, and marks it as seen only then: a gateway that
    /// is killed in between gets it again.
    async fn take(&self, txn_id: &str, events: Vec<Value>) -> Result<(), IntakeError> {
        let mut queued = self.queued.lock().await;
        if self.inner.store.is_transaction_seen(txn_id).await? {
            self.inner.counters.repeated_transactions.add_one();
            return Ok(());
        }
        // It was given to signaling already when marking it failed.
        if queued.as_deref() != Some(txn_id) {
            for event in &events {
                if let Some(event) = self.inner.take_in(event).await? {
                    self.queue(event).await?;
                }
            }
            *queued = Some(txn_id.to_owned());
        }
        self.inner.store.mark_transaction_seen(txn_id).await?;
        Ok(())
    }

    /// Waits while the queue is full: that is what slows the homeserver down.
    async fn queue(&self, event: RoomEvent) -> Result<(), IntakeError> {
        tokio::select! {
            sent = self.events.send(event) => sent.map_err(|_| IntakeError::Stopping),
            () = self.inner.stop.cancelled() => Err(IntakeError::Stopping),
        }
    }
}
