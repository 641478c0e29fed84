//! Transfers that our side asks for: REFER, and the NOTIFYs that come back.

use mxtrunk_sip::{Caller, Command, EndCause, Happened, LegId, Referral};

use crate::peer::{ANSWER, Peer};
use crate::phone::{Message, Phone};

const TRYING: &str = "SIP/2.0 100 Trying\r\n";
const PICKED_UP: &str = "SIP/2.0 200 OK\r\n";

/// A call from the agent to the phone.
struct Scene {
    phone: Phone,
    agent: Peer,
    leg: LegId,
    invite: Message,
}

impl Scene {
    async fn established() -> Self {
        let (phone, mut agent) = Phone::with(|_| {}).await;
        let (leg, invite) = phone.picks_up(&mut agent, 1, "p").await;
        Self {
            phone,
            agent,
            leg,
            invite,
        }
    }

    /// The phone has the agent's REFER.
    async fn referred() -> (Self, Message) {
        let mut scene = Self::established().await;
        let refer = scene.refer(None).await;
        (scene, refer)
    }

    /// The same, and has accepted it.
    async fn accepted() -> Self {
        let (scene, refer) = Self::referred().await;
        scene.phone.reply(&refer, "202 Accepted", "", "", "").await;
        scene
    }

    async fn refer(&mut self, replaces: Option<LegId>) -> Message {
        let refer = Command::Refer {
            to: "1002".into(),
            replaces,
            by: Caller {
                number: "2001".into(),
                display: None,
            },
        };
        self.agent.tell(self.leg, refer);
        self.phone.hear_some("REFER ").await
    }

    async fn notify(&self, cseq: u32, state: &str, body: &str) {
        let headers = format!(
            "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag\r\n"
        );
        let phone = &self.phone;
        let notify = phone.in_dialog_of("NOTIFY", cseq, &self.invite, "p", &headers, body);
        phone.say(&notify).await;
    }

    async fn bye(&self, cseq: u32) {
        let phone = &self.phone;
        let bye = phone.in_dialog_of("BYE", cseq, &self.invite, "p", "", "");
        phone.say(&bye).await;
    }

    async fn hears(&mut self, how: Referral) {
        let what = self.agent.on(self.leg).await;
        assert_eq!(what, Happened::Referred { how });
    }

    async fn is_ended_by_bye(&mut self) {
        let what = self.agent.on(self.leg).await;
        let is_bye = matches!(
            what,
            Happened::Ended {
                cause: EndCause::Bye,
                ..
            }
        );
        assert!(is_bye, "{what:?}");
    }
}

#[tokio::test]
async fn a_transfer_is_asked_for_with_number_and_asker_and_its_leg_is_ours_to_end() {
    let (mut scene, refer) = Scene::referred().await;
    let at = scene.phone.address();
    let to = format!("<sip:1002@{at}>");
    assert_eq!(refer.header("Refer-To"), Some(to.as_str()));
    let by = refer.header("Referred-By").unwrap();
    assert!(by.starts_with("<sip:2001@"), "{by}");
    assert!(refer.header("Contact").is_some());
    assert!(refer.header("Allow").unwrap().contains("NOTIFY"));
    scene.phone.reply(&refer, "202 Accepted", "", "", "").await;
    scene.notify(1, "active;expires=60", TRYING).await;
    scene.phone.hear_some("SIP/2.0 200").await;
    scene
        .notify(2, "active;expires=60", "SIP/2.0 180 Ringing\r\n")
        .await;
    scene.phone.hear_some("SIP/2.0 200").await;
    scene
        .notify(3, "terminated;reason=noresource", PICKED_UP)
        .await;
    scene.phone.hear_some("SIP/2.0 200").await;
    scene.hears(Referral::Done).await;
    assert_eq!(scene.agent.agent.legs(), 1);
    scene
        .agent
        .tell(scene.leg, Command::HangUp { reason: None });
    scene.phone.hear_some("BYE ").await;
}

#[tokio::test]
async fn a_report_may_overtake_the_202_and_that_may_be_a_200() {
    let (mut scene, refer) = Scene::referred().await;
    scene.notify(1, "active;expires=60", TRYING).await;
    scene.phone.hear_some("SIP/2.0 200").await;
    scene.phone.reply(&refer, "200 OK", "", "", "").await;
    scene
        .notify(2, "terminated;reason=noresource", PICKED_UP)
        .await;
    scene.hears(Referral::Done).await;
    // Even the last one may.
    let (mut scene, refer) = Scene::referred().await;
    scene.notify(1, "terminated", PICKED_UP).await;
    scene.hears(Referral::Done).await;
    scene.phone.reply(&refer, "202 Accepted", "", "", "").await;
    assert_eq!(scene.agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_party_that_does_not_come_leaves_the_leg_and_a_second_transfer_may_be_asked_for() {
    let mut scene = Scene::accepted().await;
    let busy = "SIP/2.0 486 Busy Here\r\n";
    scene.notify(1, "terminated;reason=noresource", busy).await;
    scene.hears(Referral::Failed { status: 486 }).await;
    let refer = scene.refer(None).await;
    scene.phone.reply(&refer, "603 Decline", "", "", "").await;
    scene.hears(Referral::Refused { status: 603 }).await;
    assert_eq!(scene.agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_peer_that_knows_no_refer_or_no_such_call_says_so() {
    for status in [
        "405 Method Not Allowed",
        "501 Not Implemented",
        "420 Bad Extension",
    ] {
        let (mut scene, refer) = Scene::referred().await;
        scene.phone.reply(&refer, status, "", "", "").await;
        let status = status[..3].parse().unwrap();
        scene.hears(Referral::Refused { status }).await;
        assert_eq!(scene.agent.agent.legs(), 1);
    }
    let (mut scene, refer) = Scene::referred().await;
    scene
        .phone
        .reply(&refer, "481 No Such Call", "", "", "")
        .await;
    let what = scene.agent.on(scene.leg).await;
    let cause = EndCause::Unknown;
    let reason = None;
    assert_eq!(what, Happened::Ended { reason, cause });
}

#[tokio::test]
async fn a_peer_that_does_not_answer_or_accepts_and_is_silent_does_not_transfer() {
    let (mut scene, _refer) = Scene::referred().await;
    scene.hears(Referral::Refused { status: 408 }).await;
    // What it says too late is of no transfer that is known.
    scene.notify(1, "terminated", PICKED_UP).await;
    scene.phone.hear_some("SIP/2.0 481").await;
    let mut scene = Scene::accepted().await;
    scene.hears(Referral::Refused { status: 408 }).await;
    assert_eq!(scene.agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_peer_that_has_it_in_hand_and_does_not_tell_is_left_to_it() {
    let (mut scene, refer) = Scene::referred().await;
    let untold = "Refer-Sub: false\r\n";
    scene
        .phone
        .reply(&refer, "202 Accepted", "", untold, "")
        .await;
    scene.hears(Referral::Untold).await;
    let mut scene = Scene::accepted().await;
    scene.notify(1, "terminated;reason=timeout", TRYING).await;
    scene.hears(Referral::Untold).await;
    assert_eq!(scene.agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_peer_that_hangs_up_first_is_heard_out() {
    let mut scene = Scene::accepted().await;
    scene.notify(1, "active", TRYING).await;
    scene.phone.hear_some("SIP/2.0 200").await;
    scene.bye(2).await;
    scene.phone.hear_some("SIP/2.0 200").await;
    scene
        .notify(3, "terminated", "SIP/2.0 486 Busy Here\r\n")
        .await;
    scene.hears(Referral::Failed { status: 486 }).await;
    scene.is_ended_by_bye().await;
    scene.agent.idle().await;
    // And one that says no more has taken it over.
    let mut scene = Scene::accepted().await;
    scene.bye(1).await;
    scene.hears(Referral::Untold).await;
    scene.is_ended_by_bye().await;
    // Before it had accepted anything it has just hung up.
    let (mut scene, _refer) = Scene::referred().await;
    scene.bye(1).await;
    scene.is_ended_by_bye().await;
}

#[tokio::test]
async fn a_report_of_no_transfer_is_answered_481_and_of_another_refer_too() {
    let scene = Scene::established().await;
    scene.notify(1, "terminated", PICKED_UP).await;
    scene.phone.hear_some("SIP/2.0 481").await;
    let mut scene = Scene::accepted().await;
    let headers = "Event: refer;id=77\r\nSubscription-State: terminated\r\n";
    let phone = &scene.phone;
    let other = phone.in_dialog_of("NOTIFY", 1, &scene.invite, "p", headers, PICKED_UP);
    phone.say(&other).await;
    phone.hear_some("SIP/2.0 481").await;
    scene.notify(2, "terminated", PICKED_UP).await;
    scene.hears(Referral::Done).await;
}

#[tokio::test]
async fn a_transfer_to_another_call_of_ours_names_that_as_the_peer_knows_it() {
    let mut scene = Scene::established().await;
    let (other, invite) = scene.phone.picks_up(&mut scene.agent, 2, "q").await;
    let refer = scene.refer(Some(other)).await;
    let (call_id, ours) = (invite.header("Call-ID").unwrap(), invite.tag("From"));
    let replaces = format!("{call_id};to-tag=q;from-tag={ours}");
    let refer_to = refer.header("Refer-To").unwrap();
    let escaped = replaces
        .replace('@', "%40")
        .replace(';', "%3B")
        .replace('=', "%3D");
    let target = format!("<sip:1001@{}?Replaces={escaped}>", scene.phone.address());
    assert_eq!(refer_to, target);
    scene.phone.reply(&refer, "202 Accepted", "", "", "").await;
    // Two people wait for each other: that is not waited for as long as a telephone rings.
    scene.notify(1, "active", TRYING).await;
    scene.hears(Referral::Failed { status: 408 }).await;
}

#[tokio::test]
async fn a_leg_that_is_gone_has_no_place_that_could_be_taken() {
    let mut scene = Scene::established().await;
    let refer = Command::Refer {
        to: "1002".into(),
        replaces: Some(LegId(77)),
        by: Caller::default(),
    };
    scene.agent.tell(scene.leg, refer);
    scene.hears(Referral::Refused { status: 481 }).await;
}

#[tokio::test]
async fn a_refer_that_is_challenged_goes_out_again_with_the_password() {
    let (phone, mut agent) = Phone::with(|config| {
        config.trunks[0].auth = Some(mxtrunk_sip::Credentials {
            username: "gw".into(),
            password: "sesame".into(),
            realm: None,
        });
    })
    .await;
    let (leg, invite) = phone.picks_up(&mut agent, 1, "p").await;
    let mut scene = Scene {
        phone,
        agent,
        leg,
        invite,
    };
    let refer = scene.refer(None).await;
    let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", algorithm=MD5\r\n";
    scene
        .phone
        .reply(&refer, "401 Unauthorized", "", challenge, "")
        .await;
    let again = scene.phone.hear_some("REFER ").await;
    assert!(again.header("Authorization").is_some(), "{again:?}");
    assert_eq!(again.header("CSeq"), Some("3 REFER"));
    // The subscription may be named after either.
    scene.phone.reply(&again, "202 Accepted", "", "", "").await;
    let headers = "Event: refer;id=3\r\nSubscription-State: terminated\r\n";
    let phone = &scene.phone;
    let last = phone.in_dialog_of("NOTIFY", 1, &scene.invite, "p", headers, PICKED_UP);
    phone.say(&last).await;
    scene.hears(Referral::Done).await;
}

#[tokio::test]
async fn a_transfer_that_is_asked_for_before_the_ack_waits_for_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let refer = Command::Refer {
        to: "1002".into(),
        replaces: None,
        by: Caller::default(),
    };
    agent.tell(leg, refer);
    let answer = phone.hear_some("SIP/2.0 200").await;
    // A repeated 200 at most, and nothing else.
    let next = phone.hear().await;
    assert!(next.start().starts_with("SIP/2.0 200"), "{next:?}");
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &answer, "", ""))
        .await;
    phone.hear_some("REFER ").await;
}
