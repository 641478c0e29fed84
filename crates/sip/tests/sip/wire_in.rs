//! Peers written by hand that call the user agent.

use mxtrunk_sip::{Caller, Command, EndCause, Happened, LegId, ReasonHeader};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};

/// A call from the phone that the agent has answered and the phone has
/// acknowledged: the INVITE, its 200, and the leg.
pub(crate) async fn established(
    phone: &Phone,
    agent: &mut Peer,
    headers: &str,
) -> (String, Message, LegId) {
    let invite = phone.invite(headers);
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    (invite, ok, leg)
}

#[tokio::test]
async fn a_call_is_answered_with_what_the_rfc_asks_for() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let route = "Record-Route: <sip:127.0.0.1:5099;lr>, <sip:b@127.0.0.2;lr>\r\n";
    let invite = phone.invite(route);
    phone.say(&invite).await;
    let trying = phone.hear().await;
    assert!(trying.start().starts_with("SIP/2.0 100"));
    assert_eq!(trying.tag("To"), "");
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear().await;
    assert!(ringing.start().starts_with("SIP/2.0 180"));
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear().await;
    assert!(ok.start().starts_with("SIP/2.0 200"));
    assert_eq!(ok.tag("To"), ringing.tag("To"));
    assert!(!ok.tag("To").is_empty());
    assert_eq!(ok.body(), ANSWER);
    assert_eq!(ok.header("Content-Type"), Some("application/sdp"));
    let contact = format!("<sip:{}>", phone.target);
    assert_eq!(ok.header("Contact"), Some(contact.as_str()));
    assert!(ok.header("Record-Route").unwrap().contains("127.0.0.2"));
    assert!(ok.header("Allow").unwrap().contains("UPDATE"));
}

/// RFC 3261 §13.3.1.4: or it would not try to have its call taken over (`replaces`).
#[tokio::test]
async fn a_telephone_learns_from_our_200_what_we_support() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    let supported = Some("timer, 100rel, norefersub, replaces");
    assert_eq!(ok.header("Supported"), supported);
    for (cseq, method) in [(2, "INVITE"), (3, "UPDATE")] {
        let offer = phone.in_dialog(method, cseq, &invite, &ok, "", OFFER);
        phone.say(&offer).await;
        assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
        agent.tell(leg, Command::AnswerReoffer { sdp: ANSWER.into() });
        let ok = phone.hear_some("SIP/2.0 200").await;
        assert_eq!(ok.header("Supported"), supported, "{method}");
        let ack = phone.in_dialog("ACK", 2, &invite, &ok, "", "");
        phone.say(&ack).await;
    }
}

#[tokio::test]
async fn the_asserted_identity_and_the_escaped_number_are_read() {
    let (phone, mut agent) = Phone::with(|config| config.trunks[0].trust_identity = true).await;
    let headers = "P-Asserted-Identity: \"Réception\" <sip:+33177@pbx>\r\n";
    let invite = phone.invite(headers);
    phone
        .say(&invite.replace("INVITE sip:2001@", "INVITE sip:%2a98;phone-context=x@"))
        .await;
    let event = agent.next().await;
    let Happened::Incoming { from, to, sdp, .. } = event.what else {
        panic!("{event:?}");
    };
    let reception = Caller {
        number: "+33177".into(),
        display: Some("Réception".into()),
    };
    assert_eq!(
        (from, to.as_str(), sdp.as_deref()),
        (reception, "*98", Some(OFFER))
    );
}

#[tokio::test]
async fn a_cancel_is_answered_487_and_carries_its_reason() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    let head = invite.split("Content-Type").next().unwrap();
    let cancel = head.replace("INVITE", "CANCEL");
    phone
        .say(&format!(
            "{cancel}Reason: Q.850;cause=26\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    let reason = Some(ReasonHeader::q850(26));
    assert_eq!(agent.on(leg).await, Happened::Cancelled { reason });
    let terminated = phone.hear_some("SIP/2.0 487").await;
    assert!(!terminated.tag("To").is_empty());
    agent.idle().await;
}

#[tokio::test]
async fn a_cancel_after_the_answer_changes_nothing() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg, ok) = phone.is_answered(&mut agent).await;
    let head = invite.split("Content-Type").next().unwrap();
    let cancel = head.replace("INVITE", "CANCEL");
    phone
        .say(&format!("{cancel}Content-Length: 0\r\n\r\n"))
        .await;
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_200_without_its_ack_is_repeated_and_then_ended() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    phone.say(&phone.invite("")).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    for _ in 0..3 {
        phone.hear_some("SIP/2.0 200").await;
    }
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::NoAck,
    };
    assert_eq!(agent.on(leg).await, ended);
    agent.idle().await;
}

#[tokio::test]
async fn a_200_that_cannot_be_sent_ends_the_call_all_the_same() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    phone.say(&phone.invite("")).await;
    let leg = agent.incoming().await;
    // More than a datagram holds: the system refuses to send it.
    let sdp = format!("{ANSWER}a=x:{}\r\n", "x".repeat(70_000));
    agent.tell(leg, Command::Answer { sdp });
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::NoAck,
    };
    assert_eq!(agent.on(leg).await, ended);
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_hangup_after_a_200_that_cannot_be_sent_gives_the_place_back() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    phone.say(&phone.invite("")).await;
    let leg = agent.incoming().await;
    let sdp = format!("{ANSWER}a=x:{}\r\n", "x".repeat(70_000));
    agent.tell(leg, Command::Answer { sdp });
    agent.tell(leg, Command::HangUp { reason: None });
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
    agent.idle().await;
    assert!(
        agent.events.try_recv().is_err(),
        "our own hang-up is no news"
    );
}

#[tokio::test]
async fn a_hangup_between_200_and_ack_waits_for_the_ack() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    agent.tell(leg, Command::HangUp { reason: None });
    let ok = phone.hear_some("SIP/2.0 200").await;
    // Repeated until the ACK, and no BYE among them.
    assert!(phone.hear().await.start().starts_with("SIP/2.0 200"));
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.header("CSeq"), Some("1 BYE"));
    phone.reply(&bye, "200 OK", "", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_call_that_our_side_has_no_room_for_is_asked_to_come_again_later() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    for (status, later) in [(503, true), (486, false)] {
        phone.say(&phone.invite("")).await;
        let leg = agent.incoming().await;
        let reason = None;
        agent.tell(leg, Command::Refuse { status, reason });
        let refusal = phone.hear_some(&format!("SIP/2.0 {status}")).await;
        assert_eq!(refusal.header("Retry-After").is_some(), later, "{status}");
    }
}

#[tokio::test]
async fn a_session_timer_is_accepted_refreshed_and_refused_when_short() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let timer = "Supported: timer\r\nSession-Expires: 1800\r\nMin-SE: 90\r\n";
    let (invite, ok, _) = established(&phone, &mut agent, timer).await;
    assert_eq!(ok.header("Session-Expires"), Some("1800;refresher=uac"));
    assert_eq!(ok.header("Require"), Some("timer"));
    phone
        .say(&phone.in_dialog("UPDATE", 2, &invite, &ok, timer, ""))
        .await;
    let refreshed = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(
        refreshed.header("Session-Expires"),
        Some("1800;refresher=uac")
    );
    let short = "Supported: timer\r\nSession-Expires: 0\r\n";
    phone.say(&phone.invite(short)).await;
    let refused = phone.hear_some("SIP/2.0 422").await;
    assert_eq!(refused.header("Min-SE"), Some("1"));
}

#[tokio::test]
async fn a_session_that_the_peer_stops_to_refresh_is_ended() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let timer = "Supported: timer\r\nSession-Expires: 1\r\n";
    let (invite, ok, leg) = established(&phone, &mut agent, timer).await;
    let refresh = phone.in_dialog("UPDATE", 2, &invite, &ok, timer, "");
    phone.say(&refresh).await;
    phone.hear_some("SIP/2.0 200").await;
    let bye = phone.hear_some("BYE ").await;
    assert!(bye.header("Reason").unwrap().starts_with("SIP;cause=408"));
    phone.reply(&bye, "200 OK", "", "", "").await;
    let what = agent.on(leg).await;
    let expired = EndCause::Expired;
    assert!(matches!(what, Happened::Ended { cause, .. } if cause == expired));
}

#[tokio::test]
async fn requests_in_a_dialog_get_their_own_answers() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, _) = established(&phone, &mut agent, "").await;
    for (cseq, method, headers, body, status) in [
        (2, "OPTIONS", "", "", "200"),
        (3, "INFO", "", "", "200"),
        (4, "INFO", "", OFFER, "415"),
        (5, "REFER", "", "", "400"),
        (6, "MESSAGE", "", "", "405"),
        (7, "PRACK", "", "", "481"),
        // Older than the last one.
        (3, "OPTIONS", "", "", "500"),
    ] {
        phone
            .say(&phone.in_dialog(method, cseq, &invite, &ok, headers, body))
            .await;
        let answer = phone.hear().await;
        let expected = format!("SIP/2.0 {status}");
        assert!(
            answer.start().starts_with(&expected),
            "{method}: {}",
            answer.start()
        );
    }
}

/// RFC 3261 §8.2.2.3. A BYE ends the call all the same.
#[tokio::test]
async fn what_a_request_in_a_dialog_requires_and_we_do_not_have_is_named() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    let requires = "Require: timer, precondition\r\n";
    for (cseq, method, body) in [
        (2, "INVITE", OFFER),
        (3, "UPDATE", OFFER),
        (4, "UPDATE", ""),
    ] {
        let request = phone.in_dialog(method, cseq, &invite, &ok, requires, body);
        phone.say(&request).await;
        let refused = phone.hear_some("SIP/2.0 420").await;
        assert_eq!(refused.header("Unsupported"), Some("precondition"));
        let expected = format!("{cseq} {method}");
        assert_eq!(refused.header("CSeq"), Some(expected.as_str()));
    }
    assert!(agent.events.try_recv().is_err(), "nothing was offered");
    let bye = phone.in_dialog("BYE", 5, &invite, &ok, requires, "");
    phone.say(&bye).await;
    phone.hear_some("SIP/2.0 200").await;
    assert!(matches!(agent.on(leg).await, Happened::Ended { .. }));
}

#[tokio::test]
async fn what_an_early_update_requires_and_we_do_not_have_is_named() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    let requires = "Require: precondition\r\n";
    let update = phone.in_dialog("UPDATE", 2, &invite, &ringing, requires, "");
    phone.say(&update).await;
    let refused = phone.hear_some("SIP/2.0 420").await;
    assert_eq!(refused.header("Unsupported"), Some("precondition"));
}

#[tokio::test]
async fn a_dialog_is_nobody_elses() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, _) = established(&phone, &mut agent, "").await;
    let bye = phone.in_dialog("BYE", 2, &invite, &ok, "", "");
    let own_tag = Message(invite.clone()).tag("From");
    phone
        .say(&bye.replace(&format!("tag={own_tag}"), "tag=forged"))
        .await;
    phone.hear_some("SIP/2.0 481").await;
    let agents_tag = ok.tag("To");
    phone
        .say(
            &bye.replace(&agents_tag, "guessed")
                .replace("z9hG4bKd", "z9hG4bKe"),
        )
        .await;
    phone.hear_some("SIP/2.0 481").await;
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn requests_outside_of_a_dialog_get_their_own_answers() {
    let (phone, _agent) = Phone::with(|_| {}).await;
    for (method, headers, status) in [
        ("OPTIONS", "", "200"),
        ("MESSAGE", "", "405"),
        ("REGISTER", "", "405"),
        ("SUBSCRIBE", "Event: dialog\r\n", "489"),
        // Nobody is in a call who could be transferred.
        ("REFER", "Refer-To: <sip:1002@pbx>\r\n", "403"),
        ("BYE", "", "481"),
        ("INVITE", "Require: gruu\r\n", "420"),
        ("INVITE", "Content-Type: text/plain\r\n", "415"),
    ] {
        let request = phone.request(method, headers);
        phone.say(&request).await;
        let answer = phone.hear_some(&format!("SIP/2.0 {status}")).await;
        if method == "OPTIONS" {
            let accept = answer.header("Accept");
            assert_eq!(accept, Some("application/sdp, multipart/mixed"));
        }
        if ["200", "405"].contains(&status) {
            let allow = answer.header("Allow").unwrap();
            assert!(allow.contains("INVITE") && !allow.contains(method) || method == "OPTIONS");
        }
        if method == "INVITE" {
            let ack = request
                .split("Content-Type")
                .next()
                .unwrap()
                .replace("INVITE", "ACK");
            phone
                .say(&format!("{}\r\n", ack.trim_end_matches("\r\n\r\n")))
                .await;
        }
    }
}

#[tokio::test]
async fn an_exhausted_a_merged_and_a_contactless_invite_are_refused() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let exhausted = phone
        .invite("")
        .replace("Max-Forwards: 70", "Max-Forwards: 0");
    phone.say(&exhausted).await;
    phone.hear_some("SIP/2.0 483").await;
    let nowhere = phone.invite("").replace("Contact:", "X-Contact:");
    phone.say(&nowhere).await;
    phone.hear_some("SIP/2.0 400").await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    agent.incoming().await;
    phone
        .say(&invite.replace("branch=z9hG4bK", "branch=z9hG4bKother"))
        .await;
    phone.hear_some("SIP/2.0 482").await;
}
