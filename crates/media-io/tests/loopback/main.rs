//! The workers on real sockets of the loopback interface.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is all test code; clippy sees only the functions marked so"
)]

mod floods;
mod lifecycle;
mod load;
mod peers;
mod streams;

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::time::Duration;

use mxtrunk_media_io::{
    AudioVerdict, Command, Event, Happened, LegId, LegStats, LoadLimits, MediaError, MediaIo,
    MediaIoConfig, PhoneProfile, Priority, Refused, StartError,
};
use tokio::sync::mpsc::{Receiver, channel};

use peers::{Browser, Conversation, Phone};

const PATIENCE: Duration = Duration::from_secs(10);

struct Site {
    media: MediaIo,
    events: Receiver<Event>,
    seen: Vec<Event>,
}

impl Site {
    /// Calls are spread over the workers from the first on.
    fn start(ports: RangeInclusive<u16>, workers: usize) -> Self {
        Self::start_with(MediaIoConfig {
            phone_ports: ports,
            port_quarantine: Duration::ZERO,
            workers,
            load: LoadLimits {
                fill_to: 0.0,
                ..LoadLimits::default()
            },
            ..MediaIoConfig::default()
        })
    }

    fn start_with(config: MediaIoConfig) -> Self {
        let (sender, events) = channel(64);
        Site {
            media: MediaIo::start(config, sender).unwrap(),
            events,
            seen: Vec::new(),
        }
    }

    /// Waits for the next event of `leg` that `pick` takes; earlier ones are looked at too.
    async fn wait<T>(&mut self, leg: LegId, pick: impl Fn(&Happened) -> Option<T>) -> T {
        loop {
            let known = self
                .seen
                .iter()
                .position(|event| event.leg == leg && pick(&event.what).is_some());
            if let Some(index) = known {
                return pick(&self.seen.remove(index).what).unwrap();
            }
            match tokio::time::timeout(PATIENCE, self.events.recv()).await {
                Ok(Some(event)) => self.seen.push(event),
                _ => panic!("{leg}: nothing in time, only {:?}", self.seen),
            }
        }
    }

    async fn description(&mut self, leg: LegId) -> String {
        self.wait(leg, |what| match what {
            Happened::LocalDescription { sdp } => Some(sdp.clone()),
            _ => None,
        })
        .await
    }

    async fn failure(&mut self, leg: LegId) -> MediaError {
        self.wait(leg, |what| match what {
            Happened::Failed { why, .. } => Some(why.clone()),
            _ => None,
        })
        .await
    }

    async fn connected(&mut self, leg: LegId) {
        self.wait(leg, |what| (*what == Happened::Connected).then_some(()))
            .await;
    }

    /// A browser leg that answers this offer.
    async fn answer(&mut self, leg: LegId, offer: String) -> String {
        let open = Command::OpenBrowser {
            beside: None,
            offer: Some(offer),
            priority: Priority::Normal,
        };
        self.media.send(leg, open).unwrap();
        self.description(leg).await
    }

    async fn close(&mut self, leg: LegId) -> LegStats {
        self.media.send(leg, Command::Close).unwrap();
        self.wait(leg, |what| match what {
            Happened::Closed { stats } => Some(stats.clone()),
            _ => None,
        })
        .await
    }

    /// A phone leg whose phone has answered.
    async fn phone(&mut self, leg: LegId, beside: Option<LegId>) -> Phone {
        let open = Command::OpenPhone {
            beside,
            offer: None,
            profile: PhoneProfile::default(),
        };
        self.media.send(leg, open).unwrap();
        let phone = Phone::new(&self.description(leg).await).await;
        let sdp = phone.description();
        self.media.send(leg, Command::ApplyAnswer { sdp }).unwrap();
        phone
    }
}

fn media_port(sdp: &str) -> u16 {
    let line = sdp.lines().find_map(|line| line.strip_prefix("m=audio "));
    line.unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_and_a_phone_hear_each_other() {
    let mut site = Site::start(21_000..=21_019, 1);
    let (browser_leg, phone_leg) = (LegId(1), LegId(2));
    let mut browser = Browser::new().await;
    let answer = site.answer(browser_leg, browser.offer()).await;
    browser.accept_answer(&answer);
    let phone = site.phone(phone_leg, Some(browser_leg)).await;
    let bridge = Command::Bridge { with: phone_leg };
    site.media.send(browser_leg, bridge).unwrap();
    let talk = Conversation::default();
    let browser = tokio::spawn(browser.talk(talk.clone(), 50));
    let phone = tokio::spawn(phone.talk(talk, 50));
    site.connected(browser_leg).await;
    assert!(browser.await.unwrap() >= 50);
    assert!(phone.await.unwrap() >= 50);
    let at_browser = site.close(browser_leg).await;
    let at_phone = site.close(phone_leg).await;
    assert_eq!(AudioVerdict::of(&at_browser, &at_phone), AudioVerdict::Both);
    assert_eq!(site.media.legs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_and_a_phone_hear_each_other_over_ipv6() {
    let mut site = Site::start_with(MediaIoConfig {
        browser_bind: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        phone_bind: Ipv6Addr::LOCALHOST.into(),
        phone_advertise: Ipv6Addr::LOCALHOST.into(),
        phone_ports: 21_260..=21_279,
        ..MediaIoConfig::default()
    });
    let (browser_leg, phone_leg) = (LegId(1), LegId(2));
    let mut browser = Browser::at(Ipv6Addr::LOCALHOST.into()).await;
    let answer = site.answer(browser_leg, browser.offer()).await;
    browser.accept_answer(&answer);
    let phone = site.phone(phone_leg, Some(browser_leg)).await;
    let bridge = Command::Bridge { with: phone_leg };
    site.media.send(browser_leg, bridge).unwrap();
    let talk = Conversation::default();
    let browser = tokio::spawn(browser.talk(talk.clone(), 50));
    let phone = tokio::spawn(phone.talk(talk, 50));
    assert!(browser.await.unwrap() >= 50);
    assert!(phone.await.unwrap() >= 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_on_one_worker_hear_each_other() {
    let mut site = Site::start(21_020..=21_039, 2);
    let (one, other) = (LegId(1), LegId(2));
    let first = site.phone(one, None).await;
    let second = site.phone(other, Some(one)).await;
    site.media
        .send(one, Command::Bridge { with: other })
        .unwrap();
    let talk = Conversation::default();
    let first = tokio::spawn(first.talk(talk.clone(), 30));
    let second = tokio::spawn(second.talk(talk, 30));
    assert!(first.await.unwrap() >= 30 && second.await.unwrap() >= 30);
    site.media.send(one, Command::Probe).unwrap();
    let heard = site.wait(one, |what| match what {
        Happened::Heard { ago } => Some(*ago),
        _ => None,
    });
    let ago = heard.await.expect("it was heard");
    assert!(ago < PATIENCE, "{ago:?}");
    let stats = site.close(one).await;
    assert!(
        stats.received.packets > 0 && stats.sent.carried > 0,
        "{stats:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_asks_for_fax_talks_on_and_a_leg_that_fails_tells_what_flowed() {
    let mut site = Site::start(21_240..=21_259, 1);
    let (one, other) = (LegId(1), LegId(2));
    let first = site.phone(one, None).await;
    let second = site.phone(other, Some(one)).await;
    let bridge = Command::Bridge { with: other };
    site.media.send(one, bridge).unwrap();
    let sdp = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=image 4000 udptl t38\r\n";
    let fax = Command::ApplyOffer { sdp: sdp.into() };
    site.media.send(one, fax).unwrap();
    let refused = site.wait(one, |what| match what {
        Happened::OfferRefused { why } => Some(why.clone()),
        _ => None,
    });
    assert_eq!(refused.await, MediaError::NoCommonCodec);
    let talk = Conversation::default();
    let first = tokio::spawn(first.talk(talk.clone(), 30));
    let second = tokio::spawn(second.talk(talk, 30));
    assert!(first.await.unwrap() >= 30 && second.await.unwrap() >= 30);
    // With itself no leg can be bridged.
    let bridge = Command::Bridge { with: one };
    site.media.send(one, bridge).unwrap();
    let failed = site.wait(one, |what| match what {
        Happened::Failed { stats, .. } => Some(stats.clone()),
        _ => None,
    });
    let failed = failed.await.expect("it was open");
    assert_eq!(
        site.media.send(one, Command::Close),
        Err(Refused::NoSuchLeg)
    );
    let closed = site.close(other).await;
    assert_eq!(AudioVerdict::of(&failed, &closed), AudioVerdict::Both);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_of_a_closed_leg_come_back_and_one_too_many_is_refused() {
    let mut site = Site::start(21_040..=21_043, 1);
    let mut ports = Vec::new();
    for leg in [LegId(1), LegId(2)] {
        open_phone(&site.media, leg);
        ports.push(media_port(&site.description(leg).await));
    }
    assert_eq!(ports, [21_040, 21_042]);
    open_phone(&site.media, LegId(3));
    assert_eq!(site.failure(LegId(3)).await, MediaError::NoPort);
    site.close(LegId(1)).await;
    open_phone(&site.media, LegId(4));
    assert_eq!(media_port(&site.description(LegId(4)).await), 21_040);
    assert_eq!(site.media.legs(), 2);
}

fn open_phone(media: &MediaIo, leg: LegId) {
    let open = Command::OpenPhone {
        beside: None,
        offer: None,
        profile: PhoneProfile::default(),
    };
    media.send(leg, open).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_holds_is_passed_over() {
    let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, 21_061)).unwrap();
    let mut site = Site::start(21_060..=21_063, 1);
    open_phone(&site.media, LegId(1));
    assert_eq!(media_port(&site.description(LegId(1)).await), 21_062);
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leg_that_fails_gives_its_ports_back() {
    let mut site = Site::start(21_080..=21_081, 1);
    for n in 0..10 {
        let open = Command::OpenPhone {
            beside: None,
            offer: Some("rubbish".to_owned()),
            profile: PhoneProfile::default(),
        };
        site.media.send(LegId(n), open).unwrap();
        let why = site.failure(LegId(n)).await;
        assert!(matches!(why, MediaError::BadDescription(_)), "{why}");
    }
    open_phone(&site.media, LegId(11));
    site.description(LegId(11)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_make_no_sense_are_refused() {
    let mut site = Site::start(21_100..=21_119, 2);
    let nobody = LegId(99);
    assert_eq!(
        site.media.send(nobody, Command::Close),
        Err(Refused::NoSuchLeg)
    );
    let beside_nobody = Command::OpenPhone {
        beside: Some(nobody),
        offer: None,
        profile: PhoneProfile::default(),
    };
    assert_eq!(
        site.media.send(LegId(1), beside_nobody),
        Err(Refused::NoSuchLeg)
    );
    for leg in [LegId(1), LegId(2)] {
        let open = Command::OpenBrowser {
            beside: None,
            offer: None,
            priority: Priority::Normal,
        };
        site.media.send(leg, open).unwrap();
        site.description(leg).await;
    }
    let again = Command::OpenPhone {
        beside: None,
        offer: None,
        profile: PhoneProfile::default(),
    };
    assert_eq!(site.media.send(LegId(1), again), Err(Refused::DuplicateLeg));
    let bridge = Command::Bridge { with: LegId(2) };
    assert_eq!(site.media.send(LegId(1), bridge), Err(Refused::OtherWorker));
    let beside = Command::Move { beside: LegId(2) };
    assert_eq!(site.media.send(LegId(1), beside), Err(Refused::OtherWorker));
    let to_nobody = Command::Bridge { with: nobody };
    assert_eq!(
        site.media.send(LegId(1), to_nobody),
        Err(Refused::NoSuchLeg)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_closes_every_leg() {
    let mut site = Site::start(21_120..=21_139, 2);
    for leg in (0..6).map(LegId) {
        open_phone(&site.media, leg);
        site.description(leg).await;
    }
    let other_handle = site.media.clone();
    site.media.shutdown();
    let mut closed = 0;
    while let Ok(event) = site.events.try_recv() {
        closed += usize::from(matches!(event.what, Happened::Closed { .. }));
    }
    assert_eq!(closed, 6);
    let late = other_handle.send(LegId(1), Command::Close);
    assert_eq!(late, Err(Refused::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_while_their_reader_is_slow() {
    let config = MediaIoConfig {
        phone_ports: 21_140..=21_239,
        ..MediaIoConfig::default()
    };
    let (sender, events) = channel(1);
    let mut site = Site {
        media: MediaIo::start(config, sender).unwrap(),
        events,
        seen: Vec::new(),
    };
    for leg in (0..40).map(LegId) {
        open_phone(&site.media, leg);
    }
    for leg in (0..40).map(LegId) {
        site.description(leg).await;
    }
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    let start = |config| {
        MediaIo::start(config, channel(1).0)
            .map(|_| ())
            .unwrap_err()
    };
    let nowhere = MediaIoConfig {
        browser_bind: vec![Ipv4Addr::UNSPECIFIED.into()],
        ..MediaIoConfig::default()
    };
    assert!(matches!(
        start(nowhere),
        StartError::NothingToAdvertise("browsers")
    ));
    let not_all = MediaIoConfig {
        browser_bind: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()],
        browser_advertise: vec![Ipv4Addr::LOCALHOST.into()],
        ..MediaIoConfig::default()
    };
    assert!(matches!(
        start(not_all),
        StartError::NothingToAdvertise("browsers")
    ));
    let behind_neither = MediaIoConfig {
        browser_advertise: vec![Ipv6Addr::LOCALHOST.into()],
        ..MediaIoConfig::default()
    };
    assert!(matches!(
        start(behind_neither),
        StartError::AdvertisedNowhere(_)
    ));
    let no_pair = MediaIoConfig {
        phone_ports: 21_001..=21_002,
        ..MediaIoConfig::default()
    };
    assert!(matches!(start(no_pair), StartError::NoPhonePorts(_)));
    let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let busy = MediaIoConfig {
        browser_port: taken.local_addr().unwrap().port(),
        ..MediaIoConfig::default()
    };
    assert!(matches!(start(busy), StartError::Bind { .. }));
}
