//! What a NOTIFY does.

use std::time::{Duration, Instant};

use super::super::words::{Action, News, Reason, SubscriptionStanding, Substate, Why};
use super::{Subscription, Then};
use crate::registration::Jitter;
use crate::registration::patience;

impl Subscription {
    /// A NOTIFY that overtakes the answer to the SUBSCRIBE (RFC 6665 §4.1.2.4).
    pub(super) fn heard_while_asking(
        &mut self,
        substate: Substate,
        turn: Instant,
        then: Then,
        now: Instant,
    ) -> Then {
        self.heard = true;
        self.first_notify_by = None;
        match (substate, then) {
            (Substate::Terminated { .. }, Then::Leave) => {
                self.forget();
                Then::Leave
            }
            (
                Substate::Terminated {
                    reason,
                    retry_after,
                },
                _,
            ) => Then::End {
                reason,
                retry_after,
                turn,
            },
            (Substate::Active { expires }, then) => {
                self.hold(expires, false, now);
                then
            }
            (Substate::Pending { expires }, then) => {
                self.hold(expires, true, now);
                then
            }
        }
    }

    pub(super) fn hold(&mut self, expires: Option<Duration>, pending: bool, now: Instant) {
        let granted = expires.unwrap_or(self.expires).min(self.expires);
        self.held_until = Some(now + granted);
        self.since.get_or_insert(now);
        self.pending = pending;
    }

    pub(super) fn on_notified(
        &mut self,
        substate: Substate,
        turn: Instant,
        (until, why): (Instant, Why),
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        if self.held_until.is_none() {
            return (Action::Wait, None);
        }
        let (expires, pending) = match substate {
            Substate::Active { expires } => (expires, false),
            Substate::Pending { expires } => (expires, true),
            Substate::Terminated {
                reason,
                retry_after,
            } => return self.ended(reason, retry_after, turn, now, jitter),
        };
        self.first_notify_by = None;
        if let Some(expires) = expires {
            // §4.1.3: what a NOTIFY says of the time left is what counts.
            self.hold(Some(expires), pending, now);
            let sooner = now + patience::refresh_after(expires.min(self.expires), jitter);
            if why == Why::Refresh && sooner < until {
                self.wait(sooner, Why::Refresh);
            }
        }
        self.pending = pending;
        (Action::Wait, self.good_news(now))
    }

    /// The news that it works, where that is any.
    pub(super) fn good_news(&mut self, now: Instant) -> Option<News> {
        if self.standing(now) != SubscriptionStanding::Active {
            return None;
        }
        self.refused = None;
        self.shut_out_at = None;
        let again = std::mem::take(&mut self.failure_told);
        let told = std::mem::replace(&mut self.active_told, true);
        (!told || again).then_some(News::Active { again })
    }

    /// The notifier has ended it (§4.1.3).
    pub(super) fn ended(
        &mut self,
        reason: Reason,
        retry_after: Option<Duration>,
        turn: Instant,
        now: Instant,
        jitter: Jitter,
    ) -> (Action, Option<News>) {
        self.forgive(now);
        self.forget();
        match reason {
            // One that is ended again and again within a minute has to wait.
            Reason::Deactivated | Reason::Timeout if self.failures == 0 => {
                self.failures = 1;
                self.wait(turn, Why::Turn);
                (Action::Wait, None)
            }
            Reason::Rejected | Reason::NoResource | Reason::Invariant => {
                let wait = patience::after_refusal(false, jitter);
                let is_news = self.refused.is_none();
                self.refused = Some(200);
                self.failure_told = true;
                let action = self.after_failure(wait, Why::Refused, Then::Settle, now);
                let news = News::Ended {
                    reason,
                    again_in: wait,
                };
                (action, is_news.then_some(news))
            }
            Reason::Deactivated
            | Reason::Timeout
            | Reason::Probation
            | Reason::GiveUp
            | Reason::Other => {
                let wait = self.back_off(retry_after, jitter);
                let action = self.after_failure(wait, Why::BackOff, Then::Settle, now);
                (action, None)
            }
        }
    }
}
