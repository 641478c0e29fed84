//! A telephone hands its call to another by REFER, in every way that it may.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context as _, ensure};
use mxtrunk_store::CallRecord;
use mxtrunk_testbed::gateway;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::process::{Peer, until};
use mxtrunk_testbed::sipp::Scenario;

use super::{PATIENCE, PHONE, Script, Site, script};

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
    if asks.name != script!("pbx-transfers-attended").name {
        let told = call.hears("m.call.asserted_identity").await?;
        let who = &told["asserted_identity"];
        ensure!(who["id"] == "@tel_1002:localtest", "{told}");
    }
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

/// As a carrier is: it lets its customers write what they like.
const UNTRUSTED: &str = r#"
[[trunk]]
name = "carrier"
target = "127.0.0.1:5060"
options_seconds = 0
[numbers]
dialable = []
"#;

#[test]
fn a_caller_over_a_trunk_that_is_not_trusted_has_an_extension_called_and_no_number_that_costs() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, UNTRUSTED).await?;
        let comes = script!("phone-takes-a-transferred-call");
        is_handed_on(&site, script!("pbx-transfers-blind"), comes).await?;

        let phone = UdpSocket::bind((Ipv4Addr::LOCALHOST, PHONE))?;
        phone.set_nonblocking(true)?;
        stays_and_is_hung_up(&site, script!("pbx-transfers-to-a-number-that-costs")).await?;
        let called = phone.recv(&mut [0; 1500]);
        ensure!(
            called.is_err(),
            "something was sent where numbers are called"
        );
        let log = site.gateway.logged();
        let told = log
            .lines()
            .find(|line| line.contains("refer_to of its [[trunk]]"));
        let told = told.context("the log does not tell")?;
        let is_told = told.contains("INFO") && told.contains("carrier") && !told.contains("49301");
        ensure!(is_told, "{told}");
        Ok(())
    });
}

async fn stays_and_is_hung_up(site: &Site, asks: Script) -> anyhow::Result<()> {
    let (pbx, call) = site.alice_picks_up(asks).await?;
    // The answer to the question that the PBX asks after the failure.
    site.says(asks.name, "CSeq: 3 OPTIONS", 2).await?;
    was_not_disturbed(site, &call).context(asks.name)?;
    call.hang_up();
    pbx.ends_well().await?;
    let record = site.record().await?;
    ensure!(record.transferred_to.is_none(), "{record:?}");
    Ok(())
}

/// A header of the first message in a log that starts so.
fn header_of(messages: &str, start: &str, name: &str) -> anyhow::Result<String> {
    let message = messages
        .split("----- ")
        .find(|message| message.contains(start));
    let mut lines = message.context(start.to_owned())?.lines();
    let line = lines.find_map(|line| line.strip_prefix(name));
    Ok(line.context(name.to_owned())?.trim().to_owned())
}

fn tag(value: String) -> String {
    value.split("tag=").nth(1).unwrap_or_default().to_owned()
}

/// The telephone 1002 calls with this Replaces.
fn takes_the_place(site: &Site, replaces: &str) -> anyhow::Result<Peer> {
    let script = script!("pbx-takes-the-place-of-its-call");
    let xml = script.xml.replace("REPLACES", replaces);
    let scenario = Scenario {
        name: script.name,
        xml: &xml,
        target: gateway::SIP,
        port: 5064,
        service: "2001",
        calls: 1,
    };
    scenario.start(&site.run)
}

pub(super) async fn a_call_that_rings_at_one_telephone_is_picked_up_at_another(
    site: &Site,
) -> anyhow::Result<()> {
    let script = script!("phone-is-cancelled");
    let phone = site.phone(script).await?;
    let call = site.people.dial("alice", "1001").await?;
    let messages = until("the telephone to ring", PATIENCE, async || {
        let messages = site.latest_messages(script.name)?;
        messages.contains("SIP/2.0 180").then_some(messages)
    })
    .await?;
    let call_id = header_of(&messages, "INVITE sip:", "Call-ID:")?;
    let ours = tag(header_of(&messages, "INVITE sip:", "From:")?);
    let theirs = tag(header_of(&messages, "SIP/2.0 180", "To:")?);
    let replaces = format!("{call_id};to-tag={ours};from-tag={theirs};early-only");
    let mut taking = takes_the_place(site, &replaces)?;
    call.is_answered().await?;
    // It stops ringing, and shows no missed call.
    phone.ends_well().await?;
    let messages = site.latest_messages(script.name).unwrap_or_default();
    let reason = header_of(&messages, "CANCEL sip:", "Reason:")?;
    ensure!(reason == "Q.850;cause=26", "{reason}");
    let told = call.hears("m.call.asserted_identity").await?;
    ensure!(
        told["asserted_identity"]["id"] == "@tel_1002:localtest",
        "{told}"
    );
    call.hang_up();
    let status = taking.exited(PATIENCE).await?;
    ensure!(status.success(), "SIPp ended with {status}");
    let record = site.record().await?;
    let to = record.transferred_to.as_deref();
    ensure!(
        to == Some("1002") && record.answered_at.is_some(),
        "{record:?}"
    );
    Ok(())
}

pub(super) async fn a_telephone_calls_in_the_place_of_another_and_the_browser_keeps_its_call(
    site: &Site,
) -> anyhow::Result<()> {
    let first = script!("pbx-calls-and-stays");
    let (pbx, call) = site.alice_picks_up(first).await?;
    call.hears("m.call.select_answer").await?;
    // Of this very call: others have played the scenario before.
    let messages = until("its ACK", PATIENCE, async || {
        let messages = site.latest_messages(first.name)?;
        messages.contains("ACK sip:").then_some(messages)
    })
    .await?;
    let call_id = header_of(&messages, "INVITE sip:", "Call-ID:")?;
    let theirs = tag(header_of(&messages, "INVITE sip:", "From:")?);
    let ours = tag(header_of(&messages, "SIP/2.0 200", "To:")?);
    let replaces = format!("{call_id};to-tag={ours};from-tag={theirs}");
    let mut taking = takes_the_place(site, &replaces)?;
    // The old one is hung up.
    pbx.ends_well().await?;
    let told = call.hears("m.call.asserted_identity").await?;
    ensure!(
        told["asserted_identity"]["id"] == "@tel_1002:localtest",
        "{told}"
    );
    was_not_disturbed(site, &call)?;
    call.hang_up();
    let status = taking.exited(PATIENCE).await?;
    ensure!(status.success(), "SIPp ended with {status}");
    let record = site.record().await?;
    let to = record.transferred_to.as_deref();
    ensure!(to == Some("1002"), "{record:?}");
    Ok(())
}
