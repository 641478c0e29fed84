//! Before the answer: several phones that ring for one INVITE, and new offers in early dialogs (RFC 3311, RFC 3262 §5).

use mxtrunk_sip::{Command, Happened, LegId};

use crate::peer::{ANSWER, OFFER, Peer};
use crate::phone::{Message, Phone};
use crate::wire_out::invited;

const PROGRESS: &str = "183 Session Progress";
const MOVED: &str = "v=0\r\no=- 2 3 IN IP4 127.0.0.2\r\ns=-\r\nt=0 0\r\n";

/// A description that nobody else in a test has.
fn description(of: &str) -> String {
    format!("v=0\r\no={of} 2 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n")
}

async fn progress(agent: &mut Peer, leg: LegId) -> String {
    match agent.on(leg).await {
        Happened::Progress { sdp: Some(sdp) } => sdp,
        other => panic!("{other:?}"),
    }
}

/// A call of the agent's whose peer has described early media.
async fn described(phone: &Phone, agent: &mut Peer) -> (LegId, Message) {
    let (leg, invite) = invited(phone, agent).await;
    phone.reply(&invite, PROGRESS, "p", "", ANSWER).await;
    assert_eq!(progress(agent, leg).await, ANSWER);
    (leg, invite)
}

#[tokio::test]
async fn each_phone_that_rings_is_heard_of_and_the_one_that_answers_counts() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    for tag in ["a", "b", "a"] {
        let sdp = description(tag);
        phone.reply(&invite, PROGRESS, tag, "", &sdp).await;
    }
    assert_eq!(progress(&mut agent, leg).await, description("a"));
    assert_eq!(progress(&mut agent, leg).await, description("b"));
    // Without SDP: its answer came in the 183, and the other phone's is not its.
    phone.reply(&invite, "200 OK", "a", "", "").await;
    assert_eq!(phone.hear_some("ACK ").await.tag("To"), "a");
    let what = agent.on(leg).await;
    let Happened::Answered { sdp, dialog } = what else {
        panic!("{what:?}");
    };
    assert_eq!((sdp, dialog.remote_tag.as_str()), (description("a"), "a"));
}

#[tokio::test]
async fn an_answer_of_another_phone_than_the_one_that_was_heard_brings_its_own_description() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = described(&phone, &mut agent).await;
    let own = description("q");
    phone.reply(&invite, "200 OK", "q", "", &own).await;
    assert_eq!(phone.hear_some("ACK ").await.tag("To"), "q");
    let what = agent.on(leg).await;
    assert!(
        matches!(&what, Happened::Answered { sdp, .. } if *sdp == own),
        "{what:?}"
    );
    // What the first one still says is nobody's any more.
    let update = phone.in_dialog_of("UPDATE", 1, &invite, "p", "", OFFER);
    phone.say(&update).await;
    phone.hear_some("SIP/2.0 481").await;
}

#[tokio::test]
async fn ringing_after_early_media_is_told_each_time() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = described(&phone, &mut agent).await;
    // The last one never sent any, so that nothing need take its place.
    for tag in ["p", "p", "q"] {
        phone.reply(&invite, "180 Ringing", tag, "", "").await;
        // The stack takes two alike in a row for one.
        phone.reply(&invite, PROGRESS, "p", "", ANSWER).await;
    }
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    phone.reply(&invite, "486 Busy Here", "p", "", "").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(what, Happened::Refused { status: 486, .. }),
        "{what:?}"
    );
}

#[tokio::test]
async fn an_offer_in_an_early_dialog_of_ours_is_answered_and_counts_from_then_on() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = described(&phone, &mut agent).await;
    let update = phone.in_dialog_of("UPDATE", 5, &invite, "p", "", MOVED);
    phone.say(&update).await;
    let sdp = Some(MOVED.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
    let sdp = OFFER.to_owned();
    agent.tell(leg, Command::AnswerReoffer { sdp });
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ok.header("CSeq"), Some("5 UPDATE"));
    assert_eq!(ok.body(), OFFER);
    // The 200 repeats what the UPDATE has overtaken.
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    phone.hear_some("ACK ").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(&what, Happened::Answered { sdp, .. } if sdp == MOVED),
        "{what:?}"
    );
    // The peer's numbers count on from its early dialog.
    let late = phone.in_dialog_of("UPDATE", 4, &invite, "p", "", "");
    phone.say(&late).await;
    phone.hear_some("SIP/2.0 500").await;
    let bye = phone.in_dialog_of("BYE", 6, &invite, "p", "", "");
    phone.say(&bye).await;
    phone.hear_some("SIP/2.0 200").await;
    assert!(matches!(agent.on(leg).await, Happened::Ended { .. }));
}

#[tokio::test]
async fn an_early_offer_that_our_side_refuses_or_forgets_leaves_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = described(&phone, &mut agent).await;
    for (cseq, refuses) in [(1, true), (2, false)] {
        let update = phone.in_dialog_of("UPDATE", cseq, &invite, "p", "", MOVED);
        phone.say(&update).await;
        assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
        if refuses {
            agent.tell(leg, Command::RefuseReoffer { status: 488 });
        }
        phone.hear_some("SIP/2.0 488").await;
    }
    phone.reply(&invite, "200 OK", "p", "", "").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(&what, Happened::Answered { sdp, .. } if sdp == ANSWER),
        "{what:?}"
    );
}

#[tokio::test]
async fn an_early_offer_that_crosses_ours_gets_491() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    phone.reply(&invite, "180 Ringing", "p", "", "").await;
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    // That of our INVITE.
    let update = phone.in_dialog_of("UPDATE", 1, &invite, "p", "", MOVED);
    phone.say(&update).await;
    phone.hear_some("SIP/2.0 491").await;
    // That of our provisional response to an INVITE without one.
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, progress, _) = progressing(&phone, &mut agent, "").await;
    let update = phone.in_dialog("UPDATE", 2, &invite, &progress, "", MOVED);
    phone.say(&update).await;
    phone.hear_some("SIP/2.0 491").await;
}

#[tokio::test]
async fn early_offers_out_of_turn_are_put_off_or_refused() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    phone.reply(&invite, "180 Ringing", "p", "", "").await;
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    let update = |cseq, tag| phone.in_dialog_of("UPDATE", cseq, &invite, tag, "", MOVED);
    phone.reply(&invite, PROGRESS, "p", "", ANSWER).await;
    progress(&mut agent, leg).await;
    phone.say(&update(2, "p")).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    // One at a time; none of nobody's dialog.
    phone.say(&update(3, "p")).await;
    let later = phone.hear_some("SIP/2.0 500").await;
    assert_eq!(later.header("CSeq"), Some("3 UPDATE"));
    assert_eq!(later.header("Retry-After"), Some("2"));
    phone.say(&update(4, "x")).await;
    phone.hear_some("SIP/2.0 481").await;
    // The answer comes first: the offer is put off, not forgotten.
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    let later = phone.hear_some("SIP/2.0 500").await;
    assert_eq!(later.header("CSeq"), Some("2 UPDATE"));
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
}

/// A call to the agent whose caller has our early description for certain.
async fn progressing(phone: &Phone, agent: &mut Peer, offer: &str) -> (String, Message, LegId) {
    let headers = "Supported: 100rel\r\n";
    let invite = match offer.is_empty() {
        true => phone.request("INVITE", headers),
        false => phone.invite(headers),
    };
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Progress { sdp: ANSWER.into() });
    let progress = phone.hear_some("SIP/2.0 183").await;
    (invite, progress, leg)
}

fn rack(progress: &Message) -> String {
    format!("RAck: {} 1 INVITE\r\n", progress.header("RSeq").unwrap())
}

#[tokio::test]
async fn an_offer_in_a_prack_is_answered_in_its_200() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, progress, leg) = progressing(&phone, &mut agent, OFFER).await;
    let prack = phone.in_dialog("PRACK", 2, &invite, &progress, &rack(&progress), MOVED);
    phone.say(&prack).await;
    let sdp = Some(MOVED.to_owned());
    assert_eq!(agent.on(leg).await, Happened::Reoffered { sdp });
    let sdp = ANSWER.to_owned();
    agent.tell(leg, Command::AnswerReoffer { sdp });
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!((ok.header("CSeq"), ok.body()), (Some("2 PRACK"), ANSWER));
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ok.header("CSeq"), Some("1 INVITE"));
}

#[tokio::test]
async fn an_offer_of_a_caller_in_its_early_dialog_is_answered_once_it_may_offer() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, progress, leg) = progressing(&phone, &mut agent, OFFER).await;
    let update = |cseq| phone.in_dialog("UPDATE", cseq, &invite, &progress, "", MOVED);
    // It does not have our answer for certain.
    phone.say(&update(2)).await;
    phone.hear_some("SIP/2.0 500").await;
    let prack = phone.in_dialog("PRACK", 3, &invite, &progress, &rack(&progress), "");
    phone.say(&prack).await;
    phone.hear_some("SIP/2.0 200").await;
    phone.say(&update(4)).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    phone.say(&update(5)).await;
    let later = phone.hear_some("SIP/2.0 500").await;
    assert_eq!(later.header("CSeq"), Some("5 UPDATE"));
    agent.tell(leg, Command::RefuseReoffer { status: 488 });
    let refused = phone.hear_some("SIP/2.0 488").await;
    assert_eq!(refused.header("CSeq"), Some("4 UPDATE"));
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    phone.hear_some("SIP/2.0 200").await;
}

#[tokio::test]
async fn a_prack_answers_the_offer_in_our_provisional_response() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, progress, leg) = progressing(&phone, &mut agent, "").await;
    let prack = phone.in_dialog("PRACK", 2, &invite, &progress, &rack(&progress), OFFER);
    phone.say(&prack).await;
    phone.hear_some("SIP/2.0 200").await;
    let sdp = OFFER.to_owned();
    assert_eq!(agent.on(leg).await, Happened::Reanswered { sdp });
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    // Its ACK need not answer anything.
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert!(matches!(
        agent.on(leg).await,
        Happened::Established { sdp: None, .. }
    ));
}

#[tokio::test]
async fn an_early_offer_that_is_not_answered_ends_with_its_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (invite, progress, leg) = progressing(&phone, &mut agent, OFFER).await;
    let prack = phone.in_dialog("PRACK", 2, &invite, &progress, &rack(&progress), MOVED);
    phone.say(&prack).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    agent.tell(
        leg,
        Command::Refuse {
            status: 486,
            reason: None,
        },
    );
    let terminated = phone.hear_some("SIP/2.0 487").await;
    assert_eq!(terminated.header("CSeq"), Some("2 PRACK"));
    phone.hear_some("SIP/2.0 486").await;
}
