//! Peers over streams that say much and read nothing: they are answered no more, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use mxtrunk_sip::{Happened, SipConfig, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::fence::{head, stream};
use crate::peer::{ANSWER, OFFER, Peer, address, config, trunk};
use crate::phone::{Message, Phone};

/// What an agent would let wait in memory if it did not look, in messages: more than a connection's own buffers hold.
const MANY: usize = 30_000;

/// A user agent with a trunk over TCP that may send as much as it likes. A connection that is clogged outlasts the test, on
/// a slow machine too (a write may take 160 s): only the fence helps.
fn patient(at: SocketAddr, own: SocketAddr) -> SipConfig {
    let mut config = config(at, trunk(own, Transport::Tcp));
    config.messages_per_second = 1_000_000;
    config.timers.t1 = Duration::from_secs(10);
    config
}

/// A socket that takes next to nothing unless it is read: so little room that few answers fill it.
fn narrow_socket(own: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(own).unwrap();
    socket
}

async fn narrow(own: SocketAddr, at: SocketAddr) -> TcpStream {
    let socket = narrow_socket((own.ip(), 0).into());
    socket.connect(at).await.unwrap()
}

/// Says so many messages and reads none of the answers. False once the agent reads no more.
async fn says(stream: &mut TcpStream, messages: impl Iterator<Item = String>) -> bool {
    for message in messages {
        let written = stream.write_all(message.as_bytes());
        // A buffer that is full for a moment is read on.
        match tokio::time::timeout(Duration::from_secs(2), written).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("it was closed, and not clogged: {error}"),
            Err(_) => return false,
        }
    }
    true
}

/// The same request over and over, each with a branch of its own.
fn each_anew(request: &str) -> impl Iterator<Item = String> + use<> {
    let request = request.replace("/UDP", "/TCP");
    (0..MANY).map(move |n| request.replace("branch=z9hG4bK", &format!("branch=z9hG4bK{n}x")))
}

fn assert_little_waits() {
    let tasks = tokio::runtime::Handle::current().metrics();
    let waiting = tasks.num_alive_tasks();
    assert!(waiting < 1_000, "{waiting} tasks");
}

async fn assert_others_are_answered(own: SocketAddr, at: SocketAddr, phone: &Phone) {
    let mut other = stream(own, at).await;
    let options = phone.request("OPTIONS", "").replace("/UDP", "/TCP");
    other.write_all(options.as_bytes()).await.unwrap();
    assert!(head(&mut other).await.starts_with("SIP/2.0 200"));
}

#[tokio::test]
async fn a_peer_that_never_reads_does_not_stop_the_others() {
    let (own, at) = (address(), address());
    let _agent = Peer::start(patient(at, own)).await;
    let phone = Phone::at(address(), at).await;
    let mut clogged = narrow(own, at).await;
    // Each of them the stack would answer from within its loop.
    let cancels = each_anew(&phone.request("CANCEL", ""));
    let goes_on = says(&mut clogged, cancels).await;
    assert!(!goes_on, "the agent reads for ever");
    assert_others_are_answered(own, at, &phone).await;
}

#[tokio::test]
async fn what_a_peer_does_not_read_is_not_kept_in_memory() {
    let (own, at) = (address(), address());
    let _agent = Peer::start(patient(at, own)).await;
    let phone = Phone::at(address(), at).await;
    let mut clogged = narrow(own, at).await;
    says(&mut clogged, each_anew(&phone.request("OPTIONS", ""))).await;
    assert_little_waits();
    assert_others_are_answered(own, at, &phone).await;
}

/// The peer answers our call so, repeats that without end, and reads none of the ACKs.
async fn repeats(status: &str, body: &str) {
    let (own, at) = (address(), address());
    let mut agent = Peer::start(patient(at, own)).await;
    let phone = Phone::at(address(), at).await;
    let listener = narrow_socket(own).listen(1).unwrap();
    let leg = agent.call(1, "1001");
    let (mut pbx, _) = listener.accept().await.unwrap();
    let mut invite = Vec::new();
    while !invite.ends_with(OFFER.as_bytes()) {
        pbx.read_buf(&mut invite).await.unwrap();
    }
    let invite = Message(String::from_utf8(invite).unwrap());
    let answer = phone.answer(&invite, status, "pbx", "", body);
    pbx.write_all(answer.as_bytes()).await.unwrap();
    match agent.on(leg).await {
        Happened::Refused { .. } => agent.idle().await,
        Happened::Answered { .. } => {}
        other => panic!("{other:?}"),
    }
    says(&mut pbx, (0..MANY).map(|_| answer.clone())).await;
    assert_little_waits();
    assert_others_are_answered(own, at, &phone).await;
}

#[tokio::test]
async fn a_peer_that_repeats_its_answer_and_reads_no_ack_does_not_stop_the_others() {
    repeats("486 Busy Here", "").await;
    repeats("200 OK", ANSWER).await;
}

#[tokio::test]
async fn a_stream_that_takes_nothing_is_closed() {
    let (own, at) = (address(), address());
    let mut config = config(at, trunk(own, Transport::Tcp));
    config.messages_per_second = 1_000_000;
    let _agent = Peer::start(config).await;
    let phone = Phone::at(address(), at).await;
    let mut clogged = narrow(own, at).await;
    for _ in 0..500 {
        let options = phone.request("OPTIONS", "").replace("/UDP", "/TCP");
        clogged.write_all(options.as_bytes()).await.unwrap();
    }
    // Whatever we write is a sign of life; between two tries the agent's
    // patience, 640 ms, has to run out.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        match clogged.try_write(b"\r\n") {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
            Ok(_) | Err(_) => {}
        }
    }
    panic!("the stream is still open");
}
