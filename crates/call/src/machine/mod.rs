//! The call machine. [`setup`] takes a call from the offer to the answer, [`early`] lets a callee be heard before it
//! picks up, [`talk`] handles what may happen between two people who talk, [`transfer`] puts a new party in the place of
//! one of them, [`replaced`] one that calls by itself, [`referral`] leaves that to the other side's own system, [`ending`] winds a call down from wherever it was.

mod early;
mod ending;
mod referral;
mod replaced;
mod setup;
mod side;
mod talk;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
mod tests;
mod transfer;
mod waits;

use std::collections::VecDeque;
use std::time::Instant;

use crate::{
    Action, Input, Leg, LegAction, LegEvent, LegId, MediaAction, MediaEvent, MediaFault, Reason,
    Sdp, Side, Story,
};

use side::{CallSide, End, Renegotiation, Signalled};
pub use waits::{Deadline, Timings};

/// What becomes of sound that a callee sends before it picks up: announcements, a network's own ringback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyMedia {
    /// It is heard: a caller whose network has no early media is answered as soon as sound really comes. The call
    /// counts as answered only when the callee picks up.
    Connect,
    /// It is not heard; the caller's own ringback goes on.
    #[default]
    Ignore,
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The media plane is asked whether the caller's offer can be answered, and for our offer to the callee.
    Describing {
        answerable: bool,
        offer: Option<Sdp>,
        until: Instant,
    },
    /// The callee has our offer.
    Offered { until: Instant },
    /// The callee is heard, and has not picked up.
    Early { caller: Told, until: Instant },
    /// The callee has left without picking up, and its last words are still on their way to the caller.
    LastWords { reason: Reason, until: Instant },
    /// The callee picked up; the caller is told once our answer is there and the callee's sound is up.
    Connecting { answer: Answer, until: Instant },
    /// Both sides have answered.
    Talking { sound: Sound },
    /// Both legs are told; the media plane is closing.
    Ending { until: Instant },
    /// Nothing is left.
    Ended,
}

/// Our answer to the caller, which depends on what the callee answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The media plane is asked for it.
    Awaited { until: Instant },
    /// It is there.
    Ready(Sdp),
}

/// How far a caller is told, who is answered ahead of the callee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Our answer is being made.
    Awaited { until: Instant },
    /// It is given.
    Answered(Sound),
}

/// Whether sound can flow between two people who talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sound {
    /// The WebRTC handshake is still going on.
    Awaited { until: Instant },
    /// Both sides are connected.
    Up,
    /// It was up, and one side has gone quiet.
    Lost { until: Instant },
}

impl Sound {
    fn deadline(self) -> Option<(Instant, Deadline)> {
        match self {
            Sound::Awaited { until } => Some((until, Deadline::Media)),
            Sound::Up => None,
            Sound::Lost { until } => Some((until, Deadline::Lost)),
        }
    }
}

/// One call: the caller's leg, the callee's leg, and what joins them.
#[derive(Debug, Clone)]
pub struct Call {
    caller: CallSide,
    callee: CallSide,
    /// The caller made no offer.
    offers_caller: bool,
    /// Our offer to such a caller.
    for_caller: Option<Sdp>,
    early_media: EarlyMedia,
    state: State,
    transfer: Option<transfer::Transfer>,
    /// The other side's system is asked for a transfer.
    asked: Option<referral::Asked>,
    /// Legs of parties that have left, or did not come, whose media is closing.
    left: Vec<LegId>,
    timings: Timings,
    story: Story,
    actions: VecDeque<Action>,
}

impl Call {
    /// Starts a call: `caller` offered `offer`, and `callee` is to be called. A caller without an offer gets ours with
    /// the answer, and answers it then.
    #[must_use]
    pub fn new(
        now: Instant,
        timings: Timings,
        caller: Leg,
        callee: Leg,
        offer: Option<Sdp>,
    ) -> Self {
        let mut call = Call {
            caller: CallSide::new(caller, Signalled::Offered),
            callee: CallSide::new(callee, Signalled::Nothing),
            offers_caller: offer.is_none(),
            for_caller: None,
            early_media: EarlyMedia::default(),
            state: State::Describing {
                answerable: false,
                offer: None,
                until: now + timings.describe,
            },
            transfer: None,
            asked: None,
            left: Vec::new(),
            timings,
            story: Story::begin(now),
            actions: VecDeque::new(),
        };
        call.media(MediaAction::Open {
            leg: caller,
            beside: None,
            offer,
        });
        call.media(MediaAction::Open {
            leg: callee,
            beside: Some(caller.id),
            offer: None,
        });
        call
    }

    /// The same with a policy for sound that comes before the answer.
    #[must_use]
    pub fn with_early_media(self, early_media: EarlyMedia) -> Self {
        Call {
            early_media,
            ..self
        }
    }

    /// Takes one input in. What belongs to no leg of this call, or comes too late, changes nothing.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Finish(reason) => self.end(now, Side::Gateway, reason, None),
            Input::Release(leg) => self.release(now, leg),
            Input::Leg(leg, event) => {
                if self.is_party(leg) {
                    self.on_party(now, event);
                } else if let Some(end) = self.end_of(leg) {
                    self.handle_leg(now, end, event);
                }
            }
            Input::Media(leg, event) => {
                if self.is_party(leg) {
                    self.on_party_media(now, event);
                } else if let Some(end) = self.end_of(leg) {
                    self.handle_media(now, end, event);
                } else if event == MediaEvent::Closed {
                    self.left.retain(|left| *left != leg);
                    self.finish_when_closed();
                }
            }
        }
    }

    /// Acts on a deadline that has passed. Too early, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some((at, deadline)) = self.poll_timeout() else {
            return;
        };
        if now < at {
            return;
        }
        match deadline {
            Deadline::Describe => self.end(now, Side::Gateway, Reason::MediaFailed, None),
            Deadline::Answer => self.end(now, Side::Gateway, Reason::NoAnswer, None),
            Deadline::Connect => self.tell_caller_answered(now),
            Deadline::Media => self.end(now, Side::Gateway, Reason::MediaFailed, None),
            Deadline::Lost => self.end(now, Side::Gateway, Reason::MediaLost, None),
            Deadline::Transfer => self.on_transfer_timeout(now),
            Deadline::LastWords => self.on_heard_out(now, End::Callee),
            Deadline::Close => self.finish(),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Call::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Deadline)> {
        match self.state {
            State::Describing { until, .. } => Some((until, Deadline::Describe)),
            State::Offered { until, .. } => {
                let answer = (until, Deadline::Answer);
                let due = self.transfer_deadline().into_iter().chain([answer]);
                due.min_by_key(|(at, _)| *at)
            }
            State::Early { caller, until } => {
                let answer = (until, Deadline::Answer);
                let due = caller.deadline().into_iter();
                let due = due.chain(self.transfer_deadline()).chain([answer]);
                due.min_by_key(|(at, _)| *at)
            }
            State::Connecting {
                answer: Answer::Awaited { until },
                ..
            } => Some((until, Deadline::Describe)),
            State::Connecting { until, .. } => Some((until, Deadline::Connect)),
            State::Talking { sound } => {
                let transfer = self.transfer_deadline();
                sound
                    .deadline()
                    .into_iter()
                    .chain(transfer)
                    .min_by_key(|(at, _)| *at)
            }
            State::LastWords { until, .. } => Some((until, Deadline::LastWords)),
            State::Ending { until } => Some((until, Deadline::Close)),
            State::Ended => None,
        }
    }

    /// What has happened so far, for the record.
    #[must_use]
    pub fn story(&self) -> &Story {
        &self.story
    }

    /// Whether both sides have answered and neither has ended.
    #[must_use]
    pub fn is_talking(&self) -> bool {
        matches!(self.state, State::Talking { .. })
    }

    fn handle_leg(&mut self, now: Instant, end: End, event: LegEvent) {
        match event {
            LegEvent::Ringing => self.on_ringing(now, end),
            LegEvent::EarlyMedia { sdp } => self.on_early_media(now, end, sdp),
            LegEvent::Answered { sdp, device } => self.on_answered(now, end, sdp, device),
            LegEvent::Candidates(candidates) => self.on_candidates(end, candidates),
            LegEvent::Reoffered { sdp } => self.on_reoffer(end, sdp),
            LegEvent::OfferAsked => self.on_offer_asked(end),
            LegEvent::Reanswered { sdp } => self.on_reanswered(end, sdp),
            LegEvent::ReofferRefused { crossed } => self.on_our_offer_refused(end, crossed),
            LegEvent::TransferAsked { to } => self.on_transfer_asked(now, end, to),
            LegEvent::Replaced { by, offer } => self.on_replaced(now, end, by, offer),
            LegEvent::HandedOn { to } => self.on_handed_on(now, end, to),
            LegEvent::Referred(referral) => self.on_referred(now, end, referral),
            LegEvent::Joined { with } => self.on_joined(now, end, with),
            LegEvent::Ended(reason) => {
                self.side_mut(end).signalled = Signalled::Gone;
                if self.on_old_party_gone(end) {
                    return;
                }
                let reason = self.as_of(end, reason);
                if self.hears_out(now, end, reason) {
                    return;
                }
                self.end(now, end.into(), reason, None);
            }
        }
    }

    fn handle_media(&mut self, now: Instant, end: End, event: MediaEvent) {
        if self.waits_for_party(end) && event != MediaEvent::Closed {
            return;
        }
        match event {
            MediaEvent::LocalDescription { sdp } => self.on_description(now, end, sdp),
            MediaEvent::Connected => self.on_connected(now, end),
            MediaEvent::EarlySound => self.on_early_sound(now, end),
            MediaEvent::HeardOut => self.on_heard_out(now, end),
            MediaEvent::OfferDue => self.on_offer_due(end),
            MediaEvent::ReofferRefused => self.on_reoffer_refused(end),
            MediaEvent::Failed { why, fault } => {
                let reason = match fault {
                    MediaFault::Description => Reason::Incompatible,
                    MediaFault::Capacity => Reason::Overloaded,
                    MediaFault::Other => Reason::MediaFailed,
                };
                self.end(now, Side::Gateway, reason, Some(why));
            }
            MediaEvent::TimedOut { why } => {
                self.end(now, Side::Gateway, Reason::MediaTimeout, Some(why));
            }
            MediaEvent::Lost => self.on_lost(now, end),
            MediaEvent::Closed => self.on_closed(end),
        }
    }

    fn end_of(&self, leg: LegId) -> Option<End> {
        match leg {
            id if id == self.caller.leg.id => Some(End::Caller),
            id if id == self.callee.leg.id => Some(End::Callee),
            _ => None,
        }
    }

    fn side(&self, end: End) -> &CallSide {
        match end {
            End::Caller => &self.caller,
            End::Callee => &self.callee,
        }
    }

    fn side_mut(&mut self, end: End) -> &mut CallSide {
        match end {
            End::Caller => &mut self.caller,
            End::Callee => &mut self.callee,
        }
    }

    fn leg(&mut self, end: End, action: LegAction) {
        let id = self.side(end).leg.id;
        self.leg_of(id, action);
    }

    fn leg_of(&mut self, id: LegId, action: LegAction) {
        self.actions.push_back(Action::Leg(id, action));
    }

    fn media(&mut self, action: MediaAction) {
        self.actions.push_back(Action::Media(action));
    }
}
