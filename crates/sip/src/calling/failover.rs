//! Turning to the next target of the trunk.

use rsipstack::sip::Response;
use tokio::time::Instant;
use tracing::debug;

use super::{Calling, GivingUp, Next};
use crate::digest::Authorization;
use crate::event::Happened;
use crate::forks::Forks;
use crate::message;
use crate::outgoing;
use crate::reliable::Heard;
use crate::snapshot::DialogSnapshot;
use crate::undo;

/// What is known of an attempt that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The target refused, or heard nothing.
    Over,
    /// It may have heard the INVITE.
    MayLive,
}

impl Calling {
    /// The target cannot be reached: the next one may be.
    pub(super) async fn unreachable(&mut self) -> Next {
        match self.turn_to_next(Failed::Over).await {
            Some(next) => next,
            None => self.finish(Happened::Unreachable).await,
        }
    }

    /// Remembers how long a 503 wants us to call elsewhere (RFC 3261 §21.5.4).
    pub(super) fn note_retry_after(&self, response: &Response) {
        let wait = message::retry_after(response);
        if let (Some(target), Some(wait)) = (self.attempts.current(), wait) {
            target.call_elsewhere_for(wait, std::time::Instant::now());
        }
    }

    /// Calls the next target instead (RFC 3263 §4.3), unless the call rings
    /// already; `None` when there is none to call.
    pub(super) async fn turn_to_next(&mut self, failed: Failed) -> Option<Next> {
        let given_up = !matches!(self.giving_up, GivingUp::No);
        if given_up || self.is_under_way || !self.attempts.has_more() {
            return None;
        }
        debug!(leg = %self.leg.place.id, target = %self.leg.hop.address, ?failed, "next target");
        let cseq = self.dialog.local_cseq + 1;
        let (order, attempts) = (&self.order, &mut self.attempts);
        // First: the two must not ring at once.
        let left = (failed == Failed::MayLive).then(|| {
            let (core, trunk) = (&self.leg.core, &self.leg.trunk);
            undo::start(core, trunk, self.dialog.clone(), self.invite.clone())
        });
        self.undone.extend(left);
        let next = outgoing::attempt_next(&mut self.leg, order, attempts, &self.asked, cseq).await;
        let Some((dialog, invite)) = next else {
            return Some(self.finish(Happened::Unreachable).await);
        };
        self.dialog = DialogSnapshot {
            local_cseq: cseq,
            ..dialog
        };
        self.invite = invite;
        self.authorization = Authorization::default();
        self.heard = Heard::default();
        self.forks = Forks::default();
        self.in_dialog = None;
        let now = Instant::now();
        self.deadline = Some(now + self.attempts.share(now));
        Some(Next::Wait)
    }
}
