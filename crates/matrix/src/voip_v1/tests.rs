//! Inputs and what they must give, in virtual time: one test for each rule.

use ruma::{owned_room_id, owned_user_id, user_id};

use super::*;

const S: fn(u64) -> Duration = Duration::from_secs;
const PHONE: &str = "PHONE";
const LAPTOP: &str = "LAPTOP";

/// A leg with a clock of its own.
struct Scene {
    leg: Leg,
    now: Instant,
}

fn ids() -> Ids {
    Ids {
        room: owned_room_id!("!room"),
        user: owned_user_id!("@alice:localtest"),
        virtual_user: owned_user_id!("@tel_600:localtest"),
        our_party_id: "GW".to_owned(),
    }
}

fn invite(version: Version, party: Option<&str>) -> Invite {
    Invite {
        call_id: "c".to_owned(),
        party_id: party.map(str::to_owned),
        version,
        lifetime: S(60),
        sdp: "their offer".into(),
        invitee: None,
    }
}

impl Scene {
    /// Alice's laptop has called.
    fn invited() -> Self {
        Scene::invited_by(invite(Version::V1, Some(LAPTOP)))
    }

    fn invited_by(invite: Invite) -> Self {
        let now = Instant::now();
        let (leg, offer) = Leg::incoming(now, ids(), S(0), invite).unwrap();
        assert_eq!(offer, "their offer".into());
        Scene { leg, now }
    }

    /// We are calling Alice, and her devices ring.
    fn ringing() -> Self {
        let mut scene = Scene::offering();
        assert_eq!(scene.sent(CallEventKind::Invite), [LegEvent::Ringing]);
        scene
    }

    /// Our invite is on its way.
    fn offering() -> Self {
        let mut scene = Scene {
            leg: Leg::outgoing(ids(), "c".to_owned()),
            now: Instant::now(),
        };
        let sends = scene.act(LegAction::Offer {
            sdp: "our offer".into(),
        });
        assert_eq!(
            sends,
            [CallEventOut::Invite {
                call: call(Version::V1),
                lifetime: S(60),
                sdp: "our offer".into()
            }]
        );
        scene
    }

    /// We called Alice, and her laptop picked up.
    fn talking() -> Self {
        let mut scene = Scene::ringing();
        let (_, sends) = scene.hear(answer(Some(LAPTOP)));
        assert_eq!(sends, [select(LAPTOP)]);
        scene
    }

    fn hear(&mut self, event: CallEventIn) -> (Vec<LegEvent>, Vec<CallEventOut>) {
        self.hear_from(user_id!("@alice:localtest"), event)
    }

    fn hear_from(
        &mut self,
        sender: &UserId,
        event: CallEventIn,
    ) -> (Vec<LegEvent>, Vec<CallEventOut>) {
        self.leg.handle_event(self.now, sender, event);
        (self.events(), self.sends())
    }

    fn act(&mut self, action: LegAction) -> Vec<CallEventOut> {
        self.leg.handle_action(self.now, action);
        assert_eq!(self.events(), []);
        self.sends()
    }

    fn sent(&mut self, kind: CallEventKind) -> Vec<LegEvent> {
        self.leg.handle_sent(self.now, SendOutcome::Sent(kind));
        assert_eq!(self.sends(), []);
        self.events()
    }

    fn failed(&mut self, kind: CallEventKind) -> Vec<LegEvent> {
        self.leg.handle_sent(self.now, SendOutcome::Failed(kind));
        assert_eq!(self.sends(), []);
        self.events()
    }

    fn wait(&mut self, duration: Duration) -> (Vec<LegEvent>, Vec<CallEventOut>) {
        self.now += duration;
        self.leg.handle_timeout(self.now);
        (self.events(), self.sends())
    }

    fn events(&mut self) -> Vec<LegEvent> {
        std::iter::from_fn(|| self.leg.poll_event()).collect()
    }

    fn sends(&mut self) -> Vec<CallEventOut> {
        std::iter::from_fn(|| self.leg.poll_send()).collect()
    }
}

fn call(version: Version) -> CallRef {
    CallRef {
        call_id: "c".to_owned(),
        party_id: "GW".to_owned(),
        version,
    }
}

fn answer(party: Option<&str>) -> CallEventIn {
    CallEventIn::Answer {
        call_id: "c".to_owned(),
        party_id: party.map(str::to_owned),
        sdp: "their answer".into(),
    }
}

fn candidates(party: &str, lines: &[&str]) -> CallEventIn {
    CallEventIn::Candidates {
        call_id: "c".to_owned(),
        party_id: Some(party.to_owned()),
        candidates: lines.iter().map(|line| (*line).to_owned()).collect(),
    }
}

fn hangup(party: Option<&str>, reason: Option<&str>) -> CallEventIn {
    CallEventIn::Hangup {
        call_id: "c".to_owned(),
        party_id: party.map(str::to_owned),
        reason: reason.map(str::to_owned),
    }
}

fn reject(party: &str, reason: Option<&str>) -> CallEventIn {
    CallEventIn::Reject {
        call_id: "c".to_owned(),
        party_id: Some(party.to_owned()),
        reason: reason.map(str::to_owned),
    }
}

fn negotiate(party: &str, description: Description) -> CallEventIn {
    CallEventIn::Negotiate {
        call_id: "c".to_owned(),
        party_id: Some(party.to_owned()),
        description,
    }
}

fn select(party: &str) -> CallEventOut {
    CallEventOut::SelectAnswer {
        call: call(Version::V1),
        selected_party_id: party.to_owned(),
    }
}

fn our_hangup(version: Version, reason: &'static str) -> CallEventOut {
    CallEventOut::Hangup {
        call: call(version),
        reason,
    }
}

fn nothing() -> (Vec<LegEvent>, Vec<CallEventOut>) {
    (vec![], vec![])
}

fn ended(reason: Reason) -> (Vec<LegEvent>, Vec<CallEventOut>) {
    (vec![LegEvent::Ended(reason)], vec![])
}

// The user calls.

#[test]
fn an_answer_goes_to_the_room_and_the_call_is_up() {
    let mut scene = Scene::invited();
    assert_eq!(scene.act(LegAction::Ring), []);
    let sends = scene.act(LegAction::Answer {
        sdp: "our answer".into(),
    });
    assert_eq!(
        sends,
        [CallEventOut::Answer {
            call: call(Version::V1),
            sdp: "our answer".into()
        }]
    );
    assert_eq!(scene.leg.poll_timeout(), None);
}

#[test]
fn a_refusal_before_the_answer_is_a_reject_with_the_reason_that_element_shows() {
    for (reason, word) in [
        (Reason::Busy, Some("user_busy")),
        (Reason::Declined, None),
        (Reason::NotFound, Some("unknown_number")),
    ] {
        let mut scene = Scene::invited();
        let sends = scene.act(LegAction::Refuse(reason));
        assert_eq!(
            sends,
            [CallEventOut::Reject {
                call: call(Version::V1),
                reason: word
            }]
        );
        assert!(scene.leg.is_ended());
    }
}

#[test]
fn a_refusal_in_version_0_is_a_hangup_because_it_has_no_reject() {
    let mut scene = Scene::invited_by(invite(Version::V0, None));
    let sends = scene.act(LegAction::Refuse(Reason::Busy));
    assert_eq!(sends, [our_hangup(Version::V0, "user_busy")]);
}

#[test]
fn after_the_answer_we_end_with_a_hangup() {
    let mut scene = Scene::invited();
    scene.act(LegAction::Answer { sdp: "a".into() });
    let sends = scene.act(LegAction::HangUp(Reason::HungUp));
    assert_eq!(sends, [our_hangup(Version::V1, "user_hangup")]);
}

#[test]
fn a_caller_who_hangs_up_early_has_cancelled() {
    for reason in [None, Some("user_hangup"), Some("invite_timeout")] {
        let mut scene = Scene::invited();
        assert_eq!(
            scene.hear(hangup(Some(LAPTOP), reason)),
            ended(Reason::Cancelled)
        );
    }
    let mut scene = Scene::invited();
    let heard = scene.hear(hangup(Some(LAPTOP), Some("user_media_failed")));
    assert_eq!(heard, ended(Reason::MediaFailed));
}

#[test]
fn an_invite_that_expires_unanswered_is_cancelled() {
    let mut scene = Scene::invited();
    let expires = scene.now + S(60);
    assert_eq!(
        scene.leg.poll_timeout(),
        Some((expires, Deadline::TheirInvite))
    );
    assert_eq!(scene.wait(S(59)), nothing());
    assert_eq!(scene.wait(S(1)), ended(Reason::Cancelled));
    assert_eq!(scene.leg.poll_timeout(), None);
}

#[test]
fn an_invite_keeps_only_the_lifetime_that_its_age_leaves() {
    let now = Instant::now();
    let laptop = || invite(Version::V1, Some(LAPTOP));
    let (leg, _) = Leg::incoming(now, ids(), S(50), laptop()).unwrap();
    assert_eq!(
        leg.poll_timeout(),
        Some((now + S(10), Deadline::TheirInvite))
    );
    assert_eq!(
        Leg::incoming(now, ids(), S(60), laptop()).unwrap_err(),
        Stale
    );
    assert_eq!(
        Leg::incoming(now, ids(), S(3_600), laptop()).unwrap_err(),
        Stale
    );
}

#[test]
fn only_candidates_of_the_calling_device_reach_the_call() {
    let mut scene = Scene::invited();
    let (events, _) = scene.hear(candidates(LAPTOP, &["candidate:1", ""]));
    let lines = vec!["candidate:1".to_owned(), String::new()];
    assert_eq!(events, [LegEvent::Candidates(lines)]);
    assert_eq!(scene.hear(candidates(PHONE, &["candidate:2"])), nothing());
}

#[test]
fn another_device_of_the_caller_cannot_hang_up() {
    let mut scene = Scene::invited();
    assert_eq!(scene.hear(hangup(Some(PHONE), None)), nothing());
}

#[test]
fn a_selection_of_our_answer_changes_nothing_and_of_another_one_ends_the_leg() {
    let selection = |selected: &str| CallEventIn::SelectAnswer {
        call_id: "c".to_owned(),
        party_id: Some(LAPTOP.to_owned()),
        selected_party_id: selected.to_owned(),
    };
    let mut scene = Scene::invited();
    scene.act(LegAction::Answer { sdp: "a".into() });
    assert_eq!(scene.hear(selection("GW")), nothing());
    assert_eq!(
        scene.hear(selection("SOMEBODY")),
        ended(Reason::AnsweredElsewhere)
    );
}

#[test]
fn an_answer_that_cannot_be_sent_ends_the_leg() {
    let mut scene = Scene::invited();
    scene.act(LegAction::Answer { sdp: "a".into() });
    assert_eq!(
        scene.failed(CallEventKind::Answer),
        [LegEvent::Ended(Reason::Unreachable)]
    );
}

// We call the user.

#[test]
fn it_rings_once_the_invite_stands_in_the_room() {
    let mut scene = Scene::offering();
    assert_eq!(scene.sent(CallEventKind::Invite), [LegEvent::Ringing]);
    assert_eq!(scene.sent(CallEventKind::Invite), []);
}

#[test]
fn an_invite_that_cannot_be_sent_makes_the_user_unreachable() {
    let mut scene = Scene::offering();
    assert_eq!(
        scene.failed(CallEventKind::Invite),
        [LegEvent::Ended(Reason::Unreachable)]
    );
    assert!(scene.leg.is_ended());
}

#[test]
fn the_first_device_that_answers_wins_and_is_named() {
    let mut scene = Scene::ringing();
    let (events, sends) = scene.hear(answer(Some(PHONE)));
    assert_eq!(
        events,
        [LegEvent::Answered {
            sdp: "their answer".into(),
            device: Some(Device(PHONE.to_owned()))
        }]
    );
    assert_eq!(sends, [select(PHONE)]);
    assert_eq!(scene.hear(answer(Some(LAPTOP))), nothing());
    assert_eq!(scene.hear(hangup(Some(LAPTOP), None)), nothing());
    assert_eq!(scene.hear(reject(LAPTOP, None)), nothing());
    assert_eq!(scene.hear(hangup(Some(PHONE), None)), ended(Reason::HungUp));
}

#[test]
fn an_answer_that_overtakes_the_news_of_our_invite_counts() {
    let mut scene = Scene::offering();
    let (events, sends) = scene.hear(answer(Some(PHONE)));
    assert!(matches!(events[..], [LegEvent::Answered { .. }]));
    assert_eq!(sends, [select(PHONE)]);
    assert_eq!(scene.sent(CallEventKind::Invite), []);
}

#[test]
fn an_answer_in_version_0_names_no_device() {
    let mut scene = Scene::ringing();
    let (events, sends) = scene.hear(answer(None));
    assert_eq!(
        events,
        [LegEvent::Answered {
            sdp: "their answer".into(),
            device: None
        }]
    );
    assert_eq!(sends, []);
    assert_eq!(scene.hear(hangup(None, None)), ended(Reason::HungUp));
}

#[test]
fn any_device_may_decline_for_the_person() {
    let mut scene = Scene::ringing();
    assert_eq!(scene.hear(reject(PHONE, None)), ended(Reason::Declined));
    assert_eq!(scene.hear(answer(Some(LAPTOP))), nothing());

    let mut scene = Scene::ringing();
    let heard = scene.hear(reject(PHONE, Some("user_busy")));
    assert_eq!(heard, ended(Reason::Busy));
}

#[test]
fn a_hangup_of_a_version_0_device_before_the_answer_declines() {
    let mut scene = Scene::ringing();
    assert_eq!(scene.hear(hangup(None, None)), ended(Reason::Declined));
}

#[test]
fn nobody_picks_up_within_the_lifetime_of_our_invite() {
    let mut scene = Scene::offering();
    scene.now += S(5);
    scene.sent(CallEventKind::Invite);
    let expires = scene.now + S(60);
    assert_eq!(
        scene.leg.poll_timeout(),
        Some((expires, Deadline::OurInvite))
    );
    assert_eq!(scene.wait(S(59)), nothing());
    let (events, sends) = scene.wait(S(1));
    assert_eq!(events, [LegEvent::Ended(Reason::NoAnswer)]);
    assert_eq!(sends, [our_hangup(Version::V1, "invite_timeout")]);
    assert_eq!(scene.hear(answer(Some(PHONE))), nothing());
}

#[test]
fn an_answer_after_the_lifetime_is_too_late_even_when_nobody_woke_the_leg() {
    let mut scene = Scene::ringing();
    scene.now += S(61);
    let (events, sends) = scene.hear(answer(Some(PHONE)));
    assert_eq!(events, [LegEvent::Ended(Reason::NoAnswer)]);
    assert_eq!(sends, [our_hangup(Version::V1, "invite_timeout")]);
}

#[test]
fn taking_our_invite_back_is_a_hangup_and_a_crossing_answer_is_ignored() {
    let mut scene = Scene::ringing();
    let sends = scene.act(LegAction::Cancel(Reason::Cancelled));
    assert_eq!(sends, [our_hangup(Version::V1, "user_hangup")]);
    assert_eq!(scene.hear(answer(Some(PHONE))), nothing());
    assert_eq!(scene.act(LegAction::Cancel(Reason::Cancelled)), []);
}

#[test]
fn taking_an_offer_back_that_was_never_made_sends_nothing() {
    let mut leg = Leg::outgoing(ids(), "c".to_owned());
    leg.handle_action(Instant::now(), LegAction::Cancel(Reason::Cancelled));
    assert_eq!(leg.poll_send(), None);
    assert!(leg.is_ended());
}

#[test]
fn candidates_of_a_device_wait_for_its_answer() {
    let mut scene = Scene::ringing();
    assert_eq!(scene.hear(candidates(PHONE, &["candidate:1"])), nothing());
    assert_eq!(scene.hear(candidates(LAPTOP, &["candidate:2"])), nothing());
    assert_eq!(scene.hear(candidates(PHONE, &["candidate:3"])), nothing());
    let (events, _) = scene.hear(answer(Some(PHONE)));
    let kept = vec!["candidate:1".to_owned(), "candidate:3".to_owned()];
    assert_eq!(events[1..], [LegEvent::Candidates(kept)]);
    assert_eq!(scene.hear(candidates(LAPTOP, &["candidate:4"])), nothing());
}

// Both directions.

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
