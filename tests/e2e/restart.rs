//! The gateway is killed, or told to stop, in the middle of a call.

use std::time::Duration;

use anyhow::ensure;
use mxtrunk_store::{EndedBy, Store, UnixMillis};
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::process::until;
use tokio::time::sleep;

use super::asterisk::AsteriskSite;
use super::site::{PATIENCE, SOON, Site, command};

#[test]
fn a_gateway_killed_in_mid_call_ends_the_call_on_both_sides_when_it_is_back() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.connect(extension::ECHO).await?;
        site.peers.gateway.kill().await?;
        ensure!(
            site.peers.asterisk.channels()? > 0,
            "the call died with the gateway: nothing to show"
        );

        site.peers.gateway.start().await?;
        tokio::try_join!(site.ended_by_them(SOON), site.pbx_is_quiet(SOON))?;
        let record = site.record().await?;
        ensure!(record.reason.as_deref() == Some("restarted"), "{record:?}");
        ensure!(record.ended_by == Some(EndedBy::Gateway), "{record:?}");
        // The record says when the call ended before both sides have been told.
        until("the PBX to have taken the BYE", SOON, async || {
            let log = site.peers.gateway.logged();
            log.contains("matrix=Told phone=Told").then_some(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn a_clean_stop_ends_the_call_on_both_sides() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.connect(extension::ECHO).await?;
        site.alice.record().await?;
        site.alice.recorded(Duration::from_secs(2)).await?;
        let status = site.peers.gateway.stop().await?;
        ensure!(status.success(), "{status}");
        tokio::try_join!(site.ended_by_them(SOON), site.pbx_is_quiet(SOON))?;
        let record = site.record().await?;
        ensure!(
            record.reason.as_deref() == Some("shutting_down"),
            "{record:?}"
        );
        ensure!(record.audio.as_deref() == Some("both"), "{record:?}");
        Ok(())
    });
}

#[test]
fn a_gateway_killed_while_telephones_ring_leaves_none_ringing() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &[], "").await?;
        let dialled = site.people.dial("alice", extension::NO_ANSWER).await?;
        site.asterisk
            .originate("PJSIP/2002@gateway", extension::ECHO)?;
        let rings = site.people.rung("bob").await?;
        let store = Store::open(&site.gateway.database()).await?;
        until("both telephones to be written down", PATIENCE, async || {
            let live = store.orphans("nobody", UnixMillis(i64::MAX)).await.ok()?;
            let known = live.iter().filter(|(_, live)| live.sip_dialog.is_some());
            (known.count() == 2).then_some(())
        })
        .await?;
        ensure!(site.asterisk.channels()? == 2, "nothing rings");
        store.close().await;
        site.gateway.kill().await?;
        site.gateway.start().await?;
        site.pbx_is_quiet().await?;
        dialled.hears("m.call.hangup").await?;
        rings.hears("m.call.hangup").await?;
        Ok(())
    });
}

/// How long somebody waits who soon gives up.
const BRIEFLY: Duration = Duration::from_secs(2);
const FOR_LONG: Duration = Duration::from_secs(60);

/// During an outage of the gateway or the homeserver, Alice dials a number and gives up, and Bob dials another and waits.
async fn dial_in_an_outage(site: &AsteriskSite, given_up: &str) -> anyhow::Result<[Call; 2]> {
    let dial = async |user, number, lifetime| {
        let room = site.people.room_with(user, number);
        site.people.dial_in(&room, user, number, lifetime).await
    };
    let stale = dial("alice", given_up, BRIEFLY).await?;
    let fresh = dial("bob", extension::ECHO, FOR_LONG).await?;
    // As long as her client rings.
    sleep(BRIEFLY).await;
    Ok([stale, fresh])
}

/// The outage is over: Bob is connected, and hangs up; what Alice has dialled before him has not been called.
async fn placed_late(
    site: &AsteriskSite,
    [stale, fresh]: [Call; 2],
    given_up: &str,
) -> anyhow::Result<()> {
    fresh.is_answered().await?;
    fresh.is_connected().await?;
    let calls = command(&site.gateway, &["calls"]).await?;
    ensure!(calls.lines().count() == 1, "{calls}");
    fresh.hang_up();
    site.pbx_is_quiet().await?;
    let called = site.pbx_log().contains(&format!("INVITE sip:{given_up}@"));
    ensure!(!called, "{given_up} was called for nobody");
    let told = site.people.unread();
    let told = told.iter().find(|sent| sent.room == stale.room);
    ensure!(told.is_none(), "nobody listened: {told:?}");
    Ok(())
}

#[test]
fn what_was_dialled_during_an_outage_is_called_only_where_somebody_still_waits() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &[], "").await?;
        site.gateway.kill().await?;
        let dialled = dial_in_an_outage(&site, extension::NO_ANSWER).await?;
        site.gateway.start().await?;
        placed_late(&site, dialled, extension::NO_ANSWER).await?;

        let homeserver = site.people.homeserver();
        homeserver.goes_down();
        let dialled = dial_in_an_outage(&site, extension::BUSY).await?;
        homeserver.comes_back();
        placed_late(&site, dialled, extension::BUSY).await
    });
}
