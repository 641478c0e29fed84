//! A browser that is gone without a word in mid-call: nobody hangs up for it. Its call waits for it to come back, for a
//! while; what is sent and not sent meanwhile is in `crates/media/tests/ice`.

use std::time::{Duration, Instant};

use anyhow::ensure;
use mxtrunk_store::EndedBy;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::process::until;

use super::asterisk::AsteriskSite;

const CONFIG: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"

[media]
workers = 1
"#;

/// Consent ends 30 s after the last sign of it (RFC 7675), and ICE gives up before that.
const CONSENT: Duration = Duration::from_secs(35);
/// How long a call waits from then on.
const GRACE: Duration = Duration::from_secs(30);
/// By how much what is looked at every now and then may be off.
const SLACK: Duration = Duration::from_secs(5);

const LOST: &str = "media: connection lost";

/// A person hears themselves in a call to the echo.
async fn talks(site: &AsteriskSite, user: &str) -> anyhow::Result<Call> {
    let call = site.people.dial(user, extension::ECHO).await?;
    call.is_answered().await?;
    call.is_connected().await?;
    call.talks().await?;
    Ok(call)
}

/// The gateway has noticed that these are gone.
async fn are_lost(site: &AsteriskSite, calls: &[&str]) -> anyhow::Result<()> {
    for call in calls {
        until("the loss of the browser", CONSENT, async || {
            let ladder = site.ladder(call).await.ok()?;
            ladder.contains(LOST).then_some(())
        })
        .await?;
    }
    Ok(())
}

#[test]
fn a_browser_that_vanishes_is_waited_for_and_one_that_restarts_ice_meanwhile_keeps_its_call() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let (gone, back) = (talks(&site, "alice").await?, talks(&site, "bob").await?);
        let named = (site.call_of("alice").await?, site.call_of("bob").await?);
        gone.vanishes();
        back.vanishes();
        are_lost(&site, &[&named.0, &named.1]).await?;
        let lost = Instant::now();

        back.restarts_ice_in_another_network().await?;
        back.sounds(true).await?;
        let ladder = site.ladder(&named.1).await?;
        let (_, after) = ladder.split_once(LOST).unwrap_or_default();
        let (_, after) = after.split_once("m.call.negotiate").unwrap_or_default();
        ensure!(after.contains("media: connected"), "{ladder}");
        ensure!(
            site.asterisk.channels()? == 2,
            "the other was not waited for"
        );

        let told = gone.hears_within("m.call.hangup", GRACE + SLACK).await?;
        ensure!(told["reason"] == "ice_timeout", "{told}");
        let waited = lost.elapsed();
        ensure!(waited > GRACE - SLACK, "only {waited:?}");
        let sentence = gone.reads().await?;
        ensure!(sentence.starts_with("The sound connection"), "{sentence}");
        until("the telephone to be hung up", SLACK, async || {
            (site.asterisk.channels().ok()? == 1).then_some(())
        })
        .await?;
        let heard = site.pbx_log();
        ensure!(heard.contains("Reason: Q.850;cause=41"), "with no reason");
        let record = &site.records_of("alice").await?[0];
        ensure!(record.reason.as_deref() == Some("media_lost"), "{record:?}");
        ensure!(record.ended_by == Some(EndedBy::Gateway), "{record:?}");
        ensure!(record.audio.as_deref() == Some("both"), "{record:?}");

        back.sounds(true).await?;
        back.hang_up();
        site.pbx_is_quiet().await?;
        let record = &site.records_of("bob").await?[0];
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        Ok(())
    });
}
