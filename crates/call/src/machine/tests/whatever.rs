//! Whatever happens, in whatever order.

use super::*;
use crate::Referral;
use proptest::prelude::*;

/// Stands for the leg of the party that was last asked for.
const NEWEST: LegId = LegId(8);

fn party(number: u64) -> Leg {
    Leg {
        id: LegId(number),
        kind: LegKind::Sip,
    }
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        Just(Reason::HungUp),
        Just(Reason::Busy),
        Just(Reason::Cancelled),
        Just(Reason::MediaLost)
    ]
}

fn input() -> impl Strategy<Value = Input> {
    let leg = prop_oneof![Just(CALLER), Just(CALLEE), Just(NEWEST), Just(LegId(9))];
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
        Just(LegEvent::TransferAsked {
            to: party(NEWEST.0)
        }),
        Just(LegEvent::HandedOn {
            to: party(NEWEST.0)
        }),
        any::<bool>().prop_map(|offers| LegEvent::Replaced {
            by: party(NEWEST.0),
            offer: offers.then(|| "its offer".into()),
        }),
        Just(LegEvent::Referred(Referral::Done)),
        Just(LegEvent::Referred(Referral::Refused)),
        reason().prop_map(|reason| LegEvent::Referred(Referral::Failed(reason))),
        reason().prop_map(LegEvent::Ended),
    ];
    let media_event = prop_oneof![
        4 => Just(described("described")),
        2 => Just(MediaEvent::Connected),
        2 => Just(MediaEvent::EarlySound),
        1 => Just(MediaEvent::HeardOut),
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

fn is_ending(action: &Action, of: LegId) -> bool {
    matches!(action, Action::Leg(leg, LegAction::Refuse(_) | LegAction::Cancel(_) | LegAction::HangUp(_)) if *leg == of)
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
        let mut newest = 20;
        let mut callee_left = false;
        for input in inputs {
            let input = match input {
                Input::Leg(
                    leg,
                    asked @ (LegEvent::TransferAsked { .. }
                    | LegEvent::HandedOn { .. }
                    | LegEvent::Replaced { .. }),
                ) => {
                    let to = party(newest + 1);
                    let leg = if leg == NEWEST { LegId(newest) } else { leg };
                    newest += 1;
                    let asked = match asked {
                        LegEvent::HandedOn { .. } => LegEvent::HandedOn { to },
                        LegEvent::Replaced { offer, .. } => LegEvent::Replaced { by: to, offer },
                        _ => LegEvent::TransferAsked { to },
                    };
                    Input::Leg(leg, asked)
                }
                Input::Leg(NEWEST, event) => Input::Leg(LegId(newest), event),
                Input::Media(NEWEST, event) => Input::Media(LegId(newest), event),
                other => other,
            };
            let is_over = scene.call.story().ended.is_some();
            let was_ended = all.iter().any(|a| is_ending(a, CALLEE));
            if let (Input::Leg(CALLEE, LegEvent::Ended(_)), false, false) = (&input, is_over, was_ended) {
                callee_left = true;
            }
            scene.call.handle(scene.now, input);
            all.extend(scene.actions());
        }
        all.extend(scene.finish(Reason::ShuttingDown));
        while scene.call.poll_timeout().is_some() {
            all.extend(scene.wait().1);
        }
        prop_assert_eq!(all.last(), Some(&Action::Finished));
        prop_assert_eq!(all.iter().filter(|a| **a == Action::Finished).count(), 1);
        for leg in [CALLER, CALLEE].into_iter().chain((20..=newest).map(LegId)) {
            prop_assert!(all.iter().filter(|a| is_ending(a, leg)).count() <= 1);
            let answers = all.iter().filter(|a| matches!(a, Action::Leg(l, LegAction::Answer { .. }) if *l == leg));
            prop_assert!(answers.count() <= 1);
        }
        let was_offered = all.iter().any(|a| matches!(a, Action::Leg(CALLEE, LegAction::Offer { .. })));
        let was_ended = all.iter().any(|a| is_ending(a, CALLEE));
        prop_assert_eq!(was_offered && !callee_left, was_ended);
    }
}
