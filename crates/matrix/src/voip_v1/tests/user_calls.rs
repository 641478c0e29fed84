use super::*;

#[test]
fn an_answer_goes_to_the_room_and_the_call_is_up() {
    let mut scene = Scene::invited();
    assert_eq!(scene.act(LegAction::Ring), []);
    let sends = scene.act(LegAction::Answer {
        sdp: "our answer".into(),
    });
    assert_eq!(
        sends,
        [CallEventOut::Answer {
            call: call(Version::V1),
            sdp: "our answer".into()
        }]
    );
    assert_eq!(scene.leg.poll_timeout(), None);
}

#[test]
fn a_refusal_before_the_answer_is_a_reject_with_the_reason_that_element_shows() {
    for (reason, word) in [
        (Reason::Busy, Some("user_busy")),
        (Reason::Declined, None),
        (Reason::NotFound, Some("unknown_number")),
    ] {
        let mut scene = Scene::invited();
        let sends = scene.act(LegAction::Refuse(reason));
        assert_eq!(
            sends,
            [CallEventOut::Reject {
                call: call(Version::V1),
                reason: word
            }]
        );
        assert!(scene.leg.is_ended());
    }
}

#[test]
fn a_refusal_in_version_0_is_a_hangup_because_it_has_no_reject() {
    let mut scene = Scene::invited_by(invite(Version::V0, None));
    let sends = scene.act(LegAction::Refuse(Reason::Busy));
    assert_eq!(sends, [our_hangup(Version::V0, "user_busy")]);
}

#[test]
fn after_the_answer_we_end_with_a_hangup() {
    let mut scene = Scene::invited();
    scene.act(LegAction::Answer { sdp: "a".into() });
    let sends = scene.act(LegAction::HangUp(Reason::HungUp));
    assert_eq!(sends, [our_hangup(Version::V1, "user_hangup")]);
}

#[test]
fn a_caller_who_hangs_up_early_has_cancelled() {
    for reason in [None, Some("user_hangup"), Some("invite_timeout")] {
        let mut scene = Scene::invited();
        assert_eq!(
            scene.hear(hangup(Some(LAPTOP), reason)),
            ended(Reason::Cancelled)
        );
    }
    let mut scene = Scene::invited();
    let heard = scene.hear(hangup(Some(LAPTOP), Some("user_media_failed")));
    assert_eq!(heard, ended(Reason::MediaFailed));
}

#[test]
fn an_invite_that_expires_unanswered_is_cancelled() {
    let mut scene = Scene::invited();
    let expires = scene.now + S(60);
    assert_eq!(
        scene.leg.poll_timeout(),
        Some((expires, Deadline::TheirInvite))
    );
    assert_eq!(scene.wait(S(59)), nothing());
    assert_eq!(scene.wait(S(1)), ended(Reason::Cancelled));
    assert_eq!(scene.leg.poll_timeout(), None);
}

#[test]
fn an_invite_keeps_only_the_lifetime_that_its_age_leaves() {
    let now = Instant::now();
    let laptop = || invite(Version::V1, Some(LAPTOP));
    let (leg, _) = Leg::incoming(now, ids(), S(50), laptop()).unwrap();
    assert_eq!(
        leg.poll_timeout(),
        Some((now + S(10), Deadline::TheirInvite))
    );
    assert_eq!(
        Leg::incoming(now, ids(), S(60), laptop()).unwrap_err(),
        Stale
    );
    assert_eq!(
        Leg::incoming(now, ids(), S(3_600), laptop()).unwrap_err(),
        Stale
    );
}

#[test]
fn only_candidates_of_the_calling_device_reach_the_call() {
    let mut scene = Scene::invited();
    let (events, _) = scene.hear(candidates(LAPTOP, &["candidate:1", ""]));
    let lines = vec!["candidate:1".to_owned(), String::new()];
    assert_eq!(events, [LegEvent::Candidates(lines)]);
    assert_eq!(scene.hear(candidates(PHONE, &["candidate:2"])), nothing());
}

#[test]
fn another_device_of_the_caller_cannot_hang_up() {
    let mut scene = Scene::invited();
    assert_eq!(scene.hear(hangup(Some(PHONE), None)), nothing());
}

fn selection(selected: &str) -> CallEventIn {
    CallEventIn::SelectAnswer {
        call_id: "c".to_owned(),
        party_id: Some(LAPTOP.to_owned()),
        selected_party_id: selected.to_owned(),
    }
}

#[test]
fn a_selection_of_our_answer_changes_nothing_and_of_another_one_ends_the_leg() {
    let mut scene = Scene::invited();
    scene.act(LegAction::Answer { sdp: "a".into() });
    assert_eq!(scene.hear(selection("GW")), nothing());
    assert_eq!(
        scene.hear(selection("SOMEBODY")),
        ended(Reason::AnsweredElsewhere)
    );
}

#[test]
fn an_answer_that_cannot_be_sent_ends_the_leg() {
    let mut scene = Scene::invited();
    scene.act(LegAction::Answer { sdp: "a".into() });
    let (events, sends) = scene.failed(CallEventKind::Answer);
    assert_eq!(events, [LegEvent::Ended(Reason::Unreachable)]);
    // Perhaps it stands in the room, and only the homeserver's receipt was lost.
    assert!(
        matches!(sends.as_slice(), [CallEventOut::Hangup { .. }]),
        "{sends:?}"
    );
}

/// The homeserver took it at once and said so too late: both talked when the call was ended as one that nobody had heard of.
#[test]
fn an_answer_that_the_client_has_taken_stands_whatever_became_of_its_receipt() {
    let taken = [
        selection("GW"),
        negotiate(LAPTOP, Description::Offer("hold".into())),
    ];
    for event in taken {
        let mut scene = Scene::invited();
        scene.act(LegAction::Answer { sdp: "a".into() });
        // Those it may well have sent before.
        scene.hear(candidates(LAPTOP, &["candidate:1"]));
        scene.hear(event);
        assert_eq!(scene.failed(CallEventKind::Answer), nothing());
        assert!(!scene.leg.is_ended());
    }
}

#[test]
fn whether_the_microphone_is_off_is_what_the_device_in_the_call_says_last() {
    let microphone = |party: &str, muted| CallEventIn::Microphone {
        call_id: "c".to_owned(),
        party_id: Some(party.to_owned()),
        muted,
    };
    let mut scene = Scene::talking();
    assert!(!scene.leg.is_muted());
    for (party, muted, is_muted) in [
        (LAPTOP, true, true),
        (PHONE, false, true),
        (LAPTOP, false, false),
        (PHONE, true, false),
    ] {
        assert_eq!(scene.hear(microphone(party, muted)), nothing());
        assert_eq!(scene.leg.is_muted(), is_muted, "{party}: {muted}");
    }
}
