//! Peers written by hand that were started anew while a call rang, or before they acknowledged it.

use std::time::Duration;

use mxtrunk_sip::{Command, EndCause, Happened, Key, LegId};

use crate::peer::{ANSWER, Peer};
use crate::phone::{Message, Phone};

const UPDATES: &str = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";
const UNKNOWN: &str = "481 Call/Transaction Does Not Exist";

/// The question with this CSeq number; repetitions of those before may still come.
async fn asked(phone: &Phone, cseq: &str) -> Message {
    loop {
        let update = phone.hear_some("UPDATE ").await;
        if update.header("CSeq") == Some(cseq) {
            assert_eq!(update.body(), "");
            return update;
        }
    }
}

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
    let update = asked(&phone, "2 UPDATE").await;
    assert_eq!(update.tag("To"), "p");
    // One that knows the call keeps it.
    phone.reply(&update, "200 OK", "", "", "").await;
    agent.tell(leg, Command::Check);
    for cseq in ["3 UPDATE", "4 UPDATE"] {
        let update = asked(&phone, cseq).await;
        phone.reply(&update, UNKNOWN, "", "", "").await;
    }
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
    let update = asked(&phone, "2 UPDATE").await;
    phone.reply(&update, UNKNOWN, "", "", "").await;
    // A proxy that has given the first one up rings another.
    let update = asked(&phone, "3 UPDATE").await;
    phone
        .reply(&invite, "183 Session Progress", "q", UPDATES, ANSWER)
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Progress { .. }));
    phone.reply(&update, UNKNOWN, "", "", "").await;
    // What is told by then would have been told because of it.
    let (event, lasted) = (5, Duration::from_millis(100));
    let key = Key { event, lasted };
    agent.tell(leg, Command::Press { key });
    phone.hear_some("INFO ").await;
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
    let update = asked(&phone, "1 UPDATE").await;
    assert_eq!(update.tag("From"), ringing.tag("To"));
    phone.reply(&update, "200 OK", "", "", "").await;
    agent.tell(leg, Command::Check);
    let update = asked(&phone, "2 UPDATE").await;
    phone.reply(&update, UNKNOWN, "", "", "").await;
    // Our first 180 may have been lost.
    phone.hear_some("SIP/2.0 180").await;
    let update = asked(&phone, "3 UPDATE").await;
    phone.reply(&update, UNKNOWN, "", "", "").await;
    is_over(&mut agent, leg).await;
    phone.hear_some("SIP/2.0 487").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_caller_is_asked_once_it_is_rung_for_where_it_was_away_before() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    phone.say(&phone.invite(UPDATES)).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Check);
    agent.tell(leg, Command::Ring);
    phone.hear_some("SIP/2.0 180").await;
    asked(&phone, "1 UPDATE").await;
}

#[tokio::test]
async fn a_caller_that_has_forgotten_its_call_before_it_acknowledged_our_answer_ends_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let timer = format!("{UPDATES}Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n");
    let invite = phone.invite(&timer);
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!(update.tag("From"), ok.tag("To"));
    assert_eq!(update.header("Session-Expires"), Some("1800;refresher=uac"));
    phone.reply(&update, UNKNOWN, "", "", "").await;
    is_over(&mut agent, leg).await;
    // Had it only not heard our answer yet, it would not stay in a call with nobody.
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
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
