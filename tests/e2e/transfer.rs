//! A real PBX and a real desk phone hand a person on to somebody else, and a person them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_store::Store;
use mxtrunk_testbed::asterisk::{Asterisk, PHONES, extension};
use mxtrunk_testbed::baresip::{Answering, DeskPhone};
use mxtrunk_testbed::browser::CallState;
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::gateway::Gateway;
use mxtrunk_testbed::judge::Sound;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::People;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;

use super::hold::{shows, told};
use super::site::{PATIENCE, Site, hum_of};

/// Longer than a telephone speaks in any of these.
const ALL_THE_TIME: Duration = Duration::from_secs(240);
/// How much of what was heard last is judged.
const LAST: Duration = Duration::from_secs(1);

/// Asterisk asks the gateway by REFER to call the echo in its place.
#[test]
fn a_pbx_that_transfers_by_refer_hands_the_person_on_and_both_sides_are_heard() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.alice_says_a_tone().await?;
        site.connect(extension::TRANSFERS).await?;
        until("the call to be handed on", PATIENCE, async || {
            let log = fs::read_to_string(run.path("asterisk.log")).ok()?;
            let told = log.contains("message/sipfrag") && log.contains("SIP/2.0 200 OK\r\n");
            (told && log.contains("Executing [600@site:2] Echo")).then_some(())
        })
        .await?;
        site.alice_hears("her echo after the transfer").await?;
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
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.alice_says_a_tone().await?;
        site.answers_the_desk_phone("2001").await?;
        site.peers.phone.established(PATIENCE).await?;
        site.peers.phone.transfer(extension::ECHO).await?;
        until("the PBX to have connected the echo", PATIENCE, async || {
            let log = fs::read_to_string(run.path("asterisk.log")).ok()?;
            log.contains("Executing [600@site:2] Echo").then_some(())
        })
        .await?;
        site.alice_hears("her echo after the transfer").await?;
        site.is_heard_and_hung_up().await
    });
}

/// Waits until Asterisk has written this so often.
async fn pbx_says(run: &Run, words: &str, times: usize) -> anyhow::Result<()> {
    until(
        &format!("{words:?} in the PBX's log"),
        PATIENCE,
        async || {
            let log = fs::read_to_string(run.path("asterisk.log")).ok()?;
            (log.matches(words).count() >= times).then_some(())
        },
    )
    .await
}

/// The phone hears somebody until its call ends, which this does.
async fn hears_to_the_end(phone: &mut DeskPhone) -> anyhow::Result<()> {
    // Long enough for what is judged to be all of after the transfer.
    tokio::time::sleep(3 * LAST).await;
    phone.hang_up().await?;
    heard_to_the_end(phone).await
}

async fn heard_to_the_end(phone: &mut DeskPhone) -> anyhow::Result<()> {
    phone.closed(PATIENCE).await?;
    let heard = Sound::read(&phone.heard()?)?;
    let last = LAST.as_millis() as usize;
    let end = heard.samples().len();
    let from = end.saturating_sub(8 * last) as isize;
    let level = heard.cut(from, 8 * last).level_db();
    let whole = heard.millis();
    ensure!(level > -40.0, "{level} dB in the last second of {whole} ms");
    Ok(())
}

/// The person presses the transfer button, and Asterisk connects its telephone with the echo by itself.
#[test]
fn a_desk_phone_that_a_person_transfers_is_put_through_by_its_pbx_without_us() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start_saying(&run, "", &hum_of(ALL_THE_TIME)).await?;
        site.connect(PHONES[0]).await?;
        site.peers.phone.established(PATIENCE).await?;
        site.alice.transfer(extension::ECHO).await?;
        pbx_says(&run, "Executing [600@site:2] Echo", 1).await?;
        let record = site.record().await?;
        let to = record.transferred_to.as_deref();
        ensure!(to == Some(extension::ECHO), "{record:?}");
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        hears_to_the_end(&mut site.peers.phone).await?;
        site.pbx_is_quiet(PATIENCE).await
    });
}

/// The person calls two desk phones and joins them: Asterisk is told by Replaces which ones.
#[test]
fn two_desk_phones_that_a_person_joins_are_joined_by_their_pbx_and_hear_each_other() {
    namespace::test_beside_others(async |run| {
        let people = People::start().await?;
        let asterisk = Asterisk::start(&run).await?;
        let mut gateway = Gateway::configure(&run, Path::new(env!("CARGO_BIN_EXE_mxtrunk")), &[])?;
        gateway.start().await?;
        let says = write_spoken(&run, "desk-says", &hum_of(ALL_THE_TIME))?;
        let [first, second] = PHONES;
        let start = |phone| DeskPhone::start(&run, &asterisk, phone, Answering::Auto, &says);
        let (mut one, mut other) = tokio::try_join!(start(first), start(second))?;
        let with_one = people.dial("alice", first).await?;
        with_one.is_answered().await?;
        with_one.is_connected().await?;
        let with_other = people.dial("alice", second).await?;
        with_other.is_answered().await?;
        with_other.is_connected().await?;
        with_one.transfer_into(&with_other);
        with_one.hears("m.call.hangup").await?;
        with_other.hears("m.call.hangup").await?;
        let store = Store::open(&gateway.database()).await?;
        let records = until("both records to be complete", PATIENCE, async || {
            let records = store.records(10).await.ok()?;
            let over = records.iter().all(|record| record.ended_at.is_some());
            (over && records.len() == 2).then_some(records)
        })
        .await?;
        let joined = records.iter().filter(|r| r.transferred_to.is_some());
        ensure!(joined.count() == 1, "{records:?}");
        let log = fs::read_to_string(run.path("asterisk.log"))?;
        ensure!(log.contains("?Replaces="), "the PBX was not asked");
        // Without the gateway: two telephones are left.
        let channels = asterisk.channel_names()?;
        let ours = channels.iter().any(|name| name.contains("gateway"));
        ensure!(!ours && channels.len() == 2, "{channels:?}");
        hears_to_the_end(&mut one).await?;
        heard_to_the_end(&mut other).await
    });
}

/// The same by matrix-js-sdk, which holds the first telephone while the second is asked.
#[test]
fn two_desk_phones_that_a_person_in_chromium_joins_after_a_consultation_hear_each_other() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start_saying(&run, "", &hum_of(ALL_THE_TIME)).await?;
        let says = write_spoken(&run, "1002-says", &hum_of(ALL_THE_TIME))?;
        let asterisk = &site.peers.asterisk;
        let colleague = DeskPhone::start(&run, asterisk, PHONES[1], Answering::Auto, &says);
        let mut colleague = colleague.await?;
        site.answers_the_desk_phone("2001").await?;
        site.peers.phone.established(PATIENCE).await?;
        site.alice.consult(PHONES[1]).await?;
        colleague.established(PATIENCE).await?;
        told(&run, "a=sendonly", 1).await?;
        site.alice.join().await?;
        let state = site.alice.reach(&[CallState::Ended], PATIENCE).await?;
        let reason = state.ended.reason.as_deref();
        ensure!(reason == Some("transferred"), "{state:?}");
        until("the PBX to do it without us", PATIENCE, async || {
            let channels = site.peers.asterisk.channel_names().ok()?;
            let ours = channels.iter().any(|name| name.contains("gateway"));
            (!ours && channels.len() == 2).then_some(())
        })
        .await?;
        for phone in PHONES {
            site.phone_hears(&run, phone, "after-the-join").await?;
        }
        site.peers.phone.hang_up().await?;
        colleague.closed(PATIENCE).await?;
        let store = Store::open(&site.peers.gateway.database()).await?;
        let records = store.records(10).await?;
        let joined = records.iter().filter(|r| r.transferred_to.is_some());
        ensure!(joined.count() == 1 && records.len() == 2, "{records:?}");
        Ok(())
    });
}

/// The transfer key of the desk phone's PBX (`*2`): the person talks to the second telephone in the end, in the same call, and
/// is told who that is. Holds of either side still work.
#[test]
fn a_desk_phone_consults_a_colleague_and_leaves_the_person_to_them_who_holds_ten_times() {
    namespace::test_beside_others(async |run| {
        let changes = format!(
            "[[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\ntrust_identity = true\n",
            mxtrunk_testbed::asterisk::SIP
        );
        let mut site = Site::start_saying(&run, &changes, &hum_of(ALL_THE_TIME)).await?;
        site.alice_says_a_tone().await?;
        let says = write_spoken(&run, "1002-says", &hum_of(ALL_THE_TIME))?;
        let asterisk = &site.peers.asterisk;
        let colleague = DeskPhone::start(&run, asterisk, PHONES[1], Answering::Auto, &says);
        let mut colleague = colleague.await?;
        site.answers_the_desk_phone("52001").await?;
        site.peers.phone.established(PATIENCE).await?;
        site.peers.phone.press(&format!("*2{}", PHONES[1])).await?;
        colleague.established(PATIENCE).await?;
        site.peers.phone.hang_up().await?;
        until(
            "the first phone to have left the PBX",
            PATIENCE,
            async || {
                let names = site.peers.asterisk.channel_names().ok()?;
                let is_left = !names.iter().any(|name| name.starts_with("PJSIP/1001"));
                is_left.then_some(())
            },
        )
        .await?;
        site.both_hear(&run, PHONES[1], "after-the-join").await?;
        for turn in 1..=10 {
            colleague.hold().await?;
            shows(&site, true, turn).await?;
            colleague.resume().await?;
            shows(&site, false, turn).await?;
        }
        for turn in 1..=10 {
            site.alice.hold(true).await?;
            told(&run, "a=sendonly", turn).await?;
            site.alice.hold(false).await?;
            told(&run, "a=sendrecv", turn).await?;
        }
        site.both_hear(&run, PHONES[1], "after-twenty-holds")
            .await?;
        site.is_heard_and_hung_up().await?;
        let record = site.record().await?;
        let there = record.transferred_to.as_deref();
        ensure!(there == Some(PHONES[1]), "{record:?}");
        colleague.closed(PATIENCE).await.map(drop)
    });
}
