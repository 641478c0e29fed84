//! A telephone hands its side of the call to another (RFC 5589): the new party is called while the two talk on, and
//! takes the place of the old one when it picks up. The other side keeps its leg all the while. Where nobody picks up,
//! nothing has changed.

use std::time::Instant;

use super::{Call, CallSide, Deadline, End, Signalled, Sound, State};
use crate::{
    Leg, LegAction, LegEvent, MediaAction, MediaEvent, MediaFault, Reason, Sdp, TransferProgress,
    Transferred,
};

/// A transfer under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transfer {
    /// Whose place the new party takes.
    pub(super) end: End,
    /// The new party.
    pub(super) party: CallSide,
    /// How far a new party is that calls us; `None`: we call it.
    pub(super) coming: Option<Coming>,
    /// The old party has left without waiting for the new one (RFC 5589 section 6.1 lets it).
    pub(super) is_alone: bool,
    rang: bool,
    pub(super) until: Instant,
}

/// How far a party is that calls us to take somebody's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coming {
    /// The media plane is asked whether its offer can be answered.
    Offering,
    /// Our answer is being made.
    Describing,
    /// It made no offer: ours is being made.
    Asking,
}

impl Transfer {
    pub(super) fn coming(end: End, party: CallSide, coming: Coming, until: Instant) -> Self {
        Transfer {
            end,
            party,
            coming: Some(coming),
            is_alone: false,
            rang: false,
            until,
        }
    }
}

impl Call {
    /// The far end wants another party called in its place.
    pub(super) fn on_transfer_asked(&mut self, now: Instant, end: End, to: Leg) {
        if matches!(self.state, State::Ending { .. } | State::Ended) {
            return;
        }
        let is_known = self.end_of(to.id).is_some() || self.left.contains(&to.id);
        let is_busy = self.transfer.is_some() || self.asked.is_some();
        if !self.is_talking() || is_busy || is_known {
            let refused = TransferProgress::Failed(Reason::Unavailable);
            return self.leg(end, LegAction::ReportTransfer(refused));
        }
        self.leg(end, LegAction::ReportTransfer(TransferProgress::Trying));
        self.call_party(now, end, to, false);
    }

    /// Begins to call a party that is to take that side's place.
    pub(super) fn call_party(&mut self, now: Instant, end: End, to: Leg, is_alone: bool) {
        self.media(MediaAction::Open {
            leg: to,
            beside: Some(self.side(end.other()).leg.id),
            offer: None,
        });
        self.transfer = Some(Transfer {
            end,
            party: CallSide::new(to, Signalled::Nothing),
            coming: None,
            is_alone,
            rang: false,
            until: now + self.timings.describe,
        });
    }

    /// The leg of a party that is to take the place of one that asked for it: it is being called, by us or by the
    /// other side's system.
    #[must_use]
    pub fn party(&self) -> Option<crate::LegId> {
        let asked = self.asked.map(|asked| asked.to.id);
        let transfer = self.transfer.as_ref();
        transfer.map(|transfer| transfer.party.leg.id).or(asked)
    }

    /// The new party's leg spoke, before it has taken the old one's place.
    pub(super) fn on_party(&mut self, now: Instant, event: LegEvent) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        let leg = transfer.party.leg.id;
        match event {
            LegEvent::Ringing | LegEvent::EarlyMedia { .. } => self.on_party_ringing(),
            LegEvent::Answered { sdp, .. }
                if transfer.party.signalled == Signalled::Offered && transfer.coming.is_none() =>
            {
                self.on_party_answered(now, sdp);
            }
            LegEvent::Ended(reason) => {
                transfer.party.signalled = Signalled::Gone;
                self.fail_transfer(now, reason, None);
            }
            LegEvent::Reoffered { .. } | LegEvent::OfferAsked => {
                self.leg_of(leg, LegAction::RefuseReoffer);
            }
            LegEvent::TransferAsked { .. } => {
                let refused = TransferProgress::Failed(Reason::Unavailable);
                self.leg_of(leg, LegAction::ReportTransfer(refused));
            }
            LegEvent::Candidates(candidates) => {
                self.media(MediaAction::AddCandidates { leg, candidates });
            }
            LegEvent::Answered { .. }
            | LegEvent::Reanswered { .. }
            | LegEvent::ReofferRefused { .. }
            | LegEvent::Replaced { .. }
            | LegEvent::HandedOn { .. }
            | LegEvent::Referred(_)
            | LegEvent::Joined { .. } => {}
        }
    }

    fn on_party_ringing(&mut self) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        if !std::mem::replace(&mut transfer.rang, true) {
            self.report_transfer(TransferProgress::Ringing);
        }
    }

    /// The new party's media spoke.
    pub(super) fn on_party_media(&mut self, now: Instant, event: MediaEvent) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        if let (Some(coming), MediaEvent::LocalDescription { sdp }) = (transfer.coming, &event) {
            return self.on_coming_described(now, coming, sdp.clone());
        }
        let party = &mut transfer.party;
        let leg = party.leg.id;
        match event {
            MediaEvent::LocalDescription { sdp } if party.signalled == Signalled::Nothing => {
                party.signalled = Signalled::Offered;
                transfer.until = now + self.timings.answer;
                self.leg_of(leg, LegAction::Offer { sdp });
            }
            MediaEvent::OfferDue => party.offer_due = true,
            MediaEvent::Connected => party.connected = true,
            MediaEvent::Lost => party.connected = false,
            MediaEvent::Failed { why, fault } => {
                let reason = match fault {
                    MediaFault::Description => Reason::Incompatible,
                    MediaFault::Capacity => Reason::Overloaded,
                    MediaFault::Other => Reason::MediaFailed,
                };
                self.fail_transfer(now, reason, Some(why));
            }
            MediaEvent::TimedOut { why } => {
                self.fail_transfer(now, Reason::MediaTimeout, Some(why))
            }
            MediaEvent::Closed => {
                party.media_open = false;
                self.fail_transfer(now, Reason::MediaFailed, None);
            }
            MediaEvent::LocalDescription { .. }
            | MediaEvent::EarlySound
            | MediaEvent::HeardOut
            | MediaEvent::ReofferRefused => {}
        }
    }

    /// The new party picked up: from now on it is the one that the other side hears.
    fn on_party_answered(&mut self, now: Instant, sdp: Sdp) {
        let Some(transfer) = self.transfer.take() else {
            return;
        };
        let Transfer {
            end,
            mut party,
            is_alone,
            ..
        } = transfer;
        party.signalled = Signalled::Answered;
        let leg = party.leg.id;
        self.media(MediaAction::ApplyAnswer { leg, sdp });
        self.change_places(now, end, party, is_alone);
    }

    /// A party that is in another call of ours comes over, and the far end leaves.
    pub(super) fn on_joined(&mut self, now: Instant, end: End, with: Leg) {
        let is_known = self.end_of(with.id).is_some() || self.left.contains(&with.id);
        if is_known {
            return;
        }
        if !self.is_talking() || self.transfer.is_some() || self.asked.is_some() {
            // Nobody is left who would end it.
            self.leg_of(with.id, LegAction::HangUp(Reason::Unavailable));
            self.media(MediaAction::Close { leg: with.id });
            if self.state != State::Ended {
                self.left.push(with.id);
            }
            return;
        }
        let party = CallSide::new(with, Signalled::Answered);
        self.change_places(now, end, party, false);
    }

    /// A leg goes on elsewhere; the other one has nobody to talk to here.
    pub(super) fn release(&mut self, now: Instant, leg: crate::LegId) {
        let Some(end) = self.end_of(leg).filter(|_| self.is_talking()) else {
            return;
        };
        let side = self.side_mut(end);
        side.signalled = Signalled::Gone;
        side.media_open = false;
        self.end(now, end.other().into(), Reason::HungUp, None);
    }

    pub(super) fn change_places(
        &mut self,
        now: Instant,
        end: End,
        party: CallSide,
        is_alone: bool,
    ) {
        let (other, new) = (self.side(end.other()).leg.id, party.leg.id);
        self.media(MediaAction::Bridge { a: other, b: new });
        let old = std::mem::replace(self.side_mut(end), party);
        if !is_alone {
            // It hears how its transfer ended before it is hung up.
            let answered = LegAction::ReportTransfer(TransferProgress::Answered);
            self.leg_of(old.leg.id, answered);
            self.leg_of(old.leg.id, LegAction::HangUp(Reason::HungUp));
            self.media(MediaAction::Close { leg: old.leg.id });
        }
        if old.media_open {
            self.left.push(old.leg.id);
        }
        self.story.transfers.push(Transferred {
            at: now,
            by: end.into(),
            to: new,
        });
        let is_up = self.caller.connected && self.callee.connected;
        let sound = match self.state {
            _ if is_up => Sound::Up,
            State::Talking {
                sound: sound @ (Sound::Awaited { .. } | Sound::Lost { .. }),
            } => sound,
            _ => Sound::Awaited {
                until: now + self.timings.media,
            },
        };
        self.talk(sound);
    }

    /// The new party does not come: the first call goes on, if it still has two sides.
    fn fail_transfer(&mut self, now: Instant, reason: Reason, detail: Option<String>) {
        let Some((end, is_alone)) = self.transfer.as_ref().map(|t| (t.end, t.is_alone)) else {
            return;
        };
        self.drop_party(reason);
        if is_alone {
            self.end(now, end.into(), reason, detail);
        }
    }

    /// Takes back what was begun for the new party, and tells the old one.
    pub(super) fn drop_party(&mut self, reason: Reason) {
        self.report_transfer(TransferProgress::Failed(reason));
        let Some(Transfer { party, coming, .. }) = self.transfer.take() else {
            return;
        };
        self.story.failed_transfers += 1;
        if party.signalled == Signalled::Offered {
            let end = match coming {
                Some(_) => LegAction::Refuse(reason),
                None => LegAction::Cancel(reason),
            };
            self.leg_of(party.leg.id, end);
        }
        if party.media_open {
            self.left.push(party.leg.id);
            self.media(MediaAction::Close { leg: party.leg.id });
        }
    }

    /// The new party has not come in time.
    pub(super) fn on_transfer_timeout(&mut self, now: Instant) {
        let described = |transfer: &Transfer| transfer.party.signalled != Signalled::Nothing;
        let reason = match self.transfer.as_ref().is_some_and(described) {
            true => Reason::NoAnswer,
            false => Reason::MediaFailed,
        };
        self.fail_transfer(now, reason, None);
    }

    pub(super) fn transfer_deadline(&self) -> Option<(Instant, Deadline)> {
        let transfer = self.transfer.as_ref()?;
        Some((transfer.until, Deadline::Transfer))
    }

    /// The old party goes before the new one has come. `false`: it was not being transferred.
    pub(super) fn on_old_party_gone(&mut self, end: End) -> bool {
        let transfer = self.transfer.as_mut();
        let is_replaced = match transfer.filter(|transfer| transfer.end == end) {
            Some(transfer) => {
                transfer.is_alone = true;
                true
            }
            None => self.has_asked_and_left(end),
        };
        if !is_replaced {
            return false;
        }
        let leg = self.side(end).leg.id;
        self.media(MediaAction::Close { leg });
        true
    }

    /// Whether this side's party has gone, and the other side waits for the new one.
    pub(super) fn waits_for_party(&self, end: End) -> bool {
        let transfer = self.transfer.as_ref();
        let is_called = transfer.is_some_and(|transfer| transfer.end == end && transfer.is_alone);
        is_called || self.waits_for_answer(end)
    }

    pub(super) fn is_party(&self, leg: crate::LegId) -> bool {
        self.party() == Some(leg)
    }

    fn report_transfer(&mut self, progress: TransferProgress) {
        // Where the new party comes by itself, the old one has asked for nothing.
        let asked = |transfer: &&Transfer| !transfer.is_alone && transfer.coming.is_none();
        let told = self.transfer.as_ref().filter(asked);
        if let Some(end) = told.map(|transfer| transfer.end) {
            self.leg(end, LegAction::ReportTransfer(progress));
        }
    }
}
