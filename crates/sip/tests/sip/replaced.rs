//! An INVITE with Replaces, which is to take the place of a dialog of ours (RFC 3891).

use mxtrunk_sip::{Command, Happened, LegId};

use crate::peer::{ANSWER, Peer};
use crate::phone::{Message, Phone};

struct Scene {
    phone: Phone,
    agent: Peer,
    leg: LegId,
    /// The Replaces that names the one call there is.
    replaces: String,
}

impl Scene {
    async fn established() -> Self {
        let (phone, mut agent) = Phone::with(|_| {}).await;
        let (leg, invite) = phone.picks_up(&mut agent, 1, "p").await;
        let replaces = naming(&invite, "p");
        Self {
            phone,
            agent,
            leg,
            replaces,
        }
    }

    async fn invite(&self, replaces: &str) -> Message {
        let headers = format!("Require: replaces\r\nReplaces: {replaces}\r\n");
        let invite = Message(self.phone.invite(&headers));
        self.phone.say(&invite.0).await;
        invite
    }

    async fn is_refused(&self, replaces: &str, status: &str) {
        let invite = self.invite(replaces).await;
        // Refusals of earlier ones get no ACK and come again.
        let is_it = |answer: &Message| {
            let is_first = answer.start().contains(" 100 ");
            !is_first && answer.header("Call-ID") == invite.header("Call-ID")
        };
        let mut answer = self.phone.hear_some("SIP/2.0 ").await;
        while !is_it(&answer) {
            answer = self.phone.hear_some("SIP/2.0 ").await;
        }
        let start = answer.start();
        assert!(
            start.starts_with(&format!("SIP/2.0 {status}")),
            "{replaces}: {start}"
        );
    }
}

/// A call of ours that the phone has, as it asks for it.
fn naming(invite: &Message, tag: &str) -> String {
    let (call_id, ours) = (invite.header("Call-ID").unwrap(), invite.tag("From"));
    format!("{call_id};to-tag={ours};from-tag={tag}")
}

#[tokio::test]
async fn a_call_in_the_place_of_one_of_ours_names_its_leg() {
    let mut scene = Scene::established().await;
    scene.invite(&scene.replaces).await;
    let event = scene.agent.next().await;
    let Happened::Incoming { replaces, .. } = event.what else {
        panic!("{event:?}");
    };
    assert_eq!(replaces, Some(scene.leg));
    let sdp = ANSWER.into();
    scene.agent.tell(event.leg, Command::Answer { sdp });
    let answer = scene.phone.hear_some("SIP/2.0 200").await;
    assert_eq!(answer.body(), ANSWER);
}

#[tokio::test]
async fn what_names_no_call_of_ours_that_talks_is_refused_with_its_own_status() {
    let scene = Scene::established().await;
    let known = scene.replaces.clone();
    scene.is_refused("x@y;to-tag=a;from-tag=b", "481").await;
    let other_tag = known.replace("from-tag=p", "from-tag=q");
    scene.is_refused(&other_tag, "481").await;
    scene.is_refused("x@y;to-tag=a", "400").await;
    let twice = format!("{known}\r\nReplaces: {known}");
    scene.is_refused(&twice, "400").await;
    // It is not early any more.
    scene
        .is_refused(&format!("{known};early-only"), "486")
        .await;
}

#[tokio::test]
async fn a_call_that_rings_at_one_telephone_is_picked_up_at_another() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let leg = agent.call(1, "1002");
    let invite = phone.hear_some("INVITE ").await;
    // Two telephones ring for it.
    for tag in ["r", "s"] {
        phone.reply(&invite, "180 Ringing", tag, "", "").await;
    }
    let what = agent.on(leg).await;
    assert!(matches!(what, Happened::Ringing), "{what:?}");
    let scene = Scene {
        replaces: naming(&invite, "s"),
        phone,
        agent,
        leg,
    };
    scene.is_refused(&naming(&invite, "t"), "481").await;
    let replaces = format!("{};early-only", scene.replaces);
    let mut scene = scene;
    scene.invite(&replaces).await;
    let event = scene.agent.next().await;
    let Happened::Incoming { replaces, .. } = event.what else {
        panic!("{event:?}");
    };
    assert_eq!(replaces, Some(scene.leg));
}

#[tokio::test]
async fn a_call_that_rings_here_is_not_for_another_telephone_to_take() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    phone.say(&phone.invite("")).await;
    let event = agent.next().await;
    agent.tell(event.leg, Command::Ring);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    let (call_id, ours) = (ringing.header("Call-ID").unwrap(), ringing.tag("To"));
    let replaces = format!("{call_id};to-tag={ours};from-tag={}", ringing.tag("From"));
    let scene = Scene {
        phone,
        agent,
        leg: event.leg,
        replaces: replaces.clone(),
    };
    scene.is_refused(&replaces, "481").await;
}

#[tokio::test]
async fn a_call_that_is_over_is_not_there_to_be_taken_over() {
    let scene = Scene::established().await;
    let hang_up = Command::HangUp { reason: None };
    scene.agent.tell(scene.leg, hang_up);
    let bye = scene.phone.hear_some("BYE ").await;
    scene.phone.reply(&bye, "200 OK", "", "", "").await;
    scene.agent.idle().await;
    scene.is_refused(&scene.replaces, "603").await;
    let other_tag = scene.replaces.replace("from-tag=p", "from-tag=q");
    scene.is_refused(&other_tag, "481").await;
}
