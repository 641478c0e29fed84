//! User agents for tests: addresses, timers and waiting.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use mxtrunk_sip::{
    Caller, Command, Event, Happened, LegId, Listener, SipConfig, Timers, Transport, TrunkConfig,
    TrunkName, UserAgent,
};
use tokio::sync::mpsc;

/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
pub(crate) const ANSWER: &str = "v=0\r\no=- 2 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";

/// An address that no other test has.
pub(crate) fn address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = [number / 254, 1 + number % 254].map(|part| part as u8);
    let process = 10 + (std::process::id() % 200) as u8;
    SocketAddr::new(Ipv4Addr::new(127, process, high, low).into(), 5060)
}

pub(crate) fn timers() -> Timers {
    Timers {
        t1: Duration::from_millis(40),
        t2: Duration::from_millis(160),
        t4: Duration::from_millis(200),
        reoffer: Duration::from_millis(500),
        min_session: Duration::from_secs(1),
        probe_every: Duration::from_millis(80),
        probe_within: Duration::from_millis(200),
    }
}

/// The trunk of a user agent to one peer, called `peer`.
pub(crate) fn trunk(target: SocketAddr, transport: Transport) -> TrunkConfig {
    TrunkConfig {
        transport,
        options_every: Duration::ZERO,
        answer_within: Duration::from_secs(4),
        ..TrunkConfig::new("peer", target)
    }
}

pub(crate) fn config(bind: SocketAddr, trunk: TrunkConfig) -> SipConfig {
    // Far from the ids that tests give to outgoing legs.
    let next = AtomicU64::new(1_000);
    let listener = Listener {
        transport: trunk.transport,
        bind,
        advertise: None,
    };
    SipConfig {
        timers: timers(),
        ..SipConfig::new(
            vec![listener],
            vec![trunk],
            Arc::new(move || LegId(next.fetch_add(1, Ordering::Relaxed))),
        )
    }
}

/// A user agent and what it says.
pub(crate) struct Peer {
    pub(crate) agent: UserAgent,
    pub(crate) events: mpsc::Receiver<Event>,
}

impl Peer {
    pub(crate) async fn start(config: SipConfig) -> Self {
        let (sender, events) = mpsc::channel(64);
        let agent = UserAgent::start(config, sender).await.unwrap();
        Self { agent, events }
    }

    pub(crate) async fn next(&mut self) -> Event {
        tokio::time::timeout(DEADLINE, self.events.recv())
            .await
            .expect("an event in time")
            .expect("a user agent that lives")
    }

    /// The next event, which is this leg's.
    pub(crate) async fn on(&mut self, leg: LegId) -> Happened {
        let event = self.next().await;
        assert_eq!(event.leg, leg, "{event:?}");
        event.what
    }

    /// The next event, which is a new incoming leg.
    pub(crate) async fn incoming(&mut self) -> LegId {
        let event = self.next().await;
        assert!(matches!(event.what, Happened::Incoming { .. }), "{event:?}");
        event.leg
    }

    pub(crate) fn call(&self, leg: u64, to: &str) -> LegId {
        let invite = Command::Invite {
            trunk: TrunkName("peer".into()),
            to: to.into(),
            from: Caller {
                number: "2001".into(),
                display: Some("Ada".into()),
            },
            sdp: OFFER.into(),
            replaces: None,
            referred_by: None,
            forwarded: None,
            account: None,
        };
        self.agent.send(LegId(leg), invite).unwrap();
        LegId(leg)
    }

    pub(crate) fn tell(&self, leg: LegId, command: Command) {
        self.agent.send(leg, command).unwrap();
    }

    /// Waits until no leg is left.
    pub(crate) async fn idle(&self) {
        until(|| self.agent.legs() == 0, "legs are left over").await;
    }
}

/// Two user agents that are each other's trunk.
pub(crate) async fn pair(transport: Transport) -> (Peer, Peer) {
    let (a, b) = (address(), address());
    let left = Peer::start(config(a, trunk(b, transport))).await;
    let right = Peer::start(config(b, trunk(a, transport))).await;
    (left, right)
}

/// A call from `left` to `right`, answered.
pub(crate) async fn answered(left: &mut Peer, right: &mut Peer) -> (LegId, LegId) {
    let out = left.call(1, "1001");
    let inc = right.incoming().await;
    right.tell(inc, Command::Answer { sdp: ANSWER.into() });
    let what = left.on(out).await;
    assert!(
        matches!(&what, Happened::Answered { sdp, .. } if sdp == ANSWER),
        "{what:?}"
    );
    let what = right.on(inc).await;
    assert!(matches!(what, Happened::Established { .. }), "{what:?}");
    (out, inc)
}

/// Polls until something is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool, or_else: &str) {
    let start = tokio::time::Instant::now();
    while !so() {
        assert!(start.elapsed() < DEADLINE, "{or_else}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) fn ip(address: SocketAddr) -> IpAddr {
    address.ip()
}
