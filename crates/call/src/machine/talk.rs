//! What the far ends may do at any time of a living call: trickle candidates, offer anew (hold,
//! resume, ICE restart, session refresh); and the new offers of ours that pass a hold on.

use super::{Call, End, Renegotiation, Signalled, State};
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
        if matches!(self.state, State::Ending { .. } | State::Ended) {
            return;
        }
        match (self.may_offer(end), self.side(end).renegotiation) {
            // One offer at a time (RFC 3264 section 4), and none before the first is answered.
            (true, Renegotiation::Theirs | Renegotiation::Asked) | (false, _) => {
                self.leg(end, LegAction::RefuseReoffer)
            }
            (true, ours) => {
                let side = self.side_mut(end);
                // The leg lets an offer through that has crossed ours only where ours gives way.
                side.offer_due |= ours != Renegotiation::Idle;
                side.outdated += u8::from(ours == Renegotiation::Describing);
                side.renegotiation = Renegotiation::Theirs;
                let leg = side.leg.id;
                self.media(MediaAction::Reoffer { leg, sdp });
            }
        }
    }

    /// Whether the first offer on that leg has its answer, so that a new one may come: on the callee's leg that may be
    /// before anybody picks up (UPDATE in an early dialog, RFC 3311 section 5.1); its own signalling knows when. A
    /// telephone that has picked up does not know that the caller is still to be told.
    fn may_offer(&self, end: End) -> bool {
        match (&self.state, end) {
            (State::Talking { .. }, _) => true,
            (State::Connecting { .. }, End::Callee) => true,
            (State::Offered { .. } | State::Early { .. }, End::Callee) => true,
            (State::Early { .. } | State::LastWords { .. }, End::Caller) => {
                self.caller.signalled == Signalled::Answered
            }
            _ => false,
        }
    }

    /// The far end leaves it to us to offer.
    pub(super) fn on_offer_asked(&mut self, end: End) {
        match (self.has_answered(end), self.side(end).renegotiation) {
            (true, Renegotiation::Idle) => {
                let side = self.side_mut(end);
                side.renegotiation = Renegotiation::Asked;
                side.offer_due = false;
                let leg = side.leg.id;
                self.media(MediaAction::Offer { leg });
            }
            // The one that is being made will do.
            (true, Renegotiation::Describing) => {
                self.side_mut(end).renegotiation = Renegotiation::Asked;
            }
            _ if matches!(self.state, State::Ending { .. } | State::Ended) => {}
            _ => self.leg(end, LegAction::RefuseReoffer),
        }
    }

    /// Whether that leg is answered for good. A callee's is before the caller hears of it.
    fn has_answered(&self, end: End) -> bool {
        matches!(
            (&self.state, end),
            (State::Talking { .. }, _) | (State::Connecting { .. }, End::Callee)
        )
    }

    /// The media plane met the far end's new offer, or made ours.
    pub(super) fn on_reoffer_described(&mut self, end: End, sdp: Sdp) {
        let side = self.side_mut(end);
        if side.outdated > 0 {
            side.outdated -= 1;
            return;
        }
        match side.renegotiation {
            Renegotiation::Theirs if side.signalled.is_alive() => {
                side.renegotiation = Renegotiation::Idle;
                self.leg(end, LegAction::AnswerReoffer { sdp });
                self.offer_what_is_due(end);
            }
            Renegotiation::Asked if side.signalled == Signalled::Answered => {
                side.renegotiation = Renegotiation::Offered;
                self.leg(end, LegAction::AnswerReoffer { sdp });
            }
            Renegotiation::Describing if side.signalled == Signalled::Answered => {
                side.renegotiation = Renegotiation::Offered;
                self.leg(end, LegAction::Reoffer { sdp });
            }
            _ => {}
        }
    }

    /// The media plane could not meet the new offer: the call goes on as it was (RFC 3261 section 14.2).
    pub(super) fn on_reoffer_refused(&mut self, end: End) {
        let side = self.side_mut(end);
        if side.renegotiation != Renegotiation::Theirs || !side.signalled.is_alive() {
            return;
        }
        side.renegotiation = Renegotiation::Idle;
        self.leg(end, LegAction::RefuseReoffer);
        self.offer_what_is_due(end);
    }

    /// The other side holds or resumes.
    pub(super) fn on_offer_due(&mut self, end: End) {
        self.side_mut(end).offer_due = true;
        self.offer_what_is_due(end);
    }

    /// Makes the offer that is due, as soon as the leg is free for it.
    pub(super) fn offer_what_is_due(&mut self, end: End) {
        let is_talking = matches!(self.state, State::Talking { .. });
        let side = self.side_mut(end);
        if !is_talking || !side.offer_due || side.renegotiation != Renegotiation::Idle {
            return;
        }
        side.offer_due = false;
        side.renegotiation = Renegotiation::Describing;
        let leg = side.leg.id;
        self.media(MediaAction::Offer { leg });
    }

    /// The far end answered our new offer, or changed its description by itself.
    pub(super) fn on_reanswered(&mut self, end: End, sdp: Sdp) {
        let has_answered = self.has_answered(end);
        let side = self.side_mut(end);
        let is_answer = matches!(
            side.renegotiation,
            Renegotiation::Offered | Renegotiation::Idle
        );
        // One that our yielding to the far end's own offer has overtaken says nothing any more.
        if !has_answered || !is_answer {
            return;
        }
        side.renegotiation = Renegotiation::Idle;
        let leg = side.leg.id;
        self.media(MediaAction::ApplyAnswer { leg, sdp });
        self.offer_what_is_due(end);
    }

    /// The far end will not have our new offer. The call goes on; what it wants of the sound the other side has
    /// heard, and a resume will be offered again.
    pub(super) fn on_our_offer_refused(&mut self, end: End, crossed: bool) {
        let side = self.side_mut(end);
        if side.renegotiation != Renegotiation::Offered {
            return;
        }
        side.renegotiation = Renegotiation::Idle;
        side.offer_due |= crossed;
        self.offer_what_is_due(end);
    }
}
