//! Requests that reach us: to the leg they belong to, or answered here.

use std::sync::Arc;

use rsipstack::sip::{Header, Method, StatusCode};
use rsipstack::transaction::{Transaction, TransactionReceiver};
use rsipstack::transport::SipAddr;
use tokio::sync::mpsc::error::TrySendError;
use tracing::debug;

use crate::arrival;
use crate::body::offer_of;
use crate::core::Core;
use crate::incoming;
use crate::key::{self, Told};
use crate::leg::Leg;
use crate::legs::{DialogKey, Input};
use crate::message;
use crate::snapshot;
use crate::subscription;
use crate::target::Hop;
use crate::transact;
use crate::trunk::Trunk;

/// Takes requests off the stack until it stops.
pub(crate) async fn serve(core: Arc<Core>, mut transactions: TransactionReceiver) {
    while let Some(tx) = transactions.recv().await {
        take(&core, tx);
    }
}

fn take(core: &Arc<Core>, mut tx: Transaction) {
    let Some(hop) = tx.connection.as_ref().and_then(Hop::of) else {
        return;
    };
    let source = hop.address;
    let Some(trunk) = core.admission.trunk_of(hop) else {
        return;
    };
    // Answers go where the request came from (RFC 3581), whatever its Via
    // says: nothing else is reachable through a NAT.
    tx.destination = Some(SipAddr::new(hop.transport.into(), source.into()));
    let Some((call_id, local_tag, _)) = snapshot::request_tags(&tx.original) else {
        return transact::reply(core, tx, StatusCode::BadRequest, Vec::new());
    };
    let Some(local_tag) = local_tag else {
        return outside_of_dialogs(core, &trunk, hop, tx);
    };
    let key = DialogKey { call_id, local_tag };
    if tx.original.method == Method::Notify
        && let Some(inbox) = core.subscriptions.of_dialog(&key, hop)
    {
        return notify(core, tx, &inbox);
    }
    let inbox = core.legs.of_dialog(&key, hop);
    let Some(inbox) = inbox else {
        let status = StatusCode::CallTransactionDoesNotExist;
        return transact::reply(core, tx, status, Vec::new());
    };
    // A call is over whatever its BYE requires.
    if tx.original.method != Method::Bye
        && let Some(unknown) = arrival::unsupported(&tx.original)
    {
        return refuse_extension(core, tx, unknown);
    }
    let (refused, status) = match inbox.try_send(Box::new(Input::Request(Box::new(tx)))) {
        Ok(()) => return,
        Err(TrySendError::Full(input)) => (input, StatusCode::ServiceUnavailable),
        Err(TrySendError::Closed(input)) => (input, StatusCode::CallTransactionDoesNotExist),
    };
    if let Input::Request(tx) = *refused {
        debug!(method = %tx.original.method, %status, "leg takes no request");
        transact::reply(core, *tx, status, Vec::new());
    }
}

/// A NOTIFY in the dialog of a subscription.
fn notify(core: &Core, tx: Transaction, inbox: &subscription::Inbox) {
    let (tx, status, headers) = match inbox.try_send(Box::new(tx)) {
        Ok(()) => return,
        Err(TrySendError::Full(tx)) => {
            let later = vec![message::retry_later()];
            (tx, StatusCode::ServiceUnavailable, later)
        }
        Err(TrySendError::Closed(tx)) => (tx, StatusCode::CallTransactionDoesNotExist, Vec::new()),
    };
    transact::reply(core, *tx, status, headers);
}

fn outside_of_dialogs(core: &Arc<Core>, trunk: &Arc<Trunk>, hop: Hop, tx: Transaction) {
    if let Some(unknown) = arrival::unsupported(&tx.original) {
        return refuse_extension(core, tx, unknown);
    }
    match tx.original.method {
        Method::Invite => {
            let from = hop.address.ip();
            match core.admission.admits_caller(trunk, &tx.original, from) {
                Ok(()) => incoming::arrive(core, trunk, hop, tx),
                Err(challenge) => {
                    transact::reply(core, tx, StatusCode::Unauthorized, vec![challenge]);
                }
            }
        }
        Method::Options => transact::reply(core, tx, StatusCode::OK, capabilities()),
        // RFC 6665 §4.1.3: there is no event package here.
        Method::Subscribe => transact::reply(core, tx, StatusCode::BadEvent, Vec::new()),
        Method::Bye | Method::Update | Method::Info | Method::PRack | Method::Notify => {
            transact::reply(
                core,
                tx,
                StatusCode::CallTransactionDoesNotExist,
                Vec::new(),
            );
        }
        // There is nobody in a call who could be transferred; the method is one that we have.
        Method::Refer => transact::reply(core, tx, StatusCode::Forbidden, Vec::new()),
        Method::Message | Method::Publish | Method::Register => not_allowed(core, tx),
        // Both are the stack's; they never become a transaction.
        Method::Ack | Method::Cancel => {}
    }
}

/// RFC 3261 §8.2.2.3.
fn refuse_extension(core: &Core, tx: Transaction, unknown: String) {
    let unsupported = vec![Header::Unsupported(unknown.into())];
    transact::reply(core, tx, StatusCode::BadExtension, unsupported);
}

/// Requests in a confirmed dialog that change nothing about it.
pub(crate) fn reply_in_dialog(core: &Core, tx: Transaction) {
    match tx.original.method {
        Method::Options => transact::reply(core, tx, StatusCode::OK, capabilities()),
        Method::Info => reply_to_info(core, tx),
        Method::PRack => {
            transact::reply(
                core,
                tx,
                StatusCode::CallTransactionDoesNotExist,
                Vec::new(),
            );
        }
        Method::Notify | Method::Subscribe => {
            transact::reply(core, tx, StatusCode::BadEvent, Vec::new());
        }
        _ => not_allowed(core, tx),
    }
}

/// Requests in a dialog whose INVITE has no ACK yet.
pub(crate) fn reply_early(leg: &Leg, tx: Transaction) {
    let core = &leg.core;
    match tx.original.method {
        Method::Update => match offer_of(&tx.original) {
            Some(None) => transact::reply(core, tx, StatusCode::OK, leg.own_headers()),
            // RFC 3311 §5.2: an offer while the first is not answered.
            Some(Some(_)) => put_off(core, tx),
            None => {
                let accept = vec![message::accept()];
                transact::reply(core, tx, StatusCode::UnsupportedMediaType, accept);
            }
        },
        // Nobody is connected yet who could be transferred.
        Method::Invite | Method::Refer => put_off(core, tx),
        Method::Bye => {
            // Only a caller may end an early dialog so (§15); our INVITE goes on.
            transact::reply(
                core,
                tx,
                StatusCode::CallTransactionDoesNotExist,
                Vec::new(),
            );
        }
        _ => reply_in_dialog(core, tx),
    }
}

/// Answers an INFO. A key before the call is answered is acknowledged too, though nobody hears it: there is no sound yet.
pub(crate) fn reply_to_info(core: &Core, tx: Transaction) {
    match key::told(&tx.original) {
        Told::Nothing | Told::Key(_) => transact::reply(core, tx, StatusCode::OK, Vec::new()),
        Told::Garbled => transact::reply(core, tx, StatusCode::BadRequest, Vec::new()),
        Told::Unknown => {
            let accept = vec![key::accept()];
            transact::reply(core, tx, StatusCode::UnsupportedMediaType, accept);
        }
    }
}

fn not_allowed(core: &Core, tx: Transaction) {
    transact::reply(
        core,
        tx,
        StatusCode::MethodNotAllowed,
        vec![message::allow()],
    );
}

fn capabilities() -> Vec<Header> {
    // §11.2: what an answer to OPTIONS names.
    vec![message::allow(), message::accept(), message::supported()]
}

/// One offer at a time: the peer is to try again within 10 s (RFC 3261 §14.2, RFC 3311 §5.2).
pub(crate) fn put_off(core: &Core, tx: Transaction) {
    let again = vec![Header::RetryAfter("2".into())];
    transact::reply(core, tx, StatusCode::ServerInternalError, again);
}
