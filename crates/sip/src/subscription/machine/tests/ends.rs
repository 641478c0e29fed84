//! How it ends: by the notifier, and at the stop.

use super::*;

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
