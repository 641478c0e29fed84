//! Hold and resume through a real PBX, and a call that lasts.

use std::fs;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::{self, PHONES, extension};
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::{gateway, namespace};

use super::site::{PATIENCE, Site, command, hum_of};

/// Longer than the desk phone speaks in any of these.
const ALL_THE_TIME: Duration = Duration::from_secs(240);

/// The desk phone calls Alice, and they talk.
async fn called(run: &Run) -> anyhow::Result<Site> {
    let mut site = Site::start_saying(run, "", &hum_of(ALL_THE_TIME)).await?;
    site.alice_says_a_tone().await?;
    site.answers_the_desk_phone("2001").await?;
    Ok(site)
}

#[test]
fn a_desk_phones_hold_shows_in_the_browser_ten_times_and_the_call_survives() {
    namespace::test_beside_others(async |run| {
        let mut site = called(&run).await?;
        for turn in 1..=10 {
            site.peers.phone.hold().await?;
            shows(&site, true, turn).await?;
            site.peers.phone.resume().await?;
            shows(&site, false, turn).await?;
        }
        site.both_hear(&run, PHONES[0], "after-ten-holds").await?;
        site.is_heard_and_hung_up().await
    });
}

pub(super) async fn shows(site: &Site, held: bool, turn: u32) -> anyhow::Result<()> {
    let what = format!("the browser to show held: {held}, turn {turn}");
    until(&what, PATIENCE, async || {
        let shown = site.alice.is_held_by_them().await.ok()?;
        (shown == held).then_some(())
    })
    .await
}

#[test]
fn a_browsers_hold_reaches_the_desk_phone_ten_times_and_the_call_survives() {
    namespace::test_beside_others(async |run| {
        let site = called(&run).await?;
        for turn in 1..=10 {
            site.alice.hold(true).await?;
            told(&run, "a=sendonly", turn).await?;
            site.alice.hold(false).await?;
            told(&run, "a=sendrecv", turn).await?;
        }
        site.both_hear(&run, PHONES[0], "after-ten-holds").await?;
        site.is_heard_and_hung_up().await
    });
}

/// Waits until so many re-INVITEs of the gateway have said this to the PBX, which writes down every message.
pub(super) async fn told(run: &Run, direction: &str, times: usize) -> anyhow::Result<()> {
    let what = format!("the PBX to be told {direction} {times} times");
    until(&what, PATIENCE, async || {
        let log = fs::read_to_string(run.path("asterisk.log")).ok()?;
        let from_us = log.split("<--- ").filter(|message| {
            let head = message.lines().next().unwrap_or_default();
            head.starts_with("Received SIP request")
                && head.contains(gateway::SIP)
                && message.contains(direction)
        });
        (from_us.count() >= times).then_some(())
    })
    .await
}

/// matrix-js-sdk says so by `m.call.sdp_stream_metadata_changed`.
#[test]
fn an_operator_sees_that_a_person_has_muted() {
    namespace::test_beside_others(async |run| {
        let site = Site::start(&run, "").await?;
        site.connect(asterisk::extension::ECHO).await?;
        for muted in [true, false] {
            site.alice.mute(muted).await?;
            until("the list of calls to tell of it", PATIENCE, async || {
                let calls = command(&site.peers.gateway, &["calls"]).await.ok()?;
                let shown = calls.contains("muted by the person");
                (calls.contains("talking") && shown == muted).then_some(())
            })
            .await?;
        }
        site.alice.hangup().await?;
        site.pbx_is_quiet(PATIENCE).await
    });
}

/// 90 s is the shortest session that RFC 4028 and Asterisk know, so this takes its time.
#[test]
#[ignore = "ten minutes long: cargo test --workspace --test mxtrunk -- --ignored ten_minutes"]
fn a_call_of_ten_minutes_with_session_timers_of_90_s_stands() {
    namespace::test(async |run| {
        let changes = format!(
            "[[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\nsession_seconds = 90\n",
            asterisk::SIP
        );
        let site = Site::start(&run, &changes).await?;
        site.connect(extension::ECHO).await?;
        tokio::time::sleep(Duration::from_secs(600)).await;
        site.is_heard_and_hung_up().await?;
        let log = fs::read_to_string(run.path("asterisk.log"))?;
        let refreshes = log.split("<--- ").filter(|message| {
            let mut lines = message.lines();
            let is_request = lines
                .next()
                .is_some_and(|head| head.contains("SIP request"));
            let method = lines.next().unwrap_or_default();
            is_request
                && (method.starts_with("UPDATE ") || method.starts_with("INVITE "))
                && message.contains("Session-Expires: 90")
        });
        // Each half of the interval, and the INVITE that began the call.
        let refreshes = refreshes.count() - 1;
        ensure!(refreshes >= 600 / 45 - 1, "{refreshes} refreshes");
        println!("{refreshes} refreshes in ten minutes");
        Ok(())
    });
}
