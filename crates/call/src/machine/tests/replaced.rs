//! A party calls to take the place of a telephone.

use super::*;

const PARTY: LegId = LegId(3);

fn party() -> Leg {
    Leg {
        id: PARTY,
        kind: LegKind::Sip,
    }
}

fn replaced(offer: Option<Sdp>) -> LegEvent {
    LegEvent::Replaced { by: party(), offer }
}

fn opened(offer: Option<Sdp>) -> Action {
    Action::Media(MediaAction::Open {
        leg: party(),
        beside: Some(CALLER),
        offer,
    })
}

/// What follows once our description for the party is there.
fn in_its_place(sdp: &str) -> Vec<Action> {
    let bridge = MediaAction::Bridge {
        a: CALLER,
        b: PARTY,
    };
    let answered = crate::TransferProgress::Answered;
    vec![
        Action::Leg(PARTY, LegAction::Answer { sdp: sdp.into() }),
        Action::Media(bridge),
        Action::Leg(CALLEE, LegAction::ReportTransfer(answered)),
        Action::Leg(CALLEE, LegAction::HangUp(Reason::HungUp)),
        Action::Media(MediaAction::Close { leg: CALLEE }),
    ]
}

#[test]
fn the_party_is_answered_at_once_and_the_old_one_hung_up_while_the_other_side_keeps_its_leg() {
    let mut scene = Scene::outgoing().talking();
    let offer = Some(Sdp::from("its offer"));
    assert_eq!(scene.leg(CALLEE, replaced(offer.clone())), [opened(offer)]);
    let describe = Action::Media(MediaAction::Describe { leg: PARTY });
    assert_eq!(
        scene.media(PARTY, described("it can be answered")),
        [describe]
    );
    let actions = scene.media(PARTY, described("our answer to it"));
    assert_eq!(actions, in_its_place("our answer to it"));
    assert!(scene.call.is_talking());
    assert_eq!(scene.call.story().transfers[0].to, PARTY);
    let actions = scene.leg(PARTY, LegEvent::Ended(Reason::HungUp));
    let hang_up = Action::Leg(CALLER, LegAction::HangUp(Reason::HungUp));
    assert_eq!(actions[0], hang_up);
}

#[test]
fn a_party_without_an_offer_gets_ours_and_answers_it_later() {
    let mut scene = Scene::outgoing().talking();
    assert_eq!(scene.leg(CALLEE, replaced(None)), [opened(None)]);
    let actions = scene.media(PARTY, described("our offer to it"));
    assert_eq!(actions, in_its_place("our offer to it"));
    let sdp = Sdp::from("its answer");
    let actions = scene.leg(PARTY, LegEvent::Reanswered { sdp: sdp.clone() });
    let apply = MediaAction::ApplyAnswer { leg: PARTY, sdp };
    assert_eq!(actions, [Action::Media(apply)]);
}

#[test]
fn a_party_that_cannot_be_answered_or_gives_up_leaves_the_call_as_it_was() {
    let offer = || Some(Sdp::from("its offer"));
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLEE, replaced(offer()));
    let failed = MediaEvent::Failed {
        why: "no codec in common".into(),
        fault: MediaFault::Description,
    };
    let close = Action::Media(MediaAction::Close { leg: PARTY });
    let refuse = Action::Leg(PARTY, LegAction::Refuse(Reason::Incompatible));
    assert_eq!(scene.media(PARTY, failed), [refuse, close.clone()]);
    assert!(scene.call.is_talking());
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLEE, replaced(offer()));
    let actions = scene.leg(PARTY, LegEvent::Ended(Reason::Cancelled));
    assert_eq!(actions, [close]);
    assert!(scene.call.is_talking());
}

#[test]
fn the_old_one_may_leave_before_the_party_is_answered() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLEE, replaced(Some("its offer".into())));
    scene.media(PARTY, described("it can be answered"));
    let actions = scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp));
    let close = Action::Media(MediaAction::Close { leg: CALLEE });
    assert_eq!(actions, [close]);
    let actions = scene.media(PARTY, described("our answer to it"));
    assert_eq!(actions, in_its_place("our answer to it")[..2]);
    assert!(scene.call.is_talking());
}

#[test]
fn nobody_takes_a_place_in_a_call_that_does_not_talk_or_is_being_transferred() {
    let refused = [Action::Leg(PARTY, LegAction::Refuse(Reason::Busy))];
    // Whom the call is for has to answer it, and who is called only after this cannot ring yet.
    let mut scene = Scene::incoming().offered();
    assert_eq!(scene.leg(CALLER, replaced(None)), refused);
    let mut scene = Scene::outgoing();
    scene.actions();
    assert_eq!(scene.leg(CALLEE, replaced(None)), refused);
    let mut over = Scene::outgoing().talking();
    over.leg(CALLEE, LegEvent::Ended(Reason::HungUp));
    for leg in [CALLER, CALLEE] {
        over.media(leg, MediaEvent::Closed);
    }
    assert_eq!(over.leg(CALLEE, replaced(None)), []);
    let mut scene = Scene::outgoing().talking();
    let to = Leg {
        id: LegId(4),
        kind: LegKind::Sip,
    };
    scene.leg(CALLEE, LegEvent::TransferAsked { to });
    assert_eq!(scene.leg(CALLEE, replaced(None)), refused);
}

/// A call that rings at a telephone, and another one has asked for it and can be answered.
fn about_to_be_picked_up(mut scene: Scene) -> Scene {
    scene.leg(CALLEE, LegEvent::Ringing);
    let offer = Some(Sdp::from("its offer"));
    assert_eq!(scene.leg(CALLEE, replaced(offer.clone())), [opened(offer)]);
    let describe = Action::Media(MediaAction::Describe { leg: PARTY });
    let actions = scene.media(PARTY, described("it can be answered"));
    assert_eq!(actions, [describe]);
    scene
}

fn answer_party() -> Action {
    let sdp = "our answer to it".into();
    Action::Leg(PARTY, LegAction::Answer { sdp })
}

fn bridged() -> Action {
    Action::Media(MediaAction::Bridge {
        a: CALLER,
        b: PARTY,
    })
}

fn describe_caller() -> Action {
    Action::Media(MediaAction::Describe { leg: CALLER })
}

fn stop_ringing() -> [Action; 2] {
    [
        Action::Leg(CALLEE, LegAction::Cancel(Reason::AnsweredElsewhere)),
        Action::Media(MediaAction::Close { leg: CALLEE }),
    ]
}

#[test]
fn a_call_that_rings_is_answered_by_the_party_and_stops_ringing() {
    let mut scene = about_to_be_picked_up(Scene::outgoing().offered());
    let [cancel, close] = stop_ringing();
    let expected = [answer_party(), cancel, close, bridged(), describe_caller()];
    let actions = scene.media(PARTY, described("our answer to it"));
    assert_eq!(actions, expected);
    let actions = scene.media(CALLER, described("our answer"));
    assert_eq!(actions, [answer_caller()]);
    assert!(scene.call.is_talking());
    assert!(scene.call.story().answered.is_some());
    assert_eq!(scene.call.story().transfers[0].to, PARTY);
    // What the old one says to that is nobody's business any more.
    assert_eq!(scene.leg(CALLEE, LegEvent::Ended(Reason::Cancelled)), []);
}

#[test]
fn a_caller_who_hears_an_announcement_hears_who_picks_up_after_it() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    let sdp = "early".into();
    scene.leg(CALLEE, LegEvent::EarlyMedia { sdp });
    scene.media(CALLEE, MediaEvent::EarlySound);
    scene.media(CALLER, described("our answer"));
    let mut scene = about_to_be_picked_up(scene);
    let [cancel, close] = stop_ringing();
    let actions = scene.media(PARTY, described("our answer to it"));
    assert_eq!(actions, [answer_party(), cancel, close, bridged()]);
    assert!(scene.call.is_talking());
}

#[test]
fn who_picks_up_after_an_announcement_and_is_never_connected_is_not_waited_for_for_ever() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    let sdp = "early".into();
    scene.leg(CALLEE, LegEvent::EarlyMedia { sdp });
    scene.media(CALLEE, MediaEvent::EarlySound);
    scene.media(CALLER, described("our answer"));
    scene.media(CALLER, MediaEvent::Connected);
    scene.media(CALLEE, MediaEvent::Connected);
    // A telephone over SIP counts as connected at once; a side with a handshake does not.
    let by = Leg {
        id: PARTY,
        kind: LegKind::Matrix,
    };
    let offer = Some(Sdp::from("its offer"));
    scene.leg(CALLEE, LegEvent::Replaced { by, offer });
    scene.media(PARTY, described("it can be answered"));
    scene.media(PARTY, described("our answer to it"));
    assert!(scene.call.is_talking());
    let (deadline, _) = scene.wait();
    assert_eq!(deadline, Deadline::Media);
    assert!(scene.call.story().ended.is_some());
}

#[test]
fn of_two_telephones_that_pick_up_the_first_has_the_call() {
    let mut scene = about_to_be_picked_up(Scene::outgoing().offered());
    let actions = scene.leg(CALLEE, answered());
    let refuse = Action::Leg(PARTY, LegAction::Refuse(Reason::Busy));
    let close = Action::Media(MediaAction::Close { leg: PARTY });
    let [apply, bridge, describe] = apply_bridge_and_describe();
    assert_eq!(actions, [refuse, close, apply, bridge, describe]);
    assert_eq!(scene.media(PARTY, described("our answer to it")), []);
}

#[test]
fn a_call_is_picked_up_though_its_own_telephone_has_just_refused_it() {
    let mut scene = about_to_be_picked_up(Scene::outgoing().offered());
    let actions = scene.leg(CALLEE, LegEvent::Ended(Reason::Busy));
    let close = Action::Media(MediaAction::Close { leg: CALLEE });
    assert_eq!(actions, [close]);
    let actions = scene.media(PARTY, described("our answer to it"));
    assert_eq!(actions, [answer_party(), bridged(), describe_caller()]);
}

#[test]
fn a_party_that_cannot_pick_up_in_time_leaves_the_call_ringing_and_a_caller_who_gives_up_ends_both()
{
    let mut scene = about_to_be_picked_up(Scene::outgoing().offered());
    let close = Action::Media(MediaAction::Close { leg: PARTY });
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::Transfer);
    let refuse = |reason| Action::Leg(PARTY, LegAction::Refuse(reason));
    assert_eq!(actions, [refuse(Reason::NoAnswer), close.clone()]);
    assert!(scene.call.is_ringing(CALLEE));

    let mut scene = about_to_be_picked_up(Scene::outgoing().offered());
    let actions = scene.leg(CALLER, LegEvent::Ended(Reason::Cancelled));
    assert_eq!(actions[..2], [refuse(Reason::Cancelled), close]);
    let cancel = Action::Leg(CALLEE, LegAction::Cancel(Reason::Cancelled));
    assert_eq!(actions[2], cancel);
}
