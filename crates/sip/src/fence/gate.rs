//! The fence around the stack's message loop: every message passes it after
//! parsing and before the stack acts on it.

use std::sync::{Arc, OnceLock, Weak};

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response, SipMessage, StatusCode};
use rsipstack::transaction::endpoint::{EndpointInner, TransportEventInspector};
use rsipstack::transaction::key::{TransactionKey, TransactionRole};
use rsipstack::transaction::make_tag;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use tracing::{debug, trace};

use super::admission::Admission;
use super::counters::count;
use crate::address;
use crate::legs::{DialogKey, Input};
use crate::message;
use crate::snapshot::{header_tag, remote_tag_of, request_tags};
use crate::streams::Turn;
use crate::target::Hop;
use crate::trunk::Trunk;

/// The admission as the stack asks it, for every message.
pub(crate) struct Gate {
    admission: Arc<Admission>,
    /// Set once the endpoint is built, which the gate is a part of.
    endpoint: Arc<OnceLock<Weak<EndpointInner>>>,
}

/// The way back to where a message came from.
struct Back<'a> {
    connection: &'a SipConnection,
    to: &'a SipAddr,
    /// Of a stream: its own until what is answered is written.
    turn: Option<Turn>,
}

impl Gate {
    pub(crate) fn new(
        admission: Arc<Admission>,
        endpoint: Arc<OnceLock<Weak<EndpointInner>>>,
    ) -> Self {
        Self {
            admission,
            endpoint,
        }
    }

    fn note_heard(&self, connection: &SipConnection, from: &SipAddr) -> Option<Turn> {
        let peer = Hop::from(connection, from).filter(|_| connection.is_reliable())?;
        self.admission.streams.note_heard(peer)
    }

    /// Whether the stack may see a request.
    fn lets_in(&self, request: &Request, back: &mut Back<'_>) -> bool {
        let Some(hop) = Hop::from(back.connection, back.to) else {
            return false;
        };
        let is_stream = back.connection.is_reliable();
        let source = hop.address;
        let Some(trunk) = self.admission.trunk_of(hop) else {
            self.admission.turn_away(source.ip(), b"");
            return false;
        };
        // Over UDP the socket has asked this already.
        if is_stream && !self.admission.may_send(source.ip()) {
            count(&self.admission.counters.over_message_rate);
            return false;
        }
        if is_stream && self.settles(request, back) {
            return false;
        }
        if request.method != Method::Invite && !trunk.is_retired() {
            return true;
        }
        let Some((call_id, local_tag, from_tag)) = request_tags(request) else {
            return true;
        };
        let cseq = request.cseq_header().and_then(|cseq| cseq.seq());
        let arrival = (call_id, from_tag, cseq.unwrap_or_default());
        if local_tag.is_some() || self.admission.legs.has_arrived(&arrival) {
            return true;
        }
        if trunk.is_retired() && !matches!(request.method, Method::Ack | Method::Cancel) {
            // Its calls go on; beyond them it is a stranger.
            self.admission.turn_away(source.ip(), b"");
            return false;
        }
        if request.method != Method::Invite {
            return true;
        }
        let shows_nothing = request.authorization_header().is_none();
        if trunk.challenger().is_some() && shows_nothing {
            // It gets a challenge, which is no call yet.
            let may_answer = trunk.load.may_refuse();
            if !may_answer {
                count(&self.admission.counters.over_call_limit_dropped);
            }
            return may_answer;
        }
        let called = address::user_of(&address::raw_text(&request.uri));
        let priority = self.admission.priority_of(&called);
        if !self.admission.over_limit(&trunk, priority) {
            return true;
        }
        self.refuse(&trunk, request, back);
        false
    }

    /// 503 without a transaction: nothing is kept for a call that is not taken.
    fn refuse(&self, trunk: &Trunk, request: &Request, back: &mut Back<'_>) {
        self.admission.note_refused(trunk);
        if !trunk.load.may_refuse() {
            count(&self.admission.counters.over_call_limit_dropped);
            return;
        }
        count(&self.admission.counters.over_call_limit);
        debug!(trunk = %trunk.config.name, "new call over the limit refused");
        let header = Some(message::retry_later());
        self.answer(request, StatusCode::ServiceUnavailable, header, back);
    }

    /// Answers over a stream what the stack would answer from within its
    /// message loop, where a peer that does not read would stop all others:
    /// a CANCEL without a transaction, and repetitions, which a stream has no
    /// reason for.
    fn settles(&self, request: &Request, back: &mut Back<'_>) -> bool {
        let endpoint = self.endpoint.get().and_then(Weak::upgrade);
        let key = TransactionKey::from_request(request, TransactionRole::Server);
        let (Some(endpoint), Ok(key)) = (endpoint, key) else {
            return false;
        };
        let over = endpoint.finished_transactions.get(&key).is_some();
        match request.method {
            Method::Ack => false,
            Method::Cancel if endpoint.transactions.get(&key).is_none() => {
                let status = match over {
                    true => StatusCode::OK,
                    false => StatusCode::CallTransactionDoesNotExist,
                };
                self.answer(request, status, None, back);
                true
            }
            _ => over,
        }
    }

    /// Answers without a transaction.
    fn answer(
        &self,
        request: &Request,
        status: StatusCode,
        header: Option<Header>,
        back: &mut Back<'_>,
    ) {
        let Some(endpoint) = self.endpoint.get().and_then(Weak::upgrade) else {
            return;
        };
        let mut response = endpoint.make_response(request, status, None);
        for header in response.headers.iter_mut() {
            if let Header::To(to) = header
                && header_tag::<()>(Ok(to.value())).is_none()
            {
                *to = to.with_tag(make_tag());
            }
        }
        response.headers.extend(header.into_iter().collect());
        let (connection, to) = (back.connection.clone(), back.to.clone());
        let turn = back.turn.take();
        // Not awaited: a peer that does not read must not stop the others. It is
        // read no further while its turns are gone, and a stream that takes
        // nothing is closed by its time-out.
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = connection.send(response.into(), Some(&to)).await {
                debug!(%error, "answer not sent");
            }
        });
    }

    /// Whether a stream brings an answer once more whose ACK went out: the stack would send that again from within its
    /// message loop. Nothing is lost on a stream, and the leg that a 2xx belongs to acknowledges it by itself.
    fn repeats(&self, response: &Response) -> bool {
        let endpoint = self.endpoint.get().and_then(Weak::upgrade);
        let key = TransactionKey::from_response(response, TransactionRole::Client);
        let (Some(endpoint), Ok(key)) = (endpoint, key) else {
            return false;
        };
        match endpoint.finished_transactions.get(&key) {
            None => false,
            // Another fork's has another tag, and wants its own ACK (§13.2.2.4).
            Some(Some(SipMessage::Request(ack))) if response.status_code.code() < 300 => {
                let acked = header_tag(ack.to_header().map(|to| to.value()));
                acked.is_some() && acked == remote_tag_of(response)
            }
            Some(_) => response.status_code.code() >= 300,
        }
    }

    /// Each telephone that rings for an INVITE of ours has a dialog of its own, by which it may be picked up. The stack
    /// takes the second of two 180s for the first again.
    fn note_ringing(&self, response: &Response, from: Option<Hop>) -> Option<()> {
        let method = response.cseq_header().ok()?.method().ok()?;
        if !(101..200).contains(&response.status_code.code()) || method != Method::Invite {
            return None;
        }
        let key = DialogKey {
            call_id: response.call_id_header().ok()?.value().to_owned(),
            local_tag: header_tag(response.from_header().map(|from| from.value()))?,
        };
        let legs = &self.admission.legs;
        legs.note_ringing(&key, &remote_tag_of(response)?, from?);
        Some(())
    }

    /// A 200 to an INVITE whose transaction is over (a retransmission, or
    /// another branch of a fork) still wants its ACK: §13.2.2.4.
    fn pass_on_late_answer(&self, response: &Response, from: Option<Hop>) -> Option<()> {
        let cseq = response.cseq_header().ok()?;
        if !(200..300).contains(&response.status_code.code())
            || cseq.method().ok()? != Method::Invite
        {
            return None;
        }
        let endpoint = self.endpoint.get().and_then(Weak::upgrade)?;
        let key = TransactionKey::from_response(response, TransactionRole::Client).ok()?;
        if endpoint.transactions.get(&key).is_some() {
            return None;
        }
        let key = DialogKey {
            call_id: response.call_id_header().ok()?.value().to_owned(),
            local_tag: header_tag(response.from_header().map(|from| from.value()))?,
        };
        let inbox = self.admission.legs.of_dialog(&key, from?)?;
        // Full: it will be retransmitted.
        let _ = inbox.try_send(Box::new(Input::Response(
            cseq.seq().ok()?,
            response.clone(),
        )));
        Some(())
    }
}

#[async_trait::async_trait]
impl TransportEventInspector for Gate {
    async fn handle(&self, event: TransportEvent) -> Option<TransportEvent> {
        let lets_in = match &event {
            TransportEvent::Incoming(SipMessage::Request(request), connection, from) => {
                let turn = self.note_heard(connection, from);
                let mut back = Back {
                    connection,
                    to: from,
                    turn,
                };
                self.lets_in(request, &mut back)
            }
            TransportEvent::Incoming(SipMessage::Response(response), connection, from) => {
                drop(self.note_heard(connection, from));
                let hop = Hop::from(connection, from);
                self.note_ringing(response, hop);
                self.pass_on_late_answer(response, hop);
                !connection.is_reliable() || !self.repeats(response)
            }
            TransportEvent::New(connection) | TransportEvent::Closed(connection) => {
                trace!(%connection, "connection opened or closed");
                true
            }
        };
        lets_in.then_some(event)
    }
}
