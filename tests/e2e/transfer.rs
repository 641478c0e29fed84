//! A real PBX and a real desk phone hand a person on to somebody else.

use std::fs;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;

use super::site::{PATIENCE, Site};

/// Asterisk asks the gateway by REFER to call the echo in its place.
#[test]
fn a_pbx_that_transfers_by_refer_hands_the_person_on_and_both_sides_are_heard() {
    namespace::test(async |run| {
        let site = Site::start(&run, "").await?;
        site.connect(extension::TRANSFERS).await?;
        until("the call to be handed on", PATIENCE, async || {
            let log = fs::read_to_string(run.path("asterisk.log")).ok()?;
            let told = log.contains("message/sipfrag") && log.contains("SIP/2.0 200 OK\r\n");
            (told && log.contains("Executing [600@site:2] Echo")).then_some(())
        })
        .await?;
        site.is_heard_and_hung_up().await?;
        let record = site.record().await?;
        let to = record.transferred_to.as_deref();
        ensure!(to == Some(extension::ECHO), "{record:?}");
        Ok(())
    });
}

/// The desk phone asks its PBX, which does it by itself.
#[test]
fn a_desk_phone_transfers_the_person_within_its_pbx_and_both_sides_are_heard() {
    namespace::test(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.answers_the_desk_phone("2001").await?;
        site.peers.phone.established(PATIENCE).await?;
        site.peers.phone.transfer(extension::ECHO).await?;
        until("the PBX to have connected the echo", PATIENCE, async || {
            let log = fs::read_to_string(run.path("asterisk.log")).ok()?;
            log.contains("Executing [600@site:2] Echo").then_some(())
        })
        .await?;
        site.is_heard_and_hung_up().await
    });
}
