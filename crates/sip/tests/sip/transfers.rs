//! Transfers that the peer asks for: REFER and its NOTIFYs.

use mxtrunk_sip::{Command, EndCause, Happened, LegId, Replaces};

use crate::peer::{OFFER, Peer};
use crate::phone::{Message, Phone};

const BLIND: &str = "Refer-To: <sip:1002@pbx>\r\nReferred-By: <sip:1001@pbx>\r\n";

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

    async fn request(&self, method: &str, cseq: u32, headers: &str) {
        let request = self
            .phone
            .in_dialog_of(method, cseq, &self.invite, "p", headers, "");
        self.phone.say(&request).await;
    }

    /// The phone asks for a transfer, and the agent hears of it.
    async fn referred(&mut self, cseq: u32, headers: &str) {
        self.request("REFER", cseq, headers).await;
        let what = self.agent.on(self.leg).await;
        assert!(matches!(what, Happened::Transfer { .. }), "{what:?}");
    }

    fn report(&self, status: u16) {
        let report = Command::ReportTransfer { status };
        self.agent.tell(self.leg, report);
    }

    /// The next thing that the phone hears, which is a report of this status.
    async fn hear_report(&self, status: &str) -> Message {
        let notify = self.phone.hear().await;
        assert!(notify.start().starts_with("NOTIFY "), "{notify:?}");
        let expected = format!("SIP/2.0 {status}\r\n");
        assert_eq!(notify.body(), expected);
        notify
    }

    async fn confirm(&self, notify: &Message) {
        self.phone.reply(notify, "200 OK", "", "", "").await;
    }

    async fn hear(&self, start: &str) -> Message {
        let message = self.phone.hear().await;
        assert!(message.start().starts_with(start), "{message:?}");
        message
    }
}

#[tokio::test]
async fn a_transfer_is_accepted_and_each_step_of_it_reported_in_turn() {
    let mut scene = Scene::established().await;
    scene.request("REFER", 1, BLIND).await;
    let asked = Happened::Transfer {
        to: "1002".into(),
        replaces: None,
        referred_by: Some("<sip:1001@pbx>".into()),
    };
    assert_eq!(scene.agent.on(scene.leg).await, asked);
    for status in [100, 180, 200, 486] {
        scene.report(status);
    }
    scene.hear("SIP/2.0 202").await;
    let first = scene.hear_report("100 Trying").await;
    assert_eq!(first.header("Event"), Some("refer"));
    let state = first.header("Subscription-State");
    assert_eq!(state, Some("active;expires=300"));
    let content = first.header("Content-Type");
    assert_eq!(content, Some("message/sipfrag;version=2.0"));
    assert_eq!(first.header("CSeq"), Some("2 NOTIFY"));
    assert_eq!(first.tag("To"), "p");
    // Nothing more before it is confirmed.
    scene.request("OPTIONS", 2, "").await;
    scene.hear("SIP/2.0 200").await;
    scene.confirm(&first).await;
    let second = scene.hear_report("180 Ringing").await;
    scene.confirm(&second).await;
    let last = scene.hear_report("200 OK").await;
    let state = last.header("Subscription-State");
    assert_eq!(state, Some("terminated;reason=noresource"));
    scene.confirm(&last).await;
    // What comes after the end is not told.
    scene.request("OPTIONS", 3, "").await;
    scene.hear("SIP/2.0 200").await;
    assert_eq!(scene.agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_call_is_not_over_before_the_peer_has_heard_how_its_transfer_ended() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.report(100);
    scene.report(200);
    scene
        .agent
        .tell(scene.leg, Command::HangUp { reason: None });
    scene.hear("SIP/2.0 202").await;
    for status in ["100 Trying", "200 OK"] {
        let notify = scene.hear_report(status).await;
        scene.confirm(&notify).await;
    }
    let bye = scene.hear("BYE ").await;
    assert_eq!(bye.header("CSeq"), Some("4 BYE"));
    scene.confirm(&bye).await;
    scene.agent.idle().await;
}

#[tokio::test]
async fn a_peer_that_confirms_no_report_is_still_told_bye() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.report(200);
    scene
        .agent
        .tell(scene.leg, Command::HangUp { reason: None });
    scene.phone.hear_some("BYE ").await;
}

#[tokio::test]
async fn a_transfer_that_our_side_refuses_or_does_not_take_up_leaves_the_call() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.report(403);
    scene.hear("SIP/2.0 403").await;
    // And another, of which our side says nothing.
    scene.referred(2, BLIND).await;
    scene.hear("SIP/2.0 603").await;
    scene.report(200);
    scene.request("OPTIONS", 3, "").await;
    scene.hear("SIP/2.0 200").await;
    assert_eq!(scene.agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_second_transfer_waits_for_the_first_and_is_told_apart_from_it() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.request("REFER", 2, BLIND).await;
    let put_off = scene.hear("SIP/2.0 500").await;
    assert_eq!(put_off.header("Retry-After"), Some("2"));
    scene.report(100);
    scene.hear("SIP/2.0 202").await;
    let trying = scene.hear_report("100 Trying").await;
    scene.confirm(&trying).await;
    scene.report(486);
    let busy = scene.hear_report("486 Busy Here").await;
    scene.confirm(&busy).await;
    scene.request("OPTIONS", 3, "").await;
    scene.hear("SIP/2.0 200").await;
    scene.referred(4, BLIND).await;
    scene.report(100);
    scene.hear("SIP/2.0 202").await;
    let trying = scene.hear_report("100 Trying").await;
    assert_eq!(trying.header("Event"), Some("refer;id=4"));
}

#[tokio::test]
async fn a_peer_that_wants_no_reports_gets_none() {
    let mut scene = Scene::established().await;
    let quiet = format!("{BLIND}Require: norefersub\r\nRefer-Sub: false\r\n");
    scene.referred(1, &quiet).await;
    scene.report(100);
    let accepted = scene.hear("SIP/2.0 202").await;
    assert_eq!(accepted.header("Refer-Sub"), Some("false"));
    scene.report(200);
    scene
        .agent
        .tell(scene.leg, Command::HangUp { reason: None });
    scene.hear("BYE ").await;
}

#[tokio::test]
async fn a_peer_that_knows_of_no_subscription_is_told_no_more_and_keeps_its_call() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.report(100);
    scene.hear("SIP/2.0 202").await;
    let trying = scene.hear_report("100 Trying").await;
    let unknown = "481 Subscription Does Not Exist";
    scene.phone.reply(&trying, unknown, "", "", "").await;
    scene.request("OPTIONS", 2, "").await;
    scene.hear("SIP/2.0 200").await;
    scene.report(180);
    scene.request("OPTIONS", 3, "").await;
    scene.hear("SIP/2.0 200").await;
    assert_eq!(scene.agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_peer_that_ends_its_subscription_to_a_transfer_is_told_once_more_and_keeps_its_call() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.report(100);
    scene.hear("SIP/2.0 202").await;
    let trying = scene.hear_report("100 Trying").await;
    let end = "Event: refer\r\nExpires: 0\r\n";
    scene.request("SUBSCRIBE", 2, end).await;
    // The report is repeated meanwhile, since nobody confirms it.
    let ended = scene.phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ended.header("Expires"), Some("0"));
    assert!(ended.header("Contact").is_some());
    scene.confirm(&trying).await;
    let last = loop {
        let report = scene.phone.hear_some("NOTIFY ").await;
        if report.header("CSeq") != trying.header("CSeq") {
            break report;
        }
    };
    assert_eq!(last.body(), trying.body());
    let state = last.header("Subscription-State");
    assert_eq!(state, Some("terminated;reason=timeout"));
    scene.confirm(&last).await;
    scene.request("SUBSCRIBE", 3, end).await;
    scene.hear("SIP/2.0 481").await;
    // What becomes of the transfer it is not told any more.
    scene.report(200);
    scene.request("OPTIONS", 4, "").await;
    scene.hear("SIP/2.0 200").await;
    assert_eq!(scene.agent.agent.legs(), 1);
    scene.referred(5, BLIND).await;
}

#[tokio::test]
async fn a_peer_that_refreshes_its_subscription_to_a_transfer_is_told_how_far_it_is() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.report(100);
    scene.hear("SIP/2.0 202").await;
    let trying = scene.hear_report("100 Trying").await;
    scene.confirm(&trying).await;
    let refresh = "Event: refer;id=1\r\nExpires: 3600\r\n";
    scene.request("SUBSCRIBE", 2, refresh).await;
    let refreshed = scene.hear("SIP/2.0 200").await;
    assert_eq!(refreshed.header("Expires"), Some("300"));
    let again = scene.hear_report("100 Trying").await;
    let state = again.header("Subscription-State");
    assert_eq!(state, Some("active;expires=300"));
    scene.confirm(&again).await;
    scene.report(486);
    let last = scene.hear_report("486 Busy Here").await;
    scene.confirm(&last).await;
    // Anything else can be subscribed to no more than before.
    scene.request("SUBSCRIBE", 3, "Event: dialog\r\n").await;
    scene.hear("SIP/2.0 489").await;
}

#[tokio::test]
async fn a_peer_that_hangs_up_after_it_asked_for_a_transfer_is_answered_both() {
    let mut scene = Scene::established().await;
    scene.referred(1, BLIND).await;
    scene.request("BYE", 2, "").await;
    scene.phone.hear_some("SIP/2.0 603").await;
    let what = scene.agent.on(scene.leg).await;
    let cause = EndCause::Bye;
    assert_eq!(
        what,
        Happened::Ended {
            reason: None,
            cause
        }
    );
    scene.agent.idle().await;
}

#[tokio::test]
async fn the_call_that_a_transfer_asks_for_names_the_replaced_dialog_and_who_referred() {
    let mut scene = Scene::established().await;
    let attended = "Refer-To: <sip:1002@pbx?Replaces=a%40h%3Bto-tag%3Dt%3Bfrom-tag%3Df>\r\n";
    scene.request("REFER", 1, attended).await;
    let what = scene.agent.on(scene.leg).await;
    let Happened::Transfer { to, replaces, .. } = what else {
        panic!("{what:?}");
    };
    assert_eq!(replaces, Replaces::parse("a@h;to-tag=t;from-tag=f"));
    let invite = Command::Invite {
        trunk: mxtrunk_sip::TrunkName("peer".into()),
        to,
        from: mxtrunk_sip::Caller::default(),
        sdp: OFFER.into(),
        replaces,
        referred_by: Some("<sip:1001@pbx>".into()),
        forwarded: None,
        account: None,
    };
    scene.agent.agent.send(LegId(2), invite).unwrap();
    let invite = scene.hear("INVITE sip:1002@").await;
    let replaced = Some("a@h;to-tag=t;from-tag=f");
    assert_eq!(invite.header("Replaces"), replaced);
    assert_eq!(invite.header("Require"), Some("replaces"));
    assert_eq!(invite.header("Referred-By"), Some("<sip:1001@pbx>"));
}

#[tokio::test]
async fn a_telephone_that_would_join_its_calls_with_two_people_is_declined_and_both_go_on() {
    let mut scene = Scene::established().await;
    let (_, other) = scene.phone.picks_up(&mut scene.agent, 2, "q").await;
    let replaces = format!(
        "{}%3Bto-tag%3D{}%3Bfrom-tag%3Dq",
        other.header("Call-ID").unwrap(),
        other.tag("From")
    );
    let refer = format!("Refer-To: <sip:2002@127.0.0.1?Replaces={replaces}>\r\n");
    scene.request("REFER", 1, &refer).await;
    let answer = scene.hear("SIP/2.0 603").await;
    let why = answer.header("Warning").expect("it says why");
    assert!(why.contains("cannot be joined"), "{why}");
    // That of a dialog which the PBX has with somebody else is a transfer as ever.
    let elsewhere = refer.replace("%3Bto-tag%3D", "x%3Bto-tag%3D");
    scene.referred(2, &elsewhere).await;
    assert_eq!(scene.agent.agent.legs(), 2);
}
