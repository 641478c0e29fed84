//! The PBX calls a person.

use anyhow::ensure;

use super::{Site, script};

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

    let unknown = script!("pbx-is-told-that-nobody-has-that-number");
    site.pbx(unknown, "2999")?.ends_well().await?;

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
