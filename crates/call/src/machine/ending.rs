//! Winding a call down, from wherever it was.

use std::time::Instant;

use super::{Call, End, Signalled, State};
use crate::{Action, LegAction, MediaAction, Reason, Side, story::Ended};

impl Call {
    /// Ends the call: each leg that is still there hears it in its own way, and the media is closed.
    pub(super) fn end(&mut self, now: Instant, by: Side, reason: Reason, detail: Option<String>) {
        if matches!(self.state, State::Ending { .. } | State::Ended) {
            // The far end's own hang-up has crossed ours.
            return;
        }
        let (by, reason, detail) = match &self.state {
            // Whatever cuts its last words short, the callee had ended the call before.
            State::LastWords { reason, .. } => (Side::Callee, *reason, detail),
            _ => (by, reason, detail),
        };
        self.story.ended = Some(Ended {
            at: now,
            by,
            reason,
            detail,
        });
        self.state = State::Ending {
            until: now + self.timings.close,
        };
        self.drop_party(reason);
        self.forget_asked();
        self.end_leg(End::Caller, reason);
        self.end_leg(End::Callee, reason);
        for end in [End::Caller, End::Callee] {
            if self.side(end).media_open {
                let leg = self.side(end).leg.id;
                self.media(MediaAction::Close { leg });
            }
        }
        self.finish_when_closed();
    }

    fn end_leg(&mut self, end: End, reason: Reason) {
        let action = match (self.side(end).signalled, end) {
            (Signalled::Nothing | Signalled::Gone, _) => None,
            (Signalled::Offered, End::Caller) => Some(LegAction::Refuse(reason)),
            (Signalled::Offered, End::Callee) => Some(LegAction::Cancel(reason)),
            (Signalled::Answered, _) => Some(LegAction::HangUp(reason)),
        };
        self.side_mut(end).signalled = Signalled::Gone;
        if let Some(action) = action {
            self.leg(end, action);
        }
    }

    /// A leg's media is gone: the answer to our `Close`, or the end of a leg that has failed.
    pub(super) fn on_closed(&mut self, end: End) {
        self.side_mut(end).media_open = false;
        self.finish_when_closed();
    }

    /// Forgets what the media plane still owes, and says goodbye.
    pub(super) fn finish(&mut self) {
        self.state = State::Ended;
        self.actions.push_back(Action::Finished);
    }

    pub(super) fn finish_when_closed(&mut self) {
        let ending = matches!(self.state, State::Ending { .. });
        let open = self.caller.media_open || self.callee.media_open || !self.left.is_empty();
        if ending && !open {
            self.finish();
        }
    }
}
