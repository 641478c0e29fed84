//! A leg with a dialog: new offers, requests in between, and its end.

use std::time::Duration;

use rsipstack::sip::{Header, HeadersExt, Method, Request, Response, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use crate::event::{Command, EndCause, Happened, ReasonHeader};
use crate::inbound;
use crate::leg::{Leg, sdp_of, sleep_until};
use crate::legs::Input;
use crate::message;
use crate::outgoing;
use crate::session::{self, Negotiated, TooSmall};
use crate::snapshot::{self, DialogSnapshot};
use crate::transact::{self, InviteReceived, InviteSent};
use crate::trunk::InDialog;

/// The dialog phase of a leg.
pub(crate) struct Established {
    leg: Leg,
    dialog: DialogSnapshot,
    /// Our own INVITE and its ACK; a peer that missed the ACK repeats its 200.
    sent: Option<(InviteSent, Option<Request>)>,
    /// CSeq number of the peer's last request.
    remote_cseq: Option<u32>,
    /// The peer's offer that waits for our side.
    offer: Option<Offer>,
    /// A re-INVITE whose 200 waits for its ACK.
    unacknowledged: Option<Accepted>,
    /// The session timer's interval, and when it runs out.
    watch: Option<(Duration, Instant)>,
    _in_dialog: InDialog,
}

/// A new offer of the peer.
struct Offer {
    carrier: Carrier,
    until: Instant,
}

/// A re-INVITE that got its 200.
struct Accepted {
    cseq: u32,
    /// When its ACK is given up on.
    until: Instant,
}

/// What the offer came in, and is answered through.
enum Carrier {
    Invite(Box<InviteReceived>),
    Update(Box<Transaction>),
}

impl Offer {
    /// Whether it came in the INVITE with this CSeq number.
    fn is_of(&self, cseq: u32) -> bool {
        matches!(&self.carrier, Carrier::Invite(received) if received.cseq == cseq)
    }
}

/// Whether the dialog goes on.
enum Next {
    Wait,
    Over,
}

impl Established {
    /// The dialog of an outgoing leg.
    pub(crate) fn outgoing(
        leg: Leg,
        dialog: DialogSnapshot,
        invite: InviteSent,
        ack: Option<Request>,
        watch: Option<Duration>,
    ) -> Self {
        Self {
            sent: Some((invite, ack)),
            ..Self::incoming(leg, dialog, None, watch)
        }
    }

    /// The dialog of an incoming leg.
    pub(crate) fn incoming(
        leg: Leg,
        dialog: DialogSnapshot,
        remote_cseq: Option<u32>,
        watch: Option<Duration>,
    ) -> Self {
        Self {
            _in_dialog: leg.trunk.begin_dialog(),
            leg,
            dialog,
            sent: None,
            remote_cseq,
            offer: None,
            unacknowledged: None,
            watch: watch.map(|interval| (interval, Instant::now() + interval)),
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            let offer_until = self.offer.as_ref().map(|offer| offer.until);
            let ack_until = self.unacknowledged.as_ref().map(|accepted| accepted.until);
            let expires = self.watch.map(|(_, at)| at);
            let next = tokio::select! {
                input = self.leg.inbox.recv() => match input {
                    Some(input) => self.on_input(input).await,
                    None => Next::Over,
                },
                () = sleep_until(offer_until) => {
                    self.refuse_offer(StatusCode::NotAcceptableHere, Vec::new());
                    Next::Wait
                }
                () = sleep_until(ack_until) => self.end(EndCause::NoAck, None).await,
                () = sleep_until(expires) => self.end(EndCause::Expired, session_expired()).await,
            };
            if matches!(next, Next::Over) {
                return self.leg.close();
            }
        }
    }

    async fn on_input(&mut self, input: Input) -> Next {
        match input {
            Input::Command(command) => self.on_command(command),
            Input::Request(tx) => self.on_request(*tx).await,
            Input::Response(_, response) => {
                self.on_late_answer(&response);
                Next::Wait
            }
            Input::Ack(cseq) => {
                self.unacknowledged
                    .take_if(|accepted| accepted.cseq == cseq);
                Next::Wait
            }
            Input::Cancel(cseq, _) => {
                if self.offer.as_ref().is_some_and(|offer| offer.is_of(cseq)) {
                    self.refuse_offer(StatusCode::RequestTerminated, Vec::new());
                }
                Next::Wait
            }
            Input::Unacknowledged(cseq) => {
                let accepted = self.unacknowledged.as_ref();
                match accepted.is_some_and(|accepted| accepted.cseq == cseq) {
                    true => self.end(EndCause::NoAck, None).await,
                    false => Next::Wait,
                }
            }
            Input::InviteOver(_) => Next::Wait,
            Input::PeerSilent => {
                self.leg.tell(Happened::PeerSilent).await;
                Next::Wait
            }
        }
    }

    fn on_command(&mut self, command: Command) -> Next {
        match command {
            Command::HangUp { reason } => {
                self.leg.place.settle();
                self.bye(reason);
                return Next::Over;
            }
            Command::Answer { sdp } if self.offer.is_some() => self.accept_offer(sdp),
            Command::Refuse { status, reason } if self.offer.is_some() => {
                let headers = message::reason_headers(reason.as_ref());
                self.refuse_offer(message::status(status, 300..=699), headers);
            }
            other => self.leg.ignore(&other),
        }
        Next::Wait
    }

    async fn on_request(&mut self, tx: Transaction) -> Next {
        let request = &tx.original;
        let cseq = request
            .cseq_header()
            .and_then(|cseq| cseq.seq())
            .unwrap_or(0);
        let tags = snapshot::request_tags(request);
        if tags.is_none_or(|(_, _, remote)| remote != self.dialog.remote_tag) {
            transact::reply(
                &self.leg.core,
                tx,
                StatusCode::CallTransactionDoesNotExist,
                Vec::new(),
            );
            return Next::Wait;
        }
        if self.remote_cseq.is_some_and(|last| cseq <= last) {
            // §12.2.2: out of order. Retransmissions do not get this far.
            transact::reply(
                &self.leg.core,
                tx,
                StatusCode::ServerInternalError,
                Vec::new(),
            );
            return Next::Wait;
        }
        self.remote_cseq = Some(cseq);
        match request.method {
            Method::Bye => return self.on_bye(tx).await,
            Method::Invite => self.on_reinvite(tx, cseq).await,
            Method::Update => self.on_update(tx).await,
            _ => inbound::reply_in_dialog(&self.leg.core, tx),
        }
        Next::Wait
    }

    async fn on_bye(&mut self, tx: Transaction) -> Next {
        let reason = snapshot::reason_of(&tx.original);
        self.refuse_offer(StatusCode::RequestTerminated, Vec::new());
        transact::reply(&self.leg.core, tx, StatusCode::OK, Vec::new());
        let cause = EndCause::Bye;
        self.leg.tell_last(Happened::Ended { reason, cause }).await;
        Next::Over
    }

    async fn on_reinvite(&mut self, tx: Transaction, cseq: u32) {
        if self.offer.is_some() || self.unacknowledged.is_some() {
            // §14.2: one offer at a time; try again within 10 s.
            let again = vec![Header::RetryAfter("2".into())];
            transact::reply(&self.leg.core, tx, StatusCode::ServerInternalError, again);
            return;
        }
        if let Err(small) = self.negotiate(&tx.original) {
            let headers = small.headers();
            transact::reply(
                &self.leg.core,
                tx,
                StatusCode::SessionIntervalTooSmall,
                headers,
            );
            return;
        }
        let Some(sdp) = offer_of(&tx.original) else {
            let accept = vec![message::accept()];
            transact::reply(&self.leg.core, tx, StatusCode::UnsupportedMediaType, accept);
            return;
        };
        let local_tag = self.dialog.local_tag.clone();
        let inbox = self.leg.place.inbox().clone();
        let received = InviteReceived::drive(&self.leg.core, tx, cseq, local_tag, inbox);
        self.wait_for_answer(Carrier::Invite(Box::new(received)), sdp)
            .await;
    }

    async fn on_update(&mut self, tx: Transaction) {
        if self.offer.is_some() || self.unacknowledged.is_some() {
            // RFC 3311 §5.2.
            let again = vec![Header::RetryAfter("2".into())];
            transact::reply(&self.leg.core, tx, StatusCode::ServerInternalError, again);
            return;
        }
        let negotiated = match self.negotiate(&tx.original) {
            Ok(negotiated) => negotiated,
            Err(small) => {
                let headers = small.headers();
                transact::reply(
                    &self.leg.core,
                    tx,
                    StatusCode::SessionIntervalTooSmall,
                    headers,
                );
                return;
            }
        };
        match offer_of(&tx.original) {
            Some(Some(sdp)) => {
                let carrier = Carrier::Update(Box::new(tx));
                self.wait_for_answer(carrier, Some(sdp)).await;
            }
            Some(None) => {
                // A refresh of the session and of the remote target only.
                self.refresh(&tx.original, negotiated.watch);
                let mut headers = self.leg.dialog_headers();
                headers.extend(negotiated.headers);
                transact::reply(&self.leg.core, tx, StatusCode::OK, headers);
            }
            None => {
                let accept = vec![message::accept()];
                transact::reply(&self.leg.core, tx, StatusCode::UnsupportedMediaType, accept);
            }
        }
    }

    async fn wait_for_answer(&mut self, carrier: Carrier, sdp: Option<String>) {
        let until = Instant::now() + self.leg.core.config.timers.reoffer;
        self.offer = Some(Offer { carrier, until });
        self.leg.tell(Happened::Reoffered { sdp }).await;
    }

    fn accept_offer(&mut self, sdp: String) {
        let Some(offer) = self.offer.take() else {
            return;
        };
        let request = match &offer.carrier {
            Carrier::Invite(received) => received.request.clone(),
            Carrier::Update(tx) => tx.original.clone(),
        };
        let negotiated = self.negotiate(&request).unwrap_or_default();
        self.refresh(&request, negotiated.watch);
        let mut headers = self.leg.dialog_headers();
        headers.extend(negotiated.headers);
        match offer.carrier {
            Carrier::Invite(received) => {
                self.unacknowledged = Some(Accepted {
                    cseq: received.cseq,
                    until: Instant::now() + self.leg.core.config.timers.ack_within(),
                });
                received.respond(StatusCode::OK, headers, Some(sdp));
            }
            Carrier::Update(tx) => {
                transact::reply_with(&self.leg.core, *tx, StatusCode::OK, headers, Some(sdp))
            }
        }
    }

    fn refuse_offer(&mut self, status: StatusCode, headers: Vec<Header>) {
        match self.offer.take().map(|offer| offer.carrier) {
            Some(Carrier::Invite(received)) => received.respond(status, headers, None),
            Some(Carrier::Update(tx)) => transact::reply(&self.leg.core, *tx, status, headers),
            None => {}
        }
    }

    fn negotiate(&self, request: &Request) -> Result<Negotiated, TooSmall> {
        session::accept(request, self.leg.core.config.timers.min_session)
    }

    /// Takes over what a target refresh (§12.2.2) and its session timer say.
    fn refresh(&mut self, request: &Request, watch: Option<Duration>) {
        self.dialog.take_remote_target(request);
        self.leg.place.publish(&self.dialog);
        self.watch = watch.map(|interval| (interval, Instant::now() + interval));
    }

    /// A repeated 200 to our INVITE, or one of another branch of a fork.
    fn on_late_answer(&self, response: &Response) {
        let Some((invite, ack)) = &self.sent else {
            return;
        };
        if self.dialog.is_answered_by(response) {
            if let Some(ack) = ack {
                self.leg
                    .core
                    .send_ack(&self.leg.trunk, &self.dialog, ack.clone());
            }
            return;
        }
        // §13.2.2.4: a second answer is acknowledged and ended; one person
        // speaks with one phone.
        let mut branch = self.dialog.clone();
        branch.learn_from_response(response);
        outgoing::acknowledge(&self.leg, &branch, invite);
        transact::farewell(&self.leg.core, &self.leg.trunk, &branch, None);
    }

    fn bye(&mut self, reason: Option<ReasonHeader>) {
        self.refuse_offer(StatusCode::RequestTerminated, Vec::new());
        transact::farewell(&self.leg.core, &self.leg.trunk, &self.dialog, reason);
    }

    async fn end(&mut self, cause: EndCause, reason: Option<ReasonHeader>) -> Next {
        self.bye(reason.clone());
        self.leg.tell_last(Happened::Ended { reason, cause }).await;
        Next::Over
    }
}

fn session_expired() -> Option<ReasonHeader> {
    Some(ReasonHeader {
        protocol: "SIP".into(),
        cause: 408,
        text: Some("Session expired".into()),
    })
}

/// The offer in an INVITE or UPDATE: `Some(None)` without a body, `None` for
/// a body that is no SDP.
pub(crate) fn offer_of(request: &Request) -> Option<Option<String>> {
    if request.body.is_empty() {
        return Some(None);
    }
    sdp_of(&request.headers, &request.body).map(Some)
}
