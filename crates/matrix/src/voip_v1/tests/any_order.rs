use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Anything that can happen to a leg.
#[derive(Debug, Clone)]
enum Step {
    Hear(&'static str, CallEventIn),
    Act(LegAction),
    Report(SendOutcome),
    Wait(Duration),
}

fn party() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        Just(None),
        Just(Some(PHONE)),
        Just(Some(LAPTOP)),
        Just(Some("GW"))
    ]
}

fn event() -> impl Strategy<Value = CallEventIn> {
    let selected = prop_oneof![Just("GW"), Just(PHONE)];
    (party(), selected, 0..8_u8).prop_map(|(party, selected, which)| match which {
        0 => CallEventIn::Invite(invite(Version::V1, party)),
        1 => candidates(party.unwrap_or(PHONE), &["candidate:1"]),
        2 => answer(party),
        3 => CallEventIn::SelectAnswer {
            call_id: "c".to_owned(),
            party_id: party.map(str::to_owned),
            selected_party_id: selected.to_owned(),
        },
        4 => reject(party.unwrap_or(PHONE), None),
        5 => hangup(party, Some("user_hangup")),
        6 => negotiate(party.unwrap_or(PHONE), Description::Offer("o".into())),
        _ => negotiate(party.unwrap_or(PHONE), Description::Answer("a".into())),
    })
}

fn action() -> impl Strategy<Value = LegAction> {
    prop_oneof![
        Just(LegAction::Offer { sdp: "o".into() }),
        Just(LegAction::Ring),
        Just(LegAction::Answer { sdp: "a".into() }),
        Just(LegAction::AnswerReoffer { sdp: "a".into() }),
        Just(LegAction::RefuseReoffer),
        Just(LegAction::Refuse(Reason::Busy)),
        Just(LegAction::Cancel(Reason::Cancelled)),
        Just(LegAction::HangUp(Reason::HungUp)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let sender = prop_oneof![4 => Just("@alice:localtest"), 1 => Just("@tel_600:localtest")];
    let kind = prop_oneof![Just(CallEventKind::Invite), Just(CallEventKind::Answer)];
    prop_oneof![
        4 => (sender, event()).prop_map(|(sender, event)| Step::Hear(sender, event)),
        2 => action().prop_map(Step::Act),
        1 => (kind, any::<bool>()).prop_map(|(kind, sent)| Step::Report(match sent {
            true => SendOutcome::Sent(kind),
            false => SendOutcome::Failed(kind),
        })),
        1 => (0..70_u64).prop_map(|seconds| Step::Wait(S(seconds))),
    ]
}

fn take(scene: &mut Scene, step: Step) {
    match step {
        Step::Hear(sender, event) => {
            let sender = UserId::parse(sender).unwrap();
            scene.leg.handle_event(scene.now, &sender, event);
        }
        Step::Act(action) => scene.leg.handle_action(scene.now, action),
        Step::Report(outcome) => scene.leg.handle_sent(scene.now, outcome),
        Step::Wait(duration) => {
            scene.now += duration;
            scene.leg.handle_timeout(scene.now);
        }
    }
}

/// What holds for every leg, whatever happens to it.
fn check(mut scene: Scene, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut answers = 0;
    for step in steps {
        let was_over = scene.leg.is_ended();
        take(&mut scene, step);
        let (events, sends) = (scene.events(), scene.sends());
        if was_over {
            prop_assert_eq!(&events, &[]);
            prop_assert_eq!(&sends, &[]);
        }
        for event in &sends {
            prop_assert_eq!(event.call(), &call(Version::V1));
        }
        let ended = events
            .iter()
            .position(|event| matches!(event, LegEvent::Ended(_)));
        if let Some(at) = ended {
            prop_assert_eq!(at, events.len() - 1, "the end is the last word");
            prop_assert!(scene.leg.is_ended());
        }
        answers += events
            .iter()
            .filter(|event| matches!(event, LegEvent::Answered { .. }))
            .count();
        prop_assert!(answers <= 1, "one device wins");
        prop_assert!(!scene.leg.is_ended() || scene.leg.poll_timeout().is_none());
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_leg_that_calls_the_user_keeps_its_rules(steps in vec(step(), 0..30)) {
        check(Scene::offering(), steps)?;
    }

    #[test]
    fn a_leg_that_the_user_started_keeps_its_rules(steps in vec(step(), 0..30)) {
        check(Scene::invited(), steps)?;
    }
}
