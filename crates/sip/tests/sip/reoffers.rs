//! New offers of our side in a call, and what may cross them.

use mxtrunk_sip::{Command, Happened, LegId};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};

const HOLD: &str = "v=0\r\na=sendonly\r\n";
const HELD: &str = "v=0\r\na=recvonly\r\n";

async fn established(phone: &Phone, agent: &mut Peer) -> (LegId, Message) {
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    (leg, invite)
}

/// The agent's own hold, as the phone hears it.
async fn held(phone: &Phone, agent: &Peer, leg: LegId) -> Message {
    agent.tell(leg, Command::Reoffer { sdp: HOLD.into() });
    let reinvite = phone.hear_some("INVITE ").await;
    assert_eq!(reinvite.body(), HOLD);
    reinvite
}

#[tokio::test]
async fn a_hold_of_our_side_is_offered_answered_and_acknowledged() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = established(&phone, &mut agent).await;
    let reinvite = held(&phone, &agent, leg).await;
    assert_eq!(reinvite.header("CSeq"), Some("2 INVITE"));
    assert_eq!(reinvite.header("Call-ID"), invite.header("Call-ID"));
    assert_eq!(reinvite.tag("To"), "p");
    phone.reply(&reinvite, "200 OK", "", "", HELD).await;
    let ack = phone.hear_some("ACK ").await;
    assert_eq!(ack.header("CSeq"), Some("2 ACK"));
    let sdp = HELD.to_owned();
    assert_eq!(agent.on(leg).await, Happened::Reanswered { sdp });
}

#[tokio::test]
async fn a_hold_that_the_peer_refuses_leaves_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, _) = established(&phone, &mut agent).await;
    let reinvite = held(&phone, &agent, leg).await;
    let refusal = "488 Not Acceptable Here";
    phone.reply(&reinvite, refusal, "", "", "").await;
    phone.hear_some("ACK ").await;
    let refused = Happened::ReofferRefused { status: 488 };
    assert_eq!(agent.on(leg).await, refused);
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn an_offer_that_crosses_ours_gets_491() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = established(&phone, &mut agent).await;
    let reinvite = held(&phone, &agent, leg).await;
    for (cseq, method) in [(1, "INVITE"), (2, "UPDATE")] {
        let crossing = phone.in_dialog_of(method, cseq, &invite, "p", "", OFFER);
        phone.say(&crossing).await;
        phone.hear_some("SIP/2.0 491").await;
    }
    // A refresh without an offer has nothing to cross.
    let refresh = phone.in_dialog_of("UPDATE", 3, &invite, "p", "", "");
    phone.say(&refresh).await;
    phone.hear_some("SIP/2.0 200").await;
    phone.reply(&reinvite, "200 OK", "", "", HELD).await;
    let sdp = HELD.to_owned();
    assert_eq!(agent.on(leg).await, Happened::Reanswered { sdp });
}

/// A PBX would wait for seconds, and its hold with it, though an UPDATE of ours without an offer crosses nothing.
#[tokio::test]
async fn an_offer_that_crosses_a_refresh_of_ours_is_taken() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    let allow = "Allow: INVITE, ACK, BYE, CANCEL, UPDATE\r\n";
    phone.reply(&invite, "200 OK", "p", allow, ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    agent.tell(leg, Command::Check);
    let refresh = phone.hear_some("UPDATE ").await;
    assert_eq!(refresh.body(), "");
    let theirs = phone.in_dialog_of("INVITE", 1, &invite, "p", "", OFFER);
    phone.say(&theirs).await;
    let sdp = Some(OFFER.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let answer = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(answer.header("CSeq"), Some("1 INVITE"));
}

/// A peer that refuses for ever has no offer of its own to make; our side, told that two offers had crossed, would make
/// its own anew, for ever too.
#[tokio::test]
async fn a_peer_that_says_491_without_end_is_asked_four_times() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (_, _, leg) = crate::wire_in::established(&phone, &mut agent, "").await;
    agent.tell(leg, Command::Reoffer { sdp: HOLD.into() });
    for time in 1..=4 {
        let reinvite = phone.hear_some("INVITE ").await;
        assert_eq!(
            reinvite.header("CSeq"),
            Some(&*format!("{time} INVITE")),
            "the Call-ID is theirs: we wait for two seconds at the most"
        );
        let pending = "491 Request Pending";
        phone.reply(&reinvite, pending, "", "", "").await;
        phone.hear_some("ACK ").await;
    }
    let refused = Happened::ReofferRefused { status: 500 };
    assert_eq!(agent.on(leg).await, refused);
    assert_eq!(agent.agent.legs(), 1);
}

#[tokio::test]
async fn a_peer_that_cannot_take_our_offer_yet_is_asked_again_when_it_says() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, _) = established(&phone, &mut agent).await;
    let reinvite = held(&phone, &agent, leg).await;
    let (status, later) = ("500 Server Internal Error", "Retry-After: 1\r\n");
    let start = std::time::Instant::now();
    phone.reply(&reinvite, status, "", later, "").await;
    phone.hear_some("ACK ").await;
    let again = phone.hear_some("INVITE ").await;
    assert!(start.elapsed().as_millis() >= 1_000);
    assert_eq!(again.body(), HOLD);
    // Without a time it is a refusal.
    phone.reply(&again, status, "", "", "").await;
    phone.hear_some("ACK ").await;
    let refused = Happened::ReofferRefused { status: 500 };
    assert_eq!(agent.on(leg).await, refused);
}

#[tokio::test]
async fn after_a_491_we_wait_and_offer_again() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, _) = established(&phone, &mut agent).await;
    let reinvite = held(&phone, &agent, leg).await;
    let start = std::time::Instant::now();
    phone
        .reply(&reinvite, "491 Request Pending", "", "", "")
        .await;
    phone.hear_some("ACK ").await;
    let again = phone.hear_some("INVITE ").await;
    // The Call-ID is ours: RFC 3261 section 14.1 has 2.1 to 4 s.
    let waited = start.elapsed().as_millis();
    assert!((2_050..5_000).contains(&waited), "{waited} ms");
    assert_eq!(
        (again.header("CSeq"), again.body()),
        (Some("3 INVITE"), HOLD)
    );
    phone.reply(&again, "200 OK", "", "", HELD).await;
    let sdp = HELD.to_owned();
    assert_eq!(agent.on(leg).await, Happened::Reanswered { sdp });
}

#[tokio::test]
async fn an_offer_of_the_peer_in_the_wait_after_a_491_goes_first() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = established(&phone, &mut agent).await;
    let reinvite = held(&phone, &agent, leg).await;
    phone
        .reply(&reinvite, "491 Request Pending", "", "", "")
        .await;
    phone.hear_some("ACK ").await;
    let crossing = phone.in_dialog_of("INVITE", 1, &invite, "p", "", OFFER);
    phone.say(&crossing).await;
    let sdp = Some(OFFER.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
    // Ours was made without knowing of it.
    let refused = Happened::ReofferRefused { status: 491 };
    assert_eq!(agent.on(leg).await, refused);
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    phone.hear_some("SIP/2.0 200").await;
    // What our side offers now waits for the ACK.
    agent.tell(leg, Command::Reoffer { sdp: HOLD.into() });
    phone.hear_some("SIP/2.0 200").await;
    let ack = phone.in_dialog_of("ACK", 1, &invite, "p", "", "");
    phone.say(&ack).await;
    assert_eq!(phone.hear_some("INVITE ").await.body(), HOLD);
}

#[tokio::test]
async fn an_offer_of_ours_while_the_peers_waits_is_put_back() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = established(&phone, &mut agent).await;
    let theirs = phone.in_dialog_of("INVITE", 1, &invite, "p", "", OFFER);
    phone.say(&theirs).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    agent.tell(leg, Command::Reoffer { sdp: HOLD.into() });
    let refused = Happened::ReofferRefused { status: 491 };
    assert_eq!(agent.on(leg).await, refused);
}

#[tokio::test]
async fn a_hold_before_the_ack_of_our_200_waits_for_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    agent.tell(leg, Command::Reoffer { sdp: HOLD.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert_eq!(phone.hear_some("INVITE ").await.body(), HOLD);
}
