//! A callee that is heard before it picks up (announcements, a network's own ringback). A network without early media, as
//! Matrix is, hears it only in an answered call: so the caller is answered as soon as sound really comes, and not
//! before, since its own ringback ends with that. What counts as the answer is still the callee's. One that
//! leaves without picking up is heard to its last word.

use std::time::Instant;

use super::{Answer, Call, Deadline, EarlyMedia, End, Sound, State, Told};
use crate::{LegKind, MediaAction, Reason, Sdp, Side};

impl Told {
    pub(super) fn deadline(self) -> Option<(Instant, Deadline)> {
        match self {
            Told::Awaited { until } => Some((until, Deadline::Describe)),
            Told::Answered(sound) => sound.deadline(),
        }
    }
}

impl Call {
    /// The callee describes early media. That no sound need ever come of it, PBXes show every day.
    pub(super) fn on_early_media(&mut self, now: Instant, end: End, sdp: Sdp) {
        if end != End::Callee {
            return;
        }
        match self.state {
            State::Offered { .. } => self.on_ringing(now, end),
            State::Early { .. } => {}
            _ => return,
        }
        if self.hears_early_media() {
            let leg = self.callee.leg.id;
            self.media(MediaAction::ApplyEarlyAnswer { leg, sdp });
        }
    }

    fn hears_early_media(&self) -> bool {
        // A telephone that calls would be answered, and billed, for what it can have before the answer.
        self.early_media == EarlyMedia::Connect
            && self.caller.leg.kind == LegKind::Matrix
            && !self.offers_caller
    }

    pub(super) fn on_early_sound(&mut self, now: Instant, end: End) {
        let (State::Offered { until }, End::Callee) = (&self.state, end) else {
            return;
        };
        if !self.hears_early_media() {
            return;
        }
        let caller = Told::Awaited {
            until: now + self.timings.describe,
        };
        self.state = State::Early {
            caller,
            until: *until,
        };
        let (a, b) = (self.caller.leg.id, self.callee.leg.id);
        self.media(MediaAction::Bridge { a, b });
        self.media(MediaAction::Describe { leg: a });
    }

    /// Our answer is there.
    pub(super) fn answer_caller_early(&mut self, now: Instant, sdp: Sdp) {
        let sound = self.answer_caller(now, sdp);
        self.story.early = Some(now);
        if let State::Early { caller, .. } = &mut self.state {
            *caller = Told::Answered(sound);
        }
    }

    /// The callee picked up; the caller may have been told long ago.
    pub(super) fn on_answered_early(&mut self, now: Instant, caller: Told) {
        match caller {
            Told::Answered(sound) => self.talk(sound),
            Told::Awaited { until } => {
                self.state = State::Connecting {
                    answer: Answer::Awaited { until },
                    until: now + self.timings.connect,
                };
            }
        }
    }

    /// A callee that is heard leaves without picking up, as a PBX does when it has announced why: what it said last is
    /// still on its way to the caller, who hears it with a delay. The call ends after that, as the callee has ended it.
    pub(super) fn hears_out(&mut self, now: Instant, end: End, reason: Reason) -> bool {
        let is_heard = matches!(
            self.state,
            State::Early {
                caller: Told::Answered(Sound::Awaited { .. } | Sound::Up),
                ..
            }
        );
        if !is_heard || end != End::Callee {
            return false;
        }
        self.state = State::LastWords {
            reason,
            until: now + self.timings.last_words,
        };
        let leg = self.callee.leg.id;
        self.media(MediaAction::HearOut { leg });
        true
    }

    pub(super) fn on_heard_out(&mut self, now: Instant, end: End) {
        if let (State::LastWords { reason, .. }, End::Callee) = (&self.state, end) {
            let reason = *reason;
            self.end(now, Side::Callee, reason, None);
        }
    }

    /// What a far end's reason for going means to the call: a person who hangs up on an announcement has not talked to
    /// anybody.
    pub(super) fn as_of(&self, end: End, reason: Reason) -> Reason {
        match (&self.state, end, reason) {
            (State::Early { .. }, End::Caller, Reason::HungUp) => Reason::Cancelled,
            _ => reason,
        }
    }
}
