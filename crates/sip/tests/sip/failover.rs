//! A trunk with two targets.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use mxtrunk_sip::{Command, Happened, LegId, Listener, SipConfig, Target, Transport, TrunkName};
use tokio::net::UdpSocket;

use crate::peer::{self, ANSWER, Peer, until};
use crate::phone::{Message, Phone};

/// Two phones that are the targets of one trunk, in this order.
async fn two(change: impl FnOnce(&mut SipConfig)) -> (Phone, Phone, Peer) {
    let (first, second, agent) = (peer::address(), peer::address(), peer::address());
    let mut config = peer::config(agent, peer::trunk(first, Transport::Udp));
    config.trunks[0].targets.push(Target {
        priority: 1,
        ..second.into()
    });
    config.trunks[0].answer_within = Duration::from_secs(1);
    change(&mut config);
    let phones = (
        Phone::at(first, agent).await,
        Phone::at(second, agent).await,
    );
    (phones.0, phones.1, Peer::start(config).await)
}

/// The phone answers the INVITE, and the call is ended there, and only there.
async fn takes_the_call(phone: &Phone, invite: &Message, agent: &mut Peer, leg: LegId) {
    phone.reply(invite, "200 OK", "p", "", ANSWER).await;
    let ack = phone.hear_some("ACK ").await;
    assert_eq!(ack.header("Call-ID"), invite.header("Call-ID"));
    let what = agent.on(leg).await;
    assert!(matches!(what, Happened::Answered { .. }), "{what:?}");
    agent.tell(leg, Command::HangUp { reason: None });
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.header("Call-ID"), invite.header("Call-ID"));
    phone.reply(&bye, "200 OK", "", "", "").await;
    agent.idle().await;
}

#[tokio::test]
async fn a_503_turns_the_call_to_the_next_target() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    let refused = first.hear_some("INVITE ").await;
    first.reply(&refused, "100 Trying", "", "", "").await;
    let no = "503 Service Unavailable";
    first.reply(&refused, no, "f", "", "").await;
    first.hear_some("ACK ").await;
    let invite = second.hear_some("INVITE ").await;
    for name in ["Call-ID", "Via", "From"] {
        assert_ne!(invite.header(name), refused.header(name), "{name}");
    }
    assert_eq!(invite.body(), refused.body());
    let uri = format!("INVITE sip:1001@{} ", second.address());
    assert!(invite.start().starts_with(&uri), "{}", invite.start());
    takes_the_call(&second, &invite, &mut agent, leg).await;
    assert_eq!(agent.agent.counters().failovers, 1);
}

#[tokio::test]
async fn a_target_that_says_nothing_is_given_up_and_cancelled_when_it_wakes() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    let asleep = first.hear_some("INVITE ").await;
    let invite = second.hear_some("INVITE ").await;
    first.reply(&asleep, "180 Ringing", "f", "", "").await;
    let cancel = first.hear_some("CANCEL ").await;
    assert_eq!(cancel.header("Call-ID"), asleep.header("Call-ID"));
    first.reply(&cancel, "200 OK", "f", "", "").await;
    first
        .reply(&asleep, "487 Request Terminated", "f", "", "")
        .await;
    // Nobody was told that it rang there.
    takes_the_call(&second, &invite, &mut agent, leg).await;
}

#[tokio::test]
async fn a_target_that_answers_after_it_was_given_up_is_hung_up() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    let asleep = first.hear_some("INVITE ").await;
    let invite = second.hear_some("INVITE ").await;
    first.reply(&asleep, "200 OK", "f", "", ANSWER).await;
    let ack = first.hear_some("ACK ").await;
    assert_eq!(ack.header("Call-ID"), asleep.header("Call-ID"));
    let bye = first.hear_some("BYE ").await;
    first.reply(&bye, "200 OK", "", "", "").await;
    takes_the_call(&second, &invite, &mut agent, leg).await;
}

#[tokio::test]
async fn a_call_that_rings_stays_where_it_is() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = first.hear_some("INVITE ").await;
    first.reply(&invite, "180 Ringing", "f", "", "").await;
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    let no = "503 Service Unavailable";
    first.reply(&invite, no, "f", "", "").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(what, Happened::Refused { status: 503, .. }),
        "{what:?}"
    );
    agent.idle().await;
    assert!(
        second.socket.try_recv(&mut [0; 1]).is_err(),
        "it was called"
    );
}

#[tokio::test]
async fn a_refusal_by_the_called_person_is_final() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = first.hear_some("INVITE ").await;
    first.reply(&invite, "486 Busy Here", "f", "", "").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(what, Happened::Refused { status: 486, .. }),
        "{what:?}"
    );
    assert!(
        second.socket.try_recv(&mut [0; 1]).is_err(),
        "it was called"
    );
}

#[tokio::test]
async fn when_every_target_refuses_the_last_word_counts() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    for (phone, status) in [
        (&first, "503 Service Unavailable"),
        (&second, "500 Server Internal Error"),
    ] {
        let invite = phone.hear_some("INVITE ").await;
        phone.reply(&invite, status, "f", "", "").await;
        phone.hear_some("ACK ").await;
    }
    let what = agent.on(leg).await;
    assert!(
        matches!(what, Happened::Refused { status: 500, .. }),
        "{what:?}"
    );
    agent.idle().await;
}

#[tokio::test]
async fn when_no_target_says_a_word_the_caller_hears_of_it_in_time() {
    let (first, second, mut agent) = two(|_| {}).await;
    let dialled = tokio::time::Instant::now();
    let leg = agent.call(1, "1001");
    first.hear_some("INVITE ").await;
    second.hear_some("INVITE ").await;
    assert_eq!(agent.on(leg).await, Happened::Unreachable);
    // `answer_within` and not twice that.
    let waited = dialled.elapsed();
    assert!(waited < Duration::from_millis(1_800), "{waited:?}");
}

#[tokio::test]
async fn a_call_that_is_given_up_tries_no_other_target() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = first.hear_some("INVITE ").await;
    agent.tell(leg, Command::HangUp { reason: None });
    first.reply(&invite, "100 Trying", "", "", "").await;
    let cancel = first.hear_some("CANCEL ").await;
    first.reply(&cancel, "200 OK", "f", "", "").await;
    let no = "503 Service Unavailable";
    first.reply(&invite, no, "f", "", "").await;
    agent.idle().await;
    assert!(
        second.socket.try_recv(&mut [0; 1]).is_err(),
        "it was called"
    );
    assert!(agent.events.try_recv().is_err());
}

#[tokio::test]
async fn a_target_that_asks_to_be_left_alone_is_left_alone() {
    let (first, second, mut agent) = two(|_| {}).await;
    let leg = agent.call(1, "1001");
    let invite = first.hear_some("INVITE ").await;
    let (no, later) = ("503 Service Unavailable", "Retry-After: 60\r\n");
    first.reply(&invite, no, "f", later, "").await;
    first.hear_some("ACK ").await;
    let invite = second.hear_some("INVITE ").await;
    takes_the_call(&second, &invite, &mut agent, leg).await;
    let leg = agent.call(2, "1002");
    let invite = second.hear_some("INVITE sip:1002").await;
    takes_the_call(&second, &invite, &mut agent, leg).await;
    assert!(first.socket.try_recv(&mut [0; 1]).is_err(), "it was called");
    // The second wants none either: the trunk takes no calls now.
    let pbx = TrunkName("peer".into());
    assert!(agent.agent.trunk_is_up(&pbx));
    let leg = agent.call(3, "1003");
    let invite = second.hear_some("INVITE sip:1003").await;
    second.reply(&invite, no, "f", later, "").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(what, Happened::Refused { status: 503, .. }),
        "{what:?}"
    );
    assert!(!agent.agent.trunk_is_up(&pbx));
}

#[tokio::test]
async fn a_target_that_answers_no_options_gets_no_calls() {
    let often = |config: &mut SipConfig| {
        config.trunks[0].options_every = Duration::from_millis(50);
    };
    let (first, second, agent) = two(often).await;
    let mut probes = 0;
    while probes < 4 {
        let options = second.hear_some("OPTIONS ").await;
        second.reply(&options, "200 OK", "o", "", "").await;
        // The first one's silence takes 200 ms each to be noticed.
        probes += usize::from(first.socket.try_recv(&mut [0; 2_048]).is_ok());
    }
    let trunk = TrunkName("peer".into());
    let answers = async {
        loop {
            let options = second.hear_some("OPTIONS ").await;
            second.reply(&options, "200 OK", "o", "", "").await;
        }
    };
    let goes_elsewhere = async {
        for call in 1.. {
            let leg = agent.call(call, "1001");
            tokio::time::sleep(Duration::from_millis(20)).await;
            agent.tell(leg, Command::HangUp { reason: None });
            let mut heard = Vec::new();
            let mut buf = [0; 2_048];
            while let Ok(length) = first.socket.try_recv(&mut buf) {
                heard.push(String::from_utf8_lossy(&buf[..length]).into_owned());
            }
            if !heard.iter().any(|message| message.starts_with("INVITE ")) {
                break;
            }
            assert!(call < 100, "a target that is down is still called");
        }
    };
    tokio::select! {
        () = answers => {}
        () = goes_elsewhere => {}
    }
    assert!(agent.agent.trunk_is_up(&trunk));
}

#[tokio::test]
async fn a_target_that_takes_no_connection_is_passed_over() {
    let (closed, open, agent) = (peer::address(), peer::address(), peer::address());
    let right = peer::config(open, peer::trunk(agent, Transport::Tcp));
    let mut right = Peer::start(right).await;
    let mut left = peer::config(agent, peer::trunk(closed, Transport::Tcp));
    left.trunks[0].targets.push(Target {
        priority: 1,
        ..open.into()
    });
    let mut left = Peer::start(left).await;
    peer::answered(&mut left, &mut right).await;
    assert_eq!(left.agent.counters().failovers, 1);
}

#[tokio::test]
async fn a_legs_peer_is_missed_when_its_own_target_falls_silent() {
    let seldom = |config: &mut SipConfig| {
        config.trunks[0].options_every = Duration::from_secs(3_600);
        // The second has the dialog.
        config.trunks[0].targets[0].priority = 2;
    };
    let (first, second, mut agent) = two(seldom).await;
    for phone in [&first, &second] {
        let options = phone.hear_some("OPTIONS ").await;
        phone.reply(&options, "200 OK", "o", "", "").await;
    }
    let leg = agent.call(1, "1001");
    let invite = second.hear_some("INVITE ").await;
    second.reply(&invite, "180 Ringing", "p", "", "").await;
    assert_eq!(agent.on(leg).await, Happened::Ringing);
    assert_eq!(agent.on(leg).await, Happened::PeerSilent);
    // Nothing hung on the first one: it was asked once.
    assert!(first.socket.try_recv(&mut [0; 1]).is_err(), "it was asked");
    assert!(agent.agent.trunk_is_up(&TrunkName("peer".into())));
}

/// A port of the IPv6 loopback that nobody has.
async fn free_port() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await.unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn one_target_may_be_ipv4_and_the_next_ipv6() {
    let Ok(six) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).await else {
        return;
    };
    let own = six.local_addr().unwrap();
    let agent_six = free_port().await;
    let second = Phone {
        socket: six,
        target: agent_six,
    };
    let (first, mut agent) = Phone::with(|config| {
        config.listeners.push(Listener {
            transport: Transport::Udp,
            bind: agent_six,
            advertise: None,
        });
        config.trunks[0].targets.push(Target {
            priority: 1,
            ..own.into()
        });
    })
    .await;
    let leg = agent.call(1, "1001");
    let invite = first.hear_some("INVITE ").await;
    let no = "503 Service Unavailable";
    first.reply(&invite, no, "f", "", "").await;
    let invite = second.hear_some("INVITE ").await;
    let start = format!("INVITE sip:1001@{own} ");
    assert!(invite.start().starts_with(&start), "{}", invite.start());
    let contact = invite.header("Contact").unwrap();
    assert!(contact.contains(&agent_six.to_string()), "{contact}");
    takes_the_call(&second, &invite, &mut agent, leg).await;
    until(|| agent.agent.legs() == 0, "a leg is left").await;
}
