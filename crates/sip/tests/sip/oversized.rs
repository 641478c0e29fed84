//! Fields, bodies and datagrams beyond all measure (CVE-2017-9372, CVE-2018-8828, CVE-2018-7284 and their like), and callers
//! whose connection is gone before they are answered (CVE-2018-7286).

use mxtrunk_sip::{Command, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::peer::{ANSWER, DEADLINE, Peer, address, config, trunk};
use crate::phone::Phone;

/// Each a request that is too big in its own way.
fn oversized(phone: &Phone) -> Vec<(&'static str, String)> {
    let invite = || phone.invite("");
    let long = |length: usize| "x".repeat(length);
    let headers = |name: &str, length: usize, count: usize| {
        let line = format!("{name}: {}\r\n", long(length));
        phone.invite(&line.repeat(count))
    };
    vec![
        (
            "CSeq's method",
            invite().replace("1 INVITE", &format!("1 {}", long(1_728))),
        ),
        (
            "tag",
            invite().replace(";tag=f", &format!(";tag={}", long(269))),
        ),
        (
            "branch",
            invite().replace("z9hG4bK", &format!("z9hG4bK{}", long(264))),
        ),
        ("50 Accept", headers("Accept", 500, 50)),
        ("10,000 headers", headers("X", 1, 10_000)),
        ("header", headers("Subject", 60_000, 1)),
        ("URI", invite().replacen("2001", &long(30_000), 1)),
        (
            "Call-ID",
            invite().replace("Call-ID: ", &format!("Call-ID: {}", long(30_000))),
        ),
        (
            "body",
            phone.request("MESSAGE", "").replace(
                "Content-Length: 0\r\n\r\n",
                &format!("Content-Length: {}\r\n\r\n{}", 1 << 20, long(1 << 20)),
            ),
        ),
    ]
}

#[tokio::test]
async fn what_is_too_big_for_a_datagram_or_a_header_stops_nobody() {
    let (phone, agent) = Phone::with(|_| {}).await;
    for (what, request) in oversized(&phone) {
        // The kernel refuses what is no datagram; the largest that is one goes out.
        let length = request.len().min(65_507);
        phone.say(&request[..length]).await;
        phone.say(&phone.request("OPTIONS", "")).await;
        let options = phone.hear_some("SIP/2.0 200").await;
        assert!(options.header("Allow").is_some(), "{what}");
    }
    // Not one of them is a call that would last.
    assert!(agent.agent.legs() <= 4, "{} legs", agent.agent.legs());
}

async fn connect(phone: &Phone) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((phone.address().ip(), 0).into()).unwrap();
    socket.connect(phone.target).await.unwrap()
}

async fn over_tcp() -> (Phone, Peer) {
    let (own, at) = (address(), address());
    let agent = Peer::start(config(at, trunk(own, Transport::Tcp))).await;
    (Phone::at(own, at).await, agent)
}

#[tokio::test]
async fn what_is_too_big_for_a_stream_stops_nobody_on_the_others() {
    let (phone, _agent) = over_tcp().await;
    for (what, request) in oversized(&phone) {
        let mut broken = connect(&phone).await;
        // The agent may close it in the middle.
        let _ = broken
            .write_all(request.replace("/UDP", "/TCP").as_bytes())
            .await;
        if what == "body" {
            // Nobody waits for the end of it.
            let mut said = Vec::new();
            let read = tokio::time::timeout(DEADLINE, broken.read_to_end(&mut said));
            let _ = read.await.expect("an end of the connection");
        }
        let mut whole = connect(&phone).await;
        let options = phone.request("OPTIONS", "").replace("/UDP", "/TCP");
        whole.write_all(options.as_bytes()).await.unwrap();
        let mut answer = [0; 11];
        let read = tokio::time::timeout(DEADLINE, whole.read_exact(&mut answer));
        read.await.expect(what).unwrap();
        assert_eq!(&answer, b"SIP/2.0 200", "{what}");
    }
}

#[tokio::test]
async fn ten_callers_whose_connection_breaks_off_leave_no_call_behind() {
    let (phone, mut agent) = over_tcp().await;
    let mut stream = connect(&phone).await;
    for _ in 0..10 {
        let invite = phone.invite("").replace("/UDP", "/TCP");
        stream.write_all(invite.as_bytes()).await.unwrap();
    }
    let mut legs = Vec::new();
    for _ in 0..10 {
        legs.push(agent.incoming().await);
    }
    stream.set_zero_linger().unwrap();
    drop(stream);
    for (number, leg) in legs.into_iter().enumerate() {
        let command = match number % 2 {
            0 => Command::Answer { sdp: ANSWER.into() },
            _ => Command::Refuse {
                status: 486,
                reason: None,
            },
        };
        agent.tell(leg, command);
    }
    agent.idle().await;
}
