//! Peers written by hand that the user agent calls.

use mxtrunk_sip::{Command, EndCause, Happened, LegId, ReasonHeader};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};

/// A call of the agent's, and its INVITE.
pub(crate) async fn invited(phone: &Phone, agent: &Peer) -> (LegId, Message) {
    let leg = agent.call(1, "1001");
    (leg, phone.hear_some("INVITE ").await)
}

async fn established(phone: &Phone, agent: &mut Peer, headers: &str) -> (LegId, Message) {
    let (leg, invite) = invited(phone, agent).await;
    phone.reply(&invite, "200 OK", "p", headers, ANSWER).await;
    let ack = phone.hear_some("ACK ").await;
    assert_eq!(ack.header("CSeq"), Some("1 ACK"));
    // Asterisk drops what comes over TCP without it.
    assert_eq!(ack.header("Content-Length"), Some("0"));
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    (leg, invite)
}

#[tokio::test]
async fn an_invite_carries_the_trunks_own_headers_and_nothing_else_does() {
    let (phone, mut agent) = Phone::with(|config| {
        let header = mxtrunk_sip::ExtraHeader::new("X-Trunk-Group", "paris");
        config.trunks[0].headers = vec![header.unwrap()];
    })
    .await;
    let (leg, invite) = invited(&phone, &agent).await;
    assert_eq!(invite.header("X-Trunk-Group"), Some("paris"));
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    agent.tell(leg, Command::HangUp { reason: None });
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.header("X-Trunk-Group"), None);
}

#[tokio::test]
async fn an_invite_says_who_calls_and_what_we_can() {
    let (phone, agent) = Phone::with(|config| {
        config.trunks[0].from_domain = Some("gw.example".into());
    })
    .await;
    let (_, invite) = invited(&phone, &agent).await;
    assert_eq!(invite.start(), "INVITE sip:1001@gw.example SIP/2.0");
    assert!(
        invite
            .header("From")
            .unwrap()
            .starts_with("\"Ada\" <sip:2001@gw.example>;tag=")
    );
    let identity = invite.header("P-Asserted-Identity");
    assert_eq!(identity, Some("\"Ada\" <sip:2001@gw.example>"));
    assert_eq!(invite.header("Max-Forwards"), Some("70"));
    assert_eq!(invite.header("Content-Type"), Some("application/sdp"));
    assert_eq!(invite.body(), OFFER);
    assert!(invite.header("Via").unwrap().contains(";rport"));
    assert!(!invite.header("Call-ID").unwrap().contains("restsend"));
}

#[tokio::test]
async fn provisional_responses_are_told_once() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    for (status, body) in [
        ("100 Trying", ""),
        ("180 Ringing", ""),
        ("180 Ringing", ""),
        ("183 Session Progress", ANSWER),
        ("183 Session Progress", ANSWER),
        ("200 OK", ""),
    ] {
        phone.reply(&invite, status, "p", "", body).await;
    }
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    let sdp = Some(ANSWER.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Progress { sdp });
    // The answer came early, in the 183, and only there.
    assert!(matches!(agent.on(leg).await, Happened::Answered { sdp, .. } if sdp == ANSWER));
}

#[tokio::test]
async fn a_refusal_keeps_the_peers_own_phrase_reason_and_warning() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    let headers =
        "Reason: Q.850;cause=21;text=\"No\"\r\nWarning: 399 pbx.example \"Not at this hour\"\r\n";
    phone
        .reply(&invite, "403 Not With Us", "p", headers, "")
        .await;
    phone.hear_some("ACK ").await;
    let refused = Happened::Refused {
        status: 403,
        phrase: "Not With Us".into(),
        reason: Some(ReasonHeader {
            text: Some("No".into()),
            ..ReasonHeader::q850(21)
        }),
        warning: Some("399 pbx.example \"Not at this hour\"".into()),
    };
    assert_eq!(agent.on(leg).await, refused);
    agent.idle().await;
}

#[tokio::test]
async fn a_cancel_waits_for_the_first_response() {
    let (phone, agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    agent.tell(
        leg,
        Command::HangUp {
            reason: Some(ReasonHeader::q850(16)),
        },
    );
    // Retransmitted, still without a CANCEL.
    assert!(phone.hear().await.start().starts_with("INVITE "));
    phone.reply(&invite, "180 Ringing", "p", "", "").await;
    let cancel = phone.hear_some("CANCEL ").await;
    assert_eq!(cancel.header("Via"), invite.header("Via"));
    assert_eq!(cancel.header("Reason"), Some("Q.850;cause=16"));
    phone.reply(&cancel, "200 OK", "p", "", "").await;
    phone
        .reply(&invite, "487 Request Terminated", "p", "", "")
        .await;
    phone.hear_some("ACK ").await;
    agent.idle().await;
}

#[tokio::test]
async fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    phone.reply(&invite, "180 Ringing", "p", "", "").await;
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    agent.tell(leg, Command::HangUp { reason: None });
    let cancel = phone.hear_some("CANCEL ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    phone.reply(&cancel, "200 OK", "p", "", "").await;
    let (one, two) = (phone.hear().await, phone.hear().await);
    let mut starts = [one.start(), two.start()].map(|s| s.split(' ').next().unwrap());
    starts.sort_unstable();
    assert_eq!(starts, ["ACK", "BYE"]);
    let bye = if one.start().starts_with("BYE") {
        one
    } else {
        two
    };
    assert_eq!(bye.tag("To"), "p");
    phone.reply(&bye, "200 OK", "p", "", "").await;
    agent.idle().await;
    assert!(
        agent.events.try_recv().is_err(),
        "our own hang-up is no news"
    );
}

#[tokio::test]
async fn a_late_answer_to_a_call_reported_dead_is_undone() {
    let impatience = std::time::Duration::from_millis(500);
    let (phone, mut agent) =
        Phone::with(|config| config.trunks[0].answer_within = impatience).await;
    let (leg, invite) = invited(&phone, &agent).await;
    assert_eq!(agent.on(leg).await, Happened::Unreachable);
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "p", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_repeated_200_gets_its_ack_again() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (_, invite) = established(&phone, &mut agent, "").await;
    for _ in 0..3 {
        phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
        let ack = phone.hear_some("ACK ").await;
        assert_eq!(ack.tag("To"), "p");
    }
    assert!(agent.events.try_recv().is_err());
}

#[tokio::test]
async fn the_second_branch_of_a_fork_is_ended() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (_, invite) = established(&phone, &mut agent, "").await;
    phone.reply(&invite, "200 OK", "other", "", ANSWER).await;
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.tag("To"), "other");
    phone.reply(&bye, "200 OK", "other", "", "").await;
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn requests_of_the_dialog_follow_the_route() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let own = phone.address();
    let route = format!("Record-Route: <sip:far;lr>, <sip:{own};lr>\r\n");
    let (leg, invite) = established(&phone, &mut agent, &route).await;
    agent.tell(
        leg,
        Command::HangUp {
            reason: Some(ReasonHeader::q850(16)),
        },
    );
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.start(), format!("BYE sip:1001@{own} SIP/2.0"));
    assert_eq!(
        bye.header("Route"),
        Some(format!("<sip:{own};lr>").as_str())
    );
    assert!(bye.0.contains("Route: <sip:far;lr>\r\n"));
    assert_eq!(bye.header("CSeq"), Some("2 BYE"));
    assert_eq!(bye.header("Reason"), Some("Q.850;cause=16"));
    assert_eq!(bye.header("From"), invite.header("From"));
    phone.reply(&bye, "200 OK", "p", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn the_peer_holds_and_hangs_up_a_call_of_ours() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = established(&phone, &mut agent, "").await;
    phone
        .say(&phone.in_dialog_of("INVITE", 1, &invite, "p", "", OFFER))
        .await;
    let sdp = Some(OFFER.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    phone.hear_some("SIP/2.0 200").await;
    phone
        .say(&phone.in_dialog_of("ACK", 1, &invite, "p", "", ""))
        .await;
    let why = "Reason: Q.850;cause=31\r\n";
    phone
        .say(&phone.in_dialog_of("BYE", 2, &invite, "p", why, ""))
        .await;
    let reason = Some(ReasonHeader::q850(31));
    let cause = EndCause::Bye;
    assert_eq!(agent.on(leg).await, Happened::Ended { reason, cause });
    phone.hear_some("SIP/2.0 200").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_reinvite_without_its_ack_ends_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = established(&phone, &mut agent, "").await;
    phone
        .say(&phone.in_dialog_of("INVITE", 1, &invite, "p", "", OFFER))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "p", "", "").await;
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::NoAck,
    };
    assert_eq!(agent.on(leg).await, ended);
}

#[tokio::test]
async fn a_session_promised_for_no_time_goes_on() {
    let least = std::time::Duration::from_secs(90);
    let (phone, mut agent) = Phone::with(|config| config.timers.min_session = least).await;
    let promise = "Session-Expires: 0;refresher=uas\r\n";
    let (leg, invite) = established(&phone, &mut agent, promise).await;
    for cseq in 1..=20 {
        let options = phone.in_dialog_of("OPTIONS", cseq, &invite, "p", "", "");
        phone.say(&options).await;
        let heard = phone.hear().await;
        assert!(heard.start().starts_with("SIP/2.0 200"), "{heard:?}");
    }
    let bye = phone.in_dialog_of("BYE", 21, &invite, "p", "", "");
    phone.say(&bye).await;
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::Bye,
    };
    assert_eq!(agent.on(leg).await, ended);
}

#[tokio::test]
async fn a_200_without_sdp_is_no_answer() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    phone.reply(&invite, "200 OK", "p", "", "").await;
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "p", "", "").await;
    assert!(matches!(
        agent.on(leg).await,
        Happened::Refused { status: 488, .. }
    ));
    agent.idle().await;
}
