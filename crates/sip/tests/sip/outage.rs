//! A trunk that falls silent in mid-call.

use std::time::Duration;

use mxtrunk_sip::{Command, EndCause, Happened, LegId, SipConfig, TrunkName};

use crate::peer::{ANSWER, Peer, timers, until};
use crate::phone::{Message, Phone};

/// Nobody is asked this often unless a call hangs on it.
const SELDOM: Duration = Duration::from_secs(3_600);

fn seldom_asked(config: &mut SipConfig) {
    config.trunks[0].options_every = SELDOM;
}

/// Calls the phone, which answers, and answers the OPTIONS before it.
async fn established(phone: &Phone, agent: &mut Peer) -> (LegId, Message) {
    answer_options(phone).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    (leg, invite)
}

async fn answer_options(phone: &Phone) {
    let options = phone.hear_some("OPTIONS ").await;
    phone.reply(&options, "200 OK", "o", "", "").await;
}

fn is_up(agent: &Peer) -> bool {
    agent.agent.trunk_is_up(&TrunkName("peer".into()))
}

#[tokio::test]
async fn a_leg_hears_that_its_peer_fell_silent_and_hears_it_again() {
    let (phone, mut agent) = Phone::with(seldom_asked).await;
    let (leg, _) = established(&phone, &mut agent).await;
    // An idle trunk would not be asked again within this test.
    answer_options(&phone).await;
    for _ in 0..2 {
        assert_eq!(agent.on(leg).await, Happened::PeerSilent);
    }
    assert!(!is_up(&agent));
    // The first that are heard are old.
    for _ in 0..50 {
        answer_options(&phone).await;
        if is_up(&agent) {
            break;
        }
    }
    assert!(is_up(&agent), "an answer is not seen");
    agent.tell(leg, Command::HangUp { reason: None });
    phone.hear_some("BYE ").await;
}

#[tokio::test]
async fn a_leg_that_rings_hears_it_too() {
    let (phone, mut agent) = Phone::with(seldom_asked).await;
    answer_options(&phone).await;
    let out = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "180 Ringing", "p", "", "").await;
    assert_eq!(agent.on(out).await, Happened::Ringing);
    assert_eq!(agent.on(out).await, Happened::PeerSilent);
    agent.tell(out, Command::HangUp { reason: None });
    phone.hear_some("CANCEL ").await;
}

#[tokio::test]
async fn a_leg_that_calls_us_hears_it_too() {
    let (phone, mut agent) = Phone::with(seldom_asked).await;
    answer_options(&phone).await;
    phone.say(&phone.invite("")).await;
    let inc = agent.incoming().await;
    agent.tell(inc, Command::Ring);
    assert_eq!(agent.on(inc).await, Happened::PeerSilent);
    agent.tell(inc, Command::HangUp { reason: None });
    phone.hear_some("SIP/2.0 480 ").await;
}

#[tokio::test]
async fn a_refused_probe_shows_life() {
    let (phone, mut agent) = Phone::with(seldom_asked).await;
    let (leg, invite) = established(&phone, &mut agent).await;
    for _ in 0..4 {
        let options = phone.hear_some("OPTIONS ").await;
        phone
            .reply(&options, "503 Service Unavailable", "o", "", "")
            .await;
    }
    let bye = phone.in_dialog_of("BYE", 1, &invite, "p", "", "");
    phone.say(&bye).await;
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::Bye,
    };
    assert_eq!(agent.on(leg).await, ended);
}

#[tokio::test]
async fn a_peer_that_never_answered_options_is_not_missed() {
    let (phone, mut agent) = Phone::with(|config| {
        config.trunks[0].options_every = Duration::from_millis(50);
    })
    .await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    until(|| !is_up(&agent), "silence is taken for life").await;
    let bye = phone.in_dialog_of("BYE", 1, &invite, "p", "", "");
    phone.say(&bye).await;
    assert!(matches!(agent.on(leg).await, Happened::Ended { .. }));
}

#[tokio::test]
async fn a_trunk_that_is_never_asked_is_not_probed_in_mid_call_either() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    phone.hear_some("ACK ").await;
    let mut buf = [0; 2_048];
    let some_probes = timers().probe_every * 5;
    let heard = tokio::time::timeout(some_probes, phone.socket.recv(&mut buf)).await;
    assert!(heard.is_err(), "something was asked");
}

#[tokio::test]
async fn a_trunk_without_calls_is_asked_seldom() {
    let (phone, mut agent) = Phone::with(seldom_asked).await;
    let (leg, _) = established(&phone, &mut agent).await;
    agent.tell(leg, Command::HangUp { reason: None });
    let bye = phone.hear_some("BYE ").await;
    phone.reply(&bye, "200 OK", "", "", "").await;
    // Answers until nothing more is asked; what is under way may still come.
    let quiet = timers().probe_every * 4;
    for _ in 0..20 {
        let Ok(options) = tokio::time::timeout(quiet, phone.hear()).await else {
            return;
        };
        assert!(options.start().starts_with("OPTIONS "), "{options:?}");
        phone.reply(&options, "200 OK", "o", "", "").await;
    }
    panic!("it is asked as if there were a call");
}

#[tokio::test]
async fn a_peer_that_was_away_for_a_moment_is_asked_whether_it_knows_its_calls() {
    let (phone, mut agent) = Phone::with(|config| {
        seldom_asked(config);
        // However long the test takes to answer again, it is no outage.
        config.trunks[0].options_down_after = 1_000;
    })
    .await;
    answer_options(&phone).await;
    let leg = agent.call(1, "1001");
    let invite = phone.hear_some("INVITE ").await;
    let allow = "Allow: INVITE, ACK, BYE, UPDATE\r\n";
    phone.reply(&invite, "200 OK", "p", allow, ANSWER).await;
    phone.hear_some("ACK ").await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    // One question is left without an answer: another one follows.
    let unanswered = phone.hear_some("OPTIONS ").await;
    let question = loop {
        let options = phone.hear_some("OPTIONS ").await;
        if options.header("Call-ID") != unanswered.header("Call-ID") {
            break options;
        }
    };
    phone.reply(&question, "200 OK", "o", "", "").await;
    let update = phone.hear_some("UPDATE ").await;
    phone
        .reply(&update, "481 Call/Transaction Does Not Exist", "", "", "")
        .await;
    phone.hear_some("BYE ").await;
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::Unknown,
    };
    assert_eq!(agent.on(leg).await, ended);
}
