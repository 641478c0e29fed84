//! One registration as a state machine: what happened goes in, what to send
//! comes out. It has no clock and no chance of its own.

use std::time::{Duration, Instant};

use super::patience::{self, Jitter, REST_AFTER_REFUSAL};

/// What a registration is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Its deadline has come.
    Due,
    /// What came of the REGISTER that it had sent.
    Answer(Answer),
    /// The trunk answers again, or another of its targets has to: what was
    /// registered may be forgotten. Its turn among all that come back.
    TrunkBack { turn: Instant },
    /// The gateway stops.
    Stop,
}

/// What came of a request that asks to be kept for a while: a REGISTER here, a
/// SUBSCRIBE in `subscription`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Accepted, for so long.
    Bound { granted: Duration },
    /// 401 or 407; whether there is an answer to it that was not refused yet
    /// (a stale nonce may be answered anew).
    Challenged { status: u16, answerable: bool },
    /// 423, with its Min-Expires.
    TooBrief { minimum: Option<Duration> },
    /// Any other refusal, with its Retry-After.
    Refused {
        status: u16,
        retry_after: Option<Duration>,
    },
    /// No answer in time, or no way to send.
    Silence,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing before the deadline.
    Wait,
    /// Send a REGISTER with this Expires; zero ends the registration.
    Register { expires: Duration },
    /// Send it again, with an answer to the challenge where there was one.
    Again { expires: Duration },
    /// All is over.
    Finish,
}

/// What a person should read of, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It is registered, for the first time or again.
    Registered,
    /// The registrar will not have it, and a person has to mend that.
    Rejected { status: u16, again_in: Duration },
    /// It did not work, and will be tried again.
    Failed {
        status: Option<u16>,
        again_in: Duration,
    },
}

impl News {
    /// Whether the outage of the trunk, which was told, says it already: it
    /// holds for each of its lines.
    pub(crate) fn is_of_the_outage(self, trunk_is_up: bool) -> bool {
        matches!(self, Self::Failed { status: None, .. }) && !trunk_is_up
    }
}

/// Why a registration waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// For its turn at the start.
    FirstTurn,
    /// For the next refresh.
    Refresh,
    /// For its turn after an outage.
    TrunkBack,
    /// After a failure that may pass.
    BackOff,
    /// After a refusal that a person has to mend.
    Rejected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting { until: Instant, why: Why },
    Asking { lengthened: bool, then: Then },
    Leaving,
    Over,
}

/// What follows the REGISTER that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// What its answer asks for.
    Settle,
    /// A new attempt at that turn, if it failed: it began before the trunk
    /// was back.
    Turn(Instant),
    /// The gateway stops.
    Leave,
}

/// How an account stands at its registrar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not registered yet, or not any more; it is being tried.
    Trying,
    /// The registrar sends its calls here.
    Registered,
    /// The registrar refused it with this status; it is tried seldom.
    Rejected {
        /// 401 or 407: the password is wrong; 403, 404 and others: what the
        /// registrar says.
        status: u16,
    },
}

/// One account at one registrar.
#[derive(Debug)]
pub(crate) struct Registration {
    state: State,
    /// Until when the registrar has our contact.
    bound_until: Option<Instant>,
    /// What the next REGISTER asks for.
    expires: Duration,
    /// Failures in a row.
    failures: u32,
    /// What the last attempt that was refused for good was refused with.
    rejected: Option<u16>,
    /// When that was.
    rejected_at: Option<Instant>,
    /// Whether a person was told of the failure.
    failure_told: bool,
}

impl Registration {
    /// One that asks for `expires`, the first time at its `turn`.
    pub(crate) fn new(expires: Duration, turn: Instant) -> Self {
        Self {
            state: State::Waiting {
                until: turn,
                why: Why::FirstTurn,
            },
            bound_until: None,
            expires,
            failures: 0,
            rejected: None,
            rejected_at: None,
            failure_told: false,
        }
    }

    /// When [`Input::Due`] is due, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, Why)> {
        match self.state {
            State::Waiting { until, why } => Some((until, why)),
            State::Asking { .. } | State::Leaving | State::Over => None,
        }
    }

    /// How it stands.
    pub(crate) fn standing(&self, now: Instant) -> Standing {
        match (self.bound_until, self.rejected) {
            (Some(until), _) if until > now => Standing::Registered,
            (_, Some(status)) => Standing::Rejected { status },
            _ => Standing::Trying,
        }
    }

    /// How many attempts in a row have failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes an input. What makes no sense in the state changes nothing.
    pub(crate) fn on(
        &mut self,
        input: Input,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        match (self.state, input) {
            (State::Waiting { until, .. }, Input::Due) if until <= now => (self.ask(), None),
            (
                State::Waiting {
                    until,
                    why: Why::Rejected,
                },
                Input::TrunkBack { turn },
            ) => {
                self.wait(until.min(self.rested(turn)), Why::Rejected);
                (Action::Wait, None)
            }
            (State::Waiting { .. }, Input::TrunkBack { turn }) => {
                self.wait(turn, Why::TrunkBack);
                self.failures = 0;
                (Action::Wait, None)
            }
            (State::Waiting { .. }, Input::Stop) => (self.leave(now), None),
            (State::Asking { lengthened, then }, Input::TrunkBack { turn }) => {
                if then != Then::Leave {
                    let then = Then::Turn(turn);
                    self.state = State::Asking { lengthened, then };
                }
                (Action::Wait, None)
            }
            (State::Asking { lengthened, .. }, Input::Stop) => {
                let then = Then::Leave;
                self.state = State::Asking { lengthened, then };
                (Action::Wait, None)
            }
            (State::Asking { lengthened, then }, Input::Answer(answer)) => {
                self.on_answer(answer, (lengthened, then), now, jitter)
            }
            (State::Leaving, Input::Answer(answer)) => (self.on_farewell(answer), None),
            (State::Waiting { .. }, Input::Due | Input::Answer(_))
            | (State::Asking { .. }, Input::Due)
            | (State::Leaving, Input::Due | Input::TrunkBack { .. } | Input::Stop) => {
                (Action::Wait, None)
            }
            (State::Over, _) => (Action::Finish, None),
        }
    }

    fn wait(&mut self, until: Instant, why: Why) {
        self.state = State::Waiting { until, why };
    }

    fn ask(&mut self) -> Action {
        self.state = State::Asking {
            lengthened: false,
            then: Then::Settle,
        };
        Action::Register {
            expires: self.expires,
        }
    }

    fn leave(&mut self, now: Instant) -> Action {
        if self.bound_until.is_none_or(|until| until <= now) {
            self.state = State::Over;
            return Action::Finish;
        }
        self.state = State::Leaving;
        // RFC 3261 §10.2.2.
        let expires = Duration::ZERO;
        Action::Register { expires }
    }

    fn on_farewell(&mut self, answer: Answer) -> Action {
        let expires = Duration::ZERO;
        match answer {
            Answer::Challenged {
                answerable: true, ..
            } => Action::Again { expires },
            _ => {
                self.state = State::Over;
                Action::Finish
            }
        }
    }

    fn on_answer(
        &mut self,
        answer: Answer,
        (lengthened, then): (bool, Then),
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        match answer {
            Answer::Bound { granted } => self.bound(granted, then, now, jitter),
            Answer::Challenged {
                answerable: true, ..
            } => {
                let expires = self.expires;
                (Action::Again { expires }, None)
            }
            Answer::TooBrief {
                minimum: Some(minimum),
            } if !lengthened && patience::is_believed(minimum, self.expires) => {
                // RFC 3261 §10.2.8.
                self.expires = minimum;
                let lengthened = true;
                self.state = State::Asking { lengthened, then };
                (Action::Again { expires: minimum }, None)
            }
            Answer::TooBrief { .. } => self.failed(Some(423), None, then, now, jitter),
            Answer::Challenged { status, .. } => self.rejected(status, then, now, jitter),
            Answer::Refused { status, .. } if patience::needs_a_person(status) => {
                self.rejected(status, then, now, jitter)
            }
            Answer::Refused {
                status,
                retry_after,
            } => self.failed(Some(status), retry_after, then, now, jitter),
            Answer::Silence => self.failed(None, None, then, now, jitter),
        }
    }

    fn bound(
        &mut self,
        granted: Duration,
        then: Then,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        let granted = granted.min(self.expires);
        let is_news = self.standing(now) != Standing::Registered || self.failure_told;
        self.bound_until = Some(now + granted);
        self.failures = 0;
        self.rejected = None;
        self.failure_told = false;
        let news = is_news.then_some(News::Registered);
        if then == Then::Leave {
            return (self.leave(now), news);
        }
        self.wait(now + patience::refresh_after(granted, jitter), Why::Refresh);
        (Action::Wait, news)
    }

    fn rejected(
        &mut self,
        status: u16,
        then: Then,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        let was_good = self.failures == 0 && self.bound_until.is_some();
        let wait = patience::after_refusal(was_good, jitter);
        let is_news = self.rejected != Some(status);
        self.rejected = Some(status);
        self.rejected_at = Some(now);
        self.failure_told = true;
        let news = News::Rejected {
            status,
            again_in: wait,
        };
        let action = self.after_failure(wait, Why::Rejected, then, now);
        (action, is_news.then_some(news))
    }

    fn failed(
        &mut self,
        status: Option<u16>,
        retry_after: Option<Duration>,
        then: Then,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        let wait = patience::back_off(self.failures, self.expires, retry_after, jitter);
        let is_news = !self.failure_told;
        self.failure_told = true;
        let news = News::Failed {
            status,
            again_in: wait,
        };
        let action = self.after_failure(wait, Why::BackOff, then, now);
        (action, is_news.then_some(news))
    }

    /// This turn, or a later one where the last refusal was just now.
    fn rested(&self, turn: Instant) -> Instant {
        let rested = self.rejected_at.map(|at| at + REST_AFTER_REFUSAL);
        rested.map_or(turn, |rested| turn.max(rested))
    }

    fn after_failure(&mut self, wait: Duration, why: Why, then: Then, now: Instant) -> Action {
        self.failures = self.failures.saturating_add(1);
        match then {
            Then::Settle => self.wait(now + wait, why),
            Then::Turn(turn) if why == Why::Rejected => {
                self.wait((now + wait).min(self.rested(turn)), why);
            }
            Then::Turn(turn) => {
                self.failures = 0;
                self.wait(turn, Why::TrunkBack);
            }
            Then::Leave => return self.leave(now),
        }
        Action::Wait
    }
}

#[cfg(test)]
mod tests;
