//! The PBX calls a person.

use anyhow::{Context as _, ensure};
use mxtrunk_store::Store;
use mxtrunk_testbed::process::until;

use super::super::site::command;
use super::{PATIENCE, Site, script};

pub(super) async fn a_call_from_the_pbx_is_answered_and_ends_from_either_side_with_its_reason(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, call) = site
        .alice_picks_up(script!("pbx-calls-and-hangs-up"))
        .await?;
    call.hears("m.call.hangup").await?;
    pbx.ends_well().await?;
    let record = site.record().await?;
    let reason = record.sip_reason.as_deref().unwrap_or_default();
    ensure!(reason.starts_with("Q.850;cause=16"), "{record:?}");

    let (pbx, call) = site
        .alice_picks_up(script!("pbx-calls-and-is-hung-up"))
        .await?;
    pbx.is_answered().await?;
    call.hang_up();
    pbx.ends_well().await
}

pub(super) async fn a_call_from_the_pbx_is_refused_with_the_status_that_says_why(
    site: &Site,
) -> anyhow::Result<()> {
    let declined = script!("pbx-is-told-that-the-person-declines");
    let pbx = site.pbx(declined, "2001")?;
    site.people.rung("alice").await?.reject();
    pbx.ends_well().await?;

    let store = Store::open(&site.gateway.database()).await?;
    let before = store.records(100).await?.len();
    let unknown = script!("pbx-is-told-that-nobody-has-that-number");
    site.pbx(unknown, "2999")?.ends_well().await?;
    a_call_for_nobody_is_found_by_its_name_in_the_log(site).await?;
    let after = store.records(100).await?.len();
    ensure!(after == before, "nobody's call has a record");

    // The same telephone once more, while it rings at a line without call waiting.
    let ringing = site.pbx(script!("pbx-calls-and-is-hung-up"), "2005")?;
    let call = site.people.rung("eve").await?;
    let busy = script!("pbx-is-told-that-the-person-is-busy");
    site.pbx_at(5064, busy, "2005")?.ends_well().await?;
    call.answer()?;
    ringing.is_answered().await?;
    call.hang_up();
    ringing.ends_well().await
}

/// Its line named it not at all.
async fn a_call_for_nobody_is_found_by_its_name_in_the_log(site: &Site) -> anyhow::Result<()> {
    let line = until("the log to tell of it", PATIENCE, async || {
        let log = site.gateway.logged();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("call refused before it rang"));
        lines.next_back().map(str::to_owned)
    })
    .await?;
    let mut fields = line.split_whitespace().rev();
    let call = fields.find_map(|field| field.strip_prefix("call="));
    let call = call.with_context(|| format!("of which call? {line}"))?;
    let ladder = command(&site.gateway, &["trace", call]).await?;
    ensure!(ladder.contains("404 Not Found (INVITE)"), "{ladder}");
    Ok(())
}

pub(super) async fn a_caller_at_the_pbx_gives_up_and_the_browser_stops_ringing(
    site: &Site,
) -> anyhow::Result<()> {
    let pbx = site.pbx(script!("pbx-calls-and-cancels"), "2001")?;
    let call = site.people.rung("alice").await?;
    let hangup = call.hears("m.call.hangup").await?;
    ensure!(hangup["reason"] == "answered_elsewhere", "{hangup}");
    pbx.ends_well().await
}

pub(super) async fn a_call_through_a_proxy_or_a_nat_is_spoken_to_by_the_way_it_came(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, call) = site
        .alice_picks_up(script!("pbx-calls-through-a-proxy"))
        .await?;
    pbx.is_answered().await?;
    call.hang_up();
    pbx.ends_well().await?;
    let (pbx, _call) = site
        .alice_picks_up(script!("pbx-calls-from-behind-a-nat"))
        .await?;
    pbx.ends_well().await
}

pub(super) async fn a_caller_who_wants_reliable_ringing_or_our_offer_gets_it(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, _call) = site
        .alice_picks_up(script!("pbx-calls-and-wants-prack"))
        .await?;
    pbx.ends_well().await?;
    let (pbx, _call) = site
        .alice_picks_up(script!("pbx-calls-without-an-offer"))
        .await?;
    pbx.ends_well().await
}

pub(super) async fn a_session_that_the_pbx_times_is_agreed_to_and_refreshed(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, _call) = site
        .alice_picks_up(script!("pbx-asks-for-too-short-a-session"))
        .await?;
    pbx.ends_well().await?;
    let (pbx, _call) = site
        .alice_picks_up(script!("pbx-refreshes-the-session"))
        .await?;
    pbx.ends_well().await
}
