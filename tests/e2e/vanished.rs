//! A browser that is gone without a word in mid-call: nobody hangs up for it. Its call waits for it to come back, for a
//! while; what is sent and not sent meanwhile is in `crates/media/tests/ice`.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mxtrunk_store::{EndedBy, Store};
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::browser::{Browser, CallState, Family, Softphone};
use mxtrunk_testbed::demo::site::PASSWORD;
use mxtrunk_testbed::gateway::Gateway;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::synapse;

use super::asterisk::{AsteriskSite, CONFIG};
use super::site::{PATIENCE, Site, call_of, ladder};

/// Consent ends 30 s after the last sign of it (RFC 7675), and ICE gives up before that.
const CONSENT: Duration = Duration::from_secs(35);
/// How long a call waits from then on.
const GRACE: Duration = Duration::from_secs(30);
/// By how much what is looked at every now and then may be off.
const SLACK: Duration = Duration::from_secs(5);

const LOST: &str = "media: connection lost";

/// A person hears themselves in a call to the echo.
async fn talks(site: &AsteriskSite, user: &str) -> anyhow::Result<Call> {
    let call = site.people.dial(user, extension::ECHO).await?;
    call.is_answered().await?;
    call.is_connected().await?;
    call.talks().await?;
    Ok(call)
}

/// The gateway has noticed that these are gone.
async fn are_lost(gateway: &Gateway, calls: &[&str]) -> anyhow::Result<()> {
    for call in calls {
        until("the loss of the browser", CONSENT, async || {
            let ladder = ladder(gateway, call).await.ok()?;
            ladder.contains(LOST).then_some(())
        })
        .await?;
    }
    Ok(())
}

/// After the loss came a new offer of the person's client, and a connection: where the browser has its old address still, it
/// may be there before its offer is.
async fn has_restarted_ice(gateway: &Gateway, call: &str) -> anyhow::Result<()> {
    let ladder = ladder(gateway, call).await?;
    let (_, after) = ladder.split_once(LOST).unwrap_or_default();
    for part in ["m.call.negotiate", "media: connected"] {
        ensure!(after.contains(part), "no {part} after the loss: {ladder}");
    }
    Ok(())
}

#[test]
fn a_browser_that_vanishes_is_waited_for_and_one_that_restarts_ice_meanwhile_keeps_its_call() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let (gone, back) = (talks(&site, "alice").await?, talks(&site, "bob").await?);
        let gateway = &site.gateway;
        let named = (
            call_of(gateway, "alice").await?,
            call_of(gateway, "bob").await?,
        );
        gone.vanishes();
        back.vanishes();
        are_lost(gateway, &[&named.0, &named.1]).await?;
        let lost = Instant::now();

        back.restarts_ice_in_another_network().await?;
        back.sounds(true).await?;
        has_restarted_ice(gateway, &named.1).await?;
        ensure!(
            site.asterisk.channels()? == 2,
            "the other was not waited for"
        );

        let told = gone.hears_within("m.call.hangup", GRACE + SLACK).await?;
        ensure!(told["reason"] == "ice_timeout", "{told}");
        let waited = lost.elapsed();
        ensure!(waited > GRACE - SLACK, "only {waited:?}");
        let sentence = gone.reads().await?;
        ensure!(sentence.starts_with("The sound connection"), "{sentence}");
        until("the telephone to be hung up", SLACK, async || {
            (site.asterisk.channels().ok()? == 1).then_some(())
        })
        .await?;
        let heard = site.pbx_log();
        ensure!(heard.contains("Reason: Q.850;cause=41"), "with no reason");
        let record = &site.records_of("alice").await?[0];
        ensure!(record.reason.as_deref() == Some("media_lost"), "{record:?}");
        ensure!(record.ended_by == Some(EndedBy::Gateway), "{record:?}");
        ensure!(record.audio.as_deref() == Some("both"), "{record:?}");

        back.sounds(true).await?;
        back.hang_up();
        site.pbx_is_quiet().await?;
        let record = &site.records_of("bob").await?[0];
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        Ok(())
    });
}

/// Nobody runs what pages do when they are closed (`pagehide`).
#[test]
fn a_chromium_that_is_killed_is_hung_up_and_one_that_has_slept_restarts_ice_and_talks_on() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.alice_says_a_tone().await?;
        let browser = Browser::start(&run, "browser-bob", Family::Chromium).await?;
        let url = site.peers.page.url();
        let bob = Softphone::sign_in(browser, &url, synapse::URL, "bob", PASSWORD).await?;
        bob.dial(extension::ECHO).await?;
        bob.reach(&[CallState::Connected], PATIENCE).await?;
        site.connect(extension::ECHO).await?;
        site.alice_hears("her echo").await?;
        let gateway = &site.peers.gateway;
        let named = (
            call_of(gateway, "alice").await?,
            call_of(gateway, "bob").await?,
        );
        drop(bob);
        site.alice.browser().sleeps(true)?;
        are_lost(gateway, &[&named.0, &named.1]).await?;

        site.alice.browser().sleeps(false)?;
        site.alice.restart_ice().await?;
        until("a connection", PATIENCE, async || {
            has_restarted_ice(gateway, &named.0).await.ok()
        })
        .await?;
        site.alice_hears("her echo after the sleep").await?;
        until("the telephone to be hung up", GRACE + SLACK, async || {
            (site.peers.asterisk.channels().ok()? == 1).then_some(())
        })
        .await?;
        let state = site.alice.state().await?;
        ensure!(state.is == CallState::Connected, "{state:?}");
        site.alice.hangup().await?;
        site.pbx_is_quiet(PATIENCE).await?;

        let store = Store::open(&gateway.database()).await?;
        for (call, ended) in [(named.0, "hung_up"), (named.1, "media_lost")] {
            until(&format!("{call} to be {ended}"), PATIENCE, async || {
                let mut records = store.records(2).await.ok()?.into_iter();
                let record = records.find(|record| record.id.0 == call)?;
                (record.reason.as_deref() == Some(ended)).then_some(())
            })
            .await?;
        }
        Ok(())
    });
}
