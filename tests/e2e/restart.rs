//! The gateway is killed, or told to stop, in the middle of a call.

use std::time::Duration;

use anyhow::ensure;
use mxtrunk_store::EndedBy;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;

use super::site::{SOON, Site};

#[test]
fn a_gateway_killed_in_mid_call_ends_the_call_on_both_sides_when_it_is_back() {
    namespace::test(async |run| {
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
        let log = site.peers.gateway.logged();
        ensure!(
            log.contains("matrix=Told phone=Told"),
            "the PBX did not take the BYE"
        );
        Ok(())
    });
}

#[test]
fn a_clean_stop_ends_the_call_on_both_sides() {
    namespace::test(async |run| {
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
