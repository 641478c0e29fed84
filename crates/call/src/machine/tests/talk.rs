//! What happens while people talk.

use super::*;

#[test]
fn trickled_candidates_reach_the_media_of_their_leg() {
    let mut scene = Scene::outgoing().offered();
    let candidates = vec!["candidate:1 1 udp 1 127.0.0.1 9 typ host".to_owned()];
    assert_eq!(
        scene.leg(CALLER, LegEvent::Candidates(candidates.clone())),
        [Action::Media(MediaAction::AddCandidates {
            leg: CALLER,
            candidates
        })]
    );
}

#[test]
fn a_hold_is_described_anew_and_answered() {
    let mut scene = Scene::outgoing().talking();
    assert_eq!(
        scene.leg(CALLER, LegEvent::Reoffered { sdp: "hold".into() }),
        [Action::Media(MediaAction::Reoffer {
            leg: CALLER,
            sdp: "hold".into()
        })]
    );
    assert_eq!(
        scene.media(CALLER, described("held")),
        [Action::Leg(
            CALLER,
            LegAction::AnswerReoffer { sdp: "held".into() }
        )]
    );
}

#[test]
fn a_second_new_offer_before_the_first_is_answered_is_refused() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLER, LegEvent::Reoffered { sdp: "hold".into() });
    assert_eq!(
        scene.leg(
            CALLER,
            LegEvent::Reoffered {
                sdp: "resume".into()
            }
        ),
        [Action::Leg(CALLER, LegAction::RefuseReoffer)]
    );
}

#[test]
fn a_new_offer_that_media_cannot_meet_is_refused_and_the_call_goes_on() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(
        CALLEE,
        LegEvent::Reoffered {
            sdp: "video".into(),
        },
    );
    assert_eq!(
        scene.media(CALLEE, MediaEvent::ReofferRefused),
        [Action::Leg(CALLEE, LegAction::RefuseReoffer)]
    );
    assert!(scene.call.is_talking());
}

#[test]
fn a_stranger_leg_changes_nothing() {
    let mut scene = Scene::outgoing().talking();
    assert_eq!(scene.leg(LegId(99), LegEvent::Ended(Reason::HungUp)), []);
    assert!(scene.call.is_talking());
}
