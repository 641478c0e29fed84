//! Floods at the browsers' port.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mxtrunk_media_io::{AudioVerdict, Command, LegId};
use str0m::ice::{StunMessage, TransId};

use crate::Site;
use crate::peers::{Browser, Conversation};

const PER_SECOND: u32 = 10_000;

fn forged(username: &str) -> Vec<u8> {
    let message = StunMessage::binding_request(username, TransId::new(), true, 1, 1, true);
    let mut contents = vec![0; 500];
    let sha1 = |_: &[u8], _: &[&[u8]]| [7; 20];
    let len = message
        .to_bytes(Some(b"guessed"), &mut contents, sha1)
        .unwrap();
    contents.truncate(len);
    contents
}

/// Ten thousand checks a second, of nobody and with the call's own user names, and none of them with its password.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_checks_gets_no_answer_and_a_running_call_loses_nothing() {
    let mut site = Site::start(21_380..=21_399, 1);
    let gateway = site.media.browser_addresses()[0][0];
    let (browser_leg, phone_leg) = (LegId(1), LegId(2));
    let mut browser = Browser::new().await;
    let offer = browser.offer();
    let answer = site.answer(browser_leg, offer.clone()).await;
    browser.accept_answer(&answer);
    let phone = site.phone(phone_leg, Some(browser_leg)).await;
    let bridge = Command::Bridge { with: phone_leg };
    site.media.send(browser_leg, bridge).unwrap();
    let talk = Conversation::default();
    let browser = tokio::spawn(browser.talk(talk.clone(), 200));
    let phone = tokio::spawn(phone.talk(talk, 200));
    site.connected(browser_leg).await;

    let ufrag = |sdp: &str| {
        let mut lines = sdp.lines();
        let line = lines.find_map(|line| line.strip_prefix("a=ice-ufrag:"));
        line.unwrap().to_owned()
    };
    let known = format!("{}:{}", ufrag(&answer), ufrag(&offer));
    let datagrams = [forged("nobody:nothing"), forged(&known)];
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&over);
    let flood = std::thread::spawn(move || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let begin = Instant::now();
        let (mut sent, mut due) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let late = due;
            due = (begin.elapsed().as_secs_f64() * f64::from(PER_SECOND)) as u32;
            // What a busy machine was late with is not made up for all at once.
            for _ in 0..(due - late).min(PER_SECOND / 100) {
                socket.send_to(&datagrams[sent % 2], gateway).unwrap();
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        socket.set_nonblocking(true).unwrap();
        (sent, socket.recv(&mut [0; 100]).is_ok())
    });
    let heard = (browser.await.unwrap(), phone.await.unwrap());
    over.store(true, Ordering::Relaxed);
    let (sent, was_answered) = flood.join().unwrap();
    assert!(sent >= 10_000, "{sent} in all");
    assert!(!was_answered);
    assert!(heard.0 >= 200 && heard.1 >= 200, "{heard:?}");
    let at_browser = site.close(browser_leg).await;
    let at_phone = site.close(phone_leg).await;
    assert_eq!(AudioVerdict::of(&at_browser, &at_phone), AudioVerdict::Both);
    let lost = (at_browser.received.lost, at_phone.received.lost);
    assert_eq!(lost, (0, 0));
    assert!(
        at_browser.dropped.unproven > 1000,
        "{:?}",
        at_browser.dropped
    );
}
