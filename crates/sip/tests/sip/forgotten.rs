//! Peers written by hand that were started anew while a call rang, or before they acknowledged it.

use mxtrunk_sip::{Command, EndCause, Happened, LegId};

use crate::peer::{ANSWER, Peer};
use crate::phone::Phone;

const UPDATES: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";
const UNKNOWN: &str = "481 Call/Transaction Does Not Exist";

async fn is_over(agent: &mut Peer, leg: LegId) {
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::Unknown,
    };
    assert_eq!(agent.on(leg).await, ended);
}

#[tokio::test]
async fn a_call_that_rings_at_a_peer_which_has_forgotten_it_is_over() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "100 Trying", "", "", "").await;
    phone.reply(&invite, "180 Ringing", "p", UPDATES, "").await;
    assert!(matches!(agent.on(leg).await, Happened::Ringing));
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!((update.tag("To"), update.body()), ("p".to_owned(), ""));
    assert_eq!(update.header("CSeq"), Some("2 UPDATE"));
    // One that knows the call keeps it.
    phone.reply(&update, "200 OK", "", "", "").await;
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!(update.header("CSeq"), Some("3 UPDATE"));
    phone.reply(&update, UNKNOWN, "", "", "").await;
    is_over(&mut agent, leg).await;
    let cancel = phone.hear_some("CANCEL ").await;
    phone.reply(&cancel, UNKNOWN, "", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_call_that_rings_several_phones_is_not_over_when_one_of_them_is_unknown() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "180 Ringing", "p", UPDATES, "").await;
    assert!(matches!(agent.on(leg).await, Happened::Ringing));
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    phone
        .reply(&invite, "183 Session Progress", "q", UPDATES, ANSWER)
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Progress { .. }));
    phone.reply(&update, UNKNOWN, "", "", "").await;
    phone.reply(&invite, "200 OK", "q", UPDATES, ANSWER).await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
}

#[tokio::test]
async fn a_caller_that_has_forgotten_its_call_while_it_rang_is_not_rung_for_any_more() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    phone.say(&phone.invite(UPDATES)).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Ring);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!(update.tag("From"), ringing.tag("To"));
    assert_eq!(update.header("CSeq"), Some("1 UPDATE"));
    phone.reply(&update, "200 OK", "", "", "").await;
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    phone.reply(&update, UNKNOWN, "", "", "").await;
    is_over(&mut agent, leg).await;
    phone.hear_some("SIP/2.0 487").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_caller_that_has_forgotten_its_call_before_it_acknowledged_our_answer_ends_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let timer = format!("{UPDATES}Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n");
    phone.say(&phone.invite(&timer)).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!(update.tag("From"), ok.tag("To"));
    assert_eq!(update.header("Session-Expires"), Some("1800;refresher=uac"));
    phone.reply(&update, UNKNOWN, "", "", "").await;
    is_over(&mut agent, leg).await;
    agent.idle().await;
}

#[tokio::test]
async fn a_peer_without_update_is_not_asked_before_the_call_is_confirmed() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "180 Ringing", "p", "", "").await;
    assert!(matches!(agent.on(leg).await, Happened::Ringing));
    agent.tell(leg, Command::Check);
    agent.tell(leg, Command::HangUp { reason: None });
    let next = phone.hear().await;
    assert!(next.start().starts_with("CANCEL "), "{next:?}");
}
