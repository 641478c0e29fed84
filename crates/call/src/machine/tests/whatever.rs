//! Whatever happens, in whatever order.

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
        Just(LegEvent::OfferAsked),
        Just(LegEvent::Reanswered {
            sdp: "answered again".into()
        }),
        any::<bool>().prop_map(|crossed| LegEvent::ReofferRefused { crossed }),
        reason().prop_map(LegEvent::Ended),
    ];
    let media_event = prop_oneof![
        4 => Just(described("described")),
        2 => Just(MediaEvent::Connected),
        2 => Just(MediaEvent::EarlySound),
        1 => Just(MediaEvent::ReofferRefused),
        1 => Just(MediaEvent::OfferDue),
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
    fn every_call_ends_once_and_leaves_no_leg_behind(
        inputs in prop::collection::vec(input(), 0..40),
        early in any::<bool>(),
    ) {
        let mut scene = match early {
            true => Scene::outgoing_with_early_media(),
            false => Scene::outgoing(),
        };
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
