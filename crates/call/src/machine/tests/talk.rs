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

/// The phone's hold has been answered, and the media plane says that Element should hear of it.
fn held_by_the_phone() -> Scene {
    let mut scene = Scene::outgoing().talking();
    let due = scene.media(CALLER, MediaEvent::OfferDue);
    assert_eq!(due, [Action::Media(MediaAction::Offer { leg: CALLER })]);
    scene
}

fn apply(sdp: &str) -> [Action; 1] {
    let sdp = sdp.into();
    [Action::Media(MediaAction::ApplyAnswer { leg: CALLER, sdp })]
}

fn reoffer(sdp: &str) -> [Action; 1] {
    [Action::Leg(CALLER, LegAction::Reoffer { sdp: sdp.into() })]
}

fn reanswered() -> LegEvent {
    LegEvent::Reanswered { sdp: "held".into() }
}

#[test]
fn a_hold_of_one_side_is_offered_to_the_other_and_its_answer_applied() {
    let mut scene = held_by_the_phone();
    assert_eq!(scene.media(CALLER, described("hold")), reoffer("hold"));
    assert_eq!(scene.leg(CALLER, reanswered()), apply("held"));
}

#[test]
fn a_resume_while_the_hold_waits_for_its_answer_follows_it() {
    let mut scene = held_by_the_phone();
    scene.media(CALLER, described("hold"));
    assert_eq!(scene.media(CALLER, MediaEvent::OfferDue), []);
    let actions = scene.leg(CALLER, reanswered());
    let [applied] = apply("held");
    let again = Action::Media(MediaAction::Offer { leg: CALLER });
    assert_eq!(actions, [applied, again]);
}

#[test]
fn a_hold_before_both_talk_is_offered_once_they_do() {
    let mut scene = Scene::incoming().offered().picked_up();
    assert_eq!(scene.media(CALLER, MediaEvent::OfferDue), []);
    let (_, actions) = scene.wait();
    let offer = Action::Media(MediaAction::Offer { leg: CALLER });
    assert!(scene.call.is_talking());
    assert_eq!(actions.last(), Some(&offer), "{actions:?}");
}

#[test]
fn an_offer_of_the_far_end_takes_the_place_of_ours_while_that_is_made() {
    let mut scene = held_by_the_phone();
    let theirs = LegEvent::Reoffered {
        sdp: "restart".into(),
    };
    let met = Action::Media(MediaAction::Reoffer {
        leg: CALLER,
        sdp: "restart".into(),
    });
    assert_eq!(scene.leg(CALLER, theirs), [met]);
    // Ours comes first, and is of no use any more.
    assert_eq!(scene.media(CALLER, described("hold")), []);
    let answer = LegAction::AnswerReoffer { sdp: "ours".into() };
    let again = Action::Media(MediaAction::Offer { leg: CALLER });
    assert_eq!(
        scene.media(CALLER, described("ours")),
        [Action::Leg(CALLER, answer), again]
    );
}

#[test]
fn an_offer_of_the_far_end_that_crossed_ours_is_answered_and_ours_made_anew() {
    let mut scene = held_by_the_phone();
    scene.media(CALLER, described("hold"));
    let theirs = LegEvent::Reoffered {
        sdp: "theirs".into(),
    };
    scene.leg(CALLER, theirs);
    let refused = LegEvent::ReofferRefused { crossed: true };
    assert_eq!(scene.leg(CALLER, refused), []);
    let actions = scene.media(CALLER, described("ours"));
    let again = Action::Media(MediaAction::Offer { leg: CALLER });
    assert_eq!(actions.last(), Some(&again), "{actions:?}");
}

/// It answers the offer that is no more: the two sides would speak by different descriptions.
#[test]
fn an_answer_to_our_offer_that_comes_after_the_offer_it_gave_way_to_says_nothing() {
    let mut scene = held_by_the_phone();
    scene.media(CALLER, described("hold"));
    let theirs = LegEvent::Reoffered {
        sdp: "theirs".into(),
    };
    scene.leg(CALLER, theirs);
    assert_eq!(scene.leg(CALLER, reanswered()), []);
    let answer = LegAction::AnswerReoffer { sdp: "ours".into() };
    let actions = scene.media(CALLER, described("ours"));
    assert_eq!(actions.first(), Some(&Action::Leg(CALLER, answer)));
}

#[test]
fn an_offer_that_crossed_one_which_is_over_by_now_is_made_anew() {
    let mut scene = held_by_the_phone();
    scene.media(CALLER, described("hold"));
    let refused = LegEvent::ReofferRefused { crossed: true };
    let again = Action::Media(MediaAction::Offer { leg: CALLER });
    assert_eq!(scene.leg(CALLER, refused), [again]);
}

#[test]
fn an_offer_that_gave_way_to_one_which_media_cannot_meet_is_made_anew() {
    let mut scene = held_by_the_phone();
    scene.media(CALLER, described("hold"));
    let theirs = LegEvent::Reoffered {
        sdp: "video".into(),
    };
    scene.leg(CALLER, theirs);
    let refused = Action::Leg(CALLER, LegAction::RefuseReoffer);
    let again = Action::Media(MediaAction::Offer { leg: CALLER });
    assert_eq!(
        scene.media(CALLER, MediaEvent::ReofferRefused),
        [refused, again]
    );
}

#[test]
fn a_hold_that_the_far_end_refuses_leaves_the_call_and_is_not_repeated() {
    let mut scene = held_by_the_phone();
    scene.media(CALLER, described("hold"));
    let refused = LegEvent::ReofferRefused { crossed: false };
    assert_eq!(scene.leg(CALLER, refused), []);
    assert!(scene.call.is_talking());
    let resume = scene.media(CALLER, MediaEvent::OfferDue);
    assert_eq!(resume, [Action::Media(MediaAction::Offer { leg: CALLER })]);
}

#[test]
fn a_description_that_the_far_end_changes_by_itself_is_applied() {
    let mut scene = Scene::outgoing().talking();
    assert_eq!(scene.leg(CALLER, reanswered()), apply("held"));
}

#[test]
fn a_far_end_that_asks_for_our_offer_gets_it_and_its_answer_is_applied() {
    let mut scene = Scene::outgoing().talking();
    let ours = Action::Media(MediaAction::Offer { leg: CALLER });
    assert_eq!(scene.leg(CALLER, LegEvent::OfferAsked), [ours]);
    let given = LegAction::AnswerReoffer { sdp: "ours".into() };
    assert_eq!(
        scene.media(CALLER, described("ours")),
        [Action::Leg(CALLER, given)]
    );
    assert_eq!(scene.leg(CALLER, reanswered()), apply("held"));
}

#[test]
fn a_far_end_that_asks_while_our_offer_is_made_gets_that_one() {
    let mut scene = held_by_the_phone();
    assert_eq!(scene.leg(CALLER, LegEvent::OfferAsked), []);
    let given = LegAction::AnswerReoffer { sdp: "hold".into() };
    assert_eq!(
        scene.media(CALLER, described("hold")),
        [Action::Leg(CALLER, given)]
    );
}

#[test]
fn a_far_end_that_asks_while_its_own_offer_waits_is_refused() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLER, LegEvent::Reoffered { sdp: "hold".into() });
    let refused = Action::Leg(CALLER, LegAction::RefuseReoffer);
    assert_eq!(scene.leg(CALLER, LegEvent::OfferAsked), [refused]);
}

/// A telephone has picked up, and the caller's side still waits for our answer, or for the sound of the callee.
fn about_to_talk() -> [Scene; 2] {
    let mut answer_awaited = Scene::outgoing().offered();
    answer_awaited.leg(CALLEE, answered());
    let mut sound_awaited = Scene::begin(LegKind::Matrix, LegKind::Matrix).offered();
    sound_awaited.leg(CALLEE, answered());
    sound_awaited.media(CALLER, described("our answer"));
    [answer_awaited, sound_awaited]
}

#[test]
fn a_hold_in_the_moment_of_the_answer_is_met() {
    for mut scene in about_to_talk() {
        assert!(!scene.call.is_talking());
        let hold = LegEvent::Reoffered { sdp: "hold".into() };
        let met = Action::Media(MediaAction::Reoffer {
            leg: CALLEE,
            sdp: "hold".into(),
        });
        assert_eq!(scene.leg(CALLEE, hold), [met]);
        let answer = LegAction::AnswerReoffer { sdp: "held".into() };
        assert_eq!(
            scene.media(CALLEE, described("held")),
            [Action::Leg(CALLEE, answer)]
        );
    }
}

#[test]
fn what_a_hold_in_the_moment_of_the_answer_means_to_the_caller_is_offered_after_our_answer() {
    let [mut scene, _] = about_to_talk();
    scene.leg(CALLEE, LegEvent::Reoffered { sdp: "hold".into() });
    scene.media(CALLEE, described("held"));
    assert_eq!(scene.media(CALLER, MediaEvent::OfferDue), []);
    let offer = Action::Media(MediaAction::Offer { leg: CALLER });
    assert_eq!(
        scene.media(CALLER, described("our answer")),
        [answer_caller(), offer]
    );
}

#[test]
fn a_telephone_that_asks_for_our_offer_in_the_moment_of_the_answer_gets_it() {
    for mut scene in about_to_talk() {
        let ours = Action::Media(MediaAction::Offer { leg: CALLEE });
        assert_eq!(scene.leg(CALLEE, LegEvent::OfferAsked), [ours]);
        let given = LegAction::AnswerReoffer { sdp: "ours".into() };
        assert_eq!(
            scene.media(CALLEE, described("ours")),
            [Action::Leg(CALLEE, given)]
        );
        let applied = Action::Media(MediaAction::ApplyAnswer {
            leg: CALLEE,
            sdp: "held".into(),
        });
        assert_eq!(scene.leg(CALLEE, reanswered()), [applied]);
    }
}
