//! A person hands a call on, and the telephone's own system is asked to do it.

use super::*;
use crate::Referral;

const PARTY: LegId = LegId(3);

fn party() -> Leg {
    Leg {
        id: PARTY,
        kind: LegKind::Sip,
    }
}

fn close(leg: LegId) -> Action {
    Action::Media(MediaAction::Close { leg })
}

/// The person has handed the call on and left; the PBX has the question.
fn asked() -> Scene {
    let mut scene = Scene::outgoing().talking();
    let actions = scene.leg(CALLER, LegEvent::HandedOn { to: party() });
    assert_eq!(actions, [Action::Leg(CALLEE, LegAction::Refer)]);
    let actions = scene.leg(CALLER, LegEvent::Ended(Reason::HungUp));
    assert_eq!(actions, [close(CALLER)]);
    assert!(scene.call.is_talking());
    assert_eq!(scene.media(CALLER, MediaEvent::Closed), []);
    scene
}

#[test]
fn a_pbx_that_has_put_the_new_party_through_is_hung_up_and_the_call_is_over() {
    let mut scene = asked();
    let actions = scene.leg(CALLEE, LegEvent::Referred(Referral::Done));
    let hang_up = Action::Leg(CALLEE, LegAction::HangUp(Reason::HungUp));
    assert_eq!(actions, [hang_up, close(CALLEE)]);
    assert_eq!(scene.ended(), (Side::Caller, Reason::HungUp));
    let story = scene.call.story();
    assert_eq!((story.transfers.len(), story.transfers[0].to), (1, PARTY));
    assert_eq!(story.failed_transfers, 0);
    assert_eq!(scene.media(CALLEE, MediaEvent::Closed), [Action::Finished]);
}

#[test]
fn a_pbx_that_will_not_has_us_call_the_new_party() {
    let mut scene = asked();
    let actions = scene.leg(CALLEE, LegEvent::Referred(Referral::Refused));
    let open = MediaAction::Open {
        leg: party(),
        beside: Some(CALLEE),
        offer: None,
    };
    assert_eq!(actions, [Action::Media(open)]);
    let actions = scene.media(PARTY, described("for the new one"));
    let sdp = "for the new one".into();
    let offer = LegAction::Offer { sdp };
    assert_eq!(actions, [Action::Leg(PARTY, offer)]);
    let answer = LegEvent::Answered {
        sdp: "new".into(),
        device: None,
    };
    let actions = scene.leg(PARTY, answer);
    let apply = MediaAction::ApplyAnswer {
        leg: PARTY,
        sdp: "new".into(),
    };
    let bridge = MediaAction::Bridge {
        a: CALLEE,
        b: PARTY,
    };
    assert_eq!(actions, [Action::Media(apply), Action::Media(bridge)]);
    assert!(scene.call.is_talking());
}

#[test]
fn a_new_party_that_refuses_the_pbx_is_not_called_again_and_the_telephone_hears_why() {
    let mut scene = asked();
    let failed = Referral::Failed(Reason::Busy);
    let actions = scene.leg(CALLEE, LegEvent::Referred(failed));
    let hang_up = Action::Leg(CALLEE, LegAction::HangUp(Reason::Busy));
    assert_eq!(actions, [hang_up, close(CALLEE)]);
    assert_eq!(scene.ended(), (Side::Caller, Reason::Busy));
    assert_eq!(scene.call.story().failed_transfers, 1);
}

#[test]
fn a_telephone_that_hangs_up_meanwhile_ends_the_call() {
    let mut scene = asked();
    let actions = scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp));
    assert_eq!(actions, [close(CALLEE)]);
    assert_eq!(scene.ended(), (Side::Callee, Reason::HungUp));
    assert_eq!(scene.call.story().failed_transfers, 1);
    // An answer that crosses it says nothing any more.
    let late = LegEvent::Referred(Referral::Refused);
    assert_eq!(scene.leg(CALLEE, late), []);
    assert_eq!(scene.media(CALLEE, MediaEvent::Closed), [Action::Finished]);
}

#[test]
fn one_transfer_at_a_time_and_none_before_the_two_talk() {
    let mut scene = asked();
    let to = Leg {
        id: LegId(4),
        kind: LegKind::Sip,
    };
    let refused = crate::TransferProgress::Failed(Reason::Unavailable);
    let refused = Action::Leg(CALLEE, LegAction::ReportTransfer(refused));
    assert_eq!(scene.leg(CALLEE, LegEvent::TransferAsked { to }), [refused]);
    assert_eq!(scene.leg(CALLEE, LegEvent::HandedOn { to }), []);
    assert_eq!(scene.call.party(), Some(PARTY));
    let mut early = Scene::outgoing().offered();
    assert_eq!(early.leg(CALLER, LegEvent::HandedOn { to }), []);
    assert_eq!(early.call.party(), None);
}

#[test]
fn a_question_that_nobody_asked_has_no_answer() {
    let mut scene = Scene::outgoing().talking();
    let done = LegEvent::Referred(Referral::Done);
    assert_eq!(scene.leg(CALLEE, done.clone()), []);
    let mut scene = asked();
    // Nor does the one who asks answer it.
    assert_eq!(scene.leg(CALLER, done), []);
    assert!(scene.call.is_talking());
}
