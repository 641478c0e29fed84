//! Calls end once, on both sides, with the reason that is true.

use super::*;

#[test]
fn a_hangup_before_the_answer_cancels_the_invite() {
    let mut scene = Scene::outgoing().offered();
    scene.leg(CALLEE, LegEvent::Ringing);
    assert_eq!(
        scene.leg(CALLER, LegEvent::Ended(Reason::Cancelled)),
        ends(CALLEE, LegAction::Cancel(Reason::Cancelled))
    );
    assert_eq!(scene.ended(), (Side::Caller, Reason::Cancelled));
}

#[test]
fn a_hangup_before_the_invite_went_out_calls_nobody() {
    let mut scene = Scene::outgoing();
    scene.actions();
    assert_eq!(
        scene.leg(CALLER, LegEvent::Ended(Reason::Cancelled)),
        close_both()
    );
    assert_eq!(scene.media(CALLEE, described("too late")), []);
}

#[test]
fn a_refusal_is_passed_to_the_caller_with_its_reason() {
    for reason in [
        Reason::Busy,
        Reason::Declined,
        Reason::NotFound,
        Reason::Unreachable,
    ] {
        let mut scene = Scene::outgoing().offered();
        assert_eq!(
            scene.leg(CALLEE, LegEvent::Ended(reason)),
            ends(CALLER, LegAction::Refuse(reason))
        );
        assert_eq!(scene.ended(), (Side::Callee, reason));
    }
}

#[test]
fn nobody_picking_up_ends_both_sides() {
    let mut scene = Scene::incoming().offered();
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::Answer);
    assert_eq!(
        actions[..2],
        [
            Action::Leg(CALLER, LegAction::Refuse(Reason::NoAnswer)),
            Action::Leg(CALLEE, LegAction::Cancel(Reason::NoAnswer)),
        ]
    );
}

#[test]
fn an_answer_that_a_cancel_has_crossed_changes_nothing() {
    let mut scene = Scene::outgoing().offered();
    scene.leg(CALLER, LegEvent::Ended(Reason::Cancelled));
    assert_eq!(scene.leg(CALLEE, answered()), []);
    assert_eq!(scene.ended(), (Side::Caller, Reason::Cancelled));
}

#[test]
fn a_cancel_that_an_answer_has_crossed_hangs_up_the_callee() {
    let mut scene = Scene::incoming().offered();
    scene.leg(CALLEE, answered());
    assert_eq!(
        scene.leg(CALLER, LegEvent::Ended(Reason::Cancelled)),
        ends(CALLEE, LegAction::HangUp(Reason::Cancelled))
    );
}

#[test]
fn a_callee_who_hangs_up_while_connecting_has_the_caller_refused() {
    let mut scene = Scene::incoming().offered();
    scene.leg(CALLEE, answered());
    assert_eq!(
        scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp)),
        ends(CALLER, LegAction::Refuse(Reason::HungUp))
    );
}

#[test]
fn a_second_answer_changes_nothing() {
    let mut scene = Scene::outgoing().talking();
    assert_eq!(scene.leg(CALLEE, answered()), []);
}

#[test]
fn either_side_hanging_up_ends_the_other() {
    for (by, other) in [(CALLER, CALLEE), (CALLEE, CALLER)] {
        let mut scene = Scene::outgoing().talking();
        assert_eq!(
            scene.leg(by, LegEvent::Ended(Reason::HungUp)),
            ends(other, LegAction::HangUp(Reason::HungUp))
        );
    }
}

#[test]
fn two_hangups_that_cross_end_the_call_once() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLER, LegEvent::Ended(Reason::HungUp));
    assert_eq!(scene.leg(CALLEE, LegEvent::Ended(Reason::HungUp)), []);
    assert_eq!(scene.ended(), (Side::Caller, Reason::HungUp));
}

#[test]
fn a_call_is_finished_when_both_legs_media_are_closed() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLER, LegEvent::Ended(Reason::HungUp));
    assert_eq!(scene.media(CALLER, MediaEvent::Closed), []);
    assert_eq!(scene.media(CALLEE, MediaEvent::Closed), [Action::Finished]);
    assert_eq!(scene.call.poll_timeout(), None);
}

#[test]
fn a_call_is_finished_even_if_the_media_plane_never_closes() {
    let mut scene = Scene::outgoing().talking();
    scene.leg(CALLER, LegEvent::Ended(Reason::HungUp));
    assert_eq!(scene.wait(), (Deadline::Close, vec![Action::Finished]));
    assert_eq!(scene.media(CALLER, MediaEvent::Closed), []);
}

#[test]
fn a_media_plane_that_says_nothing_ends_the_call() {
    let mut scene = Scene::outgoing();
    scene.actions();
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::Describe);
    assert_eq!(
        actions,
        ends(CALLER, LegAction::Refuse(Reason::MediaFailed))
    );
}

#[test]
fn an_offer_without_a_common_codec_is_refused_as_incompatible() {
    let mut scene = Scene::incoming();
    scene.actions();
    let failed = MediaEvent::Failed {
        why: "no common codec".into(),
        fault: MediaFault::Description,
    };
    assert_eq!(
        scene.media(CALLER, failed),
        ends(CALLER, LegAction::Refuse(Reason::Incompatible))
    );
    let ended = scene.call.story().ended.clone().expect("ended");
    assert_eq!(ended.detail.as_deref(), Some("no common codec"));
}

#[test]
fn a_call_for_which_no_port_is_left_is_refused_as_overload() {
    for (mut scene, leg) in [(Scene::incoming(), CALLER), (Scene::outgoing(), CALLEE)] {
        scene.actions();
        let failed = MediaEvent::Failed {
            why: "no media port is left".into(),
            fault: MediaFault::Capacity,
        };
        let refused = ends(CALLER, LegAction::Refuse(Reason::Overloaded));
        assert_eq!(scene.media(leg, failed), refused);
        assert_eq!(Reason::Overloaded.sip_status(), 503);
    }
}

#[test]
fn a_telephone_side_that_fell_silent_for_too_long_ends_the_call_on_both_sides() {
    let mut scene = Scene::outgoing().talking();
    let timed_out = MediaEvent::TimedOut {
        why: "media stopped in mid-call".into(),
    };
    let actions = scene.media(CALLEE, timed_out);
    let hang_up = LegAction::HangUp(Reason::MediaTimeout);
    for leg in [CALLER, CALLEE] {
        assert!(actions.contains(&Action::Leg(leg, hang_up.clone())));
    }
    let ended = scene.call.story().ended.clone().expect("ended");
    assert_eq!(
        (ended.by, ended.reason),
        (Side::Gateway, Reason::MediaTimeout)
    );
    assert_eq!(ended.detail.as_deref(), Some("media stopped in mid-call"));
}

#[test]
fn a_browser_that_never_connects_ends_the_call_on_both_sides() {
    let mut scene = Scene::outgoing().offered().picked_up();
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::Media);
    assert_eq!(
        actions[..2],
        [
            Action::Leg(CALLER, LegAction::HangUp(Reason::MediaFailed)),
            Action::Leg(CALLEE, LegAction::HangUp(Reason::MediaFailed)),
        ]
    );
}

#[test]
fn a_browser_that_vanishes_and_does_not_come_back_ends_the_call_on_both_sides() {
    let mut scene = Scene::outgoing().talking();
    assert_eq!(scene.media(CALLER, MediaEvent::Lost), []);
    let lost_at = scene.now;
    let (deadline, actions) = scene.wait();
    assert_eq!(
        (deadline, scene.now - lost_at),
        (Deadline::Lost, Duration::from_secs(30))
    );
    assert!(actions.contains(&Action::Leg(CALLEE, LegAction::HangUp(Reason::MediaLost))));
    assert_eq!(scene.ended(), (Side::Gateway, Reason::MediaLost));
}

#[test]
fn a_browser_that_comes_back_goes_on_talking() {
    let mut scene = Scene::outgoing().talking();
    scene.media(CALLER, MediaEvent::Lost);
    assert_eq!(scene.media(CALLER, MediaEvent::Connected), []);
    assert_eq!(scene.call.poll_timeout(), None);
    assert!(scene.call.is_talking());
}

/// A browser that closes its connection is heard on the media path before its hang-up has come
/// through the homeserver: the record said "media_lost" of calls that a person had ended.
#[test]
fn a_hangup_that_the_closing_of_the_media_has_overtaken_is_still_a_hangup() {
    let mut scene = Scene::outgoing().talking();
    scene.media(CALLER, MediaEvent::Lost);
    assert_eq!(
        scene.leg(CALLER, LegEvent::Ended(Reason::HungUp)),
        ends(CALLEE, LegAction::HangUp(Reason::HungUp))
    );
    assert_eq!(scene.ended(), (Side::Caller, Reason::HungUp));
}

#[test]
fn a_shutdown_ends_a_call_in_every_state() {
    let mut describing = Scene::outgoing();
    describing.actions();
    assert_eq!(
        describing.finish(Reason::ShuttingDown),
        ends(CALLER, LegAction::Refuse(Reason::ShuttingDown))
    );
    let actions = Scene::outgoing().talking().finish(Reason::ShuttingDown);
    assert_eq!(
        actions[..2],
        [
            Action::Leg(CALLER, LegAction::HangUp(Reason::ShuttingDown)),
            Action::Leg(CALLEE, LegAction::HangUp(Reason::ShuttingDown)),
        ]
    );
}
