//! A callee that is heard before it picks up.

use super::*;

fn early() -> LegEvent {
    LegEvent::EarlyMedia {
        sdp: "early".into(),
    }
}

fn apply_early() -> Action {
    Action::Media(MediaAction::ApplyEarlyAnswer {
        leg: CALLEE,
        sdp: "early".into(),
    })
}

fn hear_out() -> Action {
    Action::Media(MediaAction::HearOut { leg: CALLEE })
}

fn apply_answer() -> Action {
    let [applied, ..] = apply_bridge_and_describe();
    applied
}

/// An announcement is heard, and the browser that hears it is connected.
fn announcing() -> Scene {
    let mut scene = Scene::outgoing_with_early_media().offered();
    scene.leg(CALLEE, early());
    scene.media(CALLEE, MediaEvent::EarlySound);
    scene.media(CALLER, described("our answer"));
    scene.media(CALLER, MediaEvent::Connected);
    scene
}

#[test]
fn the_caller_is_answered_as_soon_as_sound_comes_and_not_before() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    let ring = Action::Leg(CALLER, LegAction::Ring);
    assert_eq!(scene.leg(CALLEE, early()), [ring, apply_early()]);
    let [_, bridge, describe] = apply_bridge_and_describe();
    assert_eq!(
        scene.media(CALLEE, MediaEvent::EarlySound),
        [bridge, describe]
    );
    assert_eq!(scene.media(CALLEE, MediaEvent::EarlySound), []);
    assert_eq!(
        scene.media(CALLER, described("our answer")),
        [answer_caller()]
    );
    assert!(scene.call.story().is_early());
    assert!(!scene.call.is_talking());
}

#[test]
fn early_media_is_not_heard_where_the_trunk_says_so_nor_by_a_caller_who_has_it_anyway() {
    let phone_to_phone = || {
        let scene = Scene::begin(LegKind::Sip, LegKind::Sip);
        let call = scene.call.with_early_media(EarlyMedia::Connect);
        Scene { call, ..scene }
    };
    for scene in [Scene::outgoing(), phone_to_phone()] {
        let mut scene = scene.offered();
        assert_eq!(
            scene.leg(CALLEE, early()),
            [Action::Leg(CALLER, LegAction::Ring)]
        );
        assert_eq!(scene.media(CALLEE, MediaEvent::EarlySound), []);
        assert_eq!(scene.leg(CALLEE, answered()), apply_bridge_and_describe());
    }
}

#[test]
fn a_call_counts_as_answered_from_the_moment_somebody_picks_up() {
    let mut scene = announcing();
    let heard_from = scene.now;
    scene.now += Duration::from_secs(20);
    assert_eq!(scene.leg(CALLEE, answered()), [apply_answer()]);
    assert!(scene.call.is_talking());
    assert_eq!(scene.call.poll_timeout(), None);
    let story = scene.call.story();
    assert_eq!(story.early, Some(heard_from));
    assert_eq!(story.answered, Some(scene.now));
    assert_eq!(story.device, Some(Device("DESK".into())));
    assert!(!story.is_early());
}

#[test]
fn early_media_without_sound_leaves_the_answer_as_it_ever_was() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    scene.leg(CALLEE, early());
    assert_eq!(scene.leg(CALLEE, answered()), apply_bridge_and_describe());
    assert_eq!(scene.call.story().early, None);
}

#[test]
fn a_callee_that_picks_up_before_the_caller_is_told_has_it_told_once() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    scene.leg(CALLEE, early());
    scene.media(CALLEE, MediaEvent::EarlySound);
    assert_eq!(scene.leg(CALLEE, answered()), [apply_answer()]);
    assert_eq!(
        scene.media(CALLER, described("our answer")),
        [answer_caller()]
    );
    assert!(scene.call.is_talking());
    assert_eq!(scene.call.story().early, None);
}

#[test]
fn a_refusal_after_an_announcement_hangs_up_once_its_last_word_was_heard() {
    let mut scene = announcing();
    assert_eq!(
        scene.leg(CALLEE, LegEvent::Ended(Reason::Busy)),
        [hear_out()]
    );
    assert_eq!(scene.media(CALLER, MediaEvent::HeardOut), []);
    assert_eq!(
        scene.media(CALLEE, MediaEvent::HeardOut),
        ends(CALLER, LegAction::HangUp(Reason::Busy))
    );
    assert!(scene.call.story().is_early());
    assert_eq!(scene.ended(), (Side::Callee, Reason::Busy));
}

#[test]
fn whatever_cuts_the_last_words_short_the_callee_has_ended_the_call() {
    let leaves = |scene: &mut Scene| scene.leg(CALLEE, LegEvent::Ended(Reason::Busy));
    let mut scene = announcing();
    leaves(&mut scene);
    assert_eq!(
        scene.leg(CALLER, LegEvent::Ended(Reason::HungUp)),
        close_both()
    );
    assert_eq!(scene.ended(), (Side::Callee, Reason::Busy));
    let mut scene = announcing();
    leaves(&mut scene);
    scene.finish(Reason::ShuttingDown);
    assert_eq!(scene.ended(), (Side::Callee, Reason::Busy));
    let mut scene = announcing();
    leaves(&mut scene);
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::LastWords);
    assert_eq!(actions, ends(CALLER, LegAction::HangUp(Reason::Busy)));
}

#[test]
fn a_browser_that_connects_only_after_the_refusal_hears_the_announcement_all_the_same() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    scene.leg(CALLEE, early());
    scene.media(CALLEE, MediaEvent::EarlySound);
    scene.media(CALLER, described("our answer"));
    assert_eq!(
        scene.leg(CALLEE, LegEvent::Ended(Reason::NotFound)),
        [hear_out()]
    );
    assert_eq!(scene.media(CALLER, MediaEvent::Connected), []);
    assert_eq!(
        scene.media(CALLEE, MediaEvent::HeardOut),
        ends(CALLER, LegAction::HangUp(Reason::NotFound))
    );
}

#[test]
fn a_browser_that_restarts_its_connection_during_the_last_words_is_met() {
    let mut scene = announcing();
    scene.leg(CALLEE, LegEvent::Ended(Reason::Busy));
    let sdp: Sdp = "restart".into();
    let restarts = LegEvent::Reoffered { sdp: sdp.clone() };
    let met = Action::Media(MediaAction::Reoffer { leg: CALLER, sdp });
    assert_eq!(scene.leg(CALLER, restarts), [met]);
}

#[test]
fn a_refusal_while_the_browser_is_lost_waits_for_nothing() {
    let mut scene = announcing();
    scene.media(CALLER, MediaEvent::Lost);
    assert_eq!(
        scene.leg(CALLEE, LegEvent::Ended(Reason::Busy)),
        ends(CALLER, LegAction::HangUp(Reason::Busy))
    );
}

#[test]
fn a_refusal_before_our_answer_is_made_refuses() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    scene.leg(CALLEE, early());
    scene.media(CALLEE, MediaEvent::EarlySound);
    assert_eq!(
        scene.leg(CALLEE, LegEvent::Ended(Reason::Busy)),
        ends(CALLER, LegAction::Refuse(Reason::Busy))
    );
}

#[test]
fn hanging_up_on_an_announcement_cancels_the_call() {
    let mut scene = announcing();
    assert_eq!(
        scene.leg(CALLER, LegEvent::Ended(Reason::HungUp)),
        ends(CALLEE, LegAction::Cancel(Reason::Cancelled))
    );
    assert_eq!(scene.ended(), (Side::Caller, Reason::Cancelled));
}

#[test]
fn nobody_picking_up_ends_an_announcement_in_time() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    let offered = scene.now;
    scene.leg(CALLEE, early());
    scene.now += Duration::from_secs(60);
    scene.media(CALLEE, MediaEvent::EarlySound);
    scene.media(CALLER, described("our answer"));
    scene.media(CALLER, MediaEvent::Connected);
    let (deadline, actions) = scene.wait();
    assert_eq!(deadline, Deadline::Answer);
    assert_eq!(scene.now - offered, Timings::default().answer);
    assert_eq!(
        actions[..2],
        [
            Action::Leg(CALLER, LegAction::HangUp(Reason::NoAnswer)),
            Action::Leg(CALLEE, LegAction::Cancel(Reason::NoAnswer)),
        ]
    );
}

#[test]
fn a_browser_that_never_connects_or_is_lost_during_an_announcement_ends_the_call() {
    let mut scene = Scene::outgoing_with_early_media().offered();
    scene.leg(CALLEE, early());
    scene.media(CALLEE, MediaEvent::EarlySound);
    scene.media(CALLER, described("our answer"));
    assert_eq!(scene.wait().0, Deadline::Media);
    assert_eq!(scene.ended(), (Side::Gateway, Reason::MediaFailed));
    let mut scene = announcing();
    scene.media(CALLER, MediaEvent::Lost);
    assert_eq!(scene.wait().0, Deadline::Lost);
    assert_eq!(scene.ended(), (Side::Gateway, Reason::MediaLost));
}

#[test]
fn a_browser_that_was_lost_during_an_announcement_and_is_back_goes_on() {
    let mut scene = announcing();
    scene.media(CALLER, MediaEvent::Lost);
    scene.media(CALLER, MediaEvent::Connected);
    assert_eq!(
        scene.call.poll_timeout().map(|(_, why)| why),
        Some(Deadline::Answer)
    );
    scene.leg(CALLEE, answered());
    assert_eq!(scene.call.poll_timeout(), None);
}

#[test]
fn ringing_after_an_announcement_asks_for_ringback_each_time() {
    let mut scene = announcing();
    let ringback = Action::Media(MediaAction::Ringback { leg: CALLEE });
    for _ in 0..2 {
        assert_eq!(
            scene.leg(CALLEE, LegEvent::Ringing),
            std::slice::from_ref(&ringback)
        );
    }
    scene.leg(CALLEE, answered());
    assert_eq!(scene.leg(CALLEE, LegEvent::Ringing), []);
}

#[test]
fn another_telephone_that_is_heard_early_is_described_too() {
    let mut scene = announcing();
    assert_eq!(scene.leg(CALLEE, early()), [apply_early()]);
}

#[test]
fn an_offer_of_the_callee_before_it_picks_up_is_met() {
    for mut scene in [announcing(), Scene::outgoing().offered()] {
        let sdp: Sdp = "moved".into();
        let theirs = LegEvent::Reoffered { sdp: sdp.clone() };
        let apply = MediaAction::Reoffer { leg: CALLEE, sdp };
        assert_eq!(scene.leg(CALLEE, theirs), [Action::Media(apply)]);
        let answer = LegAction::AnswerReoffer { sdp: "met".into() };
        assert_eq!(
            scene.media(CALLEE, described("met")),
            [Action::Leg(CALLEE, answer)]
        );
    }
}

#[test]
fn an_offer_of_the_caller_is_met_once_it_is_answered_and_not_before() {
    let again = || LegEvent::Reoffered {
        sdp: "again".into(),
    };
    let mut scene = Scene::outgoing_with_early_media().offered();
    scene.leg(CALLEE, early());
    scene.media(CALLEE, MediaEvent::EarlySound);
    let refused = Action::Leg(CALLER, LegAction::RefuseReoffer);
    assert_eq!(scene.leg(CALLER, again()), [refused]);
    let mut scene = announcing();
    let sdp = "again".into();
    let met = Action::Media(MediaAction::Reoffer { leg: CALLER, sdp });
    assert_eq!(scene.leg(CALLER, again()), [met]);
}
