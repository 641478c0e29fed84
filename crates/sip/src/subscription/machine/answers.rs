//! What the answer to a SUBSCRIBE does.

use std::time::{Duration, Instant};

use super::super::words::{Action, News, Why};
use super::{State, Subscription, Then};
use crate::registration::patience::{self, SECOND_LOOK, needs_a_person};
use crate::registration::{Answer, Jitter};

impl Subscription {
    pub(super) fn on_answer(
        &mut self,
        answer: Answer,
        (lengthened, then): (bool, Then),
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        if let Then::End {
            reason,
            retry_after,
            turn,
        } = then
            && !is_answerable(answer)
        {
            return self.ended(reason, retry_after, turn, now, jitter);
        }
        match answer {
            Answer::Bound { granted } => self.accepted(granted, then, now, jitter),
            Answer::Challenged {
                answerable: true, ..
            } => {
                let expires = self.expires;
                (Action::Again { expires }, None)
            }
            Answer::TooBrief {
                minimum: Some(minimum),
            } if !lengthened && patience::is_believed(minimum, self.expires) => {
                self.expires = minimum;
                let lengthened = true;
                self.state = State::Asking { lengthened, then };
                (Action::Again { expires: minimum }, None)
            }
            // The answer was lost, but what it would have said is told.
            Answer::Silence if self.heard => {
                let granted = self.held_until.map(|until| until - now);
                self.accepted(granted.unwrap_or(self.expires), then, now, jitter)
            }
            Answer::Refused { status: 481, .. } if !self.anew => self.forgotten(then),
            Answer::TooBrief { .. } => self.failed(Some(423), None, then, now, jitter),
            Answer::Challenged { status, .. } => self.refused(status, then, now, jitter),
            Answer::Refused { status, .. } if needs_a_person(status) => {
                self.refused(status, then, now, jitter)
            }
            Answer::Refused {
                status,
                retry_after,
            } => self.failed(Some(status), retry_after, then, now, jitter),
            Answer::Silence => self.failed(None, None, then, now, jitter),
        }
    }

    /// §4.1.2.2: a notifier that has forgotten it is asked anew, at once: that
    /// this SUBSCRIBE is answered is as good as a turn.
    fn forgotten(&mut self, then: Then) -> (Action, Option<News>) {
        if then == Then::Leave {
            self.state = State::Over;
            return (Action::Finish, None);
        }
        (self.ask_in(true, Then::Settle), None)
    }

    fn accepted(
        &mut self,
        granted: Duration,
        then: Then,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        let granted = granted.min(self.expires);
        self.accepted_at = Some(now);
        if self.since.is_none() {
            self.first_notify_by = Some(now + self.notify_within);
            self.since = Some(now);
        } else if !self.anew {
            self.failures = 0;
        }
        self.held_until = Some(now + granted);
        if then == Then::Leave {
            return (self.leave(now), None);
        }
        self.wait(now + patience::refresh_after(granted, jitter), Why::Refresh);
        (Action::Wait, self.good_news(now))
    }

    /// What lived for a while has made up for the failures before it, once.
    pub(super) fn forgive(&mut self, now: Instant) {
        let accepted_at = self.accepted_at.take();
        if accepted_at.is_some_and(|at| now - at >= SECOND_LOOK) {
            self.failures = 0;
        }
    }

    fn refused(
        &mut self,
        status: u16,
        then: Then,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        self.forgive(now);
        let was_good = self.refused.is_none() && self.held_until.is_some();
        if ends_it(Some(status)) {
            self.forget();
        }
        let wait = patience::after_refusal(was_good, jitter);
        let is_news = self.refused != Some(status);
        self.refused = Some(status);
        if matches!(status, 401 | 403 | 407) {
            self.shut_out_at = Some(now);
        }
        self.failure_told = true;
        let action = self.after_failure(wait, Why::Refused, then, now);
        let news = News::Refused {
            status,
            again_in: wait,
        };
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
        self.forgive(now);
        if ends_it(status) {
            self.forget();
        }
        let wait = self.back_off(retry_after, jitter);
        let action = self.after_failure(wait, Why::BackOff, then, now);
        let news = News::Failed {
            status,
            again_in: wait,
        };
        (action, self.once(news))
    }
}

fn is_answerable(answer: Answer) -> bool {
    matches!(
        answer,
        Answer::Challenged {
            answerable: true,
            ..
        }
    )
}

/// Whether an answer, or none, to a refresh ends the subscription; after any
/// other it goes on until it runs out (RFC 6665 §4.1.2.2). Where nobody
/// answers, the dialog is of no use any more (RFC 5057 §5.1).
fn ends_it(status: Option<u16>) -> bool {
    matches!(
        status,
        None | Some(404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604)
    )
}
