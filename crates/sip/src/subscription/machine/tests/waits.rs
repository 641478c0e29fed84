//! How long it waits, and for what.

use super::*;

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
    assert_eq!(lab.waits(), (secs(1_035), Why::RunsOut));
    assert_eq!(lab.due(), Action::Wait);
    assert_eq!(lab.waits(), (secs(315), Why::Refused));
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
fn a_pbx_that_never_tells_the_whole_is_not_asked_for_it_again_and_again() {
    let mut lab = Lab::active();
    let mut asked = 0;
    let end = lab.now + HOUR / 10;
    while lab.now < end {
        lab.on(Input::Behind);
        assert_eq!(lab.due(), REFRESH);
        asked += 1;
        lab.answer(GRANTED);
        lab.notified(ACTIVE);
    }
    // At once the first time, and then once a minute.
    assert!((6..=8).contains(&asked), "{asked} times in 6 minutes");
}

#[test]
fn what_has_run_out_is_not_shown_as_active() {
    let mut lab = Lab::active();
    let expires = Some(secs(100));
    lab.notified(Substate::Active { expires });
    assert_eq!(lab.due(), REFRESH);
    // Its refresh is put off for longer than it is kept.
    lab.answer(Answer::Refused {
        status: 503,
        retry_after: Some(secs(600)),
    });
    assert_eq!(lab.standing(), SubscriptionStanding::Active);
    assert_eq!(lab.waits(), (secs(30), Why::RunsOut));
    assert_eq!(lab.due(), Action::Wait);
    assert_eq!(lab.standing(), SubscriptionStanding::Trying);
    assert!(!lab.subscription.has_dialog());
    assert_eq!(lab.waits(), (secs(570), Why::BackOff));
    assert_eq!(lab.due(), ANEW);
}

#[test]
fn a_trunk_that_comes_and_goes_is_not_shown_a_wrong_password_each_time() {
    for answer in [WRONG_PASSWORD, refused(403)] {
        let mut lab = Lab::asking();
        lab.answer(answer);
        let mut asked = 0;
        let end = lab.now + HOUR;
        while lab.now < end {
            lab.now += secs(10);
            lab.back();
            if lab.waits().0.is_zero() {
                lab.due();
                asked += 1;
                lab.answer(answer);
            }
        }
        assert!((10..=12).contains(&asked), "{asked} times in an hour");
    }
    // What the PBX may have learnt meanwhile is asked for at once.
    let mut lab = Lab::asking();
    lab.answer(refused(404));
    lab.back();
    assert_eq!(lab.waits(), (Duration::ZERO, Why::Turn));
}

#[test]
fn that_nobody_answers_is_not_told_for_each_line_while_the_trunk_is_down() {
    let failed = |status| News::Failed {
        status,
        again_in: Duration::ZERO,
    };
    assert!(failed(None).is_of_the_outage(false));
    assert!(!failed(None).is_of_the_outage(true));
    // An answer comes from somebody.
    assert!(!failed(Some(500)).is_of_the_outage(false));
    let refused = News::Refused {
        status: 403,
        again_in: Duration::ZERO,
    };
    assert!(!refused.is_of_the_outage(false));
}
