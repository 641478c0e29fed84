//! A person with several devices, called through a real Asterisk: who answers first has the call. Their Matrix side is
//! simulated where two answer in the same moment, and two Chromiums with matrix-js-sdk at a real Synapse at last.

use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::browser::{Browser, CallState, Family, Softphone};
use mxtrunk_testbed::demo::site::PASSWORD;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::{Call, DEVICE};
use mxtrunk_testbed::synapse;

use super::asterisk::{AsteriskSite, CONFIG};
use super::site::{PATIENCE, Site};

const TABLET: &str = "TABLET";

/// The PBX calls Alice, and both of her devices ring.
async fn rung(site: &AsteriskSite) -> anyhow::Result<(Call, Call)> {
    site.asterisk
        .originate("PJSIP/2001@gateway", extension::ECHO)?;
    let browser = site.people.rung("alice").await?;
    let tablet = browser.on(TABLET).await?;
    Ok((browser, tablet))
}

#[test]
fn of_two_devices_that_answer_in_the_same_moment_the_first_has_the_call_and_the_other_is_told() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        for first in [DEVICE, TABLET] {
            let (browser, tablet) = rung(&site).await?;
            let (winner, loser) = match first {
                TABLET => (tablet, browser),
                _ => (browser, tablet),
            };
            winner.answer()?;
            loser.answer()?;
            let selected = winner.hears("m.call.select_answer").await?;
            ensure!(selected["selected_party_id"] == first, "{selected}");
            winner.is_connected().await?;
            // It gives up, and hangs up what is not its call any more.
            loser.hang_up();
            winner.hold().await?;
            winner.resume().await?;
            winner.hang_up();
            let record = site.record().await?;
            ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        }
        ensure!(site.people.unread().iter().all(|sent| {
            !matches!(sent.event_type.as_str(), "m.call.reject" | "m.call.answer")
        }));
        Ok(())
    });
}

#[test]
fn a_call_that_is_declined_on_one_device_is_declined_and_the_other_cannot_take_it_any_more() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let (browser, tablet) = rung(&site).await?;
        tablet.reject();
        browser.answer()?;
        let record = site.record().await?;
        ensure!(record.reason.as_deref() == Some("declined"), "{record:?}");
        ensure!(record.answered_at.is_none(), "{record:?}");
        Ok(())
    });
}

#[test]
fn a_device_that_cannot_take_the_call_leaves_it_to_the_other() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let (browser, tablet) = rung(&site).await?;
        tablet.hang_up();
        browser.answer()?;
        let selected = browser.hears("m.call.select_answer").await?;
        ensure!(selected["selected_party_id"] == DEVICE, "{selected}");
        browser.is_connected().await?;
        browser.hang_up();
        let record = site.record().await?;
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        Ok(())
    });
}

#[test]
fn of_two_browsers_of_a_person_the_one_that_picks_up_talks_and_the_other_stops_ringing() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        let browser = Browser::start(&run, "browser-alice-2", Family::Chromium).await?;
        let url = site.peers.page.url();
        let other = Softphone::sign_in(browser, &url, synapse::URL, "alice", PASSWORD).await?;

        site.peers.phone.dial("2001").await?;
        site.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        other.reach(&[CallState::Incoming], PATIENCE).await?;
        other.answer().await?;
        other.reach(&[CallState::Connected], PATIENCE).await?;
        site.peers.phone.established(PATIENCE).await?;
        let state = site.alice.reach(&[CallState::Ended], PATIENCE).await?;
        let reason = state.ended.reason.as_deref();
        ensure!(reason == Some("answered_elsewhere"), "{state:?}");
        // That it has stopped ends nobody's call.
        other.record().await?;
        other.recorded(Duration::from_secs(3)).await?;
        other.hangup().await?;
        site.peers.phone.closed(PATIENCE).await?;

        // Whoever gives up is heard by both.
        site.peers.phone.dial("2001").await?;
        site.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        other.reach(&[CallState::Incoming], PATIENCE).await?;
        site.peers.phone.hang_up().await?;
        site.ended_by_them(PATIENCE).await?;
        other.reach(&[CallState::Ended], PATIENCE).await?;
        site.pbx_is_quiet(PATIENCE).await
    });
}
