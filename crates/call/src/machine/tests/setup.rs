//! From the first sign of a call to its answer.

use super::*;

#[test]
fn a_call_opens_both_legs_side_by_side() {
    let mut scene = Scene::outgoing();
    assert_eq!(
        scene.actions(),
        [
            Action::Media(MediaAction::Open {
                leg: Leg {
                    id: CALLER,
                    kind: LegKind::Matrix
                },
                beside: None,
                offer: Some("offer of the caller".into()),
            }),
            Action::Media(MediaAction::Open {
                leg: Leg {
                    id: CALLEE,
                    kind: LegKind::Sip
                },
                beside: Some(CALLER),
                offer: None,
            }),
        ]
    );
}

#[test]
fn the_callee_is_called_once_both_descriptions_are_ready() {
    for first in [CALLER, CALLEE] {
        let mut scene = Scene::outgoing();
        scene.actions();
        let second = if first == CALLER { CALLEE } else { CALLER };
        let sdp = |leg| {
            described(if leg == CALLER {
                "our answer"
            } else {
                "our offer"
            })
        };
        assert_eq!(scene.media(first, sdp(first)), []);
        assert_eq!(
            scene.media(second, sdp(second)),
            [Action::Leg(
                CALLEE,
                LegAction::Offer {
                    sdp: "our offer".into()
                }
            )]
        );
    }
}

#[test]
fn a_telephone_that_answers_is_bridged_and_the_browser_told_with_what_suits_both() {
    let mut scene = Scene::outgoing().offered();
    assert_eq!(scene.leg(CALLEE, answered()), apply_bridge_and_describe());
    assert_eq!(
        scene.media(CALLER, described("our answer")),
        [answer_caller()]
    );
    assert_eq!(scene.call.story().device, Some(Device("DESK".into())));
}

#[test]
fn a_telephone_caller_hears_the_answer_when_the_browser_is_connected() {
    let mut scene = Scene::incoming().offered();
    assert_eq!(scene.leg(CALLEE, answered()), apply_bridge_and_describe());
    assert_eq!(scene.media(CALLER, described("our answer")), []);
    assert_eq!(
        scene.media(CALLEE, MediaEvent::Connected),
        [answer_caller()]
    );
    assert_eq!(scene.call.poll_timeout(), None);
}

#[test]
fn a_browser_that_connects_before_our_answer_is_described_waits_for_it() {
    let mut scene = Scene::incoming().offered();
    scene.leg(CALLEE, answered());
    assert_eq!(scene.media(CALLEE, MediaEvent::Connected), []);
    assert_eq!(
        scene.media(CALLER, described("our answer")),
        [answer_caller()]
    );
}

#[test]
fn a_telephone_caller_hears_the_answer_one_second_after_it_at_the_latest() {
    let scene = Scene::incoming().offered();
    let picked_up = scene.now;
    let mut scene = scene.picked_up();
    assert_eq!(scene.wait(), (Deadline::Connect, vec![answer_caller()]));
    assert_eq!(scene.now - picked_up, Duration::from_secs(1));
}

#[test]
fn a_description_that_comes_late_is_passed_on_without_waiting_any_longer() {
    let mut scene = Scene::incoming().offered();
    scene.leg(CALLEE, answered());
    scene.now += Duration::from_secs(2);
    assert_eq!(
        scene.media(CALLER, described("our answer")),
        [answer_caller()]
    );
}

#[test]
fn an_answer_that_the_media_plane_never_describes_ends_the_call() {
    let mut scene = Scene::outgoing().offered();
    scene.leg(CALLEE, answered());
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::Describe);
    assert_eq!(
        actions[..2],
        [
            Action::Leg(CALLER, LegAction::Refuse(Reason::MediaFailed)),
            Action::Leg(CALLEE, LegAction::HangUp(Reason::MediaFailed)),
        ]
    );
}

#[test]
fn ringing_is_passed_on_once() {
    let mut scene = Scene::outgoing().offered();
    assert_eq!(
        scene.leg(CALLEE, LegEvent::Ringing),
        [Action::Leg(CALLER, LegAction::Ring)]
    );
    assert_eq!(scene.leg(CALLEE, LegEvent::Ringing), []);
    assert_eq!(
        scene.leg(CALLEE, LegEvent::EarlyMedia { sdp: "x".into() }),
        []
    );
}

#[test]
fn ringing_after_the_answer_is_not_passed_on() {
    let mut scene = Scene::outgoing().offered();
    scene.leg(CALLEE, answered());
    assert_eq!(scene.leg(CALLEE, LegEvent::Ringing), []);
}

#[test]
fn a_caller_without_an_offer_gets_ours_with_the_answer_and_answers_it() {
    let mut scene = Scene::begin_with(LegKind::Sip, LegKind::Matrix, None).offered();
    let actions = scene.leg(CALLEE, answered());
    let [applied, bridged, _] = apply_bridge_and_describe();
    assert_eq!(actions, [applied, bridged]);
    let (_, told) = scene.wait();
    let ours = "that it can be answered".into();
    let answer = Action::Leg(CALLER, LegAction::Answer { sdp: ours });
    assert_eq!(told, [answer]);
    let sdp: Sdp = "answer of the caller".into();
    let theirs = LegEvent::Reanswered { sdp: sdp.clone() };
    let apply = MediaAction::ApplyAnswer { leg: CALLER, sdp };
    assert_eq!(scene.leg(CALLER, theirs), [Action::Media(apply)]);
}
