//! What a real Asterisk tells of lines: their mailboxes, and whether they are in a call. The Matrix side is simulated.

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;

use super::asterisk::AsteriskSite;
use super::site::PATIENCE;

/// Alice registers as 2001 and asks about both; Bob is reached over the trunk.
const WATCHED: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 1
subscribe = ["message-summary", "dialog"]

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
register = { password = "desk-phone", expires_seconds = 3600 }
[[line]]
user = "@bob:localtest"
extension = "2002"
"#;

const LINES: [&str; 1] = ["2001"];

/// The last line of the log that has this message has all these words.
async fn says(site: &AsteriskSite, message: &str, words: &[&str]) -> anyhow::Result<()> {
    until(
        &format!("{message:?} with {words:?}"),
        PATIENCE,
        async || {
            let log = site.gateway.logged();
            let last = log.lines().rfind(|line| line.contains(message))?;
            words.iter().all(|word| last.contains(word)).then_some(())
        },
    )
    .await
}

const MAILBOX: &str = "mailbox of the line";
const ACTIVITY: &str = "activity of the line at the PBX";

#[test]
fn a_line_is_told_of_its_mailbox_and_of_its_calls_also_by_a_pbx_that_was_started_anew() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &LINES, WATCHED).await?;
        says(&site, MAILBOX, &["waiting=false", "new=0", "old=0"]).await?;
        says(&site, ACTIVITY, &["Idle"]).await?;
        site.asterisk.mail("2001", 2, 1)?;
        says(&site, MAILBOX, &["waiting=true", "new=2", "old=1"]).await?;

        site.asterisk.originate("PJSIP/2001", extension::ECHO)?;
        let call = site.people.rung("alice").await?;
        says(&site, ACTIVITY, &["Ringing"]).await?;
        call.answer()?;
        call.is_connected().await?;
        says(&site, ACTIVITY, &["Busy"]).await?;
        call.hang_up();
        says(&site, ACTIVITY, &["Idle"]).await?;
        site.record().await?;

        site.asterisk.peer().kill().await?;
        site.asterisk.forget()?;
        site.logs("trunk does not answer", 1).await?;
        site.asterisk.start_again(&run).await?;
        // Its mailboxes are empty again.
        says(&site, MAILBOX, &["waiting=false", "new=0"]).await?;
        site.asterisk.mail("2001", 1, 0)?;
        says(&site, MAILBOX, &["waiting=true", "new=1"]).await?;

        let watched = || site.asterisk.cli("pjsip show subscriptions inbound");
        let before = watched()?;
        ensure!(before.contains("message-summary"), "none there: {before}");
        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        let left = watched()?;
        ensure!(!left.contains("message-summary"), "left behind: {left}");
        Ok(())
    });
}

#[test]
fn what_the_pbx_does_not_offer_is_told_once_with_what_to_do() {
    namespace::test_beside_others(async |run| {
        let nothing = "register = { password = \"desk-phone\", expires_seconds = 3600 }";
        let config = WATCHED.replace(nothing, "subscribe = [\"dialog\"]");
        let site = AsteriskSite::start(&run, &[], &config).await?;
        // 2001 is a number of the trunk here, and has no hint.
        let advice = "give the extension a hint there, or take dialog out of `subscribe`";
        site.logs(advice, 1).await
    });
}
