//! From the caller's offer to the answer.

use std::time::Instant;

use super::{Answer, Call, End, Signalled, Sound, State, Told};
use crate::{Device, LegAction, MediaAction, Reason, Sdp};

impl Call {
    /// One of our descriptions is ready. The callee is called when it is certain that the caller can be answered.
    pub(super) fn on_description(&mut self, now: Instant, end: End, sdp: Sdp) {
        match (&mut self.state, end) {
            (State::Describing { answerable, .. }, End::Caller) => {
                *answerable = true;
                self.for_caller = self.offers_caller.then_some(sdp);
            }
            (State::Describing { offer, .. }, End::Callee) => *offer = Some(sdp),
            (State::Connecting { answer, .. }, End::Caller) => {
                *answer = Answer::Ready(sdp);
                self.tell_caller_in_time(now);
                return;
            }
            (
                State::Early {
                    caller: Told::Awaited { .. },
                    ..
                },
                End::Caller,
            ) => return self.answer_caller_early(now, sdp),
            _ => {
                self.on_reoffer_described(end, sdp);
                return;
            }
        }
        let State::Describing {
            answerable: true,
            offer: Some(offer),
            ..
        } = &self.state
        else {
            return;
        };
        let sdp = offer.clone();
        self.state = State::Offered {
            until: now + self.timings.answer,
        };
        self.callee.signalled = Signalled::Offered;
        self.leg(End::Callee, LegAction::Offer { sdp });
    }

    /// The callee rings. The caller is told once: a phone that gets a second 180 starts its
    /// ringback anew, and a 180 after the answer confuses it altogether.
    pub(super) fn on_ringing(&mut self, now: Instant, end: End) {
        match (&self.state, end) {
            (State::Offered { .. }, End::Callee) if self.story.rang.is_none() => {
                self.story.rang = Some(now);
                self.leg(End::Caller, LegAction::Ring);
            }
            (State::Offered { .. }, End::Callee) => {}
            (State::Early { .. }, End::Callee) => {
                let leg = self.callee.leg.id;
                self.media(MediaAction::Ringback { leg });
            }
            // A 180 that a 200 has overtaken, or a caller that claims to ring.
            _ => {}
        }
    }

    pub(super) fn on_answered(&mut self, now: Instant, end: End, sdp: Sdp, device: Option<Device>) {
        let (State::Offered { .. } | State::Early { .. }, End::Callee) = (&self.state, end) else {
            // A second answer, or one that our CANCEL has crossed: the leg's own machine ends that dialog.
            return;
        };
        self.callee.signalled = Signalled::Answered;
        self.story.answered = Some(now);
        self.story.device = device;
        // Whoever was about to pick the call up comes too late.
        self.drop_party(Reason::Busy);
        let callee = self.callee.leg.id;
        self.media(MediaAction::ApplyAnswer { leg: callee, sdp });
        self.on_picked_up(now);
    }

    /// Somebody has answered at the callee's side: the caller is to hear of it.
    pub(super) fn on_picked_up(&mut self, now: Instant) {
        let (caller, callee) = (self.caller.leg.id, self.callee.leg.id);
        if let State::Early { caller, .. } = self.state {
            return self.on_answered_early(now, caller);
        }
        self.media(MediaAction::Bridge {
            a: caller,
            b: callee,
        });
        let answer = match self.for_caller.take() {
            Some(offer) => Answer::Ready(offer),
            None => {
                self.media(MediaAction::Describe { leg: caller });
                Answer::Awaited {
                    until: now + self.timings.describe,
                }
            }
        };
        let until = now + self.timings.connect;
        self.state = State::Connecting { answer, until };
        self.tell_caller_in_time(now);
    }

    /// Tells the caller once the callee's sound is up, or has kept the caller waiting for long enough.
    fn tell_caller_in_time(&mut self, now: Instant) {
        match self.state {
            State::Connecting { until, .. } if self.callee.connected || now >= until => {
                self.tell_caller_answered(now);
            }
            _ => {}
        }
    }

    /// The caller hears that the call is answered, as soon as there is an answer.
    pub(super) fn tell_caller_answered(&mut self, now: Instant) {
        let State::Connecting {
            answer: Answer::Ready(answer),
            ..
        } = &self.state
        else {
            return;
        };
        let answer = answer.clone();
        let sound = self.answer_caller(now, answer);
        self.talk(sound);
    }

    pub(super) fn answer_caller(&mut self, now: Instant, sdp: Sdp) -> Sound {
        self.caller.signalled = Signalled::Answered;
        self.leg(End::Caller, LegAction::Answer { sdp });
        if self.caller.connected && self.callee.connected {
            return Sound::Up;
        }
        Sound::Awaited {
            until: now + self.timings.media,
        }
    }

    pub(super) fn talk(&mut self, sound: Sound) {
        self.state = State::Talking { sound };
        self.offer_what_is_due(End::Caller);
        self.offer_what_is_due(End::Callee);
    }

    pub(super) fn on_connected(&mut self, now: Instant, end: End) {
        self.side_mut(end).connected = true;
        let is_up = self.caller.connected && self.callee.connected;
        match (&mut self.state, end) {
            (State::Connecting { .. }, End::Callee) => self.tell_caller_answered(now),
            (
                State::Talking { sound }
                | State::Early {
                    caller: Told::Answered(sound),
                    ..
                },
                _,
            ) if is_up => *sound = Sound::Up,
            _ => {}
        }
    }

    /// A side no longer consents to receive (RFC 7675). It may come back.
    pub(super) fn on_lost(&mut self, now: Instant, end: End) {
        self.side_mut(end).connected = false;
        let until = now + self.timings.lost;
        match &mut self.state {
            State::Talking { sound }
            | State::Early {
                caller: Told::Answered(sound),
                ..
            } if *sound == Sound::Up => *sound = Sound::Lost { until },
            _ => {}
        }
    }
}
