//! Peers that leave it to us to offer (RFC 3261 §13.2.1, §14.2).

use mxtrunk_sip::{Command, EndCause, Happened, LegId};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};

/// A call without an offer, up to the 200 with ours.
async fn answered(phone: &Phone, agent: &mut Peer) -> (String, Message, LegId) {
    let invite = phone.request("INVITE", "");
    phone.say(&invite).await;
    let event = agent.next().await;
    let Happened::Incoming { sdp: None, .. } = event.what else {
        panic!("{event:?}");
    };
    agent.tell(event.leg, Command::Answer { sdp: OFFER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ok.body(), OFFER);
    (invite, ok, event.leg)
}

#[tokio::test]
async fn the_ack_of_an_offerless_invite_brings_the_answer() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = answered(&phone, &mut agent).await;
    let ack = phone.in_dialog("ACK", 1, &invite, &ok, "", ANSWER);
    phone.say(&ack).await;
    let what = agent.on(leg).await;
    assert!(
        matches!(&what, Happened::Established { sdp: Some(sdp), .. } if sdp == ANSWER),
        "{what:?}"
    );
}

#[tokio::test]
async fn an_ack_that_lacks_the_answer_ends_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = answered(&phone, &mut agent).await;
    let ack = phone.in_dialog("ACK", 1, &invite, &ok, "", "");
    phone.say(&ack).await;
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
    let what = agent.on(leg).await;
    let no_ack = EndCause::NoAck;
    assert!(
        matches!(&what, Happened::Ended { cause, .. } if *cause == no_ack),
        "{what:?}"
    );
    agent.idle().await;
}

#[tokio::test]
async fn an_offerless_reinvite_gets_our_offer_and_its_ack_is_told() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, ok, leg) = answered(&phone, &mut agent).await;
    let ack = phone.in_dialog("ACK", 1, &invite, &ok, "", ANSWER);
    phone.say(&ack).await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    for (cseq, body, told) in [
        (
            2,
            ANSWER,
            Happened::Reanswered {
                sdp: ANSWER.to_owned(),
            },
        ),
        (3, "", Happened::ReofferRefused { status: 488 }),
    ] {
        let reinvite = phone.in_dialog("INVITE", cseq, &invite, &ok, "", "");
        phone.say(&reinvite).await;
        assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp: None });
        agent.tell(leg, Command::Answer { sdp: OFFER.into() });
        assert_eq!(phone.hear_some("SIP/2.0 200").await.body(), OFFER);
        let ack = phone.in_dialog("ACK", cseq, &invite, &ok, "", body);
        phone.say(&ack).await;
        assert_eq!(agent.on(leg).await, told);
    }
}
