//! What a PBX lets one hear before it answers, or does not.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_store::Store;
use mxtrunk_testbed::asterisk::{self, extension};
use mxtrunk_testbed::browser::CallState;
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::demo::{Check, Scenario};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;

use super::site::{PATIENCE, Site, everything, hum, sounds_right};

/// How long 608 and 614 announce, ms: the hum, and the breath before it.
const ANNOUNCED: i64 = 4_000;

async fn site(run: &Run, changes: &str) -> anyhow::Result<Site> {
    let site = Site::start(run, changes).await?;
    let clip = write_spoken(run, "announcement", &hum())?;
    site.peers.asterisk.play(&clip)?;
    Ok(site)
}

#[test]
fn an_announcement_is_heard_whole_before_the_pbx_refuses() {
    namespace::test(async |run| {
        let check = Check {
            scenarios: vec![Scenario::Announcement],
            ..everything()?
        };
        sounds_right(&run, &check).await
    });
}

#[test]
fn a_refusal_after_an_announcement_is_told_in_the_room_and_no_call_was_answered() {
    namespace::test_beside_others(async |run| {
        let site = site(&run, "").await?;
        site.connect(extension::EARLY_MEDIA).await?;
        site.ended_by_them(PATIENCE).await?;
        site.reads("608 is busy").await?;
        let record = site.record().await?;
        ensure!(record.answered_at.is_none(), "{record:?}");
        ensure!(record.reason.as_deref() == Some("busy"), "{record:?}");
        ensure!(record.sip_status == Some(486), "{record:?}");
        Ok(())
    });
}

#[test]
fn who_hangs_up_on_the_last_words_of_an_announcement_reads_them_all_the_same() {
    namespace::test_beside_others(async |run| {
        let site = site(&run, "").await?;
        site.connect(extension::EARLY_MEDIA).await?;
        // What was said last is still on its way to the browser then.
        let log = run.path("gateway.log");
        let announced = Duration::from_millis(ANNOUNCED as u64);
        until("the PBX to refuse", PATIENCE + announced, async || {
            let log = std::fs::read_to_string(&log).ok()?;
            log.contains("event=\"refused\"").then_some(())
        })
        .await?;
        site.alice.hangup().await?;
        site.reads("608 is busy").await?;
        let record = site.record().await?;
        ensure!(record.reason.as_deref() == Some("busy"), "{record:?}");
        Ok(())
    });
}

#[test]
fn a_call_with_an_announcement_counts_from_the_answer_on() {
    namespace::test_beside_others(async |run| {
        let site = site(&run, "").await?;
        site.connect(extension::ANNOUNCES).await?;
        let store = Store::open(&site.peers.gateway.database()).await?;
        let begun = store.records(1).await?.pop().context("a record")?;
        ensure!(
            begun.answered_at.is_none(),
            "an announcement is no answer: {begun:?}"
        );
        until("the PBX to answer", PATIENCE, async || {
            let record = store.records(1).await.ok()?.pop()?;
            record.answered_at.map(drop)
        })
        .await?;
        site.is_heard_and_hung_up().await?;
        let record = site.record().await?;
        let answered = record.answered_at.context("an answer")?;
        let waited = answered.0 - record.started_at.0;
        ensure!(
            waited >= ANNOUNCED,
            "answered after {waited} ms: {record:?}"
        );
        Ok(())
    });
}

#[test]
fn where_early_media_is_ignored_the_browser_rings_until_the_pbx_refuses() {
    namespace::test_beside_others(async |run| {
        let changes = format!(
            "[[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\nearly_media = \"ignore\"\n",
            asterisk::SIP
        );
        let site = site(&run, &changes).await?;
        site.alice.dial(extension::EARLY_MEDIA).await?;
        let ended = site
            .ended_by_them(PATIENCE + Duration::from_millis(ANNOUNCED as u64))
            .await?;
        ensure!(
            ended.ended.reason.as_deref() == Some("user_busy"),
            "{ended:?}"
        );
        let history = site.alice.history().await?;
        let was_connected = history.iter().any(|state| state.is == CallState::Connected);
        ensure!(!was_connected, "{history:?}");
        Ok(())
    });
}
