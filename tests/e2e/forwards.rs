//! Calls that a line sends elsewhere because its person is busy or cannot be reached: what the caller, a desk phone at a real
//! Asterisk, hears, and what the person's client hears of it. The Matrix side is simulated.

use anyhow::ensure;
use mxtrunk_store::Store;
use mxtrunk_testbed::asterisk::{PHONES, extension};
use mxtrunk_testbed::baresip::{Answering, DeskPhone};
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;

use super::asterisk::AsteriskSite;
use super::line_settings::{chat, done};
use super::site::{PATIENCE, command, hum};

/// Alice has one call at a time.
const CONFIG: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
trust_identity = true
forwarded = "both"
forwarded_caller = "line"

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
call_waiting = false
[[line]]
user = "@bob:localtest"
extension = "2002"
"#;

const TARGET: &str = extension::ECHO;

/// A site, and the desk phone that calls.
struct Site {
    site: AsteriskSite,
    phone: DeskPhone,
}

impl Site {
    async fn start(run: &Run) -> anyhow::Result<Self> {
        let site = AsteriskSite::start(run, &[], CONFIG).await?;
        let says = write_spoken(run, "1001-says", &hum())?;
        let (pbx, auto) = (&site.asterisk, Answering::Auto);
        let phone = DeskPhone::start(run, pbx, PHONES[0], auto, &says).await?;
        Ok(Site { site, phone })
    }

    /// The call of the desk phone has come to the target instead of this person, who reads so; and why.
    async fn is_forwarded(&mut self, (user, line): (&str, &str), why: &str) -> anyhow::Result<()> {
        self.phone.established(PATIENCE).await?;
        let diversion = format!("<sip:{line}@127.0.0.1>;reason={why}");
        until("the target to be told why", PATIENCE, async || {
            let heard = self.site.pbx_log();
            let answers = heard.contains("Executing [600@site:2] Echo");
            (answers && heard.contains(&diversion)).then_some(())
        })
        .await?;
        self.phone.hang_up().await?;
        self.phone.closed(PATIENCE).await?;
        let what = format!("the record of a call to {user} that was forwarded");
        let store = Store::open(&self.site.gateway.database()).await?;
        let mxid = format!("@{user}:localtest");
        let record = until(&what, PATIENCE, async || {
            let records = store.records(100).await.ok()?;
            let mut theirs = records.into_iter().filter(|record| record.user == mxid);
            theirs.find(|record| record.forwarded_to.is_some() && record.ended_at.is_some())
        })
        .await?;
        ensure!(record.forwarded_to.as_deref() == Some(TARGET), "{record:?}");
        ensure!(record.forwarded_why.as_deref() == Some(why), "{record:?}");
        ensure!(record.answered_at.is_some(), "{record:?}");
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        self.site.logs(&format!("forwards={why:?}"), 1).await
    }

    /// The person reads in their history that the last call was forwarded.
    async fn is_in_the_history_of(&self, user: &str) -> anyhow::Result<()> {
        let homeserver = self.site.people.homeserver();
        let user = format!("@{user}:localtest");
        let words = format!("forwarded to {TARGET}");
        until("the history to tell of it", PATIENCE, async || {
            let history = homeserver.home_room(&user, "history")?;
            let told = homeserver.timeline(&history);
            let text = told.last()?.content["body"].as_str()?.to_owned();
            (text.contains(&words) && text.starts_with('↙')).then_some(())
        })
        .await
    }

    fn has_rung(&self) -> bool {
        let unread = self.site.people.unread();
        unread.iter().any(|sent| sent.event_type == "m.call.invite")
    }
}

#[test]
fn a_call_for_somebody_who_is_busy_goes_where_the_line_has_set_and_rings_nowhere_else() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run).await?;
        let alice = chat(&site.site, "alice").await?;
        done(&alice, &format!("forward busy {TARGET}")).await?;
        let hers = site.site.people.dial("alice", extension::ECHO).await?;
        hers.is_answered().await?;
        site.phone.dial("2001").await?;
        site.is_forwarded(("alice", "2001"), "user-busy").await?;
        ensure!(!site.has_rung(), "it rang");
        site.is_in_the_history_of("alice").await?;
        hers.hang_up();
        site.site.pbx_is_quiet().await
    });
}

/// Element says so by itself where the person is in a call that the gateway does not know of.
#[test]
fn a_call_whose_person_is_busy_by_what_their_client_says_is_forwarded_too() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run).await?;
        let bob = chat(&site.site, "bob").await?;
        done(&bob, &format!("forward busy {TARGET}")).await?;
        site.phone.dial("2002").await?;
        site.site.people.rung("bob").await?.is_busy();
        site.is_forwarded(("bob", "2002"), "user-busy").await?;
        site.is_in_the_history_of("bob").await
    });
}

#[test]
fn a_call_that_does_not_reach_its_person_goes_where_the_line_has_set_and_they_read_of_it_later() {
    namespace::test_beside_others(async |run| {
        let mut site = Site::start(&run).await?;
        for user in ["alice", "bob"] {
            let mxid = format!("@{user}:localtest");
            let forward = ["line", &mxid, "forward", "unreachable", TARGET];
            let shown = command(&site.site.gateway, &forward).await?;
            ensure!(shown.contains(TARGET), "{shown}");
        }
        // Alice has a room with the telephone, where no invite comes through; Bob has none, and gets none.
        site.phone.dial("2001").await?;
        site.site.people.rung("alice").await?.reject();
        site.phone.closed(PATIENCE).await?;
        let homeserver = site.site.people.homeserver().clone();
        homeserver.trouble("/send/m.call.invite/", 500, u32::MAX);
        site.phone.dial("2001").await?;
        site.is_forwarded(("alice", "2001"), "unavailable").await?;
        site.is_in_the_history_of("alice").await?;
        homeserver.goes_down();
        site.phone.dial("2002").await?;
        site.is_forwarded(("bob", "2002"), "unavailable").await?;
        ensure!(!site.has_rung(), "it rang");
        homeserver.comes_back();
        site.is_in_the_history_of("bob").await?;
        site.site.pbx_is_quiet().await
    });
}
