use super::*;

#[test]
fn our_echo_and_strangers_have_no_effect() {
    for sender in [
        user_id!("@tel_600:localtest"),
        user_id!("@mallory:localtest"),
    ] {
        let mut scene = Scene::ringing();
        assert_eq!(scene.hear_from(sender, answer(Some(PHONE))), nothing());
        assert_eq!(
            scene.hear_from(sender, hangup(Some(PHONE), None)),
            nothing()
        );
    }
}

#[test]
fn events_of_another_call_have_no_effect() {
    let mut scene = Scene::ringing();
    let event = CallEventIn::Hangup {
        call_id: "another".to_owned(),
        party_id: Some(PHONE.to_owned()),
        reason: None,
    };
    assert_eq!(scene.hear(event), nothing());
}

#[test]
fn a_new_offer_is_answered_once() {
    let mut scene = Scene::talking();
    let (events, _) = scene.hear(negotiate(LAPTOP, Description::Offer("hold".into())));
    assert_eq!(events, [LegEvent::Reoffered { sdp: "hold".into() }]);
    let reply = || LegAction::AnswerReoffer { sdp: "held".into() };
    assert_eq!(
        scene.act(reply()),
        [CallEventOut::Negotiate {
            call: call(Version::V1),
            description: Description::Answer("held".into()),
            lifetime: S(60)
        }]
    );
    assert_eq!(scene.act(reply()), []);
}

#[test]
fn a_refused_new_offer_sends_nothing_and_leaves_the_call_up() {
    let mut scene = Scene::talking();
    scene.hear(negotiate(LAPTOP, Description::Offer("hold".into())));
    assert_eq!(scene.act(LegAction::RefuseReoffer), []);
    assert_eq!(
        scene.act(LegAction::AnswerReoffer { sdp: "held".into() }),
        []
    );
    assert!(!scene.leg.is_ended());
}

#[test]
fn a_new_description_of_another_device_or_an_answer_to_nothing_has_no_effect() {
    let mut scene = Scene::talking();
    let offer = negotiate(PHONE, Description::Offer("hold".into()));
    assert_eq!(scene.hear(offer), nothing());
    let reply = negotiate(LAPTOP, Description::Answer("held".into()));
    assert_eq!(scene.hear(reply), nothing());
}

#[test]
fn every_event_of_ours_repeats_our_party_id() {
    let mut scene = Scene::talking();
    scene.hear(negotiate(LAPTOP, Description::Offer("hold".into())));
    let mut sends = scene.act(LegAction::AnswerReoffer { sdp: "held".into() });
    sends.extend(scene.act(LegAction::HangUp(Reason::HungUp)));
    assert_eq!(sends.len(), 2);
    for event in sends {
        assert_eq!(event.content()["party_id"], "GW");
    }
}

#[test]
fn a_leg_that_is_over_says_so_once_and_stays_silent() {
    let mut scene = Scene::talking();
    assert_eq!(
        scene.hear(hangup(Some(LAPTOP), None)),
        ended(Reason::HungUp)
    );
    assert_eq!(scene.hear(hangup(Some(LAPTOP), None)), nothing());
    assert_eq!(scene.act(LegAction::HangUp(Reason::HungUp)), []);
    assert_eq!(scene.wait(S(600)), nothing());
}

fn our_hold(scene: &mut Scene) {
    assert_eq!(
        scene.act(LegAction::Reoffer { sdp: "hold".into() }),
        [CallEventOut::Negotiate {
            call: call(Version::V1),
            description: Description::Offer("hold".into()),
            lifetime: S(60)
        }]
    );
}

/// Alice called, and the number picked up.
fn answered() -> Scene {
    let mut scene = Scene::invited();
    scene.act(LegAction::Answer { sdp: "ours".into() });
    scene
}

#[test]
fn a_new_offer_of_ours_is_answered_once_by_the_device_in_the_call() {
    let mut scene = Scene::talking();
    our_hold(&mut scene);
    let held = |party| negotiate(party, Description::Answer("held".into()));
    assert_eq!(scene.hear(held(PHONE)), nothing());
    let (events, sends) = scene.hear(held(LAPTOP));
    assert_eq!(events, [LegEvent::Reanswered { sdp: "held".into() }]);
    assert_eq!(sends, []);
    assert_eq!(scene.hear(held(LAPTOP)), nothing());
}

#[test]
fn of_two_offers_that_cross_the_callers_is_answered() {
    let theirs = || negotiate(LAPTOP, Description::Offer("theirs".into()));
    let reoffered = LegEvent::Reoffered {
        sdp: "theirs".into(),
    };
    let mut alice_called = answered();
    our_hold(&mut alice_called);
    assert_eq!(
        alice_called.hear(theirs()),
        (vec![reoffered.clone()], vec![])
    );
    // An answer to ours, which gave way, is to nothing.
    let late = negotiate(LAPTOP, Description::Answer("held".into()));
    assert_eq!(alice_called.hear(late), nothing());
    let mut we_called = Scene::talking();
    our_hold(&mut we_called);
    assert_eq!(we_called.hear(theirs()), nothing());
    we_called.hear(negotiate(LAPTOP, Description::Answer("held".into())));
    assert_eq!(we_called.hear(theirs()), (vec![reoffered], vec![]));
}

#[test]
fn a_new_offer_that_could_not_be_sent_is_as_good_as_refused() {
    let mut scene = Scene::talking();
    assert_eq!(scene.failed(CallEventKind::Negotiate), nothing());
    our_hold(&mut scene);
    let refused = LegEvent::ReofferRefused { crossed: false };
    assert_eq!(
        scene.failed(CallEventKind::Negotiate),
        (vec![refused], vec![])
    );
}

#[test]
fn version_0_hears_nothing_of_a_hold() {
    let mut scene = Scene::invited_by(invite(Version::V0, None));
    scene.act(LegAction::Answer { sdp: "ours".into() });
    let hold = LegAction::Reoffer { sdp: "hold".into() };
    scene.leg.handle_action(scene.now, hold);
    let refused = LegEvent::ReofferRefused { crossed: false };
    assert_eq!((scene.events(), scene.sends()), (vec![refused], vec![]));
}

#[test]
fn a_call_that_is_handed_on_says_to_whom_and_only_by_the_device_in_it() {
    let replaces = |party: &str| CallEventIn::Replaces {
        call_id: "c".to_owned(),
        party_id: Some(party.to_owned()),
        replacement: Replacement::Create {
            target: user_id!("@tel_1002:localtest").to_owned(),
            call: "next".to_owned(),
        },
    };
    let mut scene = Scene::ringing();
    scene.hear(replaces(LAPTOP));
    assert_eq!(scene.leg.poll_replacement(), None);
    let mut scene = Scene::talking();
    scene.hear(replaces("ANOTHER"));
    assert_eq!(scene.leg.poll_replacement(), None);
    assert_eq!(scene.hear(replaces(LAPTOP)), nothing());
    let Some(Replacement::Create { target, .. }) = scene.leg.poll_replacement() else {
        panic!("it was handed on");
    };
    assert_eq!(target, "@tel_1002:localtest");
    assert_eq!(scene.leg.poll_replacement(), None);
}

#[test]
fn a_leg_listens_to_its_person_from_the_invite_to_the_end() {
    let (alice, tel) = (ids().user, ids().virtual_user);
    let fresh = Leg::outgoing(ids(), "c".to_owned());
    assert!(!fresh.listens_to(&alice));
    for mut scene in [Scene::invited(), Scene::offering(), Scene::talking()] {
        assert!(scene.leg.listens_to(&alice) && !scene.leg.listens_to(&tel));
        scene.act(LegAction::HangUp(Reason::HungUp));
        assert!(!scene.leg.listens_to(&alice));
    }
}
