//! Keys by INFO, both ways.

use std::time::Duration;

use mxtrunk_sip::{Command, Credentials, Happened, Key, LegId, SipConfig};

use crate::peer::{ANSWER, Peer};
use crate::phone::{Message, Phone};

const RELAY: &str = "Content-Type: application/dtmf-relay\r\n";

async fn established(change: impl FnOnce(&mut SipConfig)) -> (Phone, Peer, LegId, Message) {
    let (phone, mut agent) = Phone::with(change).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    (phone, agent, leg, invite)
}

fn key(event: u8) -> Key {
    let lasted = Duration::from_millis(200);
    Key { event, lasted }
}

fn press(agent: &Peer, leg: LegId, event: u8) {
    agent.tell(leg, Command::Press { key: key(event) });
}

#[tokio::test]
async fn a_key_of_the_peer_is_heard_once_and_acknowledged() {
    let (phone, mut agent, leg, invite) = established(|_| {}).await;
    let bodies = [
        "Signal=4\r\nDuration=200\r\n",
        "Signal=#\r\nDuration=200\r\n",
    ];
    for (cseq, (body, event)) in (1..).zip(bodies.into_iter().zip([4, 11])) {
        let info = phone.in_dialog_of("INFO", cseq, &invite, "p", RELAY, body);
        phone.say(&info).await;
        phone.hear_some("SIP/2.0 200").await;
        // Again, as if our answer had been lost.
        phone.say(&info).await;
        phone.hear_some("SIP/2.0 200").await;
        let what = agent.on(leg).await;
        assert!(what == Happened::Pressed { key: key(event) }, "{what:?}");
    }
}

#[tokio::test]
async fn a_key_between_our_200_and_its_ack_is_heard_after_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg, ok) = phone.is_answered(&mut agent).await;
    let body = "Signal=4\r\nDuration=200\r\n";
    let info = phone.in_dialog("INFO", 2, &invite, &ok, RELAY, body);
    phone.say(&info).await;
    let ack = phone.in_dialog("ACK", 1, &invite, &ok, "", "");
    phone.say(&ack).await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    let what = agent.on(leg).await;
    assert!(what == Happened::Pressed { key: key(4) }, "{what:?}");
    loop {
        let heard = phone.hear_some("SIP/2.0 200").await;
        if heard.header("CSeq") == Some("2 INFO") {
            break;
        }
    }
}

#[tokio::test]
async fn an_info_that_is_no_key_says_what_we_take() {
    let (phone, _agent, _leg, invite) = established(|_| {}).await;
    let odd = "Content-Type: application/media_control+xml\r\n";
    for (cseq, headers, body, answer) in [
        (1, odd, "<x/>", "SIP/2.0 415"),
        (2, RELAY, "Signal=99\r\n", "SIP/2.0 400"),
        (3, "", "", "SIP/2.0 200"),
    ] {
        let info = phone.in_dialog_of("INFO", cseq, &invite, "p", headers, body);
        phone.say(&info).await;
        let heard = phone.hear_some("SIP/2.0 ").await;
        assert!(heard.start().starts_with(answer), "{heard:?}");
        let accept = heard.header("Accept").unwrap_or_default();
        assert_eq!(
            accept.contains("dtmf-relay"),
            answer.ends_with("415"),
            "{heard:?}"
        );
    }
}

#[tokio::test]
async fn keys_of_our_side_are_told_one_after_the_other() {
    let (phone, agent, leg, _) = established(|_| {}).await;
    press(&agent, leg, 1);
    press(&agent, leg, 10);
    let first = phone.hear_some("INFO ").await;
    assert_eq!(first.header("Content-Type"), Some("application/dtmf-relay"));
    assert_eq!(first.body(), "Signal=1\r\nDuration=200\r\n");
    assert_eq!(first.tag("To"), "p");
    // Until it is answered it alone is said again.
    let again = phone.hear_some("INFO ").await;
    assert_eq!(again.header("CSeq"), first.header("CSeq"));
    phone.reply(&first, "200 OK", "", "", "").await;
    let second = loop {
        let info = phone.hear_some("INFO ").await;
        if info.header("CSeq") != first.header("CSeq") {
            break info;
        }
    };
    assert_eq!(second.header("CSeq"), Some("3 INFO"));
    assert_eq!(second.body(), "Signal=*\r\nDuration=200\r\n");
}

#[tokio::test]
async fn a_key_that_is_asked_for_the_password_is_told_with_it() {
    let (phone, agent, leg, _) = established(|config| {
        config.trunks[0].auth = Some(Credentials {
            username: "ada".into(),
            password: "sesame".into(),
            realm: None,
        });
    })
    .await;
    press(&agent, leg, 1);
    let first = phone.hear_some("INFO ").await;
    let challenge = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"\r\n";
    phone
        .reply(&first, "401 Unauthorized", "", challenge, "")
        .await;
    let second = loop {
        let info = phone.hear_some("INFO ").await;
        if info.header("CSeq") != first.header("CSeq") {
            break info;
        }
    };
    assert!(second.header("Authorization").is_some(), "{second:?}");
    assert_eq!(second.body(), first.body());
}

#[tokio::test]
async fn a_peer_that_takes_no_keys_is_told_no_more_and_the_call_goes_on() {
    let (phone, agent, leg, invite) = established(|_| {}).await;
    press(&agent, leg, 1);
    press(&agent, leg, 2);
    let first = phone.hear_some("INFO ").await;
    phone
        .reply(&first, "415 Unsupported Media Type", "", "", "")
        .await;
    // That was heard before this is.
    let question = phone.in_dialog_of("OPTIONS", 1, &invite, "p", "", "");
    phone.say(&question).await;
    loop {
        let next = phone.hear().await;
        if next.start().starts_with("SIP/2.0 200") {
            break;
        }
        assert_eq!(next.header("CSeq"), first.header("CSeq"), "{next:?}");
    }
    press(&agent, leg, 3);
    // The next thing it hears is the end.
    agent.tell(leg, Command::HangUp { reason: None });
    let next = loop {
        let next = phone.hear().await;
        if next.header("CSeq") != first.header("CSeq") {
            break next;
        }
    };
    assert!(next.start().starts_with("BYE "), "{next:?}");
}

#[tokio::test]
async fn a_peer_that_has_forgotten_the_call_ends_it_when_a_key_is_told() {
    let (phone, mut agent, leg, _) = established(|_| {}).await;
    press(&agent, leg, 1);
    let first = phone.hear_some("INFO ").await;
    phone
        .reply(&first, "481 Call/Transaction Does Not Exist", "", "", "")
        .await;
    let what = agent.on(leg).await;
    assert!(matches!(what, Happened::Ended { .. }), "{what:?}");
}
