use super::*;
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

#[test]
fn one_that_the_notifier_ends_is_made_anew_at_its_turn_but_not_again_and_again() {
    for reason in [Reason::Deactivated, Reason::Timeout] {
        let mut lab = Lab::active();
        assert_eq!(lab.notified(over(reason)), None);
        assert_eq!(lab.standing(), SubscriptionStanding::Trying);
        assert!(!lab.subscription.has_dialog());
        assert_eq!(lab.waits(), (secs(1), Why::Turn));
        let mut waits = Vec::new();
        for _ in 0..4 {
            assert_eq!(lab.due(), ANEW);
            lab.answer(GRANTED);
            lab.notified(ACTIVE);
            lab.notified(over(reason));
            waits.push(lab.waits().0.as_secs());
        }
        assert_eq!(waits, [15, 30, 60, 120]);
        // What lived for a minute has made up for that.
        lab.due();
        lab.answer(GRANTED);
        lab.notified(ACTIVE);
        lab.now += SECOND_LOOK;
        lab.notified(over(reason));
        assert_eq!(lab.waits(), (secs(1), Why::Turn));
    }
}

#[test]
fn one_that_is_to_come_back_later_does() {
    for reason in [Reason::Probation, Reason::GiveUp, Reason::Other] {
        let mut lab = Lab::active();
        let substate = |retry_after| Substate::Terminated {
            reason,
            retry_after,
        };
        lab.notified(substate(Some(secs(120))));
        assert_eq!(lab.waits(), (secs(120), Why::BackOff));
        lab.due();
        lab.answer(GRANTED);
        lab.notified(substate(Some(HOUR * 9)));
        assert_eq!(lab.waits(), (LONGEST_WAIT, Why::BackOff));
    }
}

#[test]
fn one_that_is_ended_for_good_is_told_once_and_tried_seldom() {
    for reason in [Reason::Rejected, Reason::NoResource, Reason::Invariant] {
        let mut lab = Lab::active();
        let news = lab.notified(over(reason));
        assert!(matches!(news, Some(News::Ended { .. })), "{news:?}");
        assert_eq!(lab.waits(), (secs(1_350), Why::Refused));
        let status = 200;
        assert_eq!(lab.standing(), SubscriptionStanding::Refused { status });
        assert_eq!(lab.due(), ANEW);
        lab.answer(GRANTED);
        assert_eq!(lab.notified(over(reason)), None);
        lab.due();
        lab.answer(GRANTED);
        let news = lab.notified(ACTIVE);
        assert_eq!(news, Some(News::Active { again: true }));
    }
}

#[test]
fn one_that_is_ended_before_its_answer_is_not_taken_for_active() {
    let mut lab = Lab::asking();
    lab.notified(over(Reason::NoResource));
    let (action, news) = lab.answer(GRANTED);
    assert_eq!(action, Action::Wait);
    assert!(matches!(news, Some(News::Ended { .. })), "{news:?}");
    assert!(!lab.subscription.has_dialog());
    // A trunk that is back meanwhile does not make it forget that.
    let mut lab = Lab::asking();
    lab.notified(over(Reason::Probation));
    lab.back();
    lab.answer(GRANTED);
    assert_eq!(lab.waits().1, Why::BackOff);
}

#[test]
fn a_notifier_that_forgot_it_is_asked_anew_at_once_and_only_once() {
    let mut lab = Lab::active();
    assert_eq!(lab.due(), REFRESH);
    assert_eq!(lab.answer(refused(481)).0, ANEW);
    assert_eq!(lab.answer(refused(481)).0, Action::Wait);
    assert_eq!(lab.waits().1, Why::BackOff);
    // Even where a NOTIFY came in between.
    let mut lab = Lab::asking();
    lab.notified(ACTIVE);
    assert_eq!(lab.answer(refused(481)).0, Action::Wait);
}

#[test]
fn a_refresh_that_fails_leaves_it_as_it_is_until_it_runs_out() {
    let mut lab = Lab::active();
    lab.due();
    let (_, news) = lab.answer(refused(500));
    assert!(matches!(news, Some(News::Failed { .. })), "{news:?}");
    assert_eq!(lab.standing(), SubscriptionStanding::Active);
    // What was told as failed is told as mended.
    let news = lab.notified(ACTIVE);
    assert_eq!(news, Some(News::Active { again: true }));
    assert_eq!(lab.due(), REFRESH);
    lab.answer(refused(500));
    lab.now += HOUR;
    assert_eq!(lab.standing(), SubscriptionStanding::Trying);
    assert_eq!(lab.on(Input::Due).0, ANEW);
}

#[test]
fn a_refresh_that_fails_and_fails_waits_longer_each_time_though_it_is_held() {
    let mut lab = Lab::active();
    lab.due();
    let mut waits = Vec::new();
    for _ in 0..5 {
        lab.on_with(Input::Answer(refused(500)), 1.0);
        waits.push(lab.waits().0.as_secs());
        assert_eq!(lab.due(), REFRESH);
    }
    assert_eq!(waits, [10, 20, 40, 80, 160]);
}

#[test]
fn a_dialog_in_which_nobody_answers_is_given_up() {
    for answer in [Answer::Silence, refused(408), refused(480)] {
        let mut lab = Lab::active();
        lab.due();
        lab.answer(answer);
        assert!(!lab.subscription.has_dialog(), "{answer:?}");
        assert_eq!(lab.due(), ANEW);
    }
}

#[test]
fn failures_wait_twice_as_long_each_time_and_are_told_once() {
    let mut lab = Lab::asking();
    let (mut told, mut waits) = (0, Vec::new());
    for _ in 0..10 {
        let (_, news) = lab.on_with(Input::Answer(Answer::Silence), 1.0);
        told += u32::from(news.is_some());
        waits.push(lab.waits().0.as_secs());
        lab.due();
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1_280, 1_800, 1_800]);
    assert_eq!(told, 1);
    lab.answer(GRANTED);
    assert_eq!(lab.notified(ACTIVE), Some(News::Active { again: true }));
}

#[test]
fn where_it_asks_for_little_a_failure_is_not_waited_upon_for_longer() {
    let mut lab = Lab::new();
    lab.subscription = Subscription::new(secs(300), TIMER_N);
    lab.back();
    lab.due();
    for _ in 0..9 {
        lab.on_with(Input::Answer(Answer::Silence), 1.0);
        assert!(lab.waits().0 <= secs(300));
        lab.due();
    }
}

#[test]
fn a_notifier_that_says_when_to_come_back_is_obeyed() {
    let mut lab = Lab::asking();
    lab.answer(Answer::Refused {
        status: 503,
        retry_after: Some(secs(120)),
    });
    assert_eq!(lab.waits(), (secs(120), Why::BackOff));
}

#[test]
fn what_a_person_has_to_mend_is_told_once_and_tried_seldom() {
    for answer in [refused(489), refused(403), refused(404), WRONG_PASSWORD] {
        let mut lab = Lab::asking();
        let (action, news) = lab.answer(answer);
        assert_eq!(action, Action::Wait);
        assert!(matches!(news, Some(News::Refused { .. })), "{news:?}");
        assert!(matches!(
            lab.standing(),
            SubscriptionStanding::Refused { .. }
        ));
        assert_eq!(lab.waits(), (secs(1_350), Why::Refused));
        assert_eq!(lab.due(), ANEW);
        assert_eq!(lab.answer(answer).1, None);
        lab.due();
        lab.answer(GRANTED);
        assert_eq!(lab.notified(ACTIVE), Some(News::Active { again: true }));
    }
}

#[test]
fn a_refusal_of_what_was_good_is_looked_at_again_within_a_minute_once() {
    let mut lab = Lab::active();
    lab.due();
    lab.answer(refused(403));
    assert_eq!(lab.waits(), (secs(45), Why::Refused));
    lab.due();
    lab.answer(refused(403));
    assert_eq!(lab.waits(), (secs(1_350), Why::Refused));
}

#[test]
fn a_longer_interval_is_asked_for_where_the_notifier_wants_one_but_no_loop() {
    let mut lab = Lab::asking();
    let too_brief = |hours| Answer::TooBrief {
        minimum: Some(HOUR * hours),
    };
    let again = Action::Again { expires: HOUR * 2 };
    assert_eq!(lab.answer(too_brief(2)).0, again);
    assert_eq!(lab.answer(too_brief(3)).0, Action::Wait);
    assert_eq!(lab.waits().1, Why::BackOff);
    for minimum in [None, Some(secs(60)), Some(HOUR * 25)] {
        let mut lab = Lab::asking();
        let (action, _) = lab.answer(Answer::TooBrief { minimum });
        assert_eq!(action, Action::Wait, "{minimum:?}");
    }
}

#[test]
fn when_the_trunk_is_back_it_is_asked_at_its_turn() {
    let mut lab = Lab::active();
    let turn = lab.now + secs(2);
    lab.on(Input::Back { turn });
    assert_eq!(lab.waits(), (secs(2), Why::Turn));
    assert_eq!(lab.due(), REFRESH);
    let mut lab = Lab::asking();
    let turn = lab.now + secs(2);
    lab.on(Input::Back { turn });
    lab.answer(Answer::Silence);
    assert_eq!(lab.waits(), (secs(2), Why::Turn));
    lab.due();
    lab.on_with(Input::Answer(Answer::Silence), 1.0);
    assert_eq!(lab.waits().0, secs(10));
}

#[test]
fn at_the_stop_it_is_ended_and_its_last_notify_waited_for() {
    let mut lab = Lab::active();
    assert_eq!(lab.on(Input::Stop).0, GOODBYE);
    let expires = Duration::ZERO;
    assert_eq!(lab.answer(CHALLENGE).0, Action::Again { expires });
    assert_eq!(
        lab.answer(Answer::Bound { granted: expires }).0,
        Action::Wait
    );
    assert_eq!(lab.waits(), (PARTING, Why::LastNotify));
    let last = Input::Notified(over(Reason::Timeout), lab.now);
    assert_eq!(lab.on(last).0, Action::Finish);
    // It is not waited for any longer than that, nor twice.
    let mut lab = Lab::active();
    lab.on(Input::Stop);
    lab.answer(GRANTED);
    assert_eq!(lab.due(), Action::Finish);
    let mut lab = Lab::active();
    lab.on(Input::Stop);
    lab.notified(over(Reason::Timeout));
    assert_eq!(lab.answer(GRANTED).0, Action::Finish);
}

#[test]
fn at_the_stop_what_is_not_subscribed_says_nothing() {
    for mut lab in [Lab::new(), {
        let mut lab = Lab::active();
        lab.now += HOUR;
        lab
    }] {
        assert_eq!(lab.on(Input::Stop).0, Action::Finish);
    }
    let mut lab = Lab::active();
    lab.on(Input::Stop);
    assert_eq!(lab.answer(Answer::Silence).0, Action::Finish);
}

#[test]
fn a_stop_during_an_attempt_ends_what_it_brings() {
    let mut lab = Lab::asking();
    assert_eq!(lab.on(Input::Stop).0, Action::Wait);
    lab.back();
    assert_eq!(lab.answer(GRANTED).0, GOODBYE);
    for answer in [Answer::Silence, refused(403), refused(500)] {
        let mut lab = Lab::asking();
        lab.on(Input::Stop);
        assert_eq!(lab.answer(answer).0, Action::Finish);
    }
    let mut lab = Lab::active();
    lab.due();
    lab.on(Input::Stop);
    assert_eq!(lab.answer(refused(481)).0, Action::Finish);
}
