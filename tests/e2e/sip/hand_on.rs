//! A person hands a call on from their client: the PBX is asked to do it, in every way that it may answer, and the gateway
//! does it where the PBX does not.

use anyhow::{Context as _, ensure};
use mxtrunk_store::{CallRecord, Store, UnixMillis};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::process::until;

use super::identity::withholds;
use super::{PATIENCE, Playing, Script, Site, script};

/// Alice, called by the PBX, talks.
async fn talks(site: &Site, script: Script) -> anyhow::Result<(Playing, Call)> {
    let acknowledged = site.messages(script.name).matches("ACK sip:").count();
    let (pbx, call) = site.alice_picks_up(script).await?;
    call.hears("m.call.select_answer").await?;
    site.says(script.name, "ACK sip:", acknowledged + 1).await?;
    Ok((pbx, call))
}

/// Alice, called by the PBX, hands the call on to 1002.
async fn hands_on(site: &Site, script: Script) -> anyhow::Result<(Playing, Call)> {
    let (pbx, call) = talks(site, script).await?;
    call.transfer_to("1002");
    call.hears("m.call.hangup").await.context(script.name)?;
    Ok((pbx, call))
}

async fn record_of_its_end(site: &Site, pbx: Playing) -> anyhow::Result<CallRecord> {
    let name = pbx.name;
    pbx.ends_well().await?;
    site.record().await.context(name)
}

pub(super) async fn a_pbx_that_is_asked_for_a_transfer_does_it_without_us(
    site: &Site,
) -> anyhow::Result<()> {
    for script in [
        script!("pbx-is-asked-to-transfer"),
        script!("pbx-reports-before-it-accepts"),
        script!("pbx-hangs-up-before-it-reports"),
        script!("pbx-ends-its-reports-early"),
    ] {
        // Nobody listens where the gateway would call.
        let (pbx, _) = hands_on(site, script).await?;
        let record = record_of_its_end(site, pbx).await?;
        let to = record.transferred_to.as_deref();
        ensure!(to == Some("1002"), "{}: {record:?}", script.name);
        let ended = record.reason.as_deref();
        ensure!(ended == Some("hung_up"), "{}: {record:?}", script.name);
    }
    Ok(())
}

pub(super) async fn a_pbx_that_tells_that_the_new_party_is_busy_is_hung_up_with_that(
    site: &Site,
) -> anyhow::Result<()> {
    let script = script!("pbx-tells-that-the-new-party-is-busy");
    let (pbx, _) = hands_on(site, script).await?;
    let record = record_of_its_end(site, pbx).await?;
    ensure!(record.transferred_to.is_none(), "{record:?}");
    ensure!(record.reason.as_deref() == Some("busy"), "{record:?}");
    Ok(())
}

pub(super) async fn where_the_pbx_will_not_or_cannot_the_gateway_puts_the_new_party_through(
    site: &Site,
) -> anyhow::Result<()> {
    for script in [
        script!("pbx-does-not-transfer"),
        script!("pbx-does-not-know-refer"),
        script!("pbx-cannot-reach-the-new-party"),
    ] {
        let phone = site.phone(script!("phone-is-called-for-a-person")).await?;
        let (pbx, _) = hands_on(site, script).await?;
        // It hangs up by itself, and that ends the other one's call.
        phone.ends_well().await.context(script.name)?;
        let record = record_of_its_end(site, pbx).await?;
        let to = record.transferred_to.as_deref();
        ensure!(to == Some("1002"), "{}: {record:?}", script.name);
    }
    Ok(())
}

pub(super) async fn a_forwarded_call_that_is_handed_on_says_who_forwarded_it(
    site: &Site,
) -> anyhow::Result<()> {
    let phone = site.phone(script!("phone-hears-who-forwarded")).await?;
    let script = script!("pbx-forwards-a-call-and-does-not-transfer");
    let (pbx, call) = talks(site, script).await?;
    call.transfer_to("1003");
    call.hears("m.call.hangup").await?;
    phone.ends_well().await?;
    pbx.ends_well().await
}

pub(super) async fn a_person_who_hands_a_call_on_to_a_busy_number_ends_it(
    site: &Site,
) -> anyhow::Result<()> {
    let busy = site.phone(script!("phone-is-busy")).await?;
    let (pbx, _) = hands_on(site, script!("pbx-does-not-transfer")).await?;
    busy.ends_well().await?;
    pbx.ends_well().await?;

    // What may not be dialled, the PBX is not asked for.
    let (pbx, call) = talks(site, script!("pbx-calls-and-stays")).await?;
    call.transfer_to("6666");
    call.hears("m.call.hangup").await?;
    let sentence = call.reads().await?;
    ensure!(sentence.contains("6666"), "{sentence}");
    pbx.ends_well().await
}

pub(super) async fn help_sees_who_hands_a_call_on_to_it_whatever_the_line_withholds(
    site: &Site,
) -> anyhow::Result<()> {
    withholds(site, "@alice:localtest", "on").await?;
    let help = site.phone(script!("help-is-called-for-a-person-who-withholds"));
    let help = help.await?;
    let (pbx, call) = talks(site, script!("pbx-calls-and-stays")).await?;
    call.transfer_to("112");
    call.hears("m.call.hangup").await?;
    help.ends_well().await?;
    pbx.ends_well().await?;
    withholds(site, "@alice:localtest", "off").await
}

/// Alice joins the telephone that has called her with one that she calls, and leaves.
async fn joins(site: &Site, consulted: Script) -> anyhow::Result<()> {
    let (pbx, first) = talks(site, script!("pbx-calls-and-stays")).await?;
    let phone = site.phone(consulted).await?;
    let second = site.people.dial("alice", "1002").await?;
    second.is_answered().await?;
    first.transfer_into(&second);
    first.hears("m.call.hangup").await.context(consulted.name)?;
    second
        .hears("m.call.hangup")
        .await
        .context(consulted.name)?;
    phone.ends_well().await?;
    pbx.ends_well().await
}

pub(super) async fn a_person_joins_the_telephones_of_two_calls_and_leaves(
    site: &Site,
) -> anyhow::Result<()> {
    // The PBX does it, and the gateway where that does not.
    joins(site, script!("phone-is-asked-to-join")).await?;
    joins(site, script!("phone-is-consulted")).await
}

/// The telephones that a person has left to each other, and that the gateway stands between.
#[test]
fn a_gateway_killed_between_two_telephones_ends_both_when_it_is_back() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run).await?;
        let script = script!("phone-is-called-for-a-person-and-stays");
        let phone = site.phone(script).await?;
        let (pbx, call) = hands_on(&site, script!("pbx-does-not-transfer")).await?;
        let store = Store::open(&site.gateway.database()).await?;
        until("both telephones to be written down", PATIENCE, async || {
            let live = store.orphans("", UnixMillis(i64::MAX)).await.ok()?;
            let (_, live) = live.into_iter().next()?;
            let both = live.sip_dialog?.matches("\"call_id\"").count() == 2;
            // Both are written down while the second one rings; killed then, it would be another case.
            let in_the_call = site.messages(script.name).contains("ACK sip:");
            (both && in_the_call && live.matrix.is_none()).then_some(())
        })
        .await?;
        site.gateway.kill().await?;
        site.gateway.start().await?;
        tokio::try_join!(phone.ends_well(), pbx.ends_well())?;
        let record = site.record().await?;
        ensure!(record.reason.as_deref() == Some("restarted"), "{record:?}");
        ensure!(store.records(10).await?.len() == 1, "one call, one record");
        // The person had left, and is not told of what does not concern them any more.
        ensure!(
            site.people
                .unread()
                .iter()
                .all(|sent| sent.room != call.room)
        );
        Ok(())
    });
}

const BRIDGED: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 0
transfer = "bridge"
"#;

#[test]
fn a_trunk_that_is_not_to_transfer_is_not_asked() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, BRIDGED).await?;
        let phone = site.phone(script!("phone-is-called-for-a-person")).await?;
        // It takes a REFER for a mistake.
        let (pbx, _) = hands_on(&site, script!("pbx-calls-and-stays")).await?;
        phone.ends_well().await?;
        let record = record_of_its_end(&site, pbx).await?;
        let to = record.transferred_to.as_deref();
        ensure!(to == Some("1002"), "{record:?}");
        Ok(())
    });
}
