use super::*;

mod ends;
mod waits;
use crate::registration::patience::{LONGEST_WAIT, SECOND_LOOK};

const HALF: f64 = 0.5;
const HOUR: Duration = Duration::from_secs(3_600);
const TIMER_N: Duration = Duration::from_secs(32);
const GRANTED: Answer = Answer::Bound { granted: HOUR };
const CHALLENGE: Answer = Answer::Challenged {
    status: 401,
    answerable: true,
};
const WRONG_PASSWORD: Answer = Answer::Challenged {
    status: 401,
    answerable: false,
};
const ACTIVE: Substate = Substate::Active { expires: None };
const ANEW: Action = Action::Subscribe {
    expires: HOUR,
    anew: true,
};
const REFRESH: Action = Action::Subscribe {
    expires: HOUR,
    anew: false,
};
const GOODBYE: Action = Action::Subscribe {
    expires: Duration::ZERO,
    anew: false,
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn refused(status: u16) -> Answer {
    Answer::Refused {
        status,
        retry_after: None,
    }
}

fn over(reason: Reason) -> Substate {
    Substate::Terminated {
        reason,
        retry_after: None,
    }
}

/// A subscription on a clock of its own.
struct Lab {
    subscription: Subscription,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        Self {
            subscription: Subscription::new(HOUR, TIMER_N),
            now: Instant::now(),
        }
    }

    /// One whose first SUBSCRIBE is out.
    fn asking() -> Self {
        let mut lab = Self::new();
        lab.back();
        assert_eq!(lab.due(), ANEW);
        lab
    }

    /// One that is told of each change.
    fn active() -> Self {
        let mut lab = Self::asking();
        lab.answer(GRANTED);
        let told = lab.notified(ACTIVE);
        assert_eq!(told, Some(News::Active { again: false }));
        lab
    }

    fn on(&mut self, input: Input) -> (Action, Option<News>) {
        self.on_with(input, HALF)
    }

    fn on_with(&mut self, input: Input, share: f64) -> (Action, Option<News>) {
        self.subscription.on(input, self.now, Jitter::new(share))
    }

    fn back(&mut self) {
        let turn = self.now;
        self.on(Input::Back { turn });
    }

    fn answer(&mut self, answer: Answer) -> (Action, Option<News>) {
        self.on(Input::Answer(answer))
    }

    /// A NOTIFY; a turn would be a second from now.
    fn notified(&mut self, substate: Substate) -> Option<News> {
        let turn = self.now + secs(1);
        let (action, news) = self.on(Input::Notified(substate, turn));
        assert_eq!(action, Action::Wait);
        news
    }

    /// How long it waits, and why.
    fn waits(&self) -> (Duration, Why) {
        let (until, why) = self.subscription.deadline().expect("a deadline");
        (until - self.now, why)
    }

    /// Lets the deadline come.
    fn due(&mut self) -> Action {
        let (until, _) = self.subscription.deadline().expect("a deadline");
        self.now = until;
        self.on(Input::Due).0
    }

    fn standing(&self) -> SubscriptionStanding {
        self.subscription.standing(self.now)
    }
}

#[test]
fn it_begins_at_its_turn_once_it_may_and_not_before() {
    let mut lab = Lab::new();
    assert_eq!(lab.subscription.deadline(), None);
    assert_eq!(lab.on(Input::Due), (Action::Wait, None));
    let turn = lab.now + secs(3);
    lab.on(Input::Back { turn });
    assert_eq!(lab.waits(), (secs(3), Why::Turn));
    assert_eq!(lab.on(Input::Due), (Action::Wait, None));
    assert_eq!(lab.due(), ANEW);
    assert_eq!(lab.subscription.deadline(), None);
}

#[test]
fn it_is_active_with_the_first_notify_and_refreshed_in_its_dialog() {
    let mut lab = Lab::asking();
    assert_eq!(lab.answer(CHALLENGE).0, Action::Again { expires: HOUR });
    assert_eq!(lab.answer(GRANTED), (Action::Wait, None));
    assert_eq!(lab.standing(), SubscriptionStanding::Trying);
    assert_eq!(lab.waits(), (TIMER_N, Why::FirstNotify));
    lab.notified(ACTIVE);
    assert_eq!(lab.standing(), SubscriptionStanding::Active);
    assert_eq!(lab.waits(), (HOUR * 7 / 10, Why::Refresh));
    assert_eq!(lab.due(), REFRESH);
    assert_eq!(lab.standing(), SubscriptionStanding::Active);
    // A refresh waits for no NOTIFY, and is no news.
    assert_eq!(lab.answer(GRANTED), (Action::Wait, None));
    assert_eq!(lab.waits().1, Why::Refresh);
    assert_eq!(lab.notified(ACTIVE), None);
}

#[test]
fn a_notify_that_overtakes_the_answer_makes_it_active() {
    let mut lab = Lab::asking();
    assert_eq!(lab.notified(ACTIVE), None);
    assert!(lab.subscription.has_dialog());
    let (_, news) = lab.answer(GRANTED);
    assert_eq!(news, Some(News::Active { again: false }));
    assert_eq!(lab.waits().1, Why::Refresh);
    // Where the answer is lost, the NOTIFY was one.
    let mut lab = Lab::asking();
    let expires = Some(secs(100));
    lab.notified(Substate::Active { expires });
    let (_, news) = lab.answer(Answer::Silence);
    assert_eq!(news, Some(News::Active { again: false }));
    assert_eq!(lab.waits(), (secs(70), Why::Refresh));
}

#[test]
fn one_that_is_accepted_and_told_nothing_is_made_anew_after_a_while() {
    let mut lab = Lab::asking();
    lab.answer(GRANTED);
    lab.now += TIMER_N;
    let (action, news) = lab.on(Input::Due);
    assert_eq!(action, Action::Wait);
    assert!(matches!(news, Some(News::Untold { .. })), "{news:?}");
    assert!(!lab.subscription.has_dialog());
    assert_eq!(lab.waits().1, Why::BackOff);
    assert_eq!(lab.due(), ANEW);
}

#[test]
fn a_pending_subscription_is_kept_and_becomes_active() {
    let mut lab = Lab::asking();
    lab.answer(GRANTED);
    let expires = Some(secs(600));
    assert_eq!(lab.notified(Substate::Pending { expires }), None);
    assert_eq!(lab.standing(), SubscriptionStanding::Pending);
    let news = lab.notified(Substate::Active { expires });
    assert_eq!(news, Some(News::Active { again: false }));
    assert_eq!(lab.standing(), SubscriptionStanding::Active);
}

#[test]
fn a_notify_that_shortens_it_has_it_refreshed_sooner() {
    let mut lab = Lab::active();
    let expires = Some(secs(100));
    lab.notified(Substate::Active { expires });
    assert_eq!(lab.waits(), (secs(70), Why::Refresh));
    // And one that would lengthen it beyond what was asked for does not.
    let expires = Some(HOUR * 100);
    lab.notified(Substate::Active { expires });
    assert_eq!(lab.waits(), (secs(70), Why::Refresh));
    let expires = Some(Duration::ZERO);
    lab.notified(Substate::Active { expires });
    assert_eq!(lab.waits(), (SHORTEST_REFRESH, Why::Refresh));
}

#[test]
fn a_gap_in_the_documents_brings_the_refresh_forward() {
    let mut lab = Lab::active();
    assert_eq!(lab.on(Input::Behind), (Action::Wait, None));
    assert_eq!(lab.waits(), (SHORTEST_REFRESH, Why::Refresh));
    assert_eq!(lab.due(), REFRESH);
    assert_eq!(lab.on(Input::Behind), (Action::Wait, None));
}
