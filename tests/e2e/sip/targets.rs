//! A trunk with two targets: which of them gets a call.

use std::collections::HashSet;

use anyhow::ensure;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use tokio::net::UdpSocket;

use super::{PATIENCE, PHONE, Playing, Site, listening, script};

const SECOND: u16 = 5066;
/// A SIPp that takes whatever comes.
const FOR_EVER: u32 = 1_000_000;

const ONE_AFTER_THE_OTHER: &str = r#"
[[trunk]]
name = "pbx"
targets = ["127.0.0.1:5060", { address = "127.0.0.1:5066", priority = 1 }]
options_seconds = 0
answer_within_seconds = 2
"#;

/// Alice calls, the phone of the second target answers, and she has one call.
async fn goes_to_the_second(site: &Site) -> anyhow::Result<()> {
    let script = script!("phone-answers-and-hangs-up");
    let phone = listening(&site.run, script, SECOND, 1).await?;
    let call = site.people.dial("alice", "1001").await?;
    call.is_answered().await?;
    call.hears("m.call.hangup").await?;
    phone.ends_well().await?;
    let record = site.record().await?;
    ensure!(record.answered_at.is_some(), "{record:?}");
    Ok(())
}

#[test]
fn a_target_that_says_nothing_or_wants_no_calls_gives_way_to_the_next_and_rings_no_more() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, ONE_AFTER_THE_OTHER).await?;
        let asleep = site.phone(script!("phone-wakes-up-too-late")).await?;
        goes_to_the_second(&site).await?;
        asleep.ends_well().await?;

        let script = script!("phone-system-wants-to-be-left-alone");
        let unwilling = site.phone(script).await?;
        goes_to_the_second(&site).await?;
        unwilling.ends_well().await?;
        // Its Retry-After is a minute: the next call does not even try it.
        let first = UdpSocket::bind(("127.0.0.1", PHONE)).await?;
        goes_to_the_second(&site).await?;
        let heard = first.try_recv(&mut [0; 2_048]);
        ensure!(heard.is_err(), "it was called: {heard:?}");
        Ok(())
    });
}

const WEIGHED: &str = r#"
[[trunk]]
name = "pbx"
targets = [{ address = "127.0.0.1:5060", weight = 4 }, "127.0.0.1:5066"]
options_seconds = 0
"#;

/// A phone that is there for good, and too busy for any call.
async fn there(run: &Run, port: u16) -> anyhow::Result<Playing> {
    listening(run, script!("phone-is-there-and-busy"), port, FOR_EVER).await
}

/// How many calls it has refused.
fn calls_of(phone: &Playing) -> anyhow::Result<usize> {
    let messages = phone.messages()?;
    let refused = messages.split("SIP/2.0 486 ").skip(1);
    let calls = refused.filter_map(|message| {
        let mut lines = message.lines();
        lines.find(|line| line.starts_with("Call-ID:"))
    });
    Ok(calls.collect::<HashSet<_>>().len())
}

async fn hears_that_it_is_busy(site: &Site) -> anyhow::Result<()> {
    let call = site.people.dial("alice", "1001").await?;
    let reject = call.hears("m.call.reject").await?;
    ensure!(reject["reason"] == "user_busy", "{reject}");
    Ok(())
}

#[test]
fn calls_are_shared_out_among_targets_by_their_weight() {
    const CALLS: usize = 80;
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, WEIGHED).await?;
        let (heavy, light) = (there(&run, PHONE).await?, there(&run, SECOND).await?);
        for _ in 0..CALLS {
            hears_that_it_is_busy(&site).await?;
        }
        let (heavy, light) = (calls_of(&heavy)?, calls_of(&light)?);
        ensure!(heavy + light == CALLS, "{heavy} and {light} of {CALLS}");
        // 16 are due. Beyond these bounds chance goes once in 50,000 runs.
        ensure!((4..=32).contains(&light), "{heavy} and {light} of {CALLS}");
        Ok(())
    });
}

const ASKED: &str = r#"
[[trunk]]
name = "pbx"
targets = ["127.0.0.1:5060", { address = "127.0.0.1:5066", priority = 1 }]
options_seconds = 1
options_down_after = 2
options_up_after = 2
"#;

#[test]
fn a_target_that_answers_no_options_gets_no_calls_until_it_answers_again() {
    namespace::test_beside_others(async |run| {
        let mut first = there(&run, PHONE).await?;
        let second = there(&run, SECOND).await?;
        let site = Site::start_with(&run, ASKED).await?;
        hears_that_it_is_busy(&site).await?;
        ensure!(calls_of(&first)? == 1, "the first one goes first");

        first.peer.kill().await?;
        logs(&site, "target does not answer: calls go to the others").await?;
        hears_that_it_is_busy(&site).await?;
        ensure!(calls_of(&second)? == 1, "it went to none of them");
        let log = site.gateway.logged();
        ensure!(!log.contains("next target"), "the first was tried");

        let back = there(&run, PHONE).await?;
        logs(&site, "target is up").await?;
        let answered = back.messages()?.matches("SIP/2.0 200 ").count();
        ensure!(answered >= 2, "it is up after {answered} answers");
        hears_that_it_is_busy(&site).await?;
        ensure!(calls_of(&back)? == 1, "it is not called again");
        Ok(())
    });
}

async fn logs(site: &Site, words: &str) -> anyhow::Result<()> {
    until(words, PATIENCE, async || {
        site.gateway.logged().contains(words).then_some(())
    })
    .await
}
