//! A party calls to take the place of one side (SIP INVITE with Replaces, RFC 3891): a colleague who picks a call up, or a
//! telephone that is put through by somebody else's transfer. It is answered at once, in the place of the old one; the
//! other side keeps its leg. Where the old one only rings, that is the answer which the caller waits for.

use std::time::Instant;

use super::transfer::{Coming, Transfer};
use super::{Call, CallSide, End, Signalled, Sound, State, Told};
use crate::{Leg, LegAction, MediaAction, Reason, Sdp, Transferred};

impl Call {
    /// A party wants the far end's place.
    pub(super) fn on_replaced(&mut self, now: Instant, end: End, by: Leg, offer: Option<Sdp>) {
        let is_known = self.end_of(by.id).is_some() || self.left.contains(&by.id);
        // Whoever brings a party to a call that is over has to turn it away.
        if is_known || self.is_party(by.id) || self.state == State::Ended {
            return;
        }
        let is_free = self.transfer.is_none() && self.asked.is_none();
        let is_there = self.is_talking() || self.rings(end);
        if !is_there || !is_free {
            // It can try again, and the old one is where it was.
            return self.leg_of(by.id, LegAction::Refuse(Reason::Busy));
        }
        let coming = match offer {
            Some(_) => Coming::Offering,
            None => Coming::Asking,
        };
        self.media(MediaAction::Open {
            leg: by,
            beside: Some(self.side(end.other()).leg.id),
            offer,
        });
        let party = CallSide::new(by, Signalled::Offered);
        let until = now + self.timings.describe;
        self.transfer = Some(Transfer::coming(end, party, coming, until));
    }

    /// Our description for a party that calls: that it can be answered, our answer, or our offer.
    pub(super) fn on_coming_described(&mut self, now: Instant, coming: Coming, sdp: Sdp) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        if coming == Coming::Offering {
            transfer.coming = Some(Coming::Describing);
            let leg = transfer.party.leg.id;
            return self.media(MediaAction::Describe { leg });
        }
        let Some(Transfer {
            end,
            mut party,
            is_alone,
            ..
        }) = self.transfer.take()
        else {
            return;
        };
        party.signalled = Signalled::Answered;
        self.leg_of(party.leg.id, LegAction::Answer { sdp });
        match self.rings(end) {
            true => self.pick_up(now, party, is_alone),
            false => self.change_places(now, end, party, is_alone),
        }
    }

    /// Whether the telephone on this leg rings for a call of ours: another one may pick it up.
    #[must_use]
    pub fn is_ringing(&self, leg: crate::LegId) -> bool {
        self.end_of(leg).is_some_and(|end| self.rings(end))
    }

    fn rings(&self, end: End) -> bool {
        let is_unanswered = matches!(self.state, State::Offered { .. } | State::Early { .. });
        end == End::Callee && is_unanswered
    }

    /// The party takes the call that rings at another telephone, which stops.
    fn pick_up(&mut self, now: Instant, party: CallSide, is_alone: bool) {
        let new = party.leg.id;
        let old = std::mem::replace(&mut self.callee, party);
        if !is_alone {
            self.leg_of(old.leg.id, LegAction::Cancel(Reason::AnsweredElsewhere));
            self.media(MediaAction::Close { leg: old.leg.id });
        }
        if old.media_open {
            self.left.push(old.leg.id);
        }
        self.story.transfers.push(Transferred {
            at: now,
            by: End::Callee.into(),
            to: new,
        });
        self.story.answered = Some(now);
        let is_up = self.caller.connected && self.callee.connected;
        let until = now + self.timings.media;
        if let State::Early { caller, .. } = &mut self.state {
            // The sound that was up was the old telephone's.
            if let (Told::Answered(sound @ Sound::Up), false) = (&mut *caller, is_up) {
                *sound = Sound::Awaited { until };
            }
            let a = self.caller.leg.id;
            self.media(MediaAction::Bridge { a, b: new });
        }
        self.on_picked_up(now);
    }
}
