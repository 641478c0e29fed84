//! One subscription (RFC 6665) as a state machine: what happened goes in, what
//! to send comes out. It has no clock and no chance of its own.

use std::time::{Duration, Instant};

use super::words::{Action, Input, News, Reason, SubscriptionStanding, Substate, Why};
use crate::registration::patience::{self, REST_AFTER_REFUSAL, SECOND_LOOK, SHORTEST_REFRESH};
use crate::registration::{Answer, Jitter};

/// How long a stop waits for the last NOTIFY after the notifier's 200.
const PARTING: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Until its account is registered.
    Dormant,
    Waiting {
        until: Instant,
        why: Why,
    },
    /// A SUBSCRIBE is out.
    Asking {
        /// Whether it asks for more time because a 423 wanted it.
        lengthened: bool,
        then: Then,
    },
    /// The SUBSCRIBE that ends it is out.
    Leaving {
        /// Whether the last NOTIFY has come.
        told: bool,
    },
    Parting {
        until: Instant,
    },
    Over,
}

/// What follows the answer to a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// What its answer asks for.
    Settle,
    /// A new attempt at that turn, if it failed.
    Turn(Instant),
    /// What a NOTIFY that came before the answer has ended.
    End {
        reason: Reason,
        retry_after: Option<Duration>,
        turn: Instant,
    },
    /// The gateway stops.
    Leave,
}

/// One subscription at one notifier.
#[derive(Debug)]
pub(crate) struct Subscription {
    state: State,
    /// Until when the notifier keeps it.
    held_until: Option<Instant>,
    /// Since when there is this dialog.
    since: Option<Instant>,
    /// When it was accepted last, until that was made up against failures.
    accepted_at: Option<Instant>,
    /// Until when the first NOTIFY in it has to come; none once it came.
    first_notify_by: Option<Instant>,
    /// Whether a NOTIFY came since the last SUBSCRIBE was sent.
    heard: bool,
    /// Whether the SUBSCRIBE that is out makes a dialog.
    anew: bool,
    pending: bool,
    /// Whether anybody was told that this dialog is active.
    active_told: bool,
    /// What the next SUBSCRIBE asks for.
    expires: Duration,
    /// Timer N.
    notify_within: Duration,
    /// Failures in a row.
    failures: u32,
    refused: Option<u16>,
    /// When it was refused for whom it is asked by.
    shut_out_at: Option<Instant>,
    /// When the whole was asked for last because a document was missing.
    behind_at: Option<Instant>,
    failure_told: bool,
}

impl Subscription {
    /// One that asks for `expires`, once it is told that it may; the first
    /// NOTIFY has to follow a 200 within `notify_within`.
    pub(crate) fn new(expires: Duration, notify_within: Duration) -> Self {
        Self {
            state: State::Dormant,
            held_until: None,
            since: None,
            accepted_at: None,
            first_notify_by: None,
            heard: false,
            anew: true,
            pending: false,
            active_told: false,
            expires,
            notify_within,
            failures: 0,
            refused: None,
            shut_out_at: None,
            behind_at: None,
            failure_told: false,
        }
    }

    /// When [`Input::Due`] is due, and why.
    pub(crate) fn deadline(&self) -> Option<(Instant, Why)> {
        match (self.state, self.first_notify_by) {
            (State::Waiting { until, .. }, Some(by)) if by < until => Some((by, Why::FirstNotify)),
            (State::Waiting { until, why }, _) => match (self.held_until, why) {
                (Some(end), Why::BackOff | Why::Refused) if end < until => {
                    Some((end, Why::RunsOut))
                }
                _ => Some((until, why)),
            },
            (State::Parting { until }, _) => Some((until, Why::LastNotify)),
            (State::Dormant | State::Asking { .. } | State::Leaving { .. } | State::Over, _) => {
                None
            }
        }
    }

    /// How it stands.
    pub(crate) fn standing(&self, now: Instant) -> SubscriptionStanding {
        let held = self.held_until.is_some_and(|until| until > now);
        match (held, self.refused) {
            (true, _) if self.first_notify_by.is_some() => SubscriptionStanding::Trying,
            (true, _) if self.pending => SubscriptionStanding::Pending,
            (true, _) => SubscriptionStanding::Active,
            (false, Some(status)) => SubscriptionStanding::Refused { status },
            (false, None) => SubscriptionStanding::Trying,
        }
    }

    /// How many attempts in a row have failed.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether a NOTIFY in its dialog is still of use.
    pub(crate) fn has_dialog(&self) -> bool {
        match self.state {
            State::Dormant | State::Over => false,
            State::Waiting { .. } => self.held_until.is_some(),
            State::Asking { .. } | State::Leaving { .. } | State::Parting { .. } => true,
        }
    }

    /// Takes an input. What makes no sense in the state changes nothing.
    pub(crate) fn on(
        &mut self,
        input: Input,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        match (self.state, input) {
            (State::Waiting { until, .. }, Input::Back { turn }) if self.rested(turn) > turn => {
                self.wait(until.min(self.rested(turn)), Why::Refused);
                (Action::Wait, None)
            }
            (State::Dormant | State::Waiting { .. }, Input::Back { turn }) => {
                self.wait(turn, Why::Turn);
                self.failures = 0;
                (Action::Wait, None)
            }
            (State::Dormant | State::Waiting { .. }, Input::Stop) => (self.leave(now), None),
            (State::Waiting { .. }, Input::Due) => self.on_due(now, jitter),
            (State::Waiting { until, why }, Input::Notified(substate, turn)) => {
                self.on_notified(substate, turn, (until, why), now, jitter)
            }
            (State::Waiting { until, why }, Input::Behind) => {
                // A notifier that never tells the whole is not asked each time.
                let asked = self.behind_at.map(|at| at + SECOND_LOOK);
                let soon = asked.unwrap_or(now).max(now + SHORTEST_REFRESH);
                if why == Why::Refresh && soon < until {
                    self.behind_at = Some(soon);
                    self.wait(soon, why);
                }
                (Action::Wait, None)
            }
            (State::Asking { lengthened, then }, Input::Back { turn }) => {
                let then = match then {
                    Then::Settle | Then::Turn(_) => Then::Turn(turn),
                    Then::End { .. } | Then::Leave => then,
                };
                self.state = State::Asking { lengthened, then };
                (Action::Wait, None)
            }
            (State::Asking { lengthened, .. }, Input::Stop) => {
                let then = Then::Leave;
                self.state = State::Asking { lengthened, then };
                (Action::Wait, None)
            }
            (State::Asking { lengthened, then }, Input::Notified(substate, turn)) => {
                let then = self.heard_while_asking(substate, turn, then, now);
                self.state = State::Asking { lengthened, then };
                (Action::Wait, None)
            }
            (State::Asking { lengthened, then }, Input::Answer(answer)) => {
                self.on_answer(answer, (lengthened, then), now, jitter)
            }
            (State::Leaving { told }, Input::Answer(answer)) => {
                (self.on_farewell(answer, told, now), None)
            }
            (State::Leaving { .. }, Input::Notified(Substate::Terminated { .. }, _)) => {
                self.state = State::Leaving { told: true };
                (Action::Wait, None)
            }
            (State::Parting { until }, Input::Due) if until > now => (Action::Wait, None),
            (State::Parting { .. }, Input::Due)
            | (State::Parting { .. }, Input::Notified(Substate::Terminated { .. }, _)) => {
                self.state = State::Over;
                (Action::Finish, None)
            }
            (State::Dormant, Input::Due | Input::Answer(_) | Input::Notified(..))
            | (State::Waiting { .. }, Input::Answer(_))
            | (State::Asking { .. }, Input::Due)
            | (State::Leaving { .. }, Input::Due | Input::Back { .. } | Input::Stop)
            | (State::Parting { .. }, Input::Answer(_) | Input::Back { .. } | Input::Stop)
            | (State::Leaving { .. } | State::Parting { .. }, Input::Notified(..))
            | (
                State::Dormant
                | State::Asking { .. }
                | State::Leaving { .. }
                | State::Parting { .. },
                Input::Behind,
            ) => (Action::Wait, None),
            (State::Over, _) => (Action::Finish, None),
        }
    }

    fn wait(&mut self, until: Instant, why: Why) {
        self.state = State::Waiting { until, why };
    }

    fn on_due(&mut self, now: Instant, jitter: Jitter) -> (Action, Option<News>) {
        match self.deadline() {
            Some((until, _)) if until > now => (Action::Wait, None),
            Some((_, Why::FirstNotify)) => {
                self.forget();
                let wait = self.back_off(None, jitter);
                let action = self.after_failure(wait, Why::BackOff, Then::Settle, now);
                let news = News::Untold { again_in: wait };
                (action, self.once(news))
            }
            Some((_, Why::RunsOut)) => {
                self.forget();
                (Action::Wait, None)
            }
            _ => (self.ask(now), None),
        }
    }

    /// This turn, or a later one where a password was wrong just now.
    fn rested(&self, turn: Instant) -> Instant {
        let rested = self.shut_out_at.map(|at| at + REST_AFTER_REFUSAL);
        rested.map_or(turn, |rested| turn.max(rested))
    }

    /// In the dialog there is while the notifier keeps it, else in a new one.
    fn ask(&mut self, now: Instant) -> Action {
        let anew = self.held_until.is_none_or(|until| until <= now);
        self.ask_in(anew, Then::Settle)
    }

    fn ask_in(&mut self, anew: bool, then: Then) -> Action {
        if anew {
            self.forget();
        }
        self.heard = false;
        self.anew = anew;
        self.state = State::Asking {
            lengthened: false,
            then,
        };
        let expires = self.expires;
        Action::Subscribe { expires, anew }
    }

    /// There is no dialog any more.
    fn forget(&mut self) {
        self.held_until = None;
        self.since = None;
        self.first_notify_by = None;
        self.pending = false;
        self.active_told = false;
    }

    fn leave(&mut self, now: Instant) -> Action {
        if self.held_until.is_none_or(|until| until <= now) {
            self.state = State::Over;
            return Action::Finish;
        }
        self.state = State::Leaving { told: false };
        // RFC 6665 §4.1.2.3.
        Action::Subscribe {
            expires: Duration::ZERO,
            anew: false,
        }
    }

    fn on_farewell(&mut self, answer: Answer, told: bool, now: Instant) -> Action {
        match answer {
            Answer::Challenged {
                answerable: true, ..
            } => Action::Again {
                expires: Duration::ZERO,
            },
            // A notifier that grants nothing says so, as it was asked to.
            Answer::Bound { .. } if !told => {
                self.state = State::Parting {
                    until: now + PARTING,
                };
                Action::Wait
            }
            _ => {
                self.state = State::Over;
                Action::Finish
            }
        }
    }

    /// Told only the first time in a row.
    fn once(&mut self, news: News) -> Option<News> {
        let told = std::mem::replace(&mut self.failure_told, true);
        (!told).then_some(news)
    }

    fn back_off(&self, retry_after: Option<Duration>, jitter: Jitter) -> Duration {
        patience::back_off(self.failures, self.expires, retry_after, jitter)
    }

    fn after_failure(&mut self, wait: Duration, why: Why, then: Then, now: Instant) -> Action {
        self.failures = self.failures.saturating_add(1);
        match then {
            Then::Settle | Then::End { .. } => self.wait(now + wait, why),
            Then::Turn(turn) if self.rested(turn) > turn => {
                self.wait((now + wait).min(self.rested(turn)), why);
            }
            Then::Turn(turn) => {
                self.failures = 0;
                self.wait(turn, Why::Turn);
            }
            Then::Leave => return self.leave(now),
        }
        Action::Wait
    }
}

mod answers;
mod notified;
#[cfg(test)]
mod tests;
