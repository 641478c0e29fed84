//! One Matrix leg of a call: VoIP v1 (MSC2746), tolerant of version 0.
//!
//! Pure: no socket, no runtime, no clock. Party ids, the selection among several devices and the
//! lifetime of invites stay in here; towards the call a Matrix leg speaks the words of every other
//! leg. The contract is that of the call machine: change the leg once, drain [`Leg::poll_send`] and
//! [`Leg::poll_event`], ask [`Leg::poll_timeout`] when to come back.

mod act;
mod early;
mod hear;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use mxtrunk_call::{LegAction, LegEvent, Reason, Sdp};
use ruma::{OwnedRoomId, OwnedUserId, UserId};

use crate::call_events::{
    CallEventIn, CallEventKind, CallEventOut, CallRef, Invite, Replacement, Version,
};
use early::EarlyCandidates;
use hear::is_of;

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
    replacement: Option<Replacement>,
    /// Who is at the other end now, which is still to be told.
    asserted: Option<(OwnedUserId, String)>,
    /// The device that we talk to has switched its microphone off.
    is_muted: bool,
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
        /// Whether a new offer of ours waits for its answer.
        offered: bool,
        /// Whether ours gives way when two offers cross. In matrix-js-sdk the caller's never does.
        yields: bool,
        /// Whether that device is known to have our answer, should it have waited for one.
        has_answer: bool,
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
            replacement: None,
            asserted: None,
            is_muted: false,
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

    /// Whether the person has switched the microphone off, on the device that we talk to.
    #[must_use]
    pub fn is_muted(&self) -> bool {
        self.is_muted
    }

    /// Whether `sender` may still say something that the leg would have to hear.
    #[must_use]
    pub fn listens_to(&self, sender: &UserId) -> bool {
        sender == self.ids.user && !matches!(self.state, State::Fresh | State::Ended)
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
            | (
                SendOutcome::Failed(CallEventKind::Answer),
                State::Connected { has_answer: false, .. },
            ) => {
                // It may stand in the room all the same, only its receipt was lost: then this ends it there.
                self.send_hangup(Reason::Unreachable);
                self.gone(Reason::Unreachable);
            }
            (SendOutcome::Failed(CallEventKind::Negotiate), State::Connected { offered, .. })
                if *offered =>
            {
                *offered = false;
                let crossed = false;
                self.events.push_back(LegEvent::ReofferRefused { crossed });
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
            // A client asks for transfers in another way, and awaits no progress.
            LegAction::ReportTransfer(_) => {}
            // Nor has a client an ear for a transfer that we ask for; `call` asks telephones only.
            LegAction::Refer => {}
            LegAction::Answer { sdp } => self.answer(sdp),
            LegAction::AnswerReoffer { sdp } => self.answer_reoffer(sdp),
            LegAction::Reoffer { sdp } => self.reoffer(sdp),
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

    /// Tells the client who is at the other end now: the virtual user of their number, and how they are called. Before
    /// the answer it is kept until then.
    pub fn assert_identity(&mut self, id: OwnedUserId, display_name: String) {
        self.tell_identity(id, display_name);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
    }

    /// The next thing to tell the call.
    pub fn poll_event(&mut self) -> Option<LegEvent> {
        self.events.pop_front()
    }

    /// What the user wants in the place of this call. The user's client has left it by then, and says no more.
    pub fn poll_replacement(&mut self) -> Option<Replacement> {
        self.replacement.take()
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

    /// Ends the leg from the user's side.
    fn gone(&mut self, reason: Reason) {
        self.state = State::Ended;
        self.events.push_back(LegEvent::Ended(reason));
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
