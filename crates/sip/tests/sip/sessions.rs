//! Session timers (RFC 4028) with a peer written by hand. Intervals are of
//! 2 s, so that a refresh is due after one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mxtrunk_sip::{Command, EndCause, Happened, LegId, Transport};

use crate::peer::{ANSWER, OFFER, Peer, address, answered, config, trunk};
use crate::phone::{Message, Phone};

const UPDATES: &str = "Allow: INVITE, ACK, BYE, UPDATE\r\nSupported: timer\r\n";

/// A trunk whose calls ask for a session of 2 s.
async fn timed() -> (Phone, Peer) {
    Phone::with(|config| config.trunks[0].session_expires = std::time::Duration::from_secs(2)).await
}

/// A call of the agent's, answered with these headers.
async fn established(phone: &Phone, agent: &mut Peer, headers: &str) -> (LegId, Message) {
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", headers, ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    (leg, invite)
}

/// Headers of a 200 that has the agent refresh.
fn ours(more: &str) -> String {
    format!("Session-Expires: 2;refresher=uac\r\nRequire: timer\r\n{more}")
}

async fn ends(phone: &Phone, agent: &mut Peer, leg: LegId, cause: EndCause) {
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(&what, Happened::Ended { cause: c, .. } if *c == cause),
        "{what:?}"
    );
}

#[tokio::test]
async fn an_invite_asks_for_the_timer_of_its_trunk() {
    let (phone, agent) = timed().await;
    agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    assert_eq!(invite.header("Session-Expires"), Some("2"));
    assert_eq!(invite.header("Min-SE"), Some("1"));
    assert!(invite.header("Supported").unwrap().contains("timer"));
}

#[tokio::test]
async fn a_session_that_is_ours_to_refresh_is_refreshed_by_update() {
    let (phone, mut agent) = timed().await;
    let (leg, invite) = established(&phone, &mut agent, &ours(UPDATES)).await;
    for cseq in ["2 UPDATE", "3 UPDATE"] {
        let update = phone.hear_some("UPDATE ").await;
        assert_eq!(update.header("CSeq"), Some(cseq));
        assert_eq!(update.header("Session-Expires"), Some("2;refresher=uac"));
        assert_eq!(update.tag("To"), "p");
        assert_eq!(update.header("Call-ID"), invite.header("Call-ID"));
        assert!(update.header("Contact").is_some());
        assert_eq!(update.body(), "");
        phone.reply(&update, "200 OK", "", &ours(""), "").await;
    }
    agent.tell(leg, Command::HangUp { reason: None });
    assert_eq!(phone.hear_some("BYE ").await.header("CSeq"), Some("4 BYE"));
}

#[tokio::test]
async fn a_peer_without_update_gets_our_last_description_again() {
    let (phone, mut agent) = timed().await;
    established(&phone, &mut agent, &ours("")).await;
    let refresh = phone.hear_some("INVITE ").await;
    assert_eq!(refresh.header("CSeq"), Some("2 INVITE"));
    assert_eq!(refresh.body(), OFFER);
    phone.reply(&refresh, "200 OK", "", &ours(""), ANSWER).await;
    assert_eq!(phone.hear_some("ACK ").await.header("CSeq"), Some("2 ACK"));
    // A 200 that comes again, because the ACK was lost, is acknowledged again.
    phone.reply(&refresh, "200 OK", "", &ours(""), ANSWER).await;
    assert_eq!(phone.hear_some("ACK ").await.header("CSeq"), Some("2 ACK"));
    assert!(agent.events.try_recv().is_err(), "a refresh is no news");
}

#[tokio::test]
async fn an_answer_to_a_refresh_that_moves_the_media_is_told() {
    let (phone, mut agent) = timed().await;
    let (leg, _) = established(&phone, &mut agent, &ours("")).await;
    let refresh = phone.hear_some("INVITE ").await;
    let moved = format!("{ANSWER}a=moved\r\n");
    phone.reply(&refresh, "200 OK", "", &ours(""), &moved).await;
    assert_eq!(agent.on(leg).await, Happened::Reanswered { sdp: moved });
}

#[tokio::test]
async fn a_peer_that_refuses_the_update_it_allows_is_refreshed_by_invite() {
    let (phone, mut agent) = timed().await;
    established(&phone, &mut agent, &ours(UPDATES)).await;
    let update = phone.hear_some("UPDATE ").await;
    phone
        .reply(&update, "501 Not Implemented", "", "", "")
        .await;
    let refresh = phone.hear_some("INVITE ").await;
    assert_eq!(refresh.header("CSeq"), Some("3 INVITE"));
    assert_eq!(refresh.body(), OFFER);
}

#[tokio::test]
async fn a_session_too_short_for_the_peer_is_asked_for_anew() {
    let (phone, mut agent) = timed().await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    let too_small = "422 Session Interval Too Small";
    phone
        .reply(&invite, too_small, "p", "Min-SE: 4\r\n", "")
        .await;
    phone.hear_some("ACK ").await;
    let again = phone.hear_some("INVITE ").await;
    assert_eq!(again.header("Session-Expires"), Some("4"));
    assert_eq!(again.header("Min-SE"), Some("4"));
    assert_eq!(again.header("CSeq"), Some("2 INVITE"));
    assert_eq!(again.header("Call-ID"), invite.header("Call-ID"));
    // One that demands nothing longer is a refusal like any other.
    phone
        .reply(&again, too_small, "p", "Min-SE: 4\r\n", "")
        .await;
    let refused = agent.on(leg).await;
    assert!(
        matches!(refused, Happened::Refused { status: 422, .. }),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_refresh_too_short_for_a_proxy_on_the_way_is_sent_with_a_longer_interval() {
    let (phone, mut agent) = timed().await;
    established(&phone, &mut agent, &ours(UPDATES)).await;
    let update = phone.hear_some("UPDATE ").await;
    let too_small = "422 Session Interval Too Small";
    phone
        .reply(&update, too_small, "", "Min-SE: 9\r\n", "")
        .await;
    let again = phone.hear_some("UPDATE ").await;
    assert_eq!(again.header("Session-Expires"), Some("9;refresher=uac"));
    assert_eq!(again.header("CSeq"), Some("3 UPDATE"));
}

#[tokio::test]
async fn a_peer_that_has_forgotten_the_call_ends_it() {
    let (phone, mut agent) = timed().await;
    let (leg, _) = established(&phone, &mut agent, &ours(UPDATES)).await;
    let update = phone.hear_some("UPDATE ").await;
    let unknown = "481 Call/Transaction Does Not Exist";
    phone.reply(&update, unknown, "", "", "").await;
    ends(&phone, &mut agent, leg, EndCause::Unknown).await;
    agent.idle().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_refreshed_ends_when_it_expires() {
    let (phone, mut agent) = timed().await;
    let (leg, _) = established(&phone, &mut agent, &ours(UPDATES)).await;
    let update = phone.hear_some("UPDATE ").await;
    phone
        .reply(&update, "503 Service Unavailable", "", "", "")
        .await;
    ends(&phone, &mut agent, leg, EndCause::Expired).await;
    agent.idle().await;
}

#[tokio::test]
async fn a_session_that_the_called_peer_promised_to_refresh_and_does_not_is_ended() {
    let (phone, mut agent) = timed().await;
    let theirs = "Session-Expires: 2;refresher=uas\r\nRequire: timer\r\n";
    let (leg, _) = established(&phone, &mut agent, theirs).await;
    ends(&phone, &mut agent, leg, EndCause::Expired).await;
    agent.idle().await;
}

#[tokio::test]
async fn a_caller_that_would_have_us_refresh_is_refreshed() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let timer = format!("{UPDATES}Session-Expires: 2;refresher=uas\r\n");
    let invite = phone.invite(&timer);
    phone.say(&invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = phone.hear_some("SIP/2.0 200").await;
    assert_eq!(ok.header("Session-Expires"), Some("2;refresher=uas"));
    phone
        .say(&phone.in_dialog("ACK", 1, &invite, &ok, "", ""))
        .await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!(update.header("Session-Expires"), Some("2;refresher=uac"));
    phone.reply(&update, "200 OK", "", &ours(""), "").await;
    phone.hear_some("UPDATE ").await;
}

#[tokio::test]
async fn a_peer_that_is_asked_whether_it_knows_the_call_keeps_it_or_ends_it() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, _) = established(&phone, &mut agent, UPDATES).await;
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!(update.body(), "");
    phone.reply(&update, "200 OK", "", "", "").await;
    agent.tell(leg, Command::Reoffer { sdp: OFFER.into() });
    let offer = phone.hear_some("INVITE ").await;
    assert_eq!(offer.header("CSeq"), Some("3 INVITE"));
    phone.reply(&offer, "200 OK", "", "", ANSWER).await;
    assert!(matches!(agent.on(leg).await, Happened::Reanswered { .. }));
    agent.tell(leg, Command::Check);
    let update = phone.hear_some("UPDATE ").await;
    assert_eq!(update.header("CSeq"), Some("4 UPDATE"));
    phone
        .reply(&update, "481 Call/Transaction Does Not Exist", "", "", "")
        .await;
    ends(&phone, &mut agent, leg, EndCause::Unknown).await;
}

#[tokio::test]
async fn a_peer_without_update_is_asked_by_invite_whether_it_knows_the_call() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, _) = established(&phone, &mut agent, "").await;
    agent.tell(leg, Command::Check);
    let invite = phone.hear_some("INVITE ").await;
    assert_eq!(invite.body(), OFFER);
    phone
        .reply(&invite, "481 Call/Transaction Does Not Exist", "", "", "")
        .await;
    ends(&phone, &mut agent, leg, EndCause::Unknown).await;
}

/// Ten minutes with a session of 90 s are refreshed 13 times, as these 14 s with one of 2 s are.
#[tokio::test]
async fn a_call_in_each_direction_stands_through_the_refreshes_of_ten_minutes() {
    let (a, b) = (address(), address());
    let refreshed = Arc::new(AtomicUsize::new(0));
    let at = |own, peer, count: Option<Arc<AtomicUsize>>| {
        let mut config = config(own, trunk(peer, Transport::Udp));
        config.trunks[0].session_expires = Duration::from_secs(2);
        config.tap = count.map(|count| -> mxtrunk_sip::Tap {
            Arc::new(move |seen| {
                if seen.what == "UPDATE" {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        config
    };
    let mut left = Peer::start(at(a, b, Some(refreshed.clone()))).await;
    let mut right = Peer::start(at(b, a, None)).await;
    let (out, _) = answered(&mut left, &mut right).await;
    let (back, _) = answered(&mut right, &mut left).await;
    let enough = || refreshed.load(Ordering::Relaxed) >= 2 * 13;
    let end = tokio::time::Instant::now() + 3 * crate::peer::DEADLINE;
    while !enough() && tokio::time::Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(enough(), "{} refreshes", refreshed.load(Ordering::Relaxed));
    // Nobody noticed anything of it, and each call ends as any other.
    assert!(left.events.try_recv().is_err() && right.events.try_recv().is_err());
    assert_eq!((left.agent.legs(), right.agent.legs()), (2, 2));
    left.tell(out, Command::HangUp { reason: None });
    right.tell(back, Command::HangUp { reason: None });
    left.idle().await;
    right.idle().await;
}

/// 45 minutes at 90 s are 60 refreshes, which come one after the other here: each as soon as the last one is answered.
#[tokio::test]
async fn a_call_in_each_direction_stands_through_as_many_refreshes_as_45_minutes_have() {
    let (a, b) = (address(), address());
    let answered_updates = Arc::new(Mutex::new(HashMap::<String, usize>::new()));
    let count = answered_updates.clone();
    let mut own = config(a, trunk(b, Transport::Udp));
    own.trunks[0].session_expires = Duration::from_secs(90);
    own.tap = Some(Arc::new(move |seen| {
        if seen.what == "200 OK (UPDATE)" {
            *count.lock().unwrap().entry(seen.call_id).or_default() += 1;
        }
    }));
    let mut left = Peer::start(own).await;
    let mut right = Peer::start(config(b, trunk(a, Transport::Udp))).await;
    let (out, _) = answered(&mut left, &mut right).await;
    let (back, _) = answered(&mut right, &mut left).await;
    let least = || {
        let counts = answered_updates.lock().unwrap();
        let both = counts.len() == 2;
        counts.values().copied().min().filter(|_| both).unwrap_or(0)
    };
    let end = tokio::time::Instant::now() + crate::peer::DEADLINE;
    while least() < 60 && tokio::time::Instant::now() < end {
        left.tell(out, Command::Check);
        right.tell(back, Command::Check);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(least() >= 60, "{} refreshes", least());
    assert!(left.events.try_recv().is_err() && right.events.try_recv().is_err());
    assert_eq!((left.agent.legs(), right.agent.legs()), (2, 2));
    left.tell(out, Command::HangUp { reason: None });
    right.tell(back, Command::HangUp { reason: None });
    left.idle().await;
    right.idle().await;
}
