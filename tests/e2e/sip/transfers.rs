//! A telephone hands its call to another by REFER, in every way that it may.

use anyhow::{Context as _, ensure};
use mxtrunk_store::CallRecord;
use mxtrunk_testbed::person::Call;

use super::{Script, Site, script};

/// The person's browser was left alone: nothing rang anew, nothing ended.
fn was_not_disturbed(site: &Site, call: &Call) -> anyhow::Result<()> {
    let unread = site.people.unread();
    let disturbed = unread.iter().find(|sent| {
        let kinds = ["m.call.invite", "m.call.hangup", "m.call.reject"];
        sent.room == call.room && kinds.contains(&sent.event_type.as_str())
    });
    ensure!(disturbed.is_none(), "the browser heard {disturbed:?}");
    Ok(())
}

/// Alice is called, the PBX plays `asks`, the new party plays `comes`; she hangs the call up, and that ends it.
async fn is_handed_on(site: &Site, asks: Script, comes: Script) -> anyhow::Result<CallRecord> {
    let acknowledged = site.messages(comes.name).matches("ACK sip:").count();
    let phone = site.phone(comes).await?;
    let (pbx, call) = site.alice_picks_up(asks).await?;
    call.hears("m.call.select_answer").await?;
    pbx.ends_well().await?;
    site.says(comes.name, "ACK sip:", acknowledged + 1)
        .await
        .context(asks.name)?;
    was_not_disturbed(site, &call).context(asks.name)?;
    call.hang_up();
    phone.ends_well().await.context(asks.name)?;
    site.record().await
}

pub(super) async fn a_telephone_transfers_to_a_number_and_the_browser_keeps_its_call(
    site: &Site,
) -> anyhow::Result<()> {
    for asks in [
        script!("pbx-transfers-blind"),
        script!("pbx-transfers-and-leaves-while-it-rings"),
        script!("pbx-transfers-without-reports"),
    ] {
        let comes = script!("phone-takes-a-transferred-call");
        let record = is_handed_on(site, asks, comes).await?;
        let to = record.transferred_to.as_deref();
        ensure!(to == Some("1002"), "{}: {record:?}", asks.name);
        let ended = record.reason.as_deref();
        ensure!(ended == Some("hung_up"), "{}: {record:?}", asks.name);
    }
    let told = site.gateway.logged();
    ensure!(told.contains("transfers=1"), "the log does not tell");
    Ok(())
}

pub(super) async fn a_telephone_transfers_to_a_call_that_the_pbx_has_already(
    site: &Site,
) -> anyhow::Result<()> {
    let asks = script!("pbx-transfers-attended");
    let comes = script!("phone-takes-the-place-of-another");
    let record = is_handed_on(site, asks, comes).await?;
    let to = record.transferred_to.as_deref();
    ensure!(to == Some("desk-1002"), "{record:?}");
    Ok(())
}

pub(super) async fn a_transfer_that_fails_or_may_not_be_leaves_the_call_as_it_was(
    site: &Site,
) -> anyhow::Result<()> {
    let busy = site.phone(script!("phone-is-busy")).await?;
    let asks = script!("pbx-transfers-to-a-busy-phone");
    stays_and_is_hung_up(site, asks).await?;
    busy.ends_well().await?;
    let asks = script!("pbx-transfers-to-a-number-that-may-not-be-dialled");
    stays_and_is_hung_up(site, asks).await
}

async fn stays_and_is_hung_up(site: &Site, asks: Script) -> anyhow::Result<()> {
    let (pbx, call) = site.alice_picks_up(asks).await?;
    call.hears("m.call.select_answer").await?;
    // The answer to the question that the PBX asks after the failure.
    site.says(asks.name, "CSeq: 3 OPTIONS", 2).await?;
    was_not_disturbed(site, &call).context(asks.name)?;
    call.hang_up();
    pbx.ends_well().await?;
    let record = site.record().await?;
    ensure!(record.transferred_to.is_none(), "{record:?}");
    Ok(())
}

pub(super) async fn a_person_hands_a_call_on_to_a_number_and_the_two_telephones_talk(
    site: &Site,
) -> anyhow::Result<()> {
    let phone = site.phone(script!("phone-is-called-for-a-person")).await?;
    let asks = script!("pbx-calls-and-stays");
    let (pbx, call) = site.alice_picks_up(asks).await?;
    call.hears("m.call.select_answer").await?;
    call.transfer_to("1002");
    call.hears("m.call.hangup").await?;
    // It hangs up by itself, and that ends the other one's call.
    phone.ends_well().await?;
    pbx.ends_well().await?;
    let record = site.record().await?;
    let to = record.transferred_to.as_deref();
    ensure!(to == Some("1002"), "{record:?}");
    Ok(())
}

pub(super) async fn a_person_who_hands_a_call_on_to_a_busy_number_ends_it(
    site: &Site,
) -> anyhow::Result<()> {
    let busy = site.phone(script!("phone-is-busy")).await?;
    let (pbx, call) = site.alice_picks_up(script!("pbx-calls-and-stays")).await?;
    call.hears("m.call.select_answer").await?;
    call.transfer_to("1002");
    call.hears("m.call.hangup").await?;
    busy.ends_well().await?;
    pbx.ends_well().await?;

    let (pbx, call) = site.alice_picks_up(script!("pbx-calls-and-stays")).await?;
    call.hears("m.call.select_answer").await?;
    call.transfer_to("6666");
    call.hears("m.call.hangup").await?;
    let sentence = call.reads().await?;
    ensure!(sentence.contains("6666"), "{sentence}");
    pbx.ends_well().await
}

pub(super) async fn a_person_joins_the_telephones_of_two_calls_and_leaves(
    site: &Site,
) -> anyhow::Result<()> {
    let (pbx, first) = site.alice_picks_up(script!("pbx-calls-and-stays")).await?;
    first.hears("m.call.select_answer").await?;
    let script = script!("phone-is-consulted");
    let phone = site.phone(script).await?;
    let second = site.people.dial("alice", "1002").await?;
    second.is_answered().await?;
    first.transfer_into(&second);
    first.hears("m.call.hangup").await?;
    second.hears("m.call.hangup").await?;
    phone.ends_well().await?;
    pbx.ends_well().await
}
