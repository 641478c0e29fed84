//! Transactions, driven by tasks of their own: the stack's are not
//! cancel-safe, and no leg waits for the network.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rsipstack::sip::{Header, Method, Request, Response, SipMessage, StatusCode, StatusCodeKind};
use rsipstack::transaction::Transaction;
use rsipstack::transaction::endpoint::{EndpointInnerRef, MessageInspector};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::transaction::{TransactionEvent, TransactionEventSender};
use rsipstack::transport::SipAddr;
use tokio::sync::mpsc::error::SendError;
use tracing::debug;

use crate::body::sdp_of;
use crate::core::{Core, Path};
use crate::digest::Authorization;
use crate::event::ReasonHeader;
use crate::legs::{Inbox, Input};
use crate::message;
use crate::snapshot::{DialogSnapshot, header_tag};
use crate::tap::{self, Tap};
use crate::trunk::Trunk;

/// How a request of ours ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The peer's final response.
    Final(Response),
    /// Nobody answered within 64*T1.
    Silence,
    /// It could not be sent.
    Unreachable,
}

/// Sends a request other than INVITE and ACK and waits for its end.
pub(crate) async fn exchange(core: &Core, path: &Path, request: Request) -> Outcome {
    let Ok(key) = TransactionKey::from_request(&request, TransactionRole::Client) else {
        return Outcome::Unreachable;
    };
    let connection = Some(path.connection.clone());
    let mut tx = Transaction::new_client(key, request, core.endpoint.clone(), connection);
    tx.destination = Some(path.destination.clone());
    let give_up = core.config.timers.give_up();
    match tokio::time::timeout(give_up, tx.send()).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => return Outcome::Unreachable,
    }
    while let Some(message) = tx.receive().await {
        if let SipMessage::Response(response) = message
            && response.status_code.kind() != StatusCodeKind::Provisional
        {
            return outcome(response);
        }
    }
    Outcome::Silence
}

/// The stack reports its own failures as responses.
fn outcome(response: Response) -> Outcome {
    let local = is_local(&response);
    match response.status_code {
        StatusCode::RequestTimeout if local => Outcome::Silence,
        StatusCode::ServiceUnavailable if local => Outcome::Unreachable,
        _ => Outcome::Final(response),
    }
}

/// Tells the responses that the stack makes up (time-outs, failed writes)
/// from the peers', which look the same.
///
/// It also shows what passes to the tap.
pub(crate) struct Marker(pub(crate) Option<Tap>);

/// No peer's phrase: a line break cannot be received in one.
const MADE_UP: &str = "\r\n";

impl MessageInspector for Marker {
    fn before_send(&self, message: SipMessage, to: Option<&SipAddr>) -> SipMessage {
        if let Some(tap) = &self.0 {
            tap::show(tap, &message, false, to);
        }
        message
    }

    fn after_received(&self, mut message: SipMessage, from: Option<&SipAddr>) -> SipMessage {
        // Only what came from nowhere has no source.
        if let (SipMessage::Response(response), None) = (&mut message, from) {
            response.wire_reason = Some(MADE_UP.to_owned());
        }
        if let (Some(tap), Some(_)) = (&self.0, from) {
            tap::show(tap, &message, true, from);
        }
        message
    }
}

/// Whether a response was made up by the stack.
pub(crate) fn is_local(response: &Response) -> bool {
    response.wire_reason.as_deref() == Some(MADE_UP)
}

/// Phrase of a response as the peer wrote it.
pub(crate) fn phrase(response: &Response) -> String {
    match &response.wire_reason {
        Some(own) if own != MADE_UP => own.clone(),
        _ => response.status_code.text().to_owned(),
    }
}

/// Ends a dialog with BYE, answering a challenge where it has to.
pub(crate) async fn bye(
    core: &Core,
    trunk: &Trunk,
    dialog: &DialogSnapshot,
    reason: Option<&ReasonHeader>,
) -> Outcome {
    let Ok(path) = core.path_in_dialog(trunk, dialog).await else {
        return Outcome::Unreachable;
    };
    let auth = core.credentials(trunk, dialog);
    let mut authorization = Authorization::default();
    let mut cseq = dialog.local_cseq;
    loop {
        cseq += 1;
        let Some(mut bye) = core
            .sender(dialog.hop())
            .in_dialog(dialog, Method::Bye, cseq)
        else {
            return Outcome::Unreachable;
        };
        bye.headers.extend(message::reason_headers(reason));
        if let Some(auth) = &auth {
            let answers = authorization.headers(Method::Bye, &bye.uri, auth);
            bye.headers.extend(answers);
        }
        let outcome = exchange(core, &path, bye).await;
        let Outcome::Final(response) = &outcome else {
            return outcome;
        };
        let again = match (response.status_code.code(), &auth) {
            (401 | 407, Some(auth)) => authorization.take(response, auth),
            _ => false,
        };
        if !again {
            return outcome;
        }
    }
}

/// Ends a dialog that nobody waits for any more.
pub(crate) fn farewell(
    core: &Arc<Core>,
    trunk: &Arc<Trunk>,
    dialog: &DialogSnapshot,
    reason: Option<ReasonHeader>,
) {
    farewell_after(core, trunk, dialog, None, reason);
}

/// The same for a dialog whose 200 is still to be acknowledged: the ACK goes
/// first, in the same task, or the BYE might overtake it.
pub(crate) fn farewell_after(
    core: &Arc<Core>,
    trunk: &Arc<Trunk>,
    dialog: &DialogSnapshot,
    ack: Option<Request>,
    reason: Option<ReasonHeader>,
) {
    let (own, trunk, dialog) = (core.clone(), trunk.clone(), dialog.clone());
    core.spawn_waited(async move {
        if let Some(ack) = ack {
            own.acknowledge(&trunk, &dialog, ack).await;
        }
        match bye(&own, &trunk, &dialog, reason.as_ref()).await {
            Outcome::Final(response) => {
                let status = response.status_code.code();
                debug!(call_id = %dialog.call_id, status, "BYE answered");
            }
            Outcome::Silence | Outcome::Unreachable => {
                debug!(call_id = %dialog.call_id, "BYE not answered");
            }
        }
    });
}

/// An INVITE of ours under way.
#[derive(Clone)]
pub(crate) struct InviteSent {
    pub(crate) request: Request,
    pub(crate) path: Path,
    pub(crate) cseq: u32,
    key: TransactionKey,
    transaction: TransactionEventSender,
    /// Who hears of its responses.
    listener: Listener,
}

type Listener = Arc<Mutex<Inbox>>;

impl InviteSent {
    /// From now on its responses, and its end, go elsewhere.
    pub(crate) fn divert(&self, inbox: Inbox) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = inbox;
    }

    /// Forgets the transaction, with no word to the peer.
    pub(crate) fn abandon(&self) {
        let end = TransactionEvent::Terminate(self.key.clone());
        // Closed means that it is over already.
        let _ = self.transaction.send(end);
    }
}

/// Sends an INVITE; its responses, and its end, go to `inbox`.
pub(crate) fn invite(
    core: &Arc<Core>,
    path: Path,
    request: Request,
    cseq: u32,
    inbox: Inbox,
) -> Option<InviteSent> {
    let key = TransactionKey::from_request(&request, TransactionRole::Client).ok()?;
    let connection = Some(path.connection.clone());
    let endpoint = core.endpoint.clone();
    let mut tx = Transaction::new_client(key.clone(), request.clone(), endpoint, connection);
    tx.destination = Some(path.destination.clone());
    let listener = Arc::new(Mutex::new(inbox));
    let sent = InviteSent {
        request,
        path,
        cseq,
        key,
        transaction: tx.tu_sender.clone(),
        listener: listener.clone(),
    };
    let own = core.clone();
    core.spawn(async move {
        deliver(&own, tx, cseq, &listener).await;
        // A leg that is gone needs no word.
        let _ = tell(&listener, Input::RequestOver(cseq)).await;
    });
    Some(sent)
}

/// Sends a re-INVITE or UPDATE; its responses, and its end, go to `inbox`.
pub(crate) fn in_dialog(
    core: &Arc<Core>,
    trunk: &Arc<Trunk>,
    dialog: &DialogSnapshot,
    request: Request,
    cseq: u32,
    inbox: Inbox,
) {
    let (own, trunk, dialog) = (core.clone(), trunk.clone(), dialog.clone());
    core.spawn(async move {
        let listener = Mutex::new(inbox);
        if let Ok(path) = own.path_in_dialog(&trunk, &dialog).await {
            converse(&own, path, request, cseq, &listener).await;
        }
        // A leg that is gone needs no word.
        let _ = tell(&listener, Input::RequestOver(cseq)).await;
    });
}

async fn converse(core: &Core, path: Path, request: Request, cseq: u32, to: &Mutex<Inbox>) {
    let Ok(key) = TransactionKey::from_request(&request, TransactionRole::Client) else {
        return;
    };
    let connection = Some(path.connection.clone());
    let mut tx = Transaction::new_client(key, request, core.endpoint.clone(), connection);
    tx.destination = Some(path.destination);
    deliver(core, tx, cseq, to).await;
}

/// Sends what a transaction holds, and passes on what comes back.
async fn deliver(core: &Core, mut tx: Transaction, cseq: u32, to: &Mutex<Inbox>) {
    let give_up = core.config.timers.give_up();
    // A failed or blocked write is reported by the transaction, or by its end.
    let Ok(Ok(())) = tokio::time::timeout(give_up, tx.send()).await else {
        return;
    };
    while let Some(message) = tx.receive().await {
        let SipMessage::Response(response) = message else {
            continue;
        };
        if tell(to, Input::Response(cseq, response)).await.is_err() {
            return;
        }
    }
}

async fn tell(to: &Mutex<Inbox>, input: Input) -> Result<(), SendError<Box<Input>>> {
    let inbox = to.lock().unwrap_or_else(PoisonError::into_inner).clone();
    inbox.send(Box::new(input)).await
}

/// An INVITE of the peer that we answer. Dropped unanswered, it is refused
/// with 500.
pub(crate) struct InviteReceived {
    pub(crate) request: Request,
    pub(crate) cseq: u32,
    endpoint: EndpointInnerRef,
    transaction: TransactionEventSender,
    local_tag: String,
}

impl InviteReceived {
    /// Takes over the transaction: 100 goes out at once, ACK, CANCEL and the
    /// end of it go to `inbox`.
    pub(crate) fn drive(
        core: &Core,
        mut tx: Transaction,
        cseq: u32,
        local_tag: String,
        inbox: Inbox,
    ) -> Self {
        let received = Self {
            request: tx.original.clone(),
            cseq,
            endpoint: tx.endpoint_inner.clone(),
            transaction: tx.tu_sender.clone(),
            local_tag,
        };
        core.spawn(async move {
            // What cannot be sent is seen at the end of the transaction.
            let _ = tx.send_trying().await;
            while let Some(message) = tx.receive().await {
                let input = match message {
                    SipMessage::Request(request) if request.method == Method::Ack => {
                        Input::Ack(cseq, sdp_of(&request.headers, &request.body))
                    }
                    SipMessage::Request(request) if request.method == Method::Cancel => {
                        Input::Cancel(cseq, request)
                    }
                    SipMessage::Request(_) | SipMessage::Response(_) => continue,
                };
                // Even without a leg the transaction runs to its end, so that
                // its last response is repeated and its ACK absorbed.
                let _ = inbox.send(Box::new(input)).await;
            }
            let _ = inbox.send(Box::new(Input::Unacknowledged(cseq))).await;
        });
        received
    }

    /// Sends a response; after a final one the stack ignores all others.
    pub(crate) fn respond(&self, status: StatusCode, headers: Vec<Header>, sdp: Option<String>) {
        let body = sdp.map(String::into_bytes);
        let with_body = body.is_some();
        let tag = &self.local_tag;
        let mut response = response(&self.endpoint, &self.request, status, tag, body);
        // §12.1.1: the response that makes the dialog repeats the route.
        let route = self.request.headers.iter();
        let route = route.filter(|h| matches!(h, Header::RecordRoute(_)));
        response.headers.extend(route.cloned().collect());
        response.headers.extend(headers);
        if with_body {
            response.headers.push(message::sdp_type());
        }
        let _ = self.transaction.send(TransactionEvent::Respond(response));
    }
}

/// A response to the peer's INVITE, in the dialog by our tag.
pub(crate) fn response(
    endpoint: &EndpointInnerRef,
    request: &Request,
    status: StatusCode,
    local_tag: &str,
    body: Option<Vec<u8>>,
) -> Response {
    let mut response = endpoint.make_response(request, status, body);
    for header in response.headers.iter_mut() {
        if let Header::To(to) = header
            && header_tag::<()>(Ok(to.value())).is_none()
        {
            *to = to.with_tag(local_tag.into());
        }
    }
    response
}

impl Drop for InviteReceived {
    fn drop(&mut self) {
        self.respond(StatusCode::ServerInternalError, Vec::new(), None);
    }
}

/// Answers a request for good, in a task of its own.
pub(crate) fn reply(core: &Core, tx: Transaction, status: StatusCode, headers: Vec<Header>) {
    reply_with(core, tx, status, headers, None);
}

/// The same, and waits until it is on its way, `within` at most: what is said next must not overtake it.
pub(crate) async fn reply_first(
    mut tx: Transaction,
    status: StatusCode,
    headers: Vec<Header>,
    within: Duration,
) {
    match tokio::time::timeout(within, tx.reply_with(status, headers, None)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "reply not sent"),
        Err(_) => debug!("reply not sent: the connection takes nothing"),
    }
}

/// The same with SDP.
pub(crate) fn reply_with(
    core: &Core,
    mut tx: Transaction,
    status: StatusCode,
    mut headers: Vec<Header>,
    sdp: Option<String>,
) {
    let body = sdp.map(String::into_bytes);
    if body.is_some() {
        headers.push(message::sdp_type());
    }
    let Ok(place) = core
        .admission
        .streams
        .place_to_answer(tx.connection.as_ref())
    else {
        debug!("reply dropped: too many wait already for a peer that does not read");
        return;
    };
    core.spawn(async move {
        if let Err(error) = tx.reply_with(status, headers, body).await {
            debug!(%error, "reply not sent");
            return;
        }
        drop(place);
        if tx.original.method == Method::Invite {
            // Until its ACK came or was given up on (§17.2.1).
            while tx.receive().await.is_some() {}
        }
    });
}
