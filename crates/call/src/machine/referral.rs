//! A person hands a call on and leaves; the other side's own system is asked to call the new party (REFER, RFC 5589), so
//! that the two talk without us. Where it will not, we call the new party ourselves.

use std::time::Instant;

use super::{Call, End, State};
use crate::{Leg, LegAction, Reason, Referral, Transferred};

/// A question to the other side's system that has no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Who hands the call on.
    end: End,
    /// The new party, should we have to call it.
    pub(super) to: Leg,
    /// Who hands the call on has left.
    is_alone: bool,
}

impl Call {
    /// The far end hands the other side on to a new party. There is always an answer: its own signalling sees to that.
    pub(super) fn on_handed_on(&mut self, now: Instant, end: End, to: Leg) {
        if !self.may_be_handed_on(to) {
            return;
        }
        if !self.side(end.other()).leg.kind.can_be_referred() {
            return self.call_party(now, end, to, false);
        }
        self.asked = Some(Asked {
            end,
            to,
            is_alone: false,
        });
        self.leg(end.other(), LegAction::Refer);
    }

    /// The other side's system says what has become of it.
    pub(super) fn on_referred(&mut self, now: Instant, end: End, referral: Referral) {
        let is_answer = |asked: &mut Asked| asked.end == end.other();
        let Some(asked) = self.asked.take_if(is_answer) else {
            return;
        };
        if !self.is_talking() {
            return;
        }
        match referral {
            Referral::Done => {
                self.story.transfers.push(Transferred {
                    at: now,
                    by: asked.end.into(),
                    to: asked.to.id,
                });
                self.end(now, asked.end.into(), Reason::HungUp, None);
            }
            Referral::Refused => self.call_party(now, asked.end, asked.to, asked.is_alone),
            Referral::Failed(reason) => {
                self.story.failed_transfers += 1;
                if asked.is_alone {
                    self.end(now, asked.end.into(), reason, None);
                }
            }
        }
    }

    /// The far end that hands the call on has left, and the other side's system is still to answer.
    pub(super) fn has_asked_and_left(&mut self, end: End) -> bool {
        let asked = self.asked.as_mut().filter(|asked| asked.end == end);
        asked.is_some_and(|asked| {
            asked.is_alone = true;
            true
        })
    }

    /// Whether that side's far end has left, and the other side's system is still to answer.
    pub(super) fn waits_for_answer(&self, end: End) -> bool {
        let asked = self.asked.as_ref();
        asked.is_some_and(|asked| asked.end == end && asked.is_alone)
    }

    /// The call ends, and with it the question.
    pub(super) fn forget_asked(&mut self) {
        if self.asked.take().is_some() {
            self.story.failed_transfers += 1;
        }
    }

    fn may_be_handed_on(&self, to: Leg) -> bool {
        let is_known = self.end_of(to.id).is_some() || self.left.contains(&to.id);
        let is_free = self.transfer.is_none() && self.asked.is_none();
        matches!(self.state, State::Talking { .. }) && is_free && !is_known
    }
}
