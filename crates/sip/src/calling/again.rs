//! The INVITE once more, as its answer asks for.

use rsipstack::sip::{Method, Response};
use tokio::time::Instant;

use super::{Calling, GivingUp, WIDENED};
use crate::forks::Forks;
use crate::outgoing;
use crate::session::Timer;

impl Calling {
    /// Sends the INVITE again with credentials; `false` when there is no
    /// answer to the challenge or it is final for us (§22.1).
    pub(super) fn answer_challenge(&mut self, response: &Response) -> bool {
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        let Some(auth) = core.credentials(trunk, &self.dialog) else {
            return false;
        };
        let given_up = !matches!(self.giving_up, GivingUp::No);
        if given_up || !self.authorization.take(response, &auth) {
            return false;
        }
        self.send_again()
    }

    /// Sends the INVITE again with the longer session interval that a 422
    /// demands (RFC 4028 §7.4).
    pub(super) fn ask_for_longer(&mut self, response: &Response) -> bool {
        let given_up = !matches!(self.giving_up, GivingUp::No);
        if given_up || self.widened >= WIDENED || !self.asked.widen(response) {
            return false;
        }
        self.widened += 1;
        self.send_again()
    }

    fn send_again(&mut self) -> bool {
        let mut more = self.asked.headers(Timer::Off);
        let (core, trunk) = (&self.leg.core, &self.leg.trunk);
        if let Some(auth) = core.credentials(trunk, &self.dialog) {
            let uri = &self.invite.request.uri;
            more.extend(self.authorization.headers(Method::Invite, uri, &auth));
        }
        self.dialog.local_cseq += 1;
        let (path, cseq) = (self.invite.path.clone(), self.dialog.local_cseq);
        let sent = outgoing::send_invite(&self.leg, &self.dialog, &self.order, path, cseq, more);
        let Some(sent) = sent else {
            return false;
        };
        self.invite = sent;
        self.forks = Forks::default();
        self.in_dialog = None;
        self.deadline = Some(Instant::now() + self.leg.trunk.now().answer_within);
        true
    }
}
