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
    end: End,
    /// The new party.
    party: CallSide,
    /// The old party has left without waiting for the new one (RFC 5589 section 6.1 lets it).
    is_alone: bool,
    rang: bool,
    pub(super) until: Instant,
}

impl Call {
    /// The far end wants another party called in its place.
    pub(super) fn on_transfer_asked(&mut self, now: Instant, end: End, to: Leg) {
        if matches!(self.state, State::Ending { .. } | State::Ended) {
            return;
        }
        let is_known = self.end_of(to.id).is_some() || self.left.contains(&to.id);
        if !self.is_talking() || self.transfer.is_some() || is_known {
            let refused = TransferProgress::Failed(Reason::Unavailable);
            return self.leg(end, LegAction::ReportTransfer(refused));
        }
        self.leg(end, LegAction::ReportTransfer(TransferProgress::Trying));
        self.media(MediaAction::Open {
            leg: to,
            beside: Some(self.side(end.other()).leg.id),
            offer: None,
        });
        self.transfer = Some(Transfer {
            end,
            party: CallSide::new(to, Signalled::Nothing),
            is_alone: false,
            rang: false,
            until: now + self.timings.describe,
        });
    }

    /// The leg of a party that is being called, to take the place of one that asked for it.
    #[must_use]
    pub fn party(&self) -> Option<crate::LegId> {
        self.transfer.as_ref().map(|transfer| transfer.party.leg.id)
    }

    /// The new party's leg spoke, before it has taken the old one's place.
    pub(super) fn on_party(&mut self, now: Instant, event: LegEvent) {
        let Some(transfer) = &mut self.transfer else {
            return;
        };
        let leg = transfer.party.leg.id;
        match event {
            LegEvent::Ringing | LegEvent::EarlyMedia { .. } => self.on_party_ringing(),
            LegEvent::Answered { sdp, .. } if transfer.party.signalled == Signalled::Offered => {
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
        if !self.is_talking() || self.transfer.is_some() {
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

    fn change_places(&mut self, now: Instant, end: End, party: CallSide, is_alone: bool) {
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
        let Some(Transfer { party, .. }) = self.transfer.take() else {
            return;
        };
        self.story.failed_transfers += 1;
        if party.signalled == Signalled::Offered {
            self.leg_of(party.leg.id, LegAction::Cancel(reason));
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
        let Some(transfer) = self
            .transfer
            .as_mut()
            .filter(|transfer| transfer.end == end)
        else {
            return false;
        };
        transfer.is_alone = true;
        let leg = self.side(end).leg.id;
        self.media(MediaAction::Close { leg });
        true
    }

    /// Whether this side's party has gone, and the other side waits for the new one.
    pub(super) fn waits_for_party(&self, end: End) -> bool {
        let transfer = self.transfer.as_ref();
        transfer.is_some_and(|transfer| transfer.end == end && transfer.is_alone)
    }

    pub(super) fn is_party(&self, leg: crate::LegId) -> bool {
        self.party() == Some(leg)
    }

    fn report_transfer(&mut self, progress: TransferProgress) {
        let told = self.transfer.as_ref().filter(|transfer| !transfer.is_alone);
        if let Some(end) = told.map(|transfer| transfer.end) {
            self.leg(end, LegAction::ReportTransfer(progress));
        }
    }
}
