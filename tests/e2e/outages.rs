//! One side is gone: the other hears about it in time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::browser::CallState;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use tokio::net::UdpSocket;

use super::site::{PATIENCE, SOON, Site};

#[test]
fn element_hears_within_ten_seconds_that_the_pbx_is_down() {
    // Its ten seconds are those of a person: the room that the homeserver makes for the first call is in them.
    namespace::test(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.peers.asterisk.peer().kill().await?;
        let dialled = Instant::now();
        site.alice.dial(extension::ECHO).await?;
        site.ended_by_them(PATIENCE).await?;
        ensure!(dialled.elapsed() < SOON, "it took {:?}", dialled.elapsed());
        site.reads("cannot be reached").await
    });
}

#[test]
fn element_hears_within_ten_seconds_that_the_pbx_died_in_mid_call() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.connect(extension::ECHO).await?;
        pbx_dies_and_the_page_says_so(&mut site).await
    });
}

#[test]
fn element_hears_within_ten_seconds_that_the_pbx_died_while_it_rang() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.alice.dial(extension::NO_ANSWER).await?;
        until("the PBX to ring", PATIENCE, async || {
            let log = site.peers.gateway.logged();
            log.contains("event=\"ringing\"").then_some(())
        })
        .await?;
        pbx_dies_and_the_page_says_so(&mut site).await
    });
}

/// Kills the PBX; the page has to hear of it in time, with the reason.
async fn pbx_dies_and_the_page_says_so(site: &mut Site) -> anyhow::Result<()> {
    let died = Instant::now();
    site.peers.asterisk.peer().kill().await?;
    site.ended_by_them(PATIENCE).await?;
    ensure!(died.elapsed() < SOON, "it took {:?}", died.elapsed());
    site.reads("stopped answering").await
}

#[test]
fn a_call_with_sound_outlives_a_deaf_pbx() {
    namespace::test_beside_others(async |run| {
        let doorman = Doorman::start().await?;
        let changes = format!(
            "[[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\n",
            doorman.address
        );
        let mut site = Site::start(&run, &changes).await?;
        // The call itself comes from Asterisk, at the same address.
        site.peers.phone.dial("2001").await?;
        site.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        site.alice.answer().await?;
        site.alice.reach(&[CallState::Connected], PATIENCE).await?;
        doorman.fall_silent();
        until("five questions in vain", PATIENCE, async || {
            (doorman.ignored() >= 5).then_some(())
        })
        .await?;
        let state = site.alice.state().await?;
        ensure!(state.is == CallState::Connected, "{state:?}");
        let log = site.peers.gateway.logged();
        ensure!(log.contains("peer silent"), "the outage was not noticed");
        Ok(())
    });
}

/// A trunk's target that answers OPTIONS, until it falls silent.
struct Doorman {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
    ignored: Arc<AtomicUsize>,
}

impl Doorman {
    async fn start() -> anyhow::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let doorman = Doorman {
            address: socket.local_addr()?,
            silent: Arc::default(),
            ignored: Arc::default(),
        };
        let (silent, ignored) = (doorman.silent.clone(), doorman.ignored.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            let mut last = None;
            while let Ok((len, asker)) = socket.recv_from(&mut buffer).await {
                let question = String::from_utf8_lossy(&buffer[..len]).into_owned();
                if !silent.load(Ordering::Relaxed) {
                    // What cannot be sent is asked again.
                    let _ = socket.send_to(yes(&question).as_bytes(), asker).await;
                    continue;
                }
                let asked = header(&question, "Call-ID").map(str::to_owned);
                // A retransmission is no question of its own.
                if asked != last {
                    ignored.fetch_add(1, Ordering::Relaxed);
                    last = asked;
                }
            }
        });
        Ok(doorman)
    }

    fn fall_silent(&self) {
        self.silent.store(true, Ordering::Relaxed);
    }

    fn ignored(&self) -> usize {
        self.ignored.load(Ordering::Relaxed)
    }
}

/// 200 to a request.
fn yes(question: &str) -> String {
    let mut answer = "SIP/2.0 200 OK\r\n".to_owned();
    for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
        let value = header(question, name).unwrap_or_default();
        answer.push_str(&format!("{name}: {value}\r\n"));
    }
    answer + "Content-Length: 0\r\n\r\n"
}

fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    message
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

#[test]
fn the_phone_hears_within_ten_seconds_that_the_homeserver_is_down() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.peers.synapse.peer().kill().await?;
        site.peers.phone.dial("2001").await?;
        site.peers.phone.closed(SOON).await?;
        site.pbx_is_quiet(SOON).await
    });
}
