//! Peers written by hand whose connections break.

use std::net::SocketAddr;
use std::time::Duration;

use mxtrunk_sip::{Command, EndCause, Happened, LegId, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::peer::{ANSWER, DEADLINE, OFFER, Peer, address, config, trunk};
use crate::phone::{Message, Phone};

/// A connection to the agent from an address it knows.
async fn connect(phone: &Phone) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((phone.address().ip(), 0).into()).unwrap();
    let stream = socket.connect(phone.target).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Breaks a connection off, so that the other end cannot write any more.
fn break_off(stream: TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// A phone, whose own socket only makes up messages, and an agent on TCP.
async fn with_tcp(reoffer: Duration) -> (Phone, Peer) {
    let (own, at): (SocketAddr, SocketAddr) = (address(), address());
    let mut config = config(at, trunk(own, Transport::Tcp));
    config.timers.reoffer = reoffer;
    let agent = Peer::start(config).await;
    (Phone::at(own, at).await, agent)
}

async fn say(stream: &mut TcpStream, text: &str) {
    let text = text.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// The next message of this start, its body left out.
async fn hear_some(stream: &mut TcpStream, start: &str) -> Message {
    let mut text = String::new();
    let mut byte = [0; 1];
    loop {
        let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut byte));
        read.await.expect("a message in time").unwrap();
        text.push(byte[0].into());
        if !text.ends_with("\r\n\r\n") {
            continue;
        }
        let message = Message(std::mem::take(&mut text));
        let length: usize = message.header("Content-Length").unwrap().parse().unwrap();
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if message.start().starts_with(start) {
            return message;
        }
    }
}

/// A call of the phone that is up: its INVITE, the 200, and the leg.
async fn established(
    phone: &Phone,
    stream: &mut TcpStream,
    agent: &mut Peer,
) -> (String, Message, LegId) {
    let invite = phone.invite("");
    say(stream, &invite).await;
    let leg = agent.incoming().await;
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ok = hear_some(stream, "SIP/2.0 200").await;
    let ack = phone.in_dialog("ACK", 1, &invite, &ok, "", "");
    say(stream, &ack).await;
    assert!(matches!(agent.on(leg).await, Happened::Established { .. }));
    (invite, ok, leg)
}

#[tokio::test]
async fn a_reinvite_whose_200_cannot_be_sent_ends_the_call() {
    let (phone, mut agent) = with_tcp(DEADLINE).await;
    let mut stream = connect(&phone).await;
    let (invite, ok, leg) = established(&phone, &mut stream, &mut agent).await;
    let again = phone.in_dialog("INVITE", 2, &invite, &ok, "", OFFER);
    say(&mut stream, &again).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    break_off(stream);
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let ended = Happened::Ended {
        reason: None,
        cause: EndCause::NoAck,
    };
    assert_eq!(agent.on(leg).await, ended);
    agent.idle().await;
}

#[tokio::test]
async fn a_cancel_leaves_the_offer_of_another_request() {
    let (phone, mut agent) = with_tcp(Duration::from_secs(2)).await;
    let mut stream = connect(&phone).await;
    let (invite, ok, leg) = established(&phone, &mut stream, &mut agent).await;
    let again = phone.in_dialog("INVITE", 2, &invite, &ok, "", OFFER);
    say(&mut stream, &again).await;
    assert!(matches!(agent.on(leg).await, Happened::Reoffered { .. }));
    // Its refusal is lost with the connection, so it can be cancelled still.
    break_off(stream);
    let mut stream = connect(&phone).await;
    let update = phone.in_dialog("UPDATE", 3, &invite, &ok, "", OFFER);
    let cseq = update_taken(&mut stream, &mut agent, leg, &update).await;
    let head = again.split("Content-Type").next().unwrap();
    let cancel = head.replace("INVITE", "CANCEL");
    let cancel = cancel.replace("z9hG4bKdCANCEL", "z9hG4bKdINVITE");
    say(&mut stream, &format!("{cancel}Content-Length: 0\r\n\r\n")).await;
    // The answer to the CANCEL is lost too; it has a longer way to the leg
    // than one of these requests.
    for later in 1..=5 {
        let options = phone.in_dialog("OPTIONS", cseq + later, &invite, &ok, "", "");
        say(&mut stream, &options).await;
        hear_some(&mut stream, "SIP/2.0 200").await;
    }
    agent.tell(leg, Command::Answer { sdp: ANSWER.into() });
    let heard = hear_some(&mut stream, "SIP/2.0 ").await;
    assert_eq!(
        heard.header("CSeq"),
        Some(format!("{cseq} UPDATE").as_str())
    );
    assert!(heard.start().starts_with("SIP/2.0 200"), "{heard:?}");
}

/// Repeats an UPDATE until the re-INVITE before it is refused; its CSeq.
async fn update_taken(stream: &mut TcpStream, agent: &mut Peer, leg: LegId, update: &str) -> u32 {
    for cseq in 3..400 {
        let update = update
            .replace("CSeq: 3", &format!("CSeq: {cseq}"))
            .replace("dUPDATE3", &format!("dUPDATE{cseq}"));
        say(stream, &update).await;
        tokio::select! {
            what = agent.on(leg) => {
                assert!(matches!(what, Happened::Reoffered { .. }), "{what:?}");
                return cseq;
            }
            _ = hear_some(stream, "SIP/2.0 500") => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the refused offer is still there");
}
