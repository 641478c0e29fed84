//! Peers written by hand that ask for a password.

use mxtrunk_sip::{Command, Credentials, DigestAlgorithm, Happened, RequiredAuth, Transport};

use crate::peer::{self, ANSWER, Peer, answered};
use crate::phone::{Message, Phone};
use crate::wire_out::invited;

const CHALLENGE: &str =
    "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";

async fn with_password(realm: Option<&str>) -> (Phone, Peer) {
    let realm = realm.map(str::to_owned);
    Phone::with(|config| {
        config.trunks[0].auth = Some(Credentials {
            username: "gw".into(),
            password: "secret".into(),
            realm,
        });
    })
    .await
}

#[tokio::test]
async fn a_challenge_is_answered_and_the_call_goes_on() {
    let (phone, mut agent) = with_password(Some("pbx")).await;
    let (leg, first) = invited(&phone, &agent).await;
    phone
        .reply(&first, "401 Unauthorized", "c", CHALLENGE, "")
        .await;
    phone.hear_some("ACK ").await;
    let second = phone.hear_some("INVITE ").await;
    assert_eq!(second.header("CSeq"), Some("2 INVITE"));
    assert_eq!(second.header("Call-ID"), first.header("Call-ID"));
    assert_eq!(second.tag("To"), "");
    assert_ne!(second.header("Via"), first.header("Via"));
    let answer = second.header("Authorization").unwrap();
    assert!(
        answer.contains("username=\"gw\", realm=\"pbx\", nonce=\"n1\""),
        "{answer}"
    );
    assert!(!second.0.contains("secret"));
    phone.reply(&second, "200 OK", "p", "", ANSWER).await;
    let ack = phone.hear_some("ACK ").await;
    assert_eq!(ack.header("Authorization"), Some(answer));
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    agent.tell(leg, Command::HangUp { reason: None });
    let bye = phone.hear_some("BYE ").await;
    phone
        .reply(&bye, "401 Unauthorized", "p", CHALLENGE, "")
        .await;
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.header("CSeq"), Some("4 BYE"));
    assert!(bye.header("Authorization").is_some());
    phone.reply(&bye, "200 OK", "p", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn the_password_is_not_used_for_another_realm() {
    let (phone, mut agent) = with_password(Some("ours")).await;
    let (leg, invite) = invited(&phone, &agent).await;
    phone
        .reply(&invite, "401 Unauthorized", "c", CHALLENGE, "")
        .await;
    assert!(matches!(
        agent.on(leg).await,
        Happened::Refused { status: 401, .. }
    ));
    agent.idle().await;
}

const OF_PROXY: &str =
    "Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"n2\", qop=\"auth\", algorithm=MD5\r\n";

/// Challenges a request as a proxy and then as the peer behind it; returns
/// the attempt that answers both.
async fn challenged_twice(phone: &Phone, method: &str) -> Message {
    let first = phone.hear_some(method).await;
    let status = "407 Proxy Authentication Required";
    phone.reply(&first, status, "c", OF_PROXY, "").await;
    let second = another(phone, method, &first).await;
    assert_eq!(second.header("Authorization"), None);
    assert!(second.header("Proxy-Authorization").is_some());
    phone
        .reply(&second, "401 Unauthorized", "c", CHALLENGE, "")
        .await;
    let third = another(phone, method, &second).await;
    let of_proxy = third.header("Proxy-Authorization").unwrap();
    assert!(of_proxy.contains("nonce=\"n2\""), "{of_proxy}");
    assert!(of_proxy.contains("nc=00000002"), "{of_proxy}");
    let of_peer = third.header("Authorization").unwrap();
    assert!(of_peer.contains("nonce=\"n1\""), "{of_peer}");
    third
}

/// The next request of this start that is no repetition of `earlier`.
async fn another(phone: &Phone, start: &str, earlier: &Message) -> Message {
    for _ in 0..50 {
        let heard = phone.hear_some(start).await;
        if heard.header("CSeq") != earlier.header("CSeq") {
            return heard;
        }
    }
    panic!("only repetitions");
}

#[tokio::test]
async fn a_proxy_and_the_peer_behind_it_are_both_answered() {
    let (phone, mut agent) = with_password(None).await;
    let leg = agent.call(1, "1001");
    let invite = challenged_twice(&phone, "INVITE ").await;
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    // Those before it are of the refusals (§17.1.1.3).
    let ack = loop {
        let ack = phone.hear_some("ACK ").await;
        if ack.header("CSeq") == Some("3 ACK") {
            break ack;
        }
    };
    for name in ["Authorization", "Proxy-Authorization"] {
        assert_eq!(ack.header(name), invite.header(name), "{name}");
    }
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
    agent.tell(leg, Command::HangUp { reason: None });
    let bye = challenged_twice(&phone, "BYE ").await;
    phone.reply(&bye, "200 OK", "p", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let (phone, mut agent) = with_password(None).await;
    let leg = agent.call(1, "1001");
    let challenge = CHALLENGE.replace("WWW-", "Proxy-");
    for cseq in 1..=2 {
        let invite = phone.hear_some("INVITE ").await;
        assert_eq!(
            invite.header("CSeq"),
            Some(format!("{cseq} INVITE").as_str())
        );
        let status = "407 Proxy Authentication Required";
        phone.reply(&invite, status, "c", &challenge, "").await;
        phone.hear_some("ACK ").await;
    }
    assert!(matches!(
        agent.on(leg).await,
        Happened::Refused { status: 407, .. }
    ));
    agent.idle().await;
}

#[tokio::test]
async fn a_stale_nonce_is_no_wrong_password() {
    let (phone, mut agent) = with_password(None).await;
    let leg = agent.call(1, "1001");
    let stale = CHALLENGE.replace("nonce=\"n1\"", "nonce=\"n9\", stale=true");
    for challenge in [CHALLENGE, &stale] {
        let invite = phone.hear_some("INVITE ").await;
        phone
            .reply(&invite, "401 Unauthorized", "c", challenge, "")
            .await;
        phone.hear_some("ACK ").await;
    }
    let invite = phone.hear_some("INVITE ").await;
    let answer = invite.header("Authorization").unwrap();
    assert!(answer.contains("nonce=\"n9\""), "{answer}");
    assert_eq!(invite.0.matches("Authorization:").count(), 1);
    phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
    assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
}

/// Two user agents, of which the right one asks the left one for a password.
async fn asked_for_a_password(password: &str, algorithm: DigestAlgorithm) -> (Peer, Peer) {
    let (a, b) = (peer::address(), peer::address());
    let mut left = peer::config(a, peer::trunk(b, Transport::Udp));
    left.trunks[0].auth = Some(Credentials {
        username: "pbx".into(),
        password: password.into(),
        realm: Some("mxtrunk".into()),
    });
    let mut right = peer::config(b, peer::trunk(a, Transport::Udp));
    right.trunks[0].require_auth = Some(RequiredAuth {
        username: "pbx".into(),
        password: "secret".into(),
        realm: "mxtrunk".into(),
        algorithm,
    });
    // The challenge takes no call's place in the rate.
    right.trunks[0].new_calls_per_second = 1;
    (Peer::start(left).await, Peer::start(right).await)
}

#[tokio::test]
async fn a_trunk_that_shows_its_password_is_let_in() {
    for algorithm in [DigestAlgorithm::Md5, DigestAlgorithm::Sha256] {
        let (mut left, mut right) = asked_for_a_password("secret", algorithm).await;
        let (out, inc) = answered(&mut left, &mut right).await;
        assert_eq!(right.agent.counters().challenged, 1);
        left.tell(out, Command::HangUp { reason: None });
        assert!(matches!(right.on(inc).await, Happened::Ended { .. }));
    }
}

#[tokio::test]
async fn a_trunk_with_a_wrong_password_is_not_let_in() {
    let (mut left, mut right) = asked_for_a_password("guess", DigestAlgorithm::Md5).await;
    let out = left.call(1, "1001");
    let what = left.on(out).await;
    assert!(
        matches!(what, Happened::Refused { status: 401, .. }),
        "{what:?}"
    );
    assert_eq!(right.agent.counters().wrong_passwords, 1);
    assert!(right.events.try_recv().is_err());
    assert_eq!(right.agent.legs(), 0);
}
