//! Peers written by hand that call the user agent, and offer anew in the call.

use mxtrunk_sip::{Command, EndCause, Happened};

use crate::peer::{ANSWER, OFFER};
use crate::phone::Phone;
use crate::wire_in::established;

#[tokio::test]
async fn hold_is_offered_to_our_side_and_answered() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    let hold = format!("{OFFER}a=sendonly\r\n");
    phone
        .say(&phone.in_dialog("INVITE", 2, &invite, &ok, "", &hold))
        .await;
    let sdp = Some(hold);
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
    let held = format!("{ANSWER}a=recvonly\r\n");
    agent.tell(leg, Command::Answer { sdp: held.clone() });
    let answer = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(
        (answer.body(), answer.header("CSeq")),
        (held.as_str(), Some("2 INVITE"))
    );
    phone
        .say(&phone.in_dialog("ACK", 2, &invite, &ok, "", ""))
        .await;
    phone
        .say(&phone.in_dialog("BYE", 3, &invite, &ok, "", ""))
        .await;
    phone.hear_some("SIP/2.0 200").await;
    assert!(matches!(
        agent.on(leg).await,
        Happened::Ended {
            cause: EndCause::Bye,
            ..
        }
    ));
}

#[tokio::test]
async fn an_offer_that_our_side_refuses_or_forgets_leaves_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    phone
        .say(&phone.in_dialog("INVITE", 2, &invite, &ok, "", OFFER))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    phone.hear_some("SIP/2.0 488").await;
    phone
        .say(&phone.in_dialog("UPDATE", 3, &invite, &ok, "", OFFER))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    agent.tell(
        leg,
        Command::Refuse {
            status: 606,
            reason: None,
        },
    );
    phone.hear_some("SIP/2.0 606").await;
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_second_offer_at_once_is_put_off() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    phone
        .say(&phone.in_dialog("UPDATE", 2, &invite, &ok, "", OFFER))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    phone
        .say(&phone.in_dialog("INVITE", 3, &invite, &ok, "", OFFER))
        .await;
    let later = phone.hear_some("SIP/2.0 500").await;
    assert!(later.header("Retry-After").is_some());
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    assert_eq!(phone.hear_some("SIP/2.0 200").await.body(), ANSWER);
}

#[tokio::test]
async fn a_refresh_without_an_offer_is_taken_while_an_offer_or_its_ack_is_due() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    let request = |method, cseq, body| phone.in_dialog(method, cseq, &invite, &ok, "", body);
    phone.say(&request("INVITE", 2, OFFER)).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    phone.say(&request("UPDATE", 3, "")).await;
    let refreshed = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(refreshed.header("CSeq"), Some("3 UPDATE"));
    agent.tell(leg, Command::AnswerReoffer { sdp: ANSWER.into() });
    let answered = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(answered.header("CSeq"), Some("2 INVITE"));
    phone.say(&request("UPDATE", 4, "")).await;
    loop {
        let heard = phone.hear_some("SIP/2.0 ").await;
        match heard.header("CSeq") {
            Some("4 UPDATE") => break assert!(heard.start().contains("200"), "{heard:?}"),
            // It is repeated until its ACK comes.
            other => assert_eq!(other, Some("2 INVITE")),
        }
    }
    phone.say(&request("ACK", 2, "")).await;
    phone.say(&request("UPDATE", 5, OFFER)).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    // RFC 3311 §5.2: not before the last UPDATE has its answer.
    phone.say(&request("UPDATE", 6, "")).await;
    let later = phone.hear_some("SIP/2.0 500").await;
    assert_eq!(later.header("CSeq"), Some("6 UPDATE"));
    assert_eq!(later.header("Retry-After"), Some("2"));
}

#[tokio::test]
async fn an_offer_that_overtakes_the_ack_is_taken_after_it() {
    for method in ["INVITE", "UPDATE"] {
        let (phone, mut agent) = Phone::with(|_| {}).await;
        let invite = phone.invite("");
        phone.say(&invite).await;
        let leg = agent.incoming().await;
        agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
        let ok = phone.hear_some("SIP/2.0 200").await;
        let overtaking = phone.in_dialog(method, 2, &invite, &ok, "", OFFER);
        phone.say(&overtaking).await;
        phone
            .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
            .await;
        let established = agent.on(leg).await;
        assert!(
            matches!(established, Happened::Established { .. }),
            "{established:?}"
        );
        let reoffered = Happened::Reoffered {
            sdp: Some(OFFER.into()),
        };
        assert_eq!(agent.on(leg).await, reoffered, "{method}");
        agent.tell(leg, Command::AnswerReoffer { sdp: ANSWER.into() });
        let answered = phone.hear_some("SIP/2.0 200").await;
        assert_eq!(
            answered.header("CSeq"),
            Some(format!("2 {method}").as_str())
        );
    }
}

#[tokio::test]
async fn an_offer_that_overtakes_the_ack_of_the_one_before_is_taken_after_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = established(&phone, &mut agent, "").await;
    let reoffered = Happened::Reoffered {
        sdp: Some(OFFER.into()),
    };
    let offer = |cseq| phone.in_dialog("INVITE", cseq, &invite, &ok, "", OFFER);
    phone.say(&offer(2)).await;
    assert_eq!(agent.on(leg).await, reoffered);
    agent.tell(leg, Command::AnswerReoffer { sdp: ANSWER.into() });
    phone.hear_some("SIP/2.0 200").await;
    phone.say(&offer(3)).await;
    phone
        .say(&phone.in_dialog("ACK", 2, &invite, &ok, "", ""))
        .await;
    assert_eq!(agent.on(leg).await, reoffered);
    agent.tell(leg, Command::AnswerReoffer { sdp: ANSWER.into() });
    let answered = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(answered.header("CSeq"), Some("3 INVITE"));
}

#[tokio::test]
async fn an_offer_that_waits_for_an_ack_ends_with_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, leg, ok) = phone.is_answered(&mut agent).await;
    phone
        .say(&phone.in_dialog("INVITE", 2, &invite, &ok, "", OFFER))
        .await;
    phone
        .say(&phone.in_dialog("BYE", 3, &invite, &ok, "", ""))
        .await;
    let terminated = phone.hear_some("SIP/2.0 487").await;
    assert_eq!(terminated.header("CSeq"), Some("2 INVITE"));
    assert!(matches!(agent.on(leg).await, Happened::Ended { .. }));
}
