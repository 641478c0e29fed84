//! Strangers, floods, garbage and half-broken messages.

use std::time::{Duration, Instant};

use mxtrunk_sip::Happened;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::peer::{OFFER, Peer, address, config, trunk, until};
use crate::phone::{Message, Phone};

#[tokio::test]
async fn malformed_requests_are_answered_and_garbage_is_dropped() {
    let (phone, agent) = Phone::with(|_| {}).await;
    let options = phone.request("OPTIONS", "");
    for (from, to, status) in [
        ("SIP/2.0\r\nVia", "SIP/3.0\r\nVia", "505"),
        ("CSeq: 1 OPTIONS", "CSeq: 1 INVITE", "400"),
        ("OPTIONS", "NONSENSE", "501"),
        ("Content-Length: 0", "Content-Length: 5", "400"),
    ] {
        phone.say(&options.replace(from, to)).await;
        phone.hear_some(&format!("SIP/2.0 {status}")).await;
    }
    assert_eq!(agent.agent.counters().malformed_answered, 4);
    for garbage in ["hello", "\r\n\r\nx", "SIP/2.0 200 OK\r\n\r\n", "INVITE"] {
        phone.say(garbage).await;
    }
    phone.assert_silence_but_for(&phone).await;
    assert_eq!(agent.agent.counters().malformed_dropped, 4);
}

#[tokio::test]
async fn an_offer_without_a_length_is_read_to_the_end() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    let length = format!("Content-Length: {}\r\n", OFFER.len());
    assert!(invite.contains(&length));
    phone.say(&invite.replace(&length, "")).await;
    let event = agent.next().await;
    assert!(matches!(&event.what, Happened::Incoming { sdp, .. } if sdp.as_deref() == Some(OFFER)));
}

#[tokio::test]
async fn a_call_from_an_old_pbx_that_writes_names_in_latin_1_comes_in() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let invite = phone.invite("");
    let latin = invite.replacen("\"Desk\"", "\"J\u{e9}r\u{f4}me\"", 1);
    let bytes: Vec<u8> = latin.chars().map(|c| c as u8).collect();
    phone.socket.send_to(&bytes, phone.target).await.unwrap();
    let event = agent.next().await;
    let Happened::Incoming { from, .. } = &event.what else {
        panic!("{event:?}");
    };
    assert_eq!(from.display.as_deref(), Some("Jérôme"));
    let command = mxtrunk_sip::Command::Ring;
    agent.tell(event.leg, command);
    let ringing = phone.hear_some("SIP/2.0 180").await;
    assert!(
        ringing.header("From").unwrap().contains("tag="),
        "{ringing:?}"
    );
}

#[tokio::test]
async fn an_unknown_address_hears_nothing() {
    let (phone, mut agent) = Phone::with(|_| {}).await;
    let stranger = Phone::at(address(), phone.target).await;
    stranger.say(&stranger.invite("")).await;
    stranger.say(&stranger.request("OPTIONS", "")).await;
    stranger.say("\r\n\r\n").await;
    stranger.say("garbage").await;
    stranger.assert_silence_but_for(&phone).await;
    assert_eq!(agent.agent.counters().unknown_source, 4);
    assert!(agent.events.try_recv().is_err());
}

#[tokio::test]
async fn a_flood_gets_503_then_silence_and_leaves_nothing_behind() {
    let (phone, mut agent) = Phone::with(|config| config.trunks[0].new_calls_per_second = 1).await;
    let began = Instant::now();
    // Tokens come back while the loop runs: how long it has to be is for the machine to say.
    for sent in 1..=2_000 {
        phone.say(&phone.invite("")).await;
        let counted = || {
            let counters = agent.agent.counters();
            counters.calls_in + counters.over_call_limit + counters.over_call_limit_dropped
        };
        // One by one, so that no socket buffer takes part in the count.
        until(|| counted() == sent, "calls are not counted").await;
        if agent.agent.counters().over_call_limit_dropped == 30 {
            break;
        }
    }
    let seconds = began.elapsed().as_secs() + 1;
    let busy = phone.hear_some("SIP/2.0 503").await;
    assert!(busy.header("Retry-After").is_some());
    let counters = agent.agent.counters();
    assert!(
        (1..=1 + seconds).contains(&counters.calls_in),
        "{counters:?} in {seconds} s"
    );
    // Ten times as many are told so.
    assert!(
        (10..=10 + 10 * seconds).contains(&counters.over_call_limit),
        "{counters:?} in {seconds} s"
    );
    assert_eq!(counters.over_call_limit_dropped, 30);
    assert_eq!(agent.agent.legs() as u64, counters.calls_in);
    for _ in 0..counters.calls_in {
        agent.incoming().await;
    }
}

#[tokio::test]
async fn messages_over_the_rate_are_dropped() {
    let (phone, agent) = Phone::with(|config| config.messages_per_second = 10).await;
    for _ in 0..100 {
        phone.say(&phone.request("OPTIONS", "")).await;
    }
    until(
        || agent.agent.counters().over_message_rate > 50,
        "nothing is dropped",
    )
    .await;
}

#[tokio::test]
async fn a_stranger_is_not_let_in_by_tcp_either() {
    let (own, at) = (address(), address());
    let agent = Peer::start(config(at, trunk(own, mxtrunk_sip::Transport::Tcp))).await;
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let _ = stream
        .write_all(b"OPTIONS sip:a@127.0.0.1 SIP/2.0\r\n\r\n")
        .await;
    let mut buf = [0; 1];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buf));
    // Closed, or reset by what we wrote into the closed connection.
    assert!(matches!(read.await.expect("an end"), Ok(0) | Err(_)));
    assert_eq!(agent.agent.counters().unknown_source, 1);
}

/// A connection to the agent from an address it knows.
pub(crate) async fn stream(
    own: std::net::SocketAddr,
    at: std::net::SocketAddr,
) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((own.ip(), 0).into()).unwrap();
    let stream = socket.connect(at).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads the head of one message, which has no body.
pub(crate) async fn head(stream: &mut tokio::net::TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_buf(&mut text));
        assert!(read.await.expect("an answer in time").unwrap() > 0);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_request_byte_by_byte_over_tcp_is_understood() {
    let (own, at) = (address(), address());
    let _agent = Peer::start(config(at, trunk(own, mxtrunk_sip::Transport::Tcp))).await;
    let phone = Phone::at(address(), at).await;
    let mut stream = stream(own, at).await;
    let options = phone.request("OPTIONS", "").replace("/UDP", "/TCP");
    for byte in options.bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert!(head(&mut stream).await.starts_with("SIP/2.0 200"));
}

#[tokio::test]
async fn no_mutilated_stream_silences_the_agent() {
    let (own, at) = (address(), address());
    let mut config = config(at, trunk(own, mxtrunk_sip::Transport::Tcp));
    config.messages_per_second = 1_000_000;
    let _agent = Peer::start(config).await;
    let phone = Phone::at(address(), at).await;
    let mut number = numbers(2);
    for _ in 0..20 {
        for _ in 0..20 {
            let mut broken = stream(own, at).await;
            // The agent may close what it cannot read, in the middle of it.
            let _ = broken.write_all(&mutilated(&phone, &mut number)).await;
        }
        let mut whole = stream(own, at).await;
        let options = phone.request("OPTIONS", "").replace("/UDP", "/TCP");
        whole.write_all(options.as_bytes()).await.unwrap();
        assert!(head(&mut whole).await.starts_with("SIP/2.0 200"));
    }
}

/// A generator that makes the same numbers every time.
fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below
    }
}

/// A request with one to four bytes changed, lost or cut off behind.
fn mutilated(phone: &Phone, number: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut bytes = match number(3) {
        0 => phone.invite("Require: timer\r\nSession-Expires: 90\r\n"),
        1 => phone.request("OPTIONS", ""),
        _ => phone
            .request("BYE", "")
            .replace(">\r\nCall-ID", ">;tag=x\r\nCall-ID"),
    }
    .into_bytes();
    for _ in 0..=number(4) {
        if bytes.len() < 2 {
            break;
        }
        let at = number(bytes.len());
        match number(4) {
            0 => bytes[at] = number(256) as u8,
            1 => bytes[at] = b"\r\n:;<>\"@, %=\0"[number(13)],
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at.max(1)),
        }
    }
    bytes
}

#[tokio::test]
async fn no_mutilated_message_silences_the_agent() {
    let (phone, _agent) = Phone::with(|config| {
        config.messages_per_second = 1_000_000;
        config.max_calls = 10;
    })
    .await;
    let mut number = numbers(1);
    for round in 0..60 {
        for _ in 0..50 {
            let bytes = mutilated(&phone, &mut number);
            phone.socket.send_to(&bytes, phone.target).await.unwrap();
            tokio::task::yield_now().await;
        }
        let ping = phone.request("OPTIONS", "");
        phone.say(&ping).await;
        let call_id = Message(ping).header("Call-ID").unwrap().to_owned();
        // Answers to what was mutilated come before it.
        loop {
            let heard = phone.hear().await;
            if heard.header("Call-ID") == Some(&call_id) {
                assert!(heard.start().starts_with("SIP/2.0 200"), "round {round}");
                break;
            }
        }
    }
}
