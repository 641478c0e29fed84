//! The call machine as inputs → expected actions, in virtual time.

use std::time::{Duration, Instant};

use super::*;
use crate::{Device, LegKind};

const CALLER: LegId = LegId(1);
const CALLEE: LegId = LegId(2);

/// A call with its own clock.
struct Scene {
    call: Call,
    now: Instant,
}

impl Scene {
    fn begin(caller: LegKind, callee: LegKind) -> Scene {
        let now = Instant::now();
        let call = Call::new(
            now,
            Timings::default(),
            Leg {
                id: CALLER,
                kind: caller,
            },
            Leg {
                id: CALLEE,
                kind: callee,
            },
            "offer of the caller".into(),
        );
        Scene { call, now }
    }

    fn outgoing() -> Scene {
        Scene::begin(LegKind::Matrix, LegKind::Sip)
    }

    fn incoming() -> Scene {
        Scene::begin(LegKind::Sip, LegKind::Matrix)
    }

    /// Up to the point where the callee has our offer.
    fn offered(mut self) -> Scene {
        self.actions();
        self.media(CALLER, described("that it can be answered"));
        self.media(CALLEE, described("our offer"));
        self
    }

    /// Up to the point where the callee has picked up, and our answer to the caller is there.
    fn picked_up(mut self) -> Scene {
        self.leg(CALLEE, answered());
        self.media(CALLER, described("our answer"));
        self
    }

    /// Up to the point where both talk and all media is connected.
    fn talking(self) -> Scene {
        let mut scene = self.offered();
        scene.leg(CALLEE, LegEvent::Ringing);
        let mut scene = scene.picked_up();
        scene.media(CALLEE, MediaEvent::Connected);
        scene.media(CALLER, MediaEvent::Connected);
        assert!(scene.call.is_talking());
        scene
    }

    fn leg(&mut self, leg: LegId, event: LegEvent) -> Vec<Action> {
        self.call.handle(self.now, Input::Leg(leg, event));
        self.actions()
    }

    fn media(&mut self, leg: LegId, event: MediaEvent) -> Vec<Action> {
        self.call.handle(self.now, Input::Media(leg, event));
        self.actions()
    }

    fn finish(&mut self, reason: Reason) -> Vec<Action> {
        self.call.handle(self.now, Input::Finish(reason));
        self.actions()
    }

    /// Lets the next deadline pass.
    fn wait(&mut self) -> (Deadline, Vec<Action>) {
        let (at, deadline) = self.call.poll_timeout().expect("a deadline stands");
        self.call.handle_timeout(at - Duration::from_millis(1));
        assert!(self.actions().is_empty(), "woken too early, it acted");
        self.now = at;
        self.call.handle_timeout(at);
        (deadline, self.actions())
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.call.poll_action()).collect()
    }

    fn ended(&self) -> (Side, Reason) {
        let ended = self.call.story().ended.clone().expect("the call has ended");
        (ended.by, ended.reason)
    }
}

fn described(sdp: &str) -> MediaEvent {
    MediaEvent::LocalDescription { sdp: sdp.into() }
}

fn answered() -> LegEvent {
    LegEvent::Answered {
        sdp: "answer of the callee".into(),
        device: Some(Device("DESK".into())),
    }
}

fn close_both() -> [Action; 2] {
    [CALLER, CALLEE].map(|leg| Action::Media(MediaAction::Close { leg }))
}

fn ends(leg: LegId, action: LegAction) -> Vec<Action> {
    let mut actions = vec![Action::Leg(leg, action)];
    actions.extend(close_both());
    actions
}

fn apply_bridge_and_describe() -> [Action; 3] {
    [
        Action::Media(MediaAction::ApplyAnswer {
            leg: CALLEE,
            sdp: "answer of the callee".into(),
        }),
        Action::Media(MediaAction::Bridge {
            a: CALLER,
            b: CALLEE,
        }),
        Action::Media(MediaAction::Describe { leg: CALLER }),
    ]
}

fn answer_caller() -> Action {
    Action::Leg(
        CALLER,
        LegAction::Answer {
            sdp: "our answer".into(),
        },
    )
}

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

mod whatever_happens {
    use super::*;
    use proptest::prelude::*;

    fn reason() -> impl Strategy<Value = Reason> {
        prop_oneof![
            Just(Reason::HungUp),
            Just(Reason::Busy),
            Just(Reason::Cancelled),
            Just(Reason::MediaLost)
        ]
    }

    fn input() -> impl Strategy<Value = Input> {
        let leg = prop_oneof![Just(CALLER), Just(CALLEE), Just(LegId(9))];
        let leg_event = prop_oneof![
            Just(LegEvent::Ringing),
            Just(LegEvent::EarlyMedia {
                sdp: "early".into()
            }),
            Just(answered()),
            Just(LegEvent::Candidates(vec!["c".into()])),
            Just(LegEvent::Reoffered {
                sdp: "again".into()
            }),
            reason().prop_map(LegEvent::Ended),
        ];
        let media_event = prop_oneof![
            4 => Just(described("described")),
            2 => Just(MediaEvent::Connected),
            1 => Just(MediaEvent::ReofferRefused),
            1 => Just(MediaEvent::Lost),
            1 => Just(MediaEvent::Closed),
        ];
        prop_oneof![
            8 => (leg.clone(), leg_event).prop_map(|(leg, event)| Input::Leg(leg, event)),
            8 => (leg, media_event).prop_map(|(leg, event)| Input::Media(leg, event)),
            1 => reason().prop_map(Input::Finish),
        ]
    }

    proptest! {
        /// Whatever arrives in whatever order: the call ends, each leg is answered, refused,
        /// cancelled or hung up at most once, an offered callee is not left ringing, and nothing
        /// follows `Finished`.
        #[test]
        fn every_call_ends_once_and_leaves_no_leg_behind(inputs in prop::collection::vec(input(), 0..40)) {
            let mut scene = Scene::outgoing();
            let mut all = scene.actions();
            for input in inputs {
                scene.call.handle(scene.now, input);
                all.extend(scene.actions());
            }
            all.extend(scene.finish(Reason::ShuttingDown));
            while scene.call.poll_timeout().is_some() {
                all.extend(scene.wait().1);
            }
            prop_assert_eq!(all.last(), Some(&Action::Finished));
            prop_assert_eq!(all.iter().filter(|a| **a == Action::Finished).count(), 1);
            for leg in [CALLER, CALLEE] {
                let endings = all.iter().filter(|a| matches!(a,
                    Action::Leg(l, LegAction::Refuse(_) | LegAction::Cancel(_) | LegAction::HangUp(_)) if *l == leg));
                prop_assert!(endings.count() <= 1);
                let answers = all.iter().filter(|a| matches!(a, Action::Leg(l, LegAction::Answer { .. }) if *l == leg));
                prop_assert!(answers.count() <= 1);
            }
            let by_callee = scene.ended().0 == Side::Callee;
            let was_offered = all.iter().any(|a| matches!(a, Action::Leg(CALLEE, LegAction::Offer { .. })));
            let was_ended = all.iter().any(|a| matches!(a, Action::Leg(CALLEE, LegAction::Cancel(_) | LegAction::HangUp(_))));
            prop_assert_eq!(was_offered && !by_callee, was_ended);
        }
    }
}
