use super::*;

#[test]
fn it_rings_once_the_invite_stands_in_the_room() {
    let mut scene = Scene::offering();
    assert_eq!(scene.sent(CallEventKind::Invite), [LegEvent::Ringing]);
    assert_eq!(scene.sent(CallEventKind::Invite), []);
}

#[test]
fn an_invite_that_cannot_be_sent_makes_the_user_unreachable() {
    let mut scene = Scene::offering();
    let (events, sends) = scene.failed(CallEventKind::Invite);
    assert_eq!(events, [LegEvent::Ended(Reason::Unreachable)]);
    // Perhaps it stands in the room, and rings there: this ends it.
    assert!(
        matches!(sends.as_slice(), [CallEventOut::Hangup { .. }]),
        "{sends:?}"
    );
    assert!(scene.leg.is_ended());
}

#[test]
fn the_first_device_that_answers_wins_and_is_named() {
    let mut scene = Scene::ringing();
    let (events, sends) = scene.hear(answer(Some(PHONE)));
    assert_eq!(
        events,
        [LegEvent::Answered {
            sdp: "their answer".into(),
            device: Some(Device(PHONE.to_owned()))
        }]
    );
    assert_eq!(sends, [select(PHONE)]);
    assert_eq!(scene.hear(answer(Some(LAPTOP))), nothing());
    assert_eq!(scene.hear(hangup(Some(LAPTOP), None)), nothing());
    assert_eq!(scene.hear(reject(LAPTOP, None)), nothing());
    assert_eq!(scene.hear(hangup(Some(PHONE), None)), ended(Reason::HungUp));
}

#[test]
fn an_answer_that_overtakes_the_news_of_our_invite_counts() {
    let mut scene = Scene::offering();
    let (events, sends) = scene.hear(answer(Some(PHONE)));
    assert!(matches!(events[..], [LegEvent::Answered { .. }]));
    assert_eq!(sends, [select(PHONE)]);
    assert_eq!(scene.sent(CallEventKind::Invite), []);
}

#[test]
fn an_answer_in_version_0_names_no_device() {
    let mut scene = Scene::ringing();
    let (events, sends) = scene.hear(answer(None));
    assert_eq!(
        events,
        [LegEvent::Answered {
            sdp: "their answer".into(),
            device: None
        }]
    );
    assert_eq!(sends, []);
    assert_eq!(scene.hear(hangup(None, None)), ended(Reason::HungUp));
}

#[test]
fn any_device_may_decline_for_the_person() {
    let mut scene = Scene::ringing();
    assert_eq!(scene.hear(reject(PHONE, None)), ended(Reason::Declined));
    assert_eq!(scene.hear(answer(Some(LAPTOP))), nothing());

    let mut scene = Scene::ringing();
    let heard = scene.hear(reject(PHONE, Some("user_busy")));
    assert_eq!(heard, ended(Reason::Busy));
}

#[test]
fn a_hangup_of_a_version_0_device_before_the_answer_declines() {
    let mut scene = Scene::ringing();
    assert_eq!(scene.hear(hangup(None, None)), ended(Reason::Declined));
}

/// One device whose microphone had failed stopped all the others.
#[test]
fn a_hangup_of_one_device_before_the_answer_leaves_the_others_ringing() {
    for reason in [None, Some("user_media_failed")] {
        let mut scene = Scene::ringing();
        assert_eq!(scene.hear(hangup(Some(PHONE), reason)), nothing());
        let (events, sends) = scene.hear(answer(Some(LAPTOP)));
        assert!(matches!(events[..], [LegEvent::Answered { .. }]));
        assert_eq!(sends, [select(LAPTOP)]);
    }
}

#[test]
fn nobody_picks_up_within_the_lifetime_of_our_invite() {
    let mut scene = Scene::offering();
    scene.now += S(5);
    scene.sent(CallEventKind::Invite);
    let expires = scene.now + S(60);
    assert_eq!(
        scene.leg.poll_timeout(),
        Some((expires, Deadline::OurInvite))
    );
    assert_eq!(scene.wait(S(59)), nothing());
    let (events, sends) = scene.wait(S(1));
    assert_eq!(events, [LegEvent::Ended(Reason::NoAnswer)]);
    assert_eq!(sends, [our_hangup(Version::V1, "invite_timeout")]);
    assert_eq!(scene.hear(answer(Some(PHONE))), nothing());
}

#[test]
fn an_answer_after_the_lifetime_is_too_late_even_when_nobody_woke_the_leg() {
    let mut scene = Scene::ringing();
    scene.now += S(61);
    let (events, sends) = scene.hear(answer(Some(PHONE)));
    assert_eq!(events, [LegEvent::Ended(Reason::NoAnswer)]);
    assert_eq!(sends, [our_hangup(Version::V1, "invite_timeout")]);
}

#[test]
fn taking_our_invite_back_is_a_hangup_and_a_crossing_answer_is_ignored() {
    let mut scene = Scene::ringing();
    let sends = scene.act(LegAction::Cancel(Reason::Cancelled));
    assert_eq!(sends, [our_hangup(Version::V1, "user_hangup")]);
    assert_eq!(scene.hear(answer(Some(PHONE))), nothing());
    assert_eq!(scene.act(LegAction::Cancel(Reason::Cancelled)), []);
}

#[test]
fn taking_an_offer_back_that_was_never_made_sends_nothing() {
    let mut leg = Leg::outgoing(ids(), "c".to_owned());
    leg.handle_action(Instant::now(), LegAction::Cancel(Reason::Cancelled));
    assert_eq!(leg.poll_send(), None);
    assert!(leg.is_ended());
}

#[test]
fn candidates_of_a_device_wait_for_its_answer() {
    let mut scene = Scene::ringing();
    assert_eq!(scene.hear(candidates(PHONE, &["candidate:1"])), nothing());
    assert_eq!(scene.hear(candidates(LAPTOP, &["candidate:2"])), nothing());
    assert_eq!(scene.hear(candidates(PHONE, &["candidate:3"])), nothing());
    let (events, _) = scene.hear(answer(Some(PHONE)));
    let kept = vec!["candidate:1".to_owned(), "candidate:3".to_owned()];
    assert_eq!(events[1..], [LegEvent::Candidates(kept)]);
    assert_eq!(scene.hear(candidates(LAPTOP, &["candidate:4"])), nothing());
}
