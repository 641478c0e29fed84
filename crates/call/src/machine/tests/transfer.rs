//! One telephone hands its side of the call to another.

use super::*;
use crate::TransferProgress as Progress;

const PARTY: LegId = LegId(3);

fn asked() -> LegEvent {
    let to = Leg {
        id: PARTY,
        kind: LegKind::Sip,
    };
    LegEvent::TransferAsked { to }
}

fn report(progress: Progress) -> Action {
    Action::Leg(CALLEE, LegAction::ReportTransfer(progress))
}

fn report_to(leg: LegId, progress: Progress) -> Action {
    Action::Leg(leg, LegAction::ReportTransfer(progress))
}

fn close(leg: LegId) -> Action {
    Action::Media(MediaAction::Close { leg })
}

/// The phone has asked, and the new party has our offer.
fn offered() -> Scene {
    let mut scene = Scene::outgoing().talking();
    let open = Action::Media(MediaAction::Open {
        leg: Leg {
            id: PARTY,
            kind: LegKind::Sip,
        },
        beside: Some(CALLER),
        offer: None,
    });
    let actions = scene.leg(CALLEE, asked());
    assert_eq!(actions, [report(Progress::Trying), open]);
    let offer = LegAction::Offer {
        sdp: "for the new one".into(),
    };
    let actions = scene.media(PARTY, described("for the new one"));
    assert_eq!(actions, [Action::Leg(PARTY, offer)]);
    scene
}

fn picks_up(scene: &mut Scene) -> Vec<Action> {
    let answer = LegEvent::Answered {
        sdp: "new".into(),
        device: None,
    };
    scene.leg(PARTY, answer)
}

fn joined() -> [Action; 2] {
    let apply = MediaAction::ApplyAnswer {
        leg: PARTY,
        sdp: "new".into(),
    };
    let bridge = MediaAction::Bridge {
        a: CALLER,
        b: PARTY,
    };
    [Action::Media(apply), Action::Media(bridge)]
}

#[test]
fn the_new_party_takes_the_place_of_the_old_one_which_hears_of_it_before_it_is_hung_up() {
    let mut scene = offered();
    assert_eq!(
        scene.leg(PARTY, LegEvent::Ringing),
        [report(Progress::Ringing)]
    );
    assert_eq!(scene.leg(PARTY, LegEvent::Ringing), []);
    let mut expected = joined().to_vec();
    expected.extend([
        report(Progress::Answered),
        Action::Leg(CALLEE, LegAction::HangUp(Reason::HungUp)),
        close(CALLEE),
    ]);
    assert_eq!(picks_up(&mut scene), expected);
    assert!(scene.call.is_talking());
    let transfers = &scene.call.story().transfers;
    assert_eq!((transfers.len(), transfers[0].to), (1, PARTY));
    // The old one has no say any more.
    assert_eq!(scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp)), []);
    assert_eq!(scene.media(CALLEE, MediaEvent::Closed), []);
    // The new one has.
    let actions = scene.leg(PARTY, LegEvent::Ended(Reason::HungUp));
    let hang_up = Action::Leg(CALLER, LegAction::HangUp(Reason::HungUp));
    assert_eq!(actions, [hang_up, close(CALLER), close(PARTY)]);
    assert_eq!(scene.ended(), (Side::Callee, Reason::HungUp));
}

#[test]
fn a_party_that_does_not_come_leaves_the_first_call_as_it_was() {
    let mut scene = offered();
    let actions = scene.leg(PARTY, LegEvent::Ended(Reason::Busy));
    let failed = report(Progress::Failed(Reason::Busy));
    assert_eq!(actions, [failed, close(PARTY)]);
    assert!(scene.call.is_talking());
    let story = scene.call.story();
    assert_eq!((story.transfers.len(), story.failed_transfers), (0, 1));
    assert_eq!(picks_up(&mut scene), []);
    let mut scene = offered();
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::Transfer);
    let failed = report(Progress::Failed(Reason::NoAnswer));
    let cancel = Action::Leg(PARTY, LegAction::Cancel(Reason::NoAnswer));
    assert_eq!(actions, [failed, cancel, close(PARTY)]);
    assert!(scene.call.is_talking());
}

#[test]
fn a_phone_that_leaves_without_waiting_for_the_new_party_does_not_end_the_call() {
    let mut scene = offered();
    let actions = scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp));
    assert_eq!(actions, [close(CALLEE)]);
    assert_eq!(scene.leg(PARTY, LegEvent::Ringing), []);
    assert_eq!(scene.media(CALLEE, MediaEvent::Closed), []);
    assert_eq!(picks_up(&mut scene), joined());
    assert!(scene.call.is_talking());
}

#[test]
fn where_neither_the_old_nor_the_new_party_is_there_the_call_ends() {
    let mut scene = offered();
    scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp));
    scene.media(CALLEE, MediaEvent::Closed);
    let actions = scene.leg(PARTY, LegEvent::Ended(Reason::Busy));
    let hang_up = Action::Leg(CALLER, LegAction::HangUp(Reason::Busy));
    assert_eq!(actions, [close(PARTY), hang_up, close(CALLER)]);
    scene.media(CALLER, MediaEvent::Closed);
    // Nothing is left behind.
    assert_eq!(scene.media(PARTY, MediaEvent::Closed), [Action::Finished]);
}

#[test]
fn a_person_who_hangs_up_during_a_transfer_stops_it() {
    let mut scene = offered();
    let actions = scene.leg(CALLER, LegEvent::Ended(Reason::HungUp));
    let mut expected = vec![
        report(Progress::Failed(Reason::HungUp)),
        Action::Leg(PARTY, LegAction::Cancel(Reason::HungUp)),
        close(PARTY),
        Action::Leg(CALLEE, LegAction::HangUp(Reason::HungUp)),
    ];
    expected.extend(close_both());
    assert_eq!(actions, expected);
}

#[test]
fn a_second_transfer_waits_for_the_first_to_end() {
    let mut scene = offered();
    let refused = report(Progress::Failed(Reason::Unavailable));
    assert_eq!(scene.leg(CALLEE, asked()), [refused]);
    assert_eq!(picks_up(&mut scene).len(), 5);
}

#[test]
fn a_party_of_another_call_comes_over_and_the_one_who_brought_it_leaves() {
    let mut scene = Scene::outgoing().talking();
    let with = Leg {
        id: PARTY,
        kind: LegKind::Sip,
    };
    let bridge = MediaAction::Bridge {
        a: CALLEE,
        b: PARTY,
    };
    let expected = [
        Action::Media(bridge),
        report_to(CALLER, Progress::Answered),
        Action::Leg(CALLER, LegAction::HangUp(Reason::HungUp)),
        close(CALLER),
    ];
    assert_eq!(scene.leg(CALLER, LegEvent::Joined { with }), expected);
    assert_eq!(scene.leg(CALLER, LegEvent::Joined { with }), []);
    let actions = scene.leg(PARTY, LegEvent::Ended(Reason::HungUp));
    let hang_up = Action::Leg(CALLEE, LegAction::HangUp(Reason::HungUp));
    assert_eq!(actions, [hang_up, close(PARTY), close(CALLEE)]);
}

#[test]
fn a_leg_that_goes_on_elsewhere_is_neither_hung_up_nor_closed() {
    let mut scene = Scene::outgoing().talking();
    scene.call.handle(scene.now, Input::Release(CALLEE));
    let actions: Vec<Action> = std::iter::from_fn(|| scene.call.poll_action()).collect();
    let hang_up = Action::Leg(CALLER, LegAction::HangUp(Reason::HungUp));
    assert_eq!(actions, [hang_up, close(CALLER)]);
    let over = scene.media(CALLER, MediaEvent::Closed);
    assert_eq!(over, [Action::Finished]);
}

#[test]
fn a_party_that_comes_over_to_a_call_that_is_over_is_hung_up() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp));
    let with = Leg {
        id: PARTY,
        kind: LegKind::Sip,
    };
    let actions = scene.leg(CALLER, LegEvent::Joined { with });
    let hang_up = Action::Leg(PARTY, LegAction::HangUp(Reason::Unavailable));
    assert_eq!(actions, [hang_up, close(PARTY)]);
}
