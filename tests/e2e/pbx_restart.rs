//! The PBX dies in the middle of a call, and is there again; or hangs up while the homeserver is not there.

use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;

use anyhow::ensure;

use super::asterisk::AsteriskSite;

/// Calls that a dead PBX leaves behind would last a minute by their silence alone.
const CONFIG: &str = "[media]\nworkers = 1\n";

/// However long it takes to start a PBX anew here, it is never missed.
const FORBEARING: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_down_after = 10

[media]
workers = 1
"#;

/// Alice hears her own silence.
async fn echo(site: &AsteriskSite) -> anyhow::Result<Call> {
    let call = site.people.dial("alice", extension::ECHO).await?;
    call.is_answered().await?;
    call.is_connected().await?;
    ensure!(site.asterisk.channels()? == 1, "the PBX has no call");
    Ok(call)
}

/// Alice reads, within 10 s, that the other side is gone.
async fn is_ended_with_the_reason(site: &AsteriskSite, call: &Call) -> anyhow::Result<()> {
    call.hears("m.call.hangup").await?;
    let record = site.record().await?;
    ensure!(record.reason.as_deref() == Some("peer_lost"), "{record:?}");
    Ok(())
}

/// Calls work, both ways.
async fn works(site: &AsteriskSite) -> anyhow::Result<()> {
    let call = echo(site).await?;
    call.hang_up();
    let record = site.record().await?;
    ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
    site.is_reachable("2001@gateway", "alice").await
}

#[test]
fn a_pbx_that_dies_in_mid_call_and_is_back_takes_the_next_call() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let call = echo(&site).await?;
        site.asterisk.peer().kill().await?;
        is_ended_with_the_reason(&site, &call).await?;
        site.logs("trunk does not answer", 1).await?;
        site.asterisk.start_again(&run).await?;
        site.logs("trunk is up", 1).await?;
        works(&site).await
    });
}

#[test]
fn a_call_that_a_pbx_has_forgotten_ends_though_the_pbx_is_back_at_once() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &[], FORBEARING).await?;
        let call = echo(&site).await?;
        site.asterisk.peer().kill().await?;
        site.asterisk.start_again(&run).await?;
        ensure!(site.asterisk.channels()? == 0, "it remembers its calls");
        is_ended_with_the_reason(&site, &call).await?;
        let channel = "PJSIP/2001@gateway";
        site.asterisk.originate(channel, extension::ECHO)?;
        let call = site.people.rung("alice").await?;
        call.answer()?;
        call.is_connected().await?;
        site.asterisk.peer().kill().await?;
        site.asterisk.start_again(&run).await?;
        is_ended_with_the_reason(&site, &call).await?;
        works(&site).await
    });
}

#[test]
fn a_call_that_rings_when_the_pbx_forgets_it_rings_no_more() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &[], FORBEARING).await?;
        let called = site.people.dial("alice", extension::NO_ANSWER).await?;
        site.logs(r#"event="ringing""#, 1).await?;
        let channel = "PJSIP/2002@gateway";
        site.asterisk.originate(channel, extension::ECHO)?;
        let rung = site.people.rung("bob").await?;
        site.asterisk.peer().kill().await?;
        // Else it answers what was asked meanwhile, and looks as if it had been there all the time.
        site.logs("OPTIONS not answered", 1).await?;
        site.asterisk.start_again(&run).await?;
        called.hears("m.call.reject").await?;
        rung.hears("m.call.hangup").await?;
        for user in ["alice", "bob"] {
            let records = site.records_of(user).await?;
            let reason = records.first().and_then(|record| record.reason.as_deref());
            ensure!(reason == Some("peer_lost"), "{records:?}");
        }
        works(&site).await
    });
}

#[test]
fn a_person_hears_that_the_call_is_over_once_the_homeserver_is_back() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let homeserver = site.people.homeserver();
        let call = echo(&site).await?;
        homeserver.trouble(&call.room, 502, u32::MAX);
        site.asterisk.cli("channel request hangup all")?;
        // Longer than a single request is tried.
        site.logs("the room is not told yet", 2).await?;
        homeserver.trouble(&call.room, 502, 0);
        call.hears("m.call.hangup").await?;
        let record = site.record().await?;
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        Ok(())
    });
}
