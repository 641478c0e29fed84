//! What a worker says of its own load, and what becomes of it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mxtrunk_media_io::{
    Command, Event, Happened, LegId, LoadLimits, MediaIo, MediaIoConfig, Pressure, Priority,
};
use tokio::sync::mpsc::{Receiver, channel};

const PATIENCE: Duration = Duration::from_secs(30);

/// One who sends a worker more than it can read, until dropped.
struct Flood {
    over: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
}

impl Flood {
    fn of(target: SocketAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let sender = |over: Arc<AtomicBool>| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // A full buffer drops it, which is fine.
                    let _ = socket.send_to(&[0x80; 160], target);
                }
            })
        };
        Flood {
            senders: vec![sender(over.clone())],
            over,
        }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            sender.join().unwrap();
        }
    }
}

fn media(load: LoadLimits, ports: std::ops::RangeInclusive<u16>) -> (MediaIo, Receiver<Event>) {
    let config = MediaIoConfig {
        phone_ports: ports,
        load,
        ..MediaIoConfig::default()
    };
    let (sender, events) = channel(64);
    (MediaIo::start(config, sender).unwrap(), events)
}

/// The formats that a leg was offered, in our order.
fn offered(events: &mut Receiver<Event>, leg: LegId) -> String {
    while let Some(event) = events.blocking_recv() {
        match event.what {
            Happened::LocalDescription { sdp } if event.leg == leg => {
                let line = sdp.lines().find_map(|line| line.split_once("SAVPF "));
                return line.unwrap().1.to_owned();
            }
            _ => {}
        }
    }
    panic!("{leg} was not opened");
}

fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_worker_that_is_made_busy_says_so_refuses_and_takes_calls_again_when_it_is_over() {
    // Low, so that a machine with much else to do reaches them too.
    let limits = LoadLimits {
        shed_at: 0.02,
        refuse_at: 0.04,
        ..LoadLimits::default()
    };
    let (media, mut events) = media(limits, 21_300..=21_309);
    let only = || media.loads()[0];
    assert_eq!((only().busy, only().pressure), (0.0, Pressure::Normal));
    assert!(media.headroom().fits_one_more(0));
    let flood = Flood::of(media.browser_addresses()[0][0]);
    until("the worker does not say that it is busy", || {
        only().busy >= 0.04 && only().pressure == Pressure::Refuse
    });
    assert!(!media.headroom().fits_one_more(0));
    let counters = media.counters();
    assert_eq!((counters.shedding_began, counters.refusing_began), (1, 1));
    for (leg, priority) in [(1, Priority::Normal), (2, Priority::Emergency)] {
        let open = Command::OpenBrowser {
            beside: None,
            offer: None,
            priority,
        };
        media.send(LegId(leg), open).unwrap();
    }
    until("a call was not opened, or not counted", || {
        let counters = media.counters();
        (counters.shed_calls, counters.emergencies_under_load) == (1, 1)
    });
    // What is left to do for a new call is less, unless somebody calls for help.
    let spared = offered(&mut events, LegId(1));
    assert!(spared.starts_with("0 8 "), "{spared}");
    let emergency = offered(&mut events, LegId(2));
    assert!(emergency.starts_with("111 "), "{emergency}");
    // Their own deadlines would wake the worker.
    for leg in [1, 2] {
        media.send(LegId(leg), Command::Close).unwrap();
    }
    until("a call was not closed", || media.legs() == 0);
    drop(flood);
    // Nothing wakes it any more but its own wish to be seen at rest.
    until("the worker still refuses", || {
        only().busy < 0.01 && only().pressure == Pressure::Shed
    });
    assert!(media.headroom().fits_one_more(0));
    media.shutdown();
}

#[test]
fn a_worker_that_may_be_as_busy_as_it_likes_refuses_nobody() {
    let never = LoadLimits {
        shed_at: 1.0,
        refuse_at: 1.0,
        late: Duration::ZERO,
        ..LoadLimits::default()
    };
    let (media, _events) = media(never, 21_310..=21_319);
    let flood = Flood::of(media.browser_addresses()[0][0]);
    until("the worker does not say that it is busy", || {
        media.loads()[0].busy >= 0.02
    });
    assert_eq!(media.loads()[0].pressure, Pressure::Normal);
    assert!(media.headroom().fits_one_more(10_000));
    drop(flood);
    media.shutdown();
}
