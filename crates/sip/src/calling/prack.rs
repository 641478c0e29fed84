//! PRACKs for the peer's reliable provisional responses (RFC 3262 §4).

use rsipstack::sip::{Header, Method, Response, StatusCodeKind};

use super::Calling;
use crate::digest::Authorization;
use crate::snapshot::DialogSnapshot;
use crate::transact;

/// A PRACK that waits for its answer. Without one the peer repeats its response, and ends the call at last.
pub(super) struct Prack {
    pub(super) cseq: u32,
    /// The early dialog that the response has made.
    dialog: DialogSnapshot,
    rack: String,
    /// The challenges to this one; before the first it answers those to the INVITE.
    challenges: Option<Authorization>,
}

impl Calling {
    pub(super) fn acknowledge(&mut self, response: &Response, rseq: u32) {
        let mut dialog = self.dialog.clone();
        dialog.learn_from_response(response);
        self.send_prack(Prack {
            cseq: 0,
            dialog,
            rack: format!("{rseq} {} INVITE", self.invite.cseq),
            challenges: None,
        });
    }

    fn send_prack(&mut self, mut prack: Prack) {
        self.dialog.local_cseq += 1;
        prack.cseq = self.dialog.local_cseq;
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        let sender = core.sender(self.leg.hop);
        let request = sender.in_dialog(&prack.dialog, Method::PRack, prack.cseq);
        let Some(mut request) = request else {
            return;
        };
        let rack = prack.rack.as_str().into();
        request.headers.push(Header::RAck(rack));
        if let Some(auth) = core.credentials(trunk, &prack.dialog) {
            let authorization = prack.challenges.as_mut();
            let authorization = authorization.unwrap_or(&mut self.authorization);
            let answers = authorization.headers(Method::PRack, &request.uri, &auth);
            request.headers.extend(answers);
        }
        let inbox = self.leg.place.inbox().clone();
        transact::in_dialog(core, trunk, &prack.dialog, request, prack.cseq, inbox);
        self.pracks.push(prack);
    }

    /// Whether a PRACK with this CSeq number waits for its answer.
    pub(super) fn is_prack(&self, cseq: u32) -> bool {
        self.pracks.iter().any(|prack| prack.cseq == cseq)
    }

    /// The peer's answer to a PRACK: one that asks for credentials gets it again.
    pub(super) fn on_prack_answered(&mut self, cseq: u32, response: &Response) {
        if response.status_code.kind() == StatusCodeKind::Provisional {
            return;
        }
        let Some(mut prack) = self.prack_over(cseq) else {
            return;
        };
        let auth = self.leg.core.credentials(&self.leg.trunk, &self.dialog);
        let challenges = prack.challenges.get_or_insert_default();
        let is_known = matches!(response.status_code.code(), 401 | 407)
            && auth.is_some_and(|auth| challenges.take(response, &auth));
        if is_known {
            self.send_prack(prack);
        }
    }

    pub(super) fn prack_over(&mut self, cseq: u32) -> Option<Prack> {
        let at = self.pracks.iter().position(|prack| prack.cseq == cseq)?;
        Some(self.pracks.swap_remove(at))
    }
}
