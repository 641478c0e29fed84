//! What outlives a call and what must not: ports, descriptors, late packets, legs that change their worker.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command as Program;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mxtrunk_media::rtp::{Header, Packet};
use mxtrunk_media_io::{Command, Happened, LegId, MediaError, MediaIoConfig, PhoneProfile};

use crate::{PATIENCE, Site, media_port, open_phone};

const FRAME: Duration = Duration::from_millis(20);

/// A phone on a thread of its own: it talks until it is told to stop, and keeps what it hears.
struct Talker {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    heard: Arc<AtomicUsize>,
    talking: std::thread::JoinHandle<(u64, Vec<Header>)>,
}

impl Talker {
    /// Talks to this port.
    fn start(socket: UdpSocket, port: u16) -> Self {
        let socket = Arc::new(socket);
        socket.connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(FRAME / 10)).unwrap();
        let (stop, heard) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (socket_of, told, count) = (socket.clone(), stop.clone(), heard.clone());
        let talking = std::thread::spawn(move || talk(&socket_of, &told, &count));
        Talker {
            socket,
            stop,
            heard,
            talking,
        }
    }

    async fn hears(&self, more: usize) {
        let wanted = self.heard.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.heard.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "the phone hears nothing");
            tokio::time::sleep(FRAME / 4).await;
        }
    }

    /// How many packets it sent, and the headers of those that it got.
    fn stop(self) -> (u64, Vec<Header>) {
        self.stop.store(true, Ordering::Relaxed);
        self.talking.join().unwrap()
    }
}

fn talk(socket: &UdpSocket, stop: &AtomicBool, count: &AtomicUsize) -> (u64, Vec<Header>) {
    let mut header = Header {
        payload_type: 0,
        marker: true,
        sequence: 65_530,
        timestamp: 0,
        ssrc: 7,
    };
    let (mut sent, mut heard) = (0, Vec::new());
    let mut next = Instant::now();
    let mut buffer = [0; 1500];
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            next += FRAME;
            let mut datagram = header.to_bytes().to_vec();
            datagram.extend([0x55; 160]);
            // A port that is closed says so here.
            sent += u64::from(socket.send(&datagram).is_ok());
            header.sequence = header.sequence.wrapping_add(1);
            header.timestamp += 160;
        }
        if let Ok(len) = socket.recv(&mut buffer) {
            heard.push(Packet::parse(&buffer[..len]).unwrap().header);
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    (sent, heard)
}

fn answer_of(socket: &UdpSocket) -> String {
    let port = socket.local_addr().unwrap().port();
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    )
}

fn socket() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

impl Site {
    /// Opens a phone leg whose phone talks.
    async fn talker(&mut self, leg: LegId) -> Talker {
        open_phone(&self.media, leg);
        let port = media_port(&self.description(leg).await);
        let socket = socket();
        let sdp = answer_of(&socket);
        self.media.send(leg, Command::ApplyAnswer { sdp }).unwrap();
        Talker::start(socket, port)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn late_packets_of_an_old_call_are_not_heard_in_the_next_one() {
    let mut site = Site::start_with(MediaIoConfig {
        phone_ports: 21_300..=21_303,
        port_quarantine: Duration::from_secs(2),
        ..MediaIoConfig::default()
    });
    let phone = site.talker(LegId(1)).await;
    let old = phone.socket.peer_addr().unwrap().port();
    site.close(LegId(1)).await;
    // The phone never heard that it is over.
    open_phone(&site.media, LegId(2));
    assert_ne!(media_port(&site.description(LegId(2)).await), old);
    open_phone(&site.media, LegId(3));
    assert_eq!(site.failure(LegId(3)).await, MediaError::NoPort);
    let sdp = answer_of(&phone.socket);
    phone.stop();
    // The next call on that port is even with the same phone, at the same address.
    let deadline = Instant::now() + PATIENCE;
    for leg in (4..).map(LegId) {
        assert!(Instant::now() < deadline, "the port never came back");
        open_phone(&site.media, leg);
        let opened = site.wait(leg, |what| match what {
            Happened::LocalDescription { sdp } => Some(Some(media_port(sdp))),
            Happened::Failed { .. } => Some(None),
            _ => None,
        });
        let Some(port) = opened.await else {
            tokio::time::sleep(FRAME).await;
            continue;
        };
        assert_eq!(port, old);
        site.media.send(leg, Command::ApplyAnswer { sdp }).unwrap();
        let stats = site.close(leg).await;
        assert_eq!(stats.received.packets, 0, "{stats:?}");
        break;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_leg_moves_between_workers_and_no_packet_is_lost_or_doubled() {
    let mut site = Site::start(21_320..=21_339, 2);
    let (one, other) = (LegId(1), LegId(2));
    let first = site.talker(one).await;
    let second = site.talker(other).await;
    assert_eq!(site.media.legs_by_worker(), [1, 1]);
    let bridge = || Command::Bridge { with: other };
    site.media.send(one, bridge()).unwrap();
    assert_eq!(site.media.legs_by_worker(), [2, 0]);
    // A leg that stays on each worker, to move beside.
    let (there, here) = (LegId(3), LegId(4));
    for (leg, beside) in [(there, None), (here, Some(one))] {
        let open = Command::OpenPhone {
            beside,
            offer: None,
            profile: PhoneProfile::default(),
        };
        site.media.send(leg, open).unwrap();
        site.description(leg).await;
    }
    assert_eq!(site.media.legs_by_worker(), [3, 1]);
    for (beside, bridged) in [(there, [1, 3]), (here, [3, 1]), (there, [1, 3])] {
        first.hears(15).await;
        second.hears(15).await;
        site.media.send(one, Command::Move { beside }).unwrap();
        assert_eq!(site.media.legs_by_worker(), [2, 2]);
        site.media.send(one, bridge()).unwrap();
        assert_eq!(site.media.legs_by_worker(), bridged);
    }
    first.hears(15).await;
    second.hears(15).await;
    for (leg, talker) in [(one, first), (other, second)] {
        let (sent, heard) = talker.stop();
        let stats = site.close(leg).await;
        // The first packet may overtake the answer that names its source.
        let early = stats.dropped.wrong_source;
        assert!(early <= 1, "{stats:?}");
        let received = (stats.received.packets + early, stats.received.lost);
        assert_eq!(received, (sent, 0));
        for pair in heard.windows(2) {
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!(step >= 160 && step % 160 == 0, "{step} ticks");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_for_a_leg_on_its_way_wait_for_it_in_their_turn() {
    let mut site = Site::start(21_400..=21_599, 2);
    for n in (0..40).map(|n| 2 * n) {
        let (leg, beside) = (LegId(n), LegId(n + 1));
        open_phone(&site.media, leg);
        open_phone(&site.media, beside);
        site.description(leg).await;
        site.description(beside).await;
        let sdp = answer_of(&socket());
        let held = format!("{sdp}a=inactive\r\n");
        let orders = [
            (leg, Command::Move { beside }),
            (leg, Command::ApplyAnswer { sdp: sdp.clone() }),
            (beside, Command::ApplyAnswer { sdp }),
            (beside, Command::Bridge { with: leg }),
            (leg, Command::ApplyOffer { sdp: held }),
            (leg, Command::Close),
            (beside, Command::Close),
        ];
        for (leg, order) in orders {
            site.media.send(leg, order).unwrap();
        }
        assert!(site.description(leg).await.contains("a=inactive"));
        for leg in [leg, beside] {
            let closed = site.wait(leg, |what| match what {
                Happened::Closed { .. } => Some(true),
                Happened::Failed { .. } => Some(false),
                _ => None,
            });
            assert!(closed.await, "{leg}");
        }
    }
    assert_eq!(site.media.legs_by_worker(), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_a_hundred_calls_and_gives_every_port_back() {
    // More than are needed: another program may hold some.
    let ports = 22_000..=22_599;
    let (sender, mut events) = tokio::sync::mpsc::channel(2000);
    let config = MediaIoConfig {
        phone_ports: ports,
        workers: 2,
        ..MediaIoConfig::default()
    };
    let media = mxtrunk_media_io::MediaIo::start(config, sender).unwrap();
    for n in (0..100).map(|n| 2 * n) {
        let (one, other) = (LegId(n), LegId(n + 1));
        open_phone(&media, one);
        open_phone(&media, other);
        media.send(one, Command::Bridge { with: other }).unwrap();
    }
    let (mut described, mut used) = (BTreeSet::new(), Vec::new());
    while described.len() < 200 {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await;
        let event = event.expect("in time").expect("the workers live");
        let Happened::LocalDescription { sdp } = &event.what else {
            panic!("{event:?}");
        };
        used.push(media_port(sdp));
        described.insert(event.leg);
    }
    media.shutdown();
    let mut closed = BTreeSet::new();
    while let Ok(event) = events.try_recv() {
        assert!(matches!(event.what, Happened::Closed { .. }), "{event:?}");
        closed.insert(event.leg);
    }
    assert_eq!(closed, described);
    for port in used {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port + 1)).unwrap();
    }
}

/// Set in the process that runs with few descriptors.
const FEW: &str = "MXTRUNK_FEW_DESCRIPTORS";

/// The limit is the whole process's, so this test runs itself in another one.
#[test]
fn without_a_descriptor_left_a_call_is_refused_and_nothing_leaks() {
    if std::env::var_os(FEW).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        return runtime.unwrap().block_on(exhaust_descriptors());
    }
    let name = "lifecycle::without_a_descriptor_left_a_call_is_refused_and_nothing_leaks";
    let status = Program::new("sh")
        .args(["-c", "ulimit -n 60 && exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(FEW, "1")
        .status();
    assert!(status.unwrap().success());
}

async fn exhaust_descriptors() {
    let mut site = Site::start(21_600..=21_999, 1);
    let before = descriptors();
    for round in 0..3 {
        let mut open = Vec::new();
        for leg in (1000 * round..).map(LegId) {
            assert!(open.len() < 60, "there is no limit");
            open_phone(&site.media, leg);
            let refused = site.wait(leg, |what| match what {
                Happened::LocalDescription { .. } => Some(None),
                Happened::Failed { why, .. } => Some(Some(why.clone())),
                _ => None,
            });
            match refused.await {
                None => open.push(leg),
                Some(why) => {
                    assert_eq!(why, MediaError::NoSocket);
                    break;
                }
            }
        }
        assert!(open.len() >= 10, "only {} calls", open.len());
        for leg in open {
            site.close(leg).await;
        }
        assert_eq!((site.media.legs(), descriptors()), (0, before));
    }
}

/// The open descriptors of this process, without the one that lists them.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}
