//! Peers that are slow, deaf, or say half of what they mean: others do not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mxtrunk_sip::{Command, Happened, Transport, TrunkConfig};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::peer::{Peer, address, answered, config, trunk, until};

/// What a call may take beside them. Alone it takes a few milliseconds.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn connect(from: SocketAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from.ip(), 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

fn options(number: u32) -> String {
    format!(
        "OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKs{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:x@127.0.0.1>\r\n\
         Call-ID: s{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_connections_and_one_that_never_reads_hold_nobody_up() {
    let (own, good, slow) = (address(), address(), address());
    let mut config_of_ours = config(own, trunk(good, Transport::Tcp));
    config_of_ours.trunks.push(TrunkConfig {
        transport: Transport::Tcp,
        options_every: Duration::ZERO,
        ..TrunkConfig::new("slow", slow)
    });
    let mut agent = Peer::start(config_of_ours).await;
    let mut other = Peer::start(config(good, trunk(own, Transport::Tcp))).await;

    let half = &options(0)[..100];
    let mut slow_ones = Vec::new();
    for _ in 0..1_000 {
        let mut stream = connect(slow, own).await;
        // One too many is closed at once.
        let _ = stream.write_all(half.as_bytes()).await;
        slow_ones.push(stream);
    }
    let deaf = tokio::spawn(async move {
        // It takes the place of a slow one, or is refused like them.
        let mut stream = connect(slow, own).await;
        for number in 1.. {
            if stream.write_all(options(number).as_bytes()).await.is_err() {
                break;
            }
        }
    });
    for _ in 0..20 {
        let began = Instant::now();
        let (out, inc) = answered(&mut other, &mut agent).await;
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        agent.tell(inc, Command::HangUp { reason: None });
        assert!(matches!(other.on(out).await, Happened::Ended { .. }));
        agent.idle().await;
        other.idle().await;
    }
    deaf.abort();
    drop(slow_ones);
    until(|| agent.agent.legs() == 0, "no leg is left").await;
}
