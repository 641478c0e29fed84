//! Calls that go well, or end as people end them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_store::Store;
use mxtrunk_testbed::asterisk::{self, extension};
use mxtrunk_testbed::browser::Family;
use mxtrunk_testbed::demo::site::PASSWORD;
use mxtrunk_testbed::demo::{Check, Scenario};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;

use super::client::Client;
use super::site::{PATIENCE, Site, everything, sounds_right};

#[test]
fn the_calls_of_the_demo_sound_right() {
    namespace::test(async |run| sounds_right(&run, &everything()?).await);
}

#[test]
fn keys_pressed_in_the_browser_reach_the_pbx_once_each() {
    namespace::test(async |run| {
        let site = Site::start(&run, "").await?;
        site.connect(extension::DIGITS).await?;
        site.alice.send_dtmf("1559#").await?;
        until("the PBX to have read the keys", PATIENCE, async || {
            (site.peers.asterisk.digits().ok()? == "1559").then_some(())
        })
        .await
    });
}

/// The settings that the demo leaves at their defaults, for real: one call with sound over each.
#[test]
fn a_trunk_over_tcp_and_ice_lite_carry_a_call_too() {
    namespace::test_beside_others(async |run| {
        let changes = format!(
            "[[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\ntransport = \"tcp\"\n[media]\nice = \"lite\"\n",
            asterisk::SIP
        );
        let mut site = Site::start(&run, &changes).await?;
        site.connect(extension::ECHO).await?;
        site.is_heard_and_hung_up().await?;
        site.answers_the_desk_phone("2001").await?;
        site.peers.phone.hang_up().await?;
        site.ended_by_them(PATIENCE).await.map(drop)
    });
}

/// A trunk that Asterisk takes without encryption from nobody (`res_srtp`, that is libsrtp).
fn encrypted() -> String {
    format!(
        "[sip]\nuser_agent = \"mxtrunk-secure\"\n\
         [[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\nsrtp = \"required\"\nsrtp_without_tls = true\n",
        asterisk::SIP
    )
}

#[test]
fn calls_over_srtp_sound_right() {
    namespace::test(async |run| {
        let check = Check {
            scenarios: vec![Scenario::SpeakToPhone, Scenario::HearPhone, Scenario::Keys],
            changes: encrypted(),
            ..everything()?
        };
        sounds_right(&run, &check).await
    });
}

#[test]
fn a_pbx_that_calls_over_srtp_is_heard_and_hears() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, &encrypted()).await?;
        // 3001 is 2001 by way of the encrypted trunk.
        site.answers_the_desk_phone("3001").await?;
        site.alice.record().await?;
        site.alice.recorded(Duration::from_secs(3)).await?;
        site.peers.phone.hang_up().await?;
        site.ended_by_them(PATIENCE).await?;
        let record = site.record().await?;
        ensure!(record.audio.as_deref() == Some("both"), "{record:?}");
        Ok(())
    });
}

/// The first of the two targets is nobody; and the PBX has to show its password when it calls.
#[test]
fn a_trunk_with_a_dead_target_and_a_password_carries_calls_both_ways() {
    namespace::test_beside_others(async |run| {
        let (username, password) = asterisk::SHOWS;
        let changes = format!(
            "[[trunk]]\nname = \"pbx\"\n\
             targets = [\"127.0.0.9:5060\", {{ address = \"{}\", priority = 1 }}]\n\
             require_auth = {{ username = \"{username}\", password = \"{password}\" }}\n",
            asterisk::SIP
        );
        let mut site = Site::start(&run, &changes).await?;
        site.connect(extension::ECHO).await?;
        site.is_heard_and_hung_up().await?;
        site.answers_the_desk_phone("2001").await?;
        let log = site.peers.gateway.logged();
        ensure!(!log.contains(password), "the password is in the log");
        let printed = site.peers.asterisk.channels()?;
        ensure!(printed > 0, "the PBX has no call");
        site.alice.hangup().await?;
        site.pbx_is_quiet(PATIENCE).await
    });
}

#[test]
fn a_browser_whose_network_lets_no_udp_through_calls_over_tcp() {
    namespace::test(async |run| {
        let check = Check {
            browser: Family::ChromiumOverTcp,
            scenarios: vec![Scenario::BrowserCallsPhone, Scenario::PhoneCallsBrowser],
            changes: "[log]\nlevel = \"debug\"\n".to_owned(),
            ..everything()?
        };
        sounds_right(&run, &check).await?;
        let logged = fs::read_to_string(run.path("gateway.log"))?;
        let seen = logged
            .lines()
            .filter(|line| line.contains("the browser is there"));
        let ways: Vec<&str> = seen.collect();
        ensure!(!ways.is_empty(), "the log does not say how it was reached");
        let over_tcp = ways.iter().all(|line| line.contains("way=Streams"));
        ensure!(over_tcp, "not over TCP alone: {ways:?}");
        Ok(())
    });
}

#[test]
fn hd_voice_passes_straight_through_between_browser_and_pbx() {
    namespace::test(async |run| sounds_right_straight_through(&run, "g722", 9).await);
}

#[test]
fn g711_passes_straight_through_between_browser_and_pbx() {
    namespace::test(async |run| sounds_right_straight_through(&run, "pcmu", 0).await);
}

/// Calls in both directions on a trunk with one codec, judged by their sound; and nothing is transcoded in them.
async fn sounds_right_straight_through(run: &Run, codec: &str, number: u8) -> anyhow::Result<()> {
    let changes = format!(
        "[[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\ncodecs = [\"{codec}\"]\n\
         [media]\ncodec = \"auto\"\n[log]\nlevel = \"debug\"\n",
        asterisk::SIP
    );
    let scenarios = vec![
        Scenario::SpeakToPhone,
        Scenario::HearPhone,
        Scenario::Keys,
        Scenario::PhoneCallsBrowser,
    ];
    let check = Check {
        scenarios,
        changes,
        ..everything()?
    };
    sounds_right(run, &check).await?;
    let at_pbx = fs::read_to_string(run.path("asterisk.log"))?;
    let answer = format!(" RTP/AVP {number} 101");
    ensure!(at_pbx.contains(&answer), "the PBX did not agree to {codec}");
    let logged = fs::read_to_string(run.path("gateway.log"))?;
    // The last line about a leg counts: a caller's answer is provisional until the callee has answered.
    let mut said = BTreeMap::new();
    for line in logged.lines() {
        let leg = line.split_once("what a leg speaks").map(|(_, rest)| rest);
        if let Some((leg, _)) = leg.and_then(|rest| rest.split_once(" ours=")) {
            said.insert(leg, line);
        }
    }
    ensure!(!said.is_empty(), "the log does not say what legs speak");
    // Each side sends the first of what it may.
    let first = format!("=[{codec}").to_lowercase();
    let through = |line: &&&str| line.to_lowercase().matches(&first).count() == 2;
    let transcoded: Vec<_> = said.values().filter(|line| !through(line)).collect();
    ensure!(
        transcoded.is_empty(),
        "some were transcoded: {transcoded:?}"
    );
    Ok(())
}

#[test]
fn a_caller_without_a_line_is_refused_with_a_sentence() {
    namespace::test_beside_others(async |run| {
        let no_alice = "[[line]]\nuser = \"@bob:localtest\"\nextension = \"2002\"\n";
        let site = Site::start(&run, no_alice).await?;
        site.alice.dial(extension::ECHO).await?;
        site.ended_by_them(PATIENCE).await?;
        site.reads("not allowed from here").await?;
        // Any account of the homeserver could fill the disk with them.
        let store = Store::open(&site.peers.gateway.database()).await?;
        let records = store.records(1).await?;
        ensure!(records.is_empty(), "{records:?}");
        Ok(())
    });
}

#[test]
fn an_invite_to_a_number_that_may_not_be_dialled_is_rejected_with_a_sentence() {
    namespace::test_beside_others(async |run| {
        let _site = Site::start(&run, "").await?;
        let alice = Client::sign_in("alice", PASSWORD).await?;
        let nobody = "@tel_5555:localtest";
        let room = alice.room_with(nobody).await?;
        alice.invite(&room).await?;
        let reject = alice.event_of(&room, nobody, "m.call.reject").await?;
        ensure!(reject["reason"] == "unknown_number", "{reject}");
        let notice = alice.event_of(&room, nobody, "m.room.message").await?;
        let sentence = notice["body"].as_str().unwrap_or_default();
        ensure!(
            sentence.starts_with("5555 is not a number that can be called"),
            "{notice}"
        );
        Ok(())
    });
}
