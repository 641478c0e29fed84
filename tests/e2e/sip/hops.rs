//! Calls that go on from us, and that come back.

use anyhow::ensure;

use super::{Site, script};
use crate::e2e::site::command;

/// Whose line has sent their calls to 1001.
const FRANK: &str = "2006";

pub(super) async fn a_forwarded_call_goes_on_with_one_hop_less_until_none_is_left(
    site: &Site,
) -> anyhow::Result<()> {
    let words = "forward always 1001".split(' ');
    let words = ["line", "@frank:localtest"].into_iter().chain(words);
    command(&site.gateway, &words.collect::<Vec<_>>()).await?;

    let script = script!("phone-is-called-with-four-hops-left");
    let phone = site.phone(script).await?;
    let pbx = site.pbx(script!("pbx-calls-with-five-hops-left"), FRANK)?;
    pbx.ends_well().await?;
    phone.ends_well().await?;

    let phone = site.phone(script!("phone-system-has-no-hop-left")).await?;
    let pbx = site.pbx(script!("pbx-calls-with-one-hop-left"), FRANK)?;
    phone.ends_well().await?;
    pbx.ends_well().await?;
    let record = site.record().await?;
    ensure!(record.reason.as_deref() == Some("no_route"), "{record:?}");
    // What the caller was told.
    ensure!(record.sip_status == Some(404), "{record:?}");
    Ok(())
}

pub(super) async fn a_call_of_ours_that_is_sent_back_is_a_loop(site: &Site) -> anyhow::Result<()> {
    let script = script!("phone-system-sends-a-call-back");
    let phone = site.phone(script).await?;
    let call = site.people.dial("alice", "1001").await?;
    let reject = call.hears("m.call.reject").await?;
    ensure!(reject["reason"] == "unknown_number", "{reject}");
    phone.ends_well().await?;
    let record = site.record().await?;
    ensure!(record.sip_status == Some(482), "{record:?}");
    Ok(())
}
