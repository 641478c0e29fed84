//! Browsers by TCP, and those who only pretend to be some.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use mxtrunk_media_io::{AudioVerdict, Command, LegId, MediaIoConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::peers::{Browser, Conversation, framed, tcp_address};
use crate::{PATIENCE, Site};

const ONE: LegId = LegId(1);
const OTHER: LegId = LegId(2);

fn site(ports: RangeInclusive<u16>) -> Site {
    Site::start_with(MediaIoConfig {
        browser_tcp_port: Some(0),
        phone_ports: ports,
        ..MediaIoConfig::default()
    })
}

impl Site {
    /// Where the one worker takes connections.
    fn tcp(&self) -> SocketAddr {
        self.media.browser_addresses()[0][1]
    }

    /// A browser by TCP and a phone talk until both have heard 50 packets.
    async fn talk_by_tcp(&mut self) {
        let mut browser = Browser::by_tcp();
        let answer = self.answer(ONE, browser.offer()).await;
        browser.plug_in(&answer).await;
        browser.accept_answer(&answer);
        let phone = self.phone(OTHER, Some(ONE)).await;
        let bridge = Command::Bridge { with: OTHER };
        self.media.send(ONE, bridge).unwrap();
        let talk = Conversation::default();
        let browser = tokio::spawn(browser.talk(talk.clone(), 50));
        let phone = tokio::spawn(phone.talk(talk, 50));
        assert!(browser.await.unwrap() >= 50);
        assert!(phone.await.unwrap() >= 50);
        let at_browser = self.close(ONE).await;
        let at_phone = self.close(OTHER).await;
        assert_eq!(AudioVerdict::of(&at_browser, &at_phone), AudioVerdict::Both);
    }
}

/// The gateway closes the connection.
async fn closes(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    // A reset is an end too.
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    ended.is_ok() && rest.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_only_tcp_lets_through_and_a_phone_hear_each_other() {
    site(21_280..=21_299).talk_by_tcp().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_first_frame_is_no_good_check_is_closed_at_once() {
    let mut site = site(21_300..=21_319);
    let browser = Browser::by_tcp();
    let answer = site.answer(ONE, browser.offer()).await;
    let address = tcp_address(&answer);
    assert_eq!(address, site.tcp());
    // A DTLS record, RTP, a check of nobody; then what is no frame: too long, or empty.
    let stranger = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    for bytes in [
        framed(&[22; 100]),
        framed(&[128; 100]),
        framed(&stranger),
        vec![0xff, 0xff, 1, 2, 3],
        vec![0, 0],
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let asked = std::time::Instant::now();
        assert!(closes(stream).await, "{:?}", &bytes[..2]);
        assert!(asked.elapsed() < Duration::from_secs(3), "only by time");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_say_nothing_or_a_byte_at_a_time_have_seconds_only() {
    let site = site(21_320..=21_339);
    let silent = TcpStream::connect(site.tcp()).await.unwrap();
    let mut slow = TcpStream::connect(site.tcp()).await.unwrap();
    let drip = tokio::spawn(async move {
        for byte in framed(&[0; 100]) {
            if slow.write_all(&[byte]).await.is_err() {
                return true;
            }
            sleep(Duration::from_millis(200)).await;
        }
        false
    });
    assert!(closes(silent).await);
    assert!(drip.await.unwrap(), "a hundred bytes in twenty seconds");
}

/// Slow-loris: more connections than there is room for, all silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_in_though_strangers_hold_as_many_connections_as_they_can() {
    let mut site = site(21_340..=21_359);
    let mut held = Vec::new();
    for n in 0..600u32 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        // From sixty addresses.
        let from = Ipv4Addr::new(127, 0, 9, 1 + (n % 60) as u8);
        socket.bind((from, 0).into()).unwrap();
        held.push(socket.connect(site.tcp()).await.unwrap());
    }
    site.talk_by_tcp().await;
    let mut open = 0;
    for stream in &held {
        open += usize::from(stream.try_read(&mut [0; 1]).is_err());
    }
    assert!(open <= 128, "{open} connections are still open");
}

/// What it does not read may neither pile up here nor keep the worker from others.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_never_reads_does_not_hold_up_a_call() {
    let mut site = site(21_360..=21_379);
    let (never_reads, its_phone) = (LegId(3), LegId(4));
    let mut deaf = Browser::by_tcp();
    let answer = site.answer(never_reads, deaf.offer()).await;
    deaf.plug_in(&answer).await;
    deaf.accept_answer(&answer);
    let phone = site.phone(its_phone, Some(never_reads)).await;
    let bridge = Command::Bridge { with: its_phone };
    site.media.send(never_reads, bridge).unwrap();
    let talk = Conversation::default();
    let phone = tokio::spawn(phone.talk(talk.clone(), usize::MAX));
    let deaf = tokio::spawn(deaf.talk_then_go_deaf(20));
    site.connected(never_reads).await;
    let held = deaf.await.unwrap();
    site.talk_by_tcp().await;
    drop(held);
    phone.abort();
    site.close(never_reads).await;
    site.close(its_phone).await;
}
