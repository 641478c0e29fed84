//! What the far ends may do at any time of a living call: trickle candidates, offer anew (hold,
//! resume, ICE restart, session refresh).

use super::{Call, End, Signalled, State};
use crate::{LegAction, MediaAction, Sdp};

impl Call {
    pub(super) fn on_candidates(&mut self, end: End, candidates: Vec<String>) {
        if !self.side(end).media_open || candidates.is_empty() {
            return;
        }
        let leg = self.side(end).leg.id;
        self.media(MediaAction::AddCandidates { leg, candidates });
    }

    pub(super) fn on_reoffer(&mut self, end: End, sdp: Sdp) {
        match self.state {
            State::Talking { .. } if !self.side(end).reoffered => {
                self.side_mut(end).reoffered = true;
                let leg = self.side(end).leg.id;
                self.media(MediaAction::Reoffer { leg, sdp });
            }
            // One offer at a time (RFC 3264 section 4), and none before the first is answered.
            State::Talking { .. }
            | State::Describing { .. }
            | State::Offered { .. }
            | State::Connecting { .. } => self.leg(end, LegAction::RefuseReoffer),
            State::Ending { .. } | State::Ended => {}
        }
    }

    /// The media plane met the new offer.
    pub(super) fn on_reoffer_described(&mut self, end: End, sdp: Sdp) {
        if self.take_reoffer(end) {
            self.leg(end, LegAction::AnswerReoffer { sdp });
        }
    }

    /// The media plane could not meet the new offer: the call goes on as it was (RFC 3261 section 14.2).
    pub(super) fn on_reoffer_refused(&mut self, end: End) {
        if self.take_reoffer(end) {
            self.leg(end, LegAction::RefuseReoffer);
        }
    }

    fn take_reoffer(&mut self, end: End) -> bool {
        let side = self.side_mut(end);
        let waiting = side.reoffered && side.signalled == Signalled::Answered;
        side.reoffered = false;
        waiting
    }
}
