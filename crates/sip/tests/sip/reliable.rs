//! Reliable provisional responses (RFC 3262), in both roles.

use mxtrunk_sip::{Command, EndCause, Happened, LegId};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};

const REQUIRED: &str = "Require: 100rel\r\n";

fn reliable(rseq: u32) -> String {
    format!("Require: 100rel\r\nRSeq: {rseq}\r\n")
}

async fn offered(phone: &Phone, agent: &mut Peer, headers: &str) -> (String, LegId) {
    let invite = phone.invite(headers);
    phone.say(&invite).await;
    (invite, agent.incoming().await)
}

/// The phone's PRACK for a response.
async fn acknowledge(phone: &Phone, invite: &str, response: &Message, cseq: u32) {
    let rack = format!("RAck: {} 1 INVITE\r\n", response.header("RSeq").unwrap());
    let prack = phone.in_dialog("PRACK", cseq, invite, response, &rack, "");
    phone.say(&prack).await;
}

#[tokio::test]
async fn a_reliable_response_of_the_peer_gets_its_prack_once() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    assert!(invite.header("Supported").unwrap().contains("100rel"));
    let progress = "183 Session Progress";
    let route = format!(
        "{}Record-Route: <sip:{};lr>\r\n",
        reliable(7),
        phone.address()
    );
    phone.reply(&invite, progress, "p", &route, ANSWER).await;
    let prack = phone.hear_some("PRACK ").await;
    assert_eq!(prack.header("RAck"), Some("7 1 INVITE"));
    assert_eq!(prack.header("CSeq"), Some("2 PRACK"));
    assert_eq!(prack.tag("To"), "p");
    assert!(prack.header("Route").is_some());
    phone.reply(&prack, "200 OK", "", "", "").await;
    let sdp = Some(ANSWER.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Progress { sdp });
    // Repeated because the PRACK was late: acknowledged already.
    phone.reply(&invite, progress, "p", &route, ANSWER).await;
    let ringing = "180 Ringing";
    phone.reply(&invite, ringing, "p", &reliable(8), "").await;
    let second = phone.hear_some("PRACK ").await;
    assert_eq!(second.header("RAck"), Some("8 1 INVITE"));
    assert_eq!(second.header("CSeq"), Some("3 PRACK"));
    phone.reply(&second, "200 OK", "", "", "").await;
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    // The ACK is the INVITE's; what follows counts on from the PRACKs.
    assert_eq!(phone.hear_some("ACK ").await.header("CSeq"), Some("1 ACK"));
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    agent.tell(leg, Command::HangUp { reason: None });
    assert_eq!(phone.hear_some("BYE ").await.header("CSeq"), Some("4 BYE"));
}

#[tokio::test]
async fn a_caller_that_requires_it_gets_a_reliable_180_until_its_prack() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg) = offered(&phone, &mut agent, REQUIRED).await;
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    assert_eq!(ringing.header("Require"), Some("100rel"));
    let repeated = phone.hear_some("SIP/2.0 180").await;
    assert_eq!(repeated.header("RSeq"), ringing.header("RSeq"));
    acknowledge(&phone, &invite, &ringing, 2).await;
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ok.header("CSeq"), Some("2 PRACK"));
    // Once more is fine, of another response is not.
    acknowledge(&phone, &invite, &ringing, 3).await;
    phone.hear_some("SIP/2.0 200").await;
    let wrong = phone.in_dialog("PRACK", 4, &invite, &ringing, "RAck: 99 1 INVITE\r\n", "");
    phone.say(&wrong).await;
    phone.hear_some("SIP/2.0 481").await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ok.header("CSeq"), Some("1 INVITE"));
}

#[tokio::test]
async fn the_answer_waits_for_the_prack_of_early_media() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg) = offered(&phone, &mut agent, "Supported: 100rel\r\n").await;
    // Without SDP it need not be reliable.
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    assert_eq!(ringing.header("RSeq"), None);
    agent.tell(leg, Command::Progress { sdp: ANSWER.into() });
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let progress = phone.hear_some("SIP/2.0 183").await;
    assert!(phone.hear().await.start().starts_with("SIP/2.0 183"));
    acknowledge(&phone, &invite, &progress, 2).await;
    let prack = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(prack.header("CSeq"), Some("2 PRACK"));
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ok.header("CSeq"), Some("1 INVITE"));
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
}

/// RFC 3262 section 3 holds the answer back for early media alone.
#[tokio::test]
async fn an_answer_overtakes_the_prack_of_a_ringing_which_is_accepted_after_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg) = offered(&phone, &mut agent, REQUIRED).await;
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let answer = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(answer.header("CSeq"), Some("1 INVITE"));
    acknowledge(&phone, &invite, &ringing, 2).await;
    // The answer comes again meanwhile: its ACK is due.
    let prack = loop {
        let ok = phone.hear_some("SIP/2.0 200").await;
        if ok.header("CSeq") != Some("1 INVITE") {
            break ok;
        }
    };
    assert_eq!(prack.header("CSeq"), Some("2 PRACK"));
    let wrong = phone.in_dialog("PRACK", 3, &invite, &ringing, "RAck: 99 1 INVITE\r\n", "");
    phone.say(&wrong).await;
    phone.hear_some("SIP/2.0 481").await;
    let ack = phone.in_dialog("ACK", 1, &invite, &answer, "", "");
    phone.say(&ack).await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
}

#[tokio::test]
async fn a_caller_that_never_acknowledges_is_refused() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (_, leg) = offered(&phone, &mut agent, REQUIRED).await;
    agent.tell(leg, Command::Ring);
    phone.hear_some("SIP/2.0 504").await;
    let what = agent.on(leg).await;
    let no_ack = EndCause::NoAck;
    assert!(
        matches!(&what, Happened::Ended { cause, .. } if *cause == no_ack),
        "{what:?}"
    );
    agent.idle().await;
}

#[tokio::test]
async fn an_offer_before_the_first_one_is_answered_is_acknowledged_and_refused() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg) = offered(&phone, &mut agent, REQUIRED).await;
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    let rack = format!("RAck: {} 1 INVITE\r\n", ringing.header("RSeq").unwrap());
    let prack = phone.in_dialog("PRACK", 2, &invite, &ringing, &rack, OFFER);
    phone.say(&prack).await;
    phone.hear_some("SIP/2.0 488").await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    phone.hear_some("SIP/2.0 200").await;
}
