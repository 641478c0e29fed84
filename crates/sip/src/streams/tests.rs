//! Places for connections, and what each is tuned to.

use std::net::Ipv4Addr;

use rsipstack::transaction::EndpointBuilder;
use tokio::io::AsyncReadExt;

use super::*;
use crate::config::TrunkConfig;
use crate::legs::Legs;
use crate::trunk::Trunk;
use crate::trunks::Trunks;

const DEADLINE: Duration = Duration::from_secs(10);
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OTHER_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Streams with two places that accept both peers, and where.
async fn with_two_places(idle: Duration) -> (Arc<Streams>, SocketAddr) {
    let trunk = TrunkConfig {
        allow: vec![PEER, OTHER_PEER],
        ..TrunkConfig::new("pbx", (PEER, 5060).into())
    };
    let trunks = Arc::new(Trunks::new(vec![Arc::new(Trunk::new(trunk))]));
    let none = Arc::new(|_: &str| false);
    let admission = Admission::new(trunks, Arc::new(Legs::new(9)), 10, none);
    let limits = Limits {
        places: 2,
        patience: DEADLINE,
        idle,
        ping: Duration::from_millis(100),
    };
    let endpoint = EndpointBuilder::new().build();
    let streams = Arc::new(
        Streams::new(
            &endpoint.inner,
            Arc::new(admission),
            limits,
            Tls::new(None),
            24,
            CancellationToken::new(),
        )
        .await
        .expect("a stack"),
    );
    // Without it nobody takes what is read.
    tokio::spawn(async move {
        std::future::pending::<()>().await;
        drop(endpoint);
    });
    let listener = TcpListener::bind((PEER, 0)).await.expect("a port");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(streams.clone().accept(listener, Transport::Tcp, at));
    (streams, at)
}

/// The way to a peer that is called from the first one's address.
fn way(to: SocketAddr, local: SocketAddr) -> Way<'static> {
    static TRUNK: std::sync::LazyLock<TrunkName> =
        std::sync::LazyLock::new(|| TrunkName("pbx".into()));
    Way {
        hop: hop(to),
        from: PEER,
        local,
        judge: None,
        trunk: &TRUNK,
        within: DEADLINE,
    }
}

async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("an address");
    socket.connect(to).await.expect("a connection")
}

/// The same, waiting until it is one of so many.
async fn taken(streams: &Streams, at: SocketAddr, count: usize) -> TcpStream {
    let stream = connect(PEER, at).await;
    let start = Instant::now();
    while streams.open.0.len() < count {
        assert!(start.elapsed() < DEADLINE, "not taken");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stream
}

async fn assert_closed(mut stream: TcpStream) {
    let mut buf = [0; 1];
    let read = tokio::time::timeout(DEADLINE, stream.read(&mut buf)).await;
    assert!(matches!(read.expect("an end"), Ok(0) | Err(_)));
}

fn hop(address: SocketAddr) -> Hop {
    Hop {
        transport: Transport::Tcp,
        address,
    }
}

fn is_taken(streams: &Streams, stream: &TcpStream) -> bool {
    let own = stream.local_addr().expect("an address");
    streams.open.0.contains_key(&hop(own))
}

#[tokio::test]
async fn a_new_stream_takes_the_place_of_the_one_heard_longest_ago() {
    let (streams, at) = with_two_places(Duration::ZERO).await;
    let first = taken(&streams, at, 1).await;
    let second = taken(&streams, at, 2).await;
    streams
        .open
        .note_heard(hop(first.local_addr().expect("an address")));
    let third = connect(PEER, at).await;
    assert_closed(second).await;
    let fourth = connect(PEER, at).await;
    assert_closed(first).await;
    let start = Instant::now();
    while !(is_taken(&streams, &third) && is_taken(&streams, &fourth)) {
        assert!(start.elapsed() < DEADLINE, "not taken");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_connection_is_marked_whoever_opened_it() {
    let (streams, at) = with_two_places(DEADLINE).await;
    let theirs = taken(&streams, at, 1).await;
    let peer = TcpListener::bind((PEER, 0)).await.expect("a port");
    let to = peer.local_addr().expect("an address");
    let opened = streams.to(way(to, at)).await;
    opened.expect("a connection");
    for end in [theirs.local_addr().expect("an address"), to] {
        let stream = streams.open.0.get(&hop(end)).expect("it is open");
        assert_eq!(stream.socket.tos_v4().expect("an option"), 24 << 2);
    }
}

#[tokio::test]
async fn a_stream_in_use_makes_no_room() {
    let (streams, at) = with_two_places(DEADLINE * 10).await;
    let first = taken(&streams, at, 1).await;
    let second = taken(&streams, at, 2).await;
    assert_closed(connect(PEER, at).await).await;
    assert!(is_taken(&streams, &first) && is_taken(&streams, &second));
}

#[tokio::test]
async fn the_connections_of_one_address_leave_room_for_those_of_others() {
    let (streams, at) = with_two_places(DEADLINE * 10).await;
    let first = taken(&streams, at, 1).await;
    let second = taken(&streams, at, 2).await;
    assert_closed(connect(PEER, at).await).await;
    let other = connect(OTHER_PEER, at).await;
    let start = Instant::now();
    while !is_taken(&streams, &other) {
        assert!(start.elapsed() < DEADLINE, "not taken");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(is_taken(&streams, &first) && is_taken(&streams, &second));
}

#[tokio::test]
async fn a_peer_that_sends_faster_than_it_is_read_is_slowed_down_by_tcp() {
    // Nobody runs the stack: its queue takes whatever it is given.
    let (streams, at) = with_two_places(DEADLINE).await;
    let mut peer = taken(&streams, at, 1).await;
    let own = hop(peer.local_addr().expect("an address"));
    let turns = streams.open.0.get(&own).expect("it is open").turns.clone();
    let text = format!(
        "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: <sip:x>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nSubject: {}\r\n\
         Content-Length: 0\r\n\r\n",
        "x".repeat(4_000)
    );
    // Much more than all buffers between hold.
    let mut written = 0;
    loop {
        let write = tokio::io::AsyncWriteExt::write_all(&mut peer, text.as_bytes());
        match tokio::time::timeout(Duration::from_millis(500), write).await {
            Ok(sent) => sent.expect("a connection"),
            Err(_) => break,
        }
        written += 1;
        assert!(written < 20_000, "all of it was read");
    }
    assert_eq!(turns.available_permits(), 0);
    // It is read on as the stack comes to what it has.
    streams.open.note_heard(own);
    let start = Instant::now();
    while turns.available_permits() > 0 {
        assert!(start.elapsed() < DEADLINE, "nothing more was read");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_peer_that_went_without_a_word_is_found_out() {
    let listener = TcpListener::bind((PEER, 0)).await.expect("a port");
    let stream = connect(PEER, listener.local_addr().expect("an address")).await;
    tune(&stream, DEADLINE).expect("a socket that can be tuned");
    let socket = SockRef::from(&stream);
    assert!(socket.keepalive().expect("an option"));
    let after = socket.tcp_keepalive_time().expect("an option");
    let every = socket.tcp_keepalive_interval().expect("an option");
    assert_eq!((after, every), (KEEPALIVE_AFTER, KEEPALIVE_EVERY));
}

#[tokio::test]
async fn those_who_call_a_peer_at_once_share_one_connection() {
    let (streams, at) = with_two_places(DEADLINE).await;
    let peer = TcpListener::bind((PEER, 0)).await.expect("a port");
    let to = peer.local_addr().expect("an address");
    let (first, second, third) = tokio::join!(
        streams.to(way(to, at)),
        streams.to(way(to, at)),
        streams.to(way(to, at))
    );
    for opened in [first, second, third] {
        opened.expect("a connection");
    }
    peer.accept().await.expect("one");
    let again = tokio::time::timeout(Duration::from_millis(50), peer.accept()).await;
    assert!(again.is_err(), "there was another one");
    assert!(streams.opening.is_empty());
}

#[tokio::test]
async fn a_silent_connection_of_ours_is_pinged() {
    let (streams, at) = with_two_places(Duration::ZERO).await;
    let peer = TcpListener::bind((PEER, 0)).await.expect("a port");
    let to = peer.local_addr().expect("an address");
    let opened = streams.to(way(to, at)).await;
    opened.expect("a connection");
    let (mut theirs, _) = peer.accept().await.expect("one");
    let mut ping = [0; 4];
    for _ in 0..2 {
        let read = tokio::time::timeout(DEADLINE, theirs.read_exact(&mut ping)).await;
        read.expect("a ping in time").expect("a connection");
        assert_eq!(&ping, b"\r\n\r\n");
    }
}
