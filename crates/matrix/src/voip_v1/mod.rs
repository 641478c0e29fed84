//! One Matrix leg of a call: VoIP v1 (MSC2746), tolerant of version 0.
//!
//! Pure: no socket, no runtime, no clock. Party ids, the selection among several devices and the
//! lifetime of invites stay in here; towards the call a Matrix leg speaks the words of every other
//! leg. The contract is that of the call machine: change the leg once, drain [`Leg::poll_send`] and
//! [`Leg::poll_event`], ask [`Leg::poll_timeout`] when to come back.

mod early;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mxtrunk_call::{Device, LegAction, LegEvent, Reason, Sdp};
use ruma::{OwnedRoomId, OwnedUserId, UserId};

use crate::call_events::{
    CallEventIn, CallEventKind, CallEventOut, CallRef, Description, Invite, Version,
};
use early::EarlyCandidates;

/// How long our own invites stand, from the moment they are sent.
pub const OUR_LIFETIME: Duration = Duration::from_secs(60);

/// Who is in the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// The room of the call.
    pub room: OwnedRoomId,
    /// The line's user.
    pub user: OwnedUserId,
    /// The virtual user that speaks for the telephone.
    pub virtual_user: OwnedUserId,
    /// The party id of the virtual user's events.
    pub our_party_id: String,
}

/// An invite was older than its lifetime when it arrived: nobody waits for an answer any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the invite had expired when it arrived")]
pub struct Stale;

/// What became of an event that [`Leg::poll_send`] gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOutcome {
    /// It stands in the room.
    Sent(CallEventKind),
    /// It could not be sent, and was given up.
    Failed(CallEventKind),
}

/// Why a leg wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The user's invite expires.
    TheirInvite,
    /// Our invite expires.
    OurInvite,
}

/// One Matrix leg.
#[derive(Debug)]
pub struct Leg {
    ids: Ids,
    call: CallRef,
    state: State,
    events: VecDeque<LegEvent>,
    sends: VecDeque<CallEventOut>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The user called; nobody has answered yet.
    Invited {
        /// The user's device.
        party: Option<String>,
        expires: Instant,
    },
    /// We are about to call the user.
    Fresh,
    /// Our invite is in the room, or on its way there.
    Inviting {
        /// Whether it is known to stand in the room.
        sent: bool,
        expires: Instant,
        early: EarlyCandidates,
    },
    /// Answered.
    Connected {
        /// The user's device that we talk to.
        party: Option<String>,
        /// Whether that device waits for an answer to a new offer.
        reoffered: bool,
    },
    /// Over.
    Ended,
}

impl Leg {
    /// A leg that the user started with `invite`, which was `age` old when it arrived. Gives the leg
    /// and the user's offer.
    ///
    /// # Errors
    /// [`Stale`], when the invite had expired: it must not ring anywhere.
    pub fn incoming(
        now: Instant,
        ids: Ids,
        age: Duration,
        invite: Invite,
    ) -> Result<(Leg, Sdp), Stale> {
        let left = invite.lifetime.saturating_sub(age);
        if left.is_zero() {
            return Err(Stale);
        }
        let call = CallRef {
            call_id: invite.call_id,
            party_id: ids.our_party_id.clone(),
            version: invite.version,
        };
        let state = State::Invited {
            party: invite.party_id,
            expires: now + left,
        };
        Ok((Leg::new(ids, call, state), invite.sdp))
    }

    /// A leg on which we shall call the user, with [`LegAction::Offer`].
    #[must_use]
    pub fn outgoing(ids: Ids, call_id: String) -> Leg {
        let call = CallRef {
            call_id,
            party_id: ids.our_party_id.clone(),
            version: Version::V1,
        };
        Leg::new(ids, call, State::Fresh)
    }

    fn new(ids: Ids, call: CallRef, state: State) -> Leg {
        Leg {
            ids,
            call,
            state,
            events: VecDeque::new(),
            sends: VecDeque::new(),
        }
    }

    /// Who is in the call.
    #[must_use]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// What all events of ours on this leg have in common: enough to end it from outside.
    #[must_use]
    pub fn call_ref(&self) -> &CallRef {
        &self.call
    }

    /// Whether the leg is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Takes in an event of the room. Events of others than the line's user (our own echoes among
    /// them), of other calls, and of devices that are not in the call have no effect.
    pub fn handle_event(&mut self, now: Instant, sender: &UserId, event: CallEventIn) {
        if sender != self.ids.user || event.call_id() != self.call.call_id {
            return;
        }
        if self.expire(now) {
            return;
        }
        match &self.state {
            State::Invited { party, .. } => {
                if is_of(party.as_deref(), &event) {
                    self.while_invited(event);
                }
            }
            State::Inviting { .. } => self.while_inviting(event),
            State::Connected { party, .. } => {
                if is_of(party.as_deref(), &event) {
                    self.while_connected(event);
                }
            }
            State::Fresh | State::Ended => {}
        }
    }

    /// Takes in what became of an event given out by [`Leg::poll_send`].
    pub fn handle_sent(&mut self, now: Instant, outcome: SendOutcome) {
        match (outcome, &mut self.state) {
            (
                SendOutcome::Sent(CallEventKind::Invite),
                State::Inviting { sent, expires, .. },
            ) if !*sent => {
                *sent = true;
                // Clients count the lifetime from the moment the homeserver took the invite.
                *expires = now + OUR_LIFETIME;
                self.events.push_back(LegEvent::Ringing);
            }
            (SendOutcome::Failed(CallEventKind::Invite), State::Inviting { .. })
            // The user's client waits for an answer that will not come.
            | (SendOutcome::Failed(CallEventKind::Answer), State::Connected { .. }) => {
                self.gone(Reason::Unreachable);
            }
            // Without a reject, hangup or selection the user's devices run into their own time-outs;
            // without candidates or a new description the call goes on as it was.
            (SendOutcome::Sent(_) | SendOutcome::Failed(_), _) => {}
        }
    }

    /// Does what the call asks for. What does not fit the state of the leg has no effect: messages cross.
    pub fn handle_action(&mut self, now: Instant, action: LegAction) {
        match action {
            LegAction::Offer { sdp } => self.offer(now, sdp),
            // Element plays its ringback from the moment it sent the invite.
            LegAction::Ring => {}
            LegAction::Answer { sdp } => self.answer(sdp),
            LegAction::AnswerReoffer { sdp } => self.answer_reoffer(sdp),
            // VoIP v1 has no way to turn a new offer down. The client's own time-out for its offer
            // ends the wait; the media of the call goes on as it was.
            LegAction::RefuseReoffer => {
                if let State::Connected { reoffered, .. } = &mut self.state {
                    *reoffered = false;
                }
            }
            // One wish, said in the way that the state of the leg asks for: an answer of the user may
            // have crossed a cancel.
            LegAction::Refuse(reason) | LegAction::Cancel(reason) | LegAction::HangUp(reason) => {
                self.end(reason);
            }
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
    }

    /// The next thing to tell the call.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    /// The next event to send into the room, in order.
    pub fn poll_send(&mut self) -> Option<CallEventOut> {
        self.sends.pop_front()
    }

    /// When to call [`Leg::handle_timeout`], and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Deadline)> {
        match &self.state {
            State::Invited { expires, .. } => Some((*expires, Deadline::TheirInvite)),
            State::Inviting { expires, .. } => Some((*expires, Deadline::OurInvite)),
            State::Fresh | State::Connected { .. } | State::Ended => None,
        }
    }

    /// The user called, and the number has not picked up.
    fn while_invited(&mut self, event: CallEventIn) {
        match event {
            CallEventIn::Candidates { candidates, .. } => self.candidates(candidates),
            CallEventIn::Hangup { reason, .. } | CallEventIn::Reject { reason, .. } => {
                // Whatever a caller's hang-up calls itself, it takes the call back, unless it names a fault.
                let reason = match Reason::from_matrix(reason.as_deref(), false) {
                    fault @ (Reason::MediaFailed | Reason::Failed) => fault,
                    _ => Reason::Cancelled,
                };
                self.gone(reason);
            }
            CallEventIn::Invite(_)
            | CallEventIn::Answer { .. }
            | CallEventIn::SelectAnswer { .. }
            | CallEventIn::Negotiate { .. } => {}
        }
    }

    /// We called, and no device of the user has picked up.
    fn while_inviting(&mut self, event: CallEventIn) {
        let State::Inviting { early, .. } = &mut self.state else {
            return;
        };
        match event {
            CallEventIn::Candidates {
                party_id,
                candidates,
                ..
            } => early.keep(party_id, candidates),
            CallEventIn::Answer { party_id, sdp, .. } => {
                let kept = early.take(party_id.as_deref());
                self.answered(party_id, sdp, kept);
            }
            // Any device may decline for the person. Version 0 knows only hang-ups.
            CallEventIn::Reject { reason, .. } | CallEventIn::Hangup { reason, .. } => {
                self.gone(Reason::from_matrix(reason.as_deref(), false));
            }
            CallEventIn::Invite(_)
            | CallEventIn::SelectAnswer { .. }
            | CallEventIn::Negotiate { .. } => {}
        }
    }

    /// Both sides have answered; the event is of the device in the call.
    fn while_connected(&mut self, event: CallEventIn) {
        match event {
            CallEventIn::Candidates { candidates, .. } => self.candidates(candidates),
            CallEventIn::Hangup { reason, .. } => {
                self.gone(Reason::from_matrix(reason.as_deref(), true));
            }
            CallEventIn::SelectAnswer {
                selected_party_id, ..
            } if selected_party_id != self.call.party_id => self.gone(Reason::AnsweredElsewhere),
            CallEventIn::Negotiate {
                description: Description::Offer(sdp),
                ..
            } => {
                if let State::Connected { reoffered, .. } = &mut self.state {
                    *reoffered = true;
                }
                self.events.push_back(LegEvent::Reoffered { sdp });
            }
            // We make no new offers, so there is nothing to be answered.
            CallEventIn::Negotiate { .. }
            | CallEventIn::SelectAnswer { .. }
            | CallEventIn::Invite(_)
            | CallEventIn::Answer { .. }
            | CallEventIn::Reject { .. } => {}
        }
    }

    fn candidates(&mut self, candidates: Vec<String>) {
        if !candidates.is_empty() {
            self.events.push_back(LegEvent::Candidates(candidates));
        }
    }

    fn answered(&mut self, party: Option<String>, sdp: Sdp, kept: Vec<String>) {
        if let Some(selected) = &party {
            self.sends.push_back(CallEventOut::SelectAnswer {
                call: self.call.clone(),
                selected_party_id: selected.clone(),
            });
        }
        self.events.push_back(LegEvent::Answered {
            sdp,
            device: party.clone().map(Device),
        });
        self.candidates(kept);
        self.state = State::Connected {
            party,
            reoffered: false,
        };
    }

    fn offer(&mut self, now: Instant, sdp: Sdp) {
        if self.state != State::Fresh {
            return;
        }
        self.state = State::Inviting {
            sent: false,
            expires: now + OUR_LIFETIME,
            early: EarlyCandidates::default(),
        };
        self.sends.push_back(CallEventOut::Invite {
            call: self.call.clone(),
            lifetime: OUR_LIFETIME,
            sdp,
        });
    }

    fn answer(&mut self, sdp: Sdp) {
        let State::Invited { party, .. } = &mut self.state else {
            return;
        };
        self.state = State::Connected {
            party: party.take(),
            reoffered: false,
        };
        self.sends.push_back(CallEventOut::Answer {
            call: self.call.clone(),
            sdp,
        });
    }

    fn answer_reoffer(&mut self, sdp: Sdp) {
        match &mut self.state {
            State::Connected { reoffered, .. } if *reoffered => *reoffered = false,
            _ => return,
        }
        self.sends.push_back(CallEventOut::Negotiate {
            call: self.call.clone(),
            description: Description::Answer(sdp),
            lifetime: OUR_LIFETIME,
        });
    }

    /// Ends the leg from our side.
    fn end(&mut self, reason: Reason) {
        match &self.state {
            // Element ignores a hang-up of the callee before the answer; version 0 has no reject.
            State::Invited { .. } if self.call.version == Version::V1 => {
                self.sends.push_back(CallEventOut::Reject {
                    call: self.call.clone(),
                    reason: reason.matrix_reject(),
                });
            }
            State::Invited { .. } | State::Inviting { .. } | State::Connected { .. } => {
                self.send_hangup(reason);
            }
            State::Fresh | State::Ended => {}
        }
        self.state = State::Ended;
    }

    /// Ends the leg from the user's side.
    fn gone(&mut self, reason: Reason) {
        self.state = State::Ended;
        self.events.push_back(LegEvent::Ended(reason));
    }

    fn send_hangup(&mut self, reason: Reason) {
        self.sends.push_back(CallEventOut::Hangup {
            call: self.call.clone(),
            reason: reason.matrix_hangup(),
        });
    }

    /// Ends the leg when its invite has expired, and says whether it did.
    fn expire(&mut self, now: Instant) -> bool {
        match self.poll_timeout() {
            Some((at, _)) if now < at => false,
            None => false,
            // The user's client has given up by itself, at the same moment.
            Some((_, Deadline::TheirInvite)) => {
                self.gone(Reason::Cancelled);
                true
            }
            Some((_, Deadline::OurInvite)) => {
                self.send_hangup(Reason::NoAnswer);
                self.gone(Reason::NoAnswer);
                true
            }
        }
    }
}

/// Whether `event` comes from `party`. In version 0 no device has a name, and any may speak.
fn is_of(party: Option<&str>, event: &CallEventIn) -> bool {
    party.is_none() || party == event.party_id()
}
