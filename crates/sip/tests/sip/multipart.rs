//! Peers that put something beside their SDP (RFC 5621): a location (RFC 6442), or the ISUP of a telephone network (RFC 3204).

use mxtrunk_sip::{Command, Happened};

use crate::peer::{ANSWER, OFFER};
use crate::phone::Phone;
use crate::wire_in::established;
use crate::wire_out::invited;

const MULTIPART: &str = "Content-Type: multipart/mixed;boundary=\"part 1\"\r\n";
const LOCATION: &str = "Content-Type: application/pidf+xml\r\n\r\n<presence/>\r\n";
const ISUP: &str = "Content-Type: application/ISUP;version=itu-t92+\r\n\
                    Content-Disposition: signal;handling=required\r\n\r\n\u{1}\u{2}\r\n";

/// A body with these parts.
fn mixed(parts: &[&str]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|part| format!("--part 1\r\n{part}"))
        .collect();
    format!("{}--part 1--\r\n", parts.concat())
}

fn sdp(sdp: &str) -> String {
    format!("Content-Type: application/sdp\r\n\r\n{sdp}")
}

/// The message with this body in place of its own.
fn with_body(message: &str, body: &str) -> String {
    let head = message.split("\r\n\r\n").next().unwrap();
    let kept = head.lines().filter(|line| !line.starts_with("Content-"));
    let head: String = kept.map(|line| format!("{line}\r\n")).collect();
    format!(
        "{head}{MULTIPART}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn an_invite_with_a_location_beside_its_offer_is_a_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let body = mixed(&[LOCATION, &sdp(OFFER)]);
    let invite = with_body(&phone.invite(""), &body);
    phone.say(&invite).await;
    let event = agent.next().await;
    let offer = Some(OFFER.to_owned());
    assert!(
        matches!(&event.what, Happened::Incoming { sdp, .. } if *sdp == offer),
        "{event:?}"
    );
    agent.tell(event.leg, Command::Answer { sdp: ANSWER.into() });
    assert_eq!(phone.hear_some("SIP/2.0 200").await.body(), ANSWER);
}

#[tokio::test]
async fn an_answer_with_isup_beside_it_is_an_answer() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    let body = mixed(&[&sdp(ANSWER), ISUP]);
    phone.reply(&invite, "200 OK", "p", MULTIPART, &body).await;
    phone.hear_some("ACK ").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(&what, Happened::Answered { sdp, .. } if sdp == ANSWER),
        "{what:?}"
    );
}

#[tokio::test]
async fn a_new_offer_with_a_location_beside_it_is_an_offer_and_so_is_the_answer_in_an_ack() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    let body = mixed(&[&sdp(OFFER), LOCATION]);
    for (cseq, method) in [(2, "UPDATE"), (3, "INVITE")] {
        let offer = phone.in_dialog(method, cseq, &invite, &ok, MULTIPART, &body);
        phone.say(&offer).await;
        let sdp = Some(OFFER.to_owned());
        assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp }, "{method}");
        agent.tell(leg, Command::RefuseReoffer { status: 488 });
        phone.hear_some("SIP/2.0 488").await;
    }
    let asks = phone.in_dialog("INVITE", 4, &invite, &ok, "", "");
    phone.say(&asks).await;
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp: None });
    agent.tell(leg, Command::AnswerReoffer { sdp: OFFER.into() });
    phone.hear_some("SIP/2.0 200").await;
    let body = mixed(&[LOCATION, &sdp(ANSWER)]);
    let ack = phone.in_dialog("ACK", 4, &invite, &ok, MULTIPART, &body);
    phone.say(&ack).await;
    let sdp = ANSWER.to_owned();
    assert_eq!(agent.on(leg).await, Happened::Reanswered { sdp });
}

#[tokio::test]
async fn a_part_that_has_to_be_understood_and_is_not_and_one_without_sdp_are_415() {
    let (phone, _agent) = Phone::with(|_| {}).await;
    for body in [mixed(&[&sdp(OFFER), ISUP]), mixed(&[LOCATION])] {
        let invite = with_body(&phone.invite(""), &body);
        phone.say(&invite).await;
        let refused = phone.hear_some("SIP/2.0 415").await;
        let accept = refused.header("Accept");
        assert_eq!(accept, Some("application/sdp, multipart/mixed"));
    }
}
