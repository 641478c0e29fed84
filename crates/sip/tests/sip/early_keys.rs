//! Keys of our side before the call is established: a voice menu may ask for them before it takes the call.

use std::time::Duration;

use mxtrunk_sip::{Command, Happened, Key, LegId};

use crate::peer::{ANSWER, Peer};
use crate::phone::{Message, Phone};
use crate::wire_out::invited;

const PROGRESS: &str = "183 Session Progress";

fn press(agent: &Peer, leg: LegId, event: u8) {
    let lasted = Duration::from_millis(200);
    let key = Key { event, lasted };
    agent.tell(leg, Command::Press { key });
}

/// The next INFO that is no repetition, with the key that it has to have.
async fn hears(phone: &Phone, event: u8, cseq: u32) -> Message {
    let expected = format!("{cseq} INFO");
    loop {
        let info = phone.hear_some("INFO ").await;
        if info.header("CSeq") == Some(expected.as_str()) {
            assert_eq!(info.body(), format!("Signal={event}\r\nDuration=200\r\n"));
            return info;
        }
    }
}

async fn progressing(phone: &Phone, agent: &mut Peer) -> (LegId, Message) {
    let (leg, invite) = invited(phone, agent).await;
    phone.reply(&invite, PROGRESS, "p", "", ANSWER).await;
    assert!(matches!(agent.on(leg).await, Happened::Progress { .. }));
    (leg, invite)
}

async fn answers(phone: &Phone, agent: &mut Peer, leg: LegId, invite: &Message, tag: &str) {
    phone.reply(invite, "200 OK", tag, "", ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
}

#[tokio::test]
async fn a_key_before_the_answer_is_told_in_the_early_dialog() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = progressing(&phone, &mut agent).await;
    press(&agent, leg, 5);
    press(&agent, leg, 6);
    let first = hears(&phone, 5, 2).await;
    assert_eq!(first.tag("To"), "p");
    phone.reply(&first, "200 OK", "", "", "").await;
    let second = hears(&phone, 6, 3).await;
    // Its answer comes after the call's.
    answers(&phone, &mut agent, leg, &invite, "p").await;
    press(&agent, leg, 7);
    phone.reply(&second, "200 OK", "", "", "").await;
    hears(&phone, 7, 4).await;
}

#[tokio::test]
async fn a_key_before_anybody_rings_waits_for_the_answer() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    press(&agent, leg, 5);
    answers(&phone, &mut agent, leg, &invite, "p").await;
    assert_eq!(hears(&phone, 5, 2).await.tag("To"), "p");
}

#[tokio::test]
async fn a_key_that_a_ringing_phone_does_not_take_is_told_the_one_that_answers() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = progressing(&phone, &mut agent).await;
    press(&agent, leg, 5);
    let first = hears(&phone, 5, 2).await;
    let unknown = "481 Call/Transaction Does Not Exist";
    phone.reply(&first, unknown, "", "", "").await;
    answers(&phone, &mut agent, leg, &invite, "q").await;
    assert_eq!(hears(&phone, 5, 3).await.tag("To"), "q");
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_key_that_a_ringing_phone_has_not_acknowledged_is_told_the_one_that_answers() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = progressing(&phone, &mut agent).await;
    press(&agent, leg, 5);
    hears(&phone, 5, 2).await;
    answers(&phone, &mut agent, leg, &invite, "q").await;
    assert_eq!(hears(&phone, 5, 3).await.tag("To"), "q");
}

#[tokio::test]
async fn a_key_of_ours_between_our_200_and_its_ack_is_told_after_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg, ok) = phone.is_answered(&mut agent).await;
    press(&agent, leg, 5);
    let ack = phone.in_dialog("ACK", 1, &invite, &ok, "", "");
    phone.say(&ack).await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    hears(&phone, 5, 1).await;
}
