//! Inputs and what they must give, in virtual time: one test for each rule.

mod any_order;
mod both_directions;
mod identity;
mod user_calls;
mod we_call;

use mxtrunk_call::Device;
use ruma::{owned_room_id, owned_user_id, user_id};

use super::*;
use crate::call_events::Description;

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

    fn failed(&mut self, kind: CallEventKind) -> (Vec<LegEvent>, Vec<CallEventOut>) {
        self.leg.handle_sent(self.now, SendOutcome::Failed(kind));
        (self.events(), self.sends())
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
