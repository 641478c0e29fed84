//! The peer's requests in a dialog: new offers, refreshes, BYE and the rest.

use rsipstack::sip::{Header, HeadersExt, Method, Request, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use super::ours::Ours;
use super::{Established, Next};
use crate::body::offer_of;
use crate::event::{EndCause, Happened};
use crate::identity;
use crate::inbound;
use crate::key::{self, Told};
use crate::message;
use crate::referral;
use crate::session::{self, Negotiated, Timer, TooSmall};
use crate::snapshot;
use crate::transact::{self, InviteReceived};

/// A new offer of the peer.
pub(super) struct Offer {
    carrier: Carrier,
    sdp: Option<String>,
    pub(super) until: Instant,
}

/// A re-INVITE that got its 200.
pub(super) struct Accepted {
    pub(super) cseq: u32,
    /// It asked for our offer, which the 200 holds.
    asked: bool,
    /// When its ACK is given up on.
    pub(super) until: Instant,
}

/// What the offer came in, and is answered through.
enum Carrier {
    Invite(Box<InviteReceived>),
    Update(Box<Transaction>),
}

impl Offer {
    /// Whether it came in the INVITE with this CSeq number.
    pub(super) fn is_of(&self, cseq: u32) -> bool {
        matches!(&self.carrier, Carrier::Invite(received) if received.cseq == cseq)
    }
}

impl Established {
    pub(super) async fn on_request(&mut self, tx: Transaction) -> Next {
        let request = &tx.original;
        let cseq = cseq_of(request);
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
        if self.overtakes(&tx.original) {
            self.overtaking = Some(Box::new(tx));
            return Next::Wait;
        }
        match request.method {
            Method::Bye => return self.on_bye(tx).await,
            Method::Invite => self.on_reinvite(tx).await,
            Method::Update => self.on_update(tx).await,
            Method::Refer => self.on_refer(tx).await,
            Method::Notify if referral::is_of_refer(request) => self.on_notify(tx).await,
            Method::Subscribe if referral::is_of_refer(request) => self.on_subscribe(tx).await,
            Method::Info => self.on_info(tx).await,
            _ => inbound::reply_in_dialog(&self.leg.core, tx),
        }
        Next::Wait
    }

    /// Whether an offer of the peer is to wait until its ACK for the one before has come.
    fn overtakes(&self, request: &Request) -> bool {
        let offers = match request.method {
            Method::Invite => true,
            Method::Update => !request.body.is_empty(),
            _ => false,
        };
        offers && self.unacknowledged.is_some() && self.overtaking.is_none()
    }

    async fn on_bye(&mut self, tx: Transaction) -> Next {
        let reason = snapshot::reason_of(&tx.original);
        self.refuse_all();
        transact::reply(&self.leg.core, tx, StatusCode::OK, Vec::new());
        self.hear_referral_out().await;
        let cause = EndCause::Bye;
        self.leg.tell_last(Happened::Ended { reason, cause }).await;
        Next::Over
    }

    async fn on_info(&mut self, tx: Transaction) {
        let told = key::told(&tx.original);
        inbound::reply_to_info(&self.leg.core, tx);
        if let Told::Key(key) = told {
            self.leg.tell(Happened::Pressed { key }).await;
        }
    }

    async fn on_reinvite(&mut self, tx: Transaction) {
        let sdp = match self.admit(&tx.original, true) {
            Ok((_, sdp)) => sdp,
            Err((status, headers)) => return transact::reply(&self.leg.core, tx, status, headers),
        };
        self.hear_identity(&tx.original).await;
        let cseq = cseq_of(&tx.original);
        let local_tag = self.dialog.local_tag.clone();
        let inbox = self.leg.place.inbox().clone();
        let received = InviteReceived::drive(&self.leg.core, tx, cseq, local_tag, inbox);
        self.wait_for_answer(Carrier::Invite(Box::new(received)), sdp)
            .await;
    }

    async fn on_update(&mut self, tx: Transaction) {
        let offers = !tx.original.body.is_empty();
        match self.admit(&tx.original, offers) {
            Ok((_, Some(sdp))) => {
                self.hear_identity(&tx.original).await;
                let carrier = Carrier::Update(Box::new(tx));
                self.wait_for_answer(carrier, Some(sdp)).await;
            }
            Ok((negotiated, None)) => {
                self.hear_identity(&tx.original).await;
                // A refresh of the session and of the remote target only.
                self.refresh(&tx.original, negotiated.timer);
                let mut headers = self.leg.own_headers();
                headers.extend(negotiated.headers);
                transact::reply(&self.leg.core, tx, StatusCode::OK, headers);
            }
            Err((status, headers)) => transact::reply(&self.leg.core, tx, status, headers),
        }
    }

    /// Whether somebody else is there now (RFC 3325 in UPDATE: RFC 5876 §3.1).
    async fn hear_identity(&mut self, request: &Request) {
        let asserted = identity::asserted(request, self.leg.trunk.now().trust_identity);
        if let Some(who) = asserted
            && self.asserted.as_ref() != Some(&who)
        {
            self.asserted = Some(who.clone());
            self.leg.tell(Happened::Identified { who }).await;
        }
    }

    /// Whether a re-INVITE or UPDATE can be taken now (RFC 3261 §14.2, RFC
    /// 3311 §5.2, RFC 4028 §9): its session timer and its offer, if it has
    /// one, or what it is refused with. `offers`: it wants an offer settled,
    /// its own or one of ours.
    fn admit(
        &self,
        request: &Request,
        offers: bool,
    ) -> Result<(Negotiated, Option<String>), (StatusCode, Vec<Header>)> {
        if offers && self.has_offered() {
            // The two offers have crossed.
            return Err((StatusCode::RequestPending, Vec::new()));
        }
        if self.is_before_its_turn(offers) {
            // Try again within 10 s.
            let again = vec![Header::RetryAfter("2".into())];
            return Err((StatusCode::ServerInternalError, again));
        }
        let negotiated = self
            .negotiate(request)
            .map_err(|small| (StatusCode::SessionIntervalTooSmall, small.headers()))?;
        let sdp = offer_of(request)
            .ok_or_else(|| (StatusCode::UnsupportedMediaType, vec![message::accept()]))?;
        Ok((negotiated, sdp))
    }

    /// One offer at a time, and one UPDATE (RFC 3311 §5.2). Whatever else waits concerns no request without an offer.
    fn is_before_its_turn(&self, offers: bool) -> bool {
        let is_update = |offer: &Offer| matches!(offer.carrier, Carrier::Update(_));
        match offers {
            true => self.offer.is_some() || self.unacknowledged.is_some(),
            false => self.offer.as_ref().is_some_and(is_update),
        }
    }

    async fn wait_for_answer(&mut self, carrier: Carrier, sdp: Option<String>) {
        let until = Instant::now() + self.leg.core.config.timers.reoffer;
        self.offer = Some(Offer {
            carrier,
            sdp: sdp.clone(),
            until,
        });
        self.leg.tell(Happened::Reoffered { sdp }).await;
        self.yield_wish().await;
    }

    pub(super) fn accept_offer(&mut self, sdp: String) {
        let Some(offer) = self.offer.take() else {
            return;
        };
        let request = match &offer.carrier {
            Carrier::Invite(received) => received.request.clone(),
            Carrier::Update(tx) => tx.original.clone(),
        };
        let negotiated = self.negotiate(&request).unwrap_or_default();
        self.refresh(&request, negotiated.timer);
        let mut headers = self.leg.own_headers();
        headers.extend(negotiated.headers);
        self.said.clone_from(&sdp);
        let asked = offer.sdp.is_none();
        if let Some(heard) = offer.sdp {
            self.heard = heard;
        }
        match offer.carrier {
            Carrier::Invite(received) => {
                self.unacknowledged = Some(Accepted {
                    cseq: received.cseq,
                    asked,
                    until: Instant::now() + self.leg.core.config.timers.ack_within(),
                });
                received.respond(StatusCode::OK, headers, Some(sdp));
            }
            Carrier::Update(tx) => {
                transact::reply_with(&self.leg.core, *tx, StatusCode::OK, headers, Some(sdp))
            }
        }
    }

    /// The ACK of a re-INVITE; where that held no offer the ACK has the answer
    /// to ours (RFC 3264 §4, RFC 3261 §13.2.1).
    pub(super) async fn on_ack(&mut self, cseq: u32, answer: Option<String>) {
        let accepted = self.unacknowledged.take_if(|last| last.cseq == cseq);
        match (accepted.is_some_and(|accepted| accepted.asked), answer) {
            (false, _) => {}
            (true, Some(sdp)) => self.hear(sdp).await,
            (true, None) => {
                let refused = Happened::ReofferRefused { status: 488 };
                self.leg.tell(refused).await;
            }
        }
        if let Some(tx) = self.overtaking.take_if(|_| self.unacknowledged.is_none()) {
            match tx.original.method {
                Method::Update => self.on_update(*tx).await,
                _ => self.on_reinvite(*tx).await,
            }
        }
    }

    pub(super) fn refuse_offer(&mut self, status: StatusCode, headers: Vec<Header>) {
        match self.offer.take().map(|offer| offer.carrier) {
            Some(Carrier::Invite(received)) => received.respond(status, headers, None),
            Some(Carrier::Update(tx)) => transact::reply(&self.leg.core, *tx, status, headers),
            None => {}
        }
    }

    /// The dialog is over: so is what the peer still asks in it.
    pub(super) fn refuse_all(&mut self) {
        let over = StatusCode::RequestTerminated;
        self.refuse_offer(over.clone(), Vec::new());
        if let Some(tx) = self.overtaking.take() {
            transact::reply(&self.leg.core, *tx, over, Vec::new());
        }
        self.decline_transfer();
    }

    fn negotiate(&self, request: &Request) -> Result<Negotiated, TooSmall> {
        session::accept(request, self.min_session())
    }

    /// Takes over what a target refresh (§12.2.2) and its session timer say.
    fn refresh(&mut self, request: &Request, timer: Timer) {
        self.dialog.take_remote_target(request);
        self.leg.place.publish(&self.dialog);
        self.set_timer(timer);
    }

    /// An offer of ours waits for its answer.
    fn has_offered(&self) -> bool {
        self.ours.as_ref().is_some_and(Ours::offers)
    }
}

fn cseq_of(request: &Request) -> u32 {
    let cseq = request.cseq_header().and_then(|cseq| cseq.seq());
    cseq.unwrap_or(0)
}
