//! Two thousand short calls in a row on real sockets: nothing is left of them.
//!
//! A test binary of its own: its memory and its descriptors are nobody else's.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is all test code; clippy sees only the functions marked so"
)]

#[path = "../loopback/peers.rs"]
#[expect(dead_code, reason = "some are for other tests")]
mod peers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mxtrunk_media_io::{
    AudioVerdict, Command, Event, Happened, LegId, LegStats, MediaIo, MediaIoConfig, PhoneProfile,
    Priority,
};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::task::JoinSet;

use peers::{Browser, Conversation, Phone};

const CALLS: u64 = 2000;
/// Before those: the process has its size after 1,200 (measured over 8,000 calls, 40 at once).
const WARM_UP: u64 = 1200;
const AT_ONCE: usize = 40;
/// Each hears at least so many packets of the other's sound.
const PACKETS: usize = 3;
/// What the process may grow by in the calls after the warm-up: 1 KiB a call would show.
const GROWTH_KIB: u64 = 2 * 1024;
/// Short, for a machine that is fast: 400 pairs of ports bear 1,800 calls a second so, and 400 were seen (2026-11-29).
const QUARANTINE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(20);

fn media_port(sdp: &str) -> u16 {
    let line = sdp.lines().find_map(|line| line.strip_prefix("m=audio "));
    line.unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The media plane, and who waits for the events of which leg.
#[derive(Clone)]
struct Plane {
    media: MediaIo,
    waiting: Arc<Mutex<HashMap<LegId, UnboundedSender<Happened>>>>,
}

impl Plane {
    fn start() -> Self {
        let config = MediaIoConfig {
            phone_ports: 23_000..=23_799,
            port_quarantine: QUARANTINE,
            workers: 2,
            ..MediaIoConfig::default()
        };
        let (sender, events) = channel(1024);
        let plane = Plane {
            media: MediaIo::start(config, sender).unwrap(),
            waiting: Arc::default(),
        };
        tokio::spawn(hand_out(plane.waiting.clone(), events));
        plane
    }

    fn leg(&self, id: LegId) -> Leg {
        let (sender, events) = unbounded_channel();
        self.waiting.lock().unwrap().insert(id, sender);
        Leg {
            id,
            plane: self.clone(),
            events,
        }
    }
}

async fn hand_out(
    waiting: Arc<Mutex<HashMap<LegId, UnboundedSender<Happened>>>>,
    mut events: Receiver<Event>,
) {
    while let Some(event) = events.recv().await {
        let waiting = waiting.lock().unwrap();
        if let Some(sender) = waiting.get(&event.leg) {
            let _ = sender.send(event.what);
        }
    }
}

struct Leg {
    id: LegId,
    plane: Plane,
    events: UnboundedReceiver<Happened>,
}

impl Leg {
    fn send(&self, command: Command) {
        self.plane.media.send(self.id, command).unwrap();
    }

    async fn wait<T>(&mut self, pick: impl Fn(Happened) -> Option<T>) -> T {
        loop {
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let event = event.expect("something happens in time");
            if let Some(picked) = pick(event.expect("the plane lives")) {
                return picked;
            }
        }
    }

    async fn description(&mut self) -> String {
        self.wait(|what| match what {
            Happened::LocalDescription { sdp } => Some(sdp),
            Happened::Failed { why, .. } => panic!("{why}"),
            _ => None,
        })
        .await
    }

    async fn close(mut self) -> LegStats {
        self.send(Command::Close);
        let stats = self.wait(|what| match what {
            Happened::Closed { stats } => Some(stats),
            _ => None,
        });
        let stats = stats.await;
        self.plane.waiting.lock().unwrap().remove(&self.id);
        stats
    }
}

/// A call from a browser to a phone: both hear each other, then it is over.
async fn call(plane: Plane, number: u64) {
    let mut browser_leg = plane.leg(LegId(2 * number));
    let mut phone_leg = plane.leg(LegId(2 * number + 1));
    let mut browser = Browser::new().await;
    browser_leg.send(Command::OpenBrowser {
        beside: None,
        priority: Priority::Normal,
        offer: Some(browser.offer()),
    });
    browser.accept_answer(&browser_leg.description().await);
    phone_leg.send(Command::OpenPhone {
        beside: Some(browser_leg.id),
        offer: None,
        profile: PhoneProfile::default(),
    });
    let phone = Phone::new(&phone_leg.description().await).await;
    phone_leg.send(Command::ApplyAnswer {
        sdp: phone.description(),
    });
    browser_leg.send(Command::Bridge { with: phone_leg.id });
    let talk = Conversation::default();
    let (at_browser, at_phone) = tokio::join!(
        browser.talk(talk.clone(), PACKETS),
        phone.talk(talk, PACKETS)
    );
    assert!(at_browser >= PACKETS && at_phone >= PACKETS);
    let browser = browser_leg.close().await;
    let phone = phone_leg.close().await;
    assert_eq!(AudioVerdict::of(&browser, &phone), AudioVerdict::Both);
}

async fn calls(plane: &Plane, numbers: std::ops::Range<u64>) {
    let mut running = JoinSet::new();
    for number in numbers {
        if running.len() == AT_ONCE {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(call(plane.clone(), number));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

/// The resident memory of this process, KiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// The open descriptors of this process.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_calls_in_a_row_leave_nothing_behind() {
    let plane = Plane::start();
    let descriptors_before = descriptors();
    calls(&plane, 0..WARM_UP).await;
    let memory_before = memory();
    calls(&plane, WARM_UP..WARM_UP + CALLS).await;
    let memory_after = memory();
    println!("{CALLS} calls: from {memory_before} to {memory_after} KiB");
    assert_eq!(plane.media.legs(), 0);
    assert_eq!(plane.media.legs_by_worker(), [0, 0]);
    assert_eq!(descriptors(), descriptors_before);
    assert!(
        memory_after <= memory_before + GROWTH_KIB,
        "memory went from {memory_before} to {memory_after} KiB"
    );
    // Every port comes back after its rest: as many calls at once as there are pairs.
    tokio::time::sleep(QUARANTINE).await;
    let mut phones: Vec<Leg> = (0..400).map(|n| plane.leg(LegId(1_000_000 + n))).collect();
    for phone in &mut phones {
        phone.send(Command::OpenPhone {
            beside: None,
            offer: None,
            profile: PhoneProfile::default(),
        });
        phone.description().await;
    }
}
