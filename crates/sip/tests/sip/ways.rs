//! The ways of messages: through NAT, out of the socket that they came in by, in circles, and into dialogs that are over.

use mxtrunk_sip::{Caller, Command, Forwarded, Happened, LegId, Listener, Transport, TrunkName};
use tokio::net::UdpSocket;

use crate::peer::{ANSWER, DEADLINE, OFFER, Peer, address, config, trunk};
use crate::phone::{Message, Phone};
use crate::wire_out::invited;

#[tokio::test]
async fn an_answer_goes_where_the_request_came_from_whatever_its_via_says() {
    let (phone, _agent) = Phone::with(|_| {}).await;
    let own = phone.address();
    let behind_nat = phone.request("OPTIONS", "").replace(
        &format!("Via: SIP/2.0/UDP {own}"),
        "Via: SIP/2.0/UDP 192.0.2.1:9",
    );
    phone.say(&behind_nat).await;
    let ok = phone.hear_some("SIP/2.0 200").await;
    let via = ok.header("Via").unwrap();
    assert!(via.contains(&format!("received={}", own.ip())), "{via}");
    assert!(via.contains(&format!("rport={}", own.port())), "{via}");
}

#[tokio::test]
async fn each_socket_answers_what_came_in_by_it() {
    let (own, first, second) = (address(), address(), address());
    let mut config = config(first, trunk(own, Transport::Udp));
    config.listeners.push(Listener {
        transport: Transport::Udp,
        bind: second,
        advertise: None,
    });
    let mut agent = Peer::start(config).await;
    for target in [second, first, second] {
        let socket = UdpSocket::bind((own.ip(), 0)).await.unwrap();
        let phone = Phone { socket, target };
        phone.say(&phone.invite("")).await;
        let leg = agent.incoming().await;
        agent.tell(leg, Command::Ring);
        let sdp = ANSWER.to_owned();
        agent.tell(leg, Command::Answer { sdp });
        let mut buf = [0; 4096];
        for expected in ["SIP/2.0 100", "SIP/2.0 180", "SIP/2.0 200"] {
            let received = tokio::time::timeout(DEADLINE, phone.socket.recv_from(&mut buf));
            let (len, source) = received.await.expect("an answer in time").unwrap();
            let text = String::from_utf8_lossy(&buf[..len]).into_owned();
            assert!(text.starts_with(expected), "{text}");
            assert_eq!(source, target, "{expected}");
        }
    }
}

#[tokio::test]
async fn an_invite_of_ours_that_comes_back_is_a_loop() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    let own = phone.address();
    // As a proxy that knows no better sends it on: its own Via above ours.
    let back = invite.0.replacen(
        "Via: ",
        &format!("Via: SIP/2.0/UDP {own};branch=z9hG4bKproxy\r\nVia: "),
        1,
    );
    phone.say(&back).await;
    phone.hear_some("SIP/2.0 482").await;
    phone.reply(&invite, "482 Loop Detected", "p", "", "").await;
    let what = agent.on(leg).await;
    assert!(
        matches!(what, Happened::Refused { status: 482, .. }),
        "{what:?}"
    );
}

#[tokio::test]
async fn a_call_that_is_forwarded_goes_on_with_one_hop_less_than_it_came_with() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    let late = invite.replace("Max-Forwards: 70", "Max-Forwards: 5");
    phone.say(&late).await;
    let event = agent.next().await;
    let Happened::Incoming { hops, .. } = event.what else {
        panic!("{event:?}");
    };
    let forwarded = Forwarded {
        by: Caller::default(),
        why: None,
        hops: Some(hops),
    };
    let on = Command::Invite {
        trunk: TrunkName("peer".into()),
        to: "1002".into(),
        from: Caller::default(),
        account: None,
        sdp: OFFER.into(),
        replaces: None,
        referred_by: None,
        forwarded: Some(Box::new(forwarded)),
    };
    agent.agent.send(LegId(1), on).unwrap();
    let invite = phone.hear_some("INVITE ").await;
    assert_eq!(invite.header("Max-Forwards"), Some("4"));
}

#[tokio::test]
async fn requests_in_a_dialog_that_is_over_get_481_whoever_ended_it() {
    for by_us in [true, false] {
        let (phone, mut agent) = Phone::with(|_| {}).await;
        let (leg, invite) = invited(&phone, &agent).await;
        phone.reply(&invite, "200 OK", "p", "", ANSWER).await;
        phone.hear_some("ACK ").await;
        assert!(matches!(agent.on(leg).await, Happened::Answered { .. }));
        if by_us {
            agent.tell(leg, Command::HangUp { reason: None });
            let bye = phone.hear_some("BYE ").await;
            assert_eq!(bye.header("Max-Forwards"), Some("70"));
            phone.reply(&bye, "200 OK", "p", "", "").await;
        } else {
            let bye = phone.in_dialog_of("BYE", 1, &invite, "p", "", "");
            phone.say(&bye).await;
            phone.hear_some("SIP/2.0 200").await;
        }
        agent.idle().await;
        for (cseq, method) in (2..).zip(["INVITE", "UPDATE", "INFO", "BYE"]) {
            let late = phone.in_dialog_of(method, cseq, &invite, "p", "", "");
            phone.say(&late).await;
            let late = Message(late);
            let mut answer = phone.hear_some("SIP/2.0 481").await;
            // That to the INVITE gets no ACK and comes again.
            while answer.header("CSeq") == Some("2 INVITE") && method != "INVITE" {
                answer = phone.hear_some("SIP/2.0 481").await;
            }
            assert_eq!(answer.header("CSeq"), late.header("CSeq"));
        }
    }
}

/// A proxy that forks may let two phones answer at once. The stack may miss the second answer between two transactions'
/// ends; it is repeated until it has its ACK.
#[tokio::test]
async fn of_two_phones_that_answer_at_once_the_second_is_ended() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let (leg, invite) = invited(&phone, &agent).await;
    phone.reply(&invite, "200 OK", "a", "", ANSWER).await;
    phone.reply(&invite, "200 OK", "b", "", ANSWER).await;
    let what = agent.on(leg).await;
    assert!(
        matches!(&what, Happened::Answered { dialog, .. } if dialog.remote_tag == "a"),
        "{what:?}"
    );
    phone.hear_some("ACK ").await;
    phone.reply(&invite, "200 OK", "b", "", ANSWER).await;
    let bye = phone.hear_some("BYE ").await;
    assert_eq!(bye.tag("To"), "b");
    phone.reply(&bye, "200 OK", "b", "", "").await;
    assert_eq!(agent.agent.legs(), 1);
}
