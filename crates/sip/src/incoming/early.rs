//! New offers of a caller before we answer (RFC 3262 §5, RFC 3311 §5.1): in the PRACK of a provisional response that
//! held our answer, or later in an UPDATE.

use rsipstack::sip::{Method, StatusCode};
use rsipstack::transaction::Transaction;
use tokio::time::Instant;

use super::{Next, Offered};
use crate::body::offer_of;
use crate::event::Happened;
use crate::inbound;
use crate::message;
use crate::transact;

/// An offer that waits for our side.
pub(super) struct Offer {
    tx: Box<Transaction>,
    sdp: String,
    /// When it is refused if our side says nothing.
    pub(super) until: Instant,
}

impl Offered {
    pub(super) async fn on_prack(&mut self, tx: Transaction) -> Next {
        let acknowledged =
            self.reliable
                .acknowledge(Instant::now(), &tx.original, self.invite.cseq);
        let Some(next) = acknowledged else {
            let status = StatusCode::CallTransactionDoesNotExist;
            self.reply(tx, status);
            return Next::Wait;
        };
        match (offer_of(&tx.original), self.reliable.has_described()) {
            (Some(None), _) => self.reply(tx, StatusCode::OK),
            (Some(Some(sdp)), true) if self.offer.is_none() => {
                // The answer to the offer in our provisional response.
                self.reply(tx, StatusCode::OK);
                self.offer = Some(sdp.clone());
                self.leg.tell(Happened::Reanswered { sdp }).await;
            }
            (Some(Some(sdp)), true) if self.early_offer.is_none() => self.wait(tx, sdp).await,
            // Its first offer has no answer yet.
            (Some(Some(_)), _) => self.reply(tx, StatusCode::NotAcceptableHere),
            (None, _) => {
                let accept = vec![message::accept()];
                transact::reply(&self.leg.core, tx, StatusCode::UnsupportedMediaType, accept);
            }
        }
        self.send(next);
        match self.answer.take() {
            Some(sdp) if !self.reliable.holds_back_the_answer() => Next::Answer(sdp),
            held_back => {
                self.answer = held_back;
                Next::Wait
            }
        }
    }

    /// Any other request.
    pub(super) async fn on_early_request(&mut self, tx: Transaction) {
        let is_update = tx.original.method == Method::Update;
        let is_settled = self.reliable.has_described() && self.offer.is_some();
        match offer_of(&tx.original) {
            Some(Some(sdp)) if is_update && is_settled && self.early_offer.is_none() => {
                self.wait(tx, sdp).await;
            }
            // RFC 3311 §5.2: the two have crossed.
            Some(Some(_)) if is_update && self.has_offered() => {
                self.reply(tx, StatusCode::RequestPending);
            }
            _ => inbound::reply_early(&self.leg, tx),
        }
    }

    /// A provisional response has our offer, as the INVITE had none, and no PRACK has answered it.
    fn has_offered(&self) -> bool {
        let is_described = self.reliable.has_described() || self.reliable.holds_back_the_answer();
        is_described && self.offer.is_none()
    }

    async fn wait(&mut self, tx: Transaction, sdp: String) {
        self.early_offer = Some(Offer {
            tx: Box::new(tx),
            sdp: sdp.clone(),
            until: Instant::now() + self.leg.core.config.timers.reoffer,
        });
        let sdp = Some(sdp);
        self.leg.tell(Happened::Reoffered { sdp }).await;
    }

    pub(super) fn accept_offer(&mut self, answer: String) {
        let Some(Offer { tx, sdp, .. }) = self.early_offer.take() else {
            return;
        };
        if tx.original.method == Method::Update {
            self.dialog.take_remote_target(&tx.original);
        }
        self.offer = Some(sdp);
        let headers = self.leg.own_headers();
        transact::reply_with(&self.leg.core, *tx, StatusCode::OK, headers, Some(answer));
    }

    pub(super) fn refuse_offer(&mut self, status: StatusCode) {
        if let Some(offer) = self.early_offer.take() {
            self.reply(*offer.tx, status);
        }
    }

    fn reply(&self, tx: Transaction, status: StatusCode) {
        transact::reply(&self.leg.core, tx, status, Vec::new());
    }
}
