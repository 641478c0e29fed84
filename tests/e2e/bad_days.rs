//! A homeserver that fails for a moment, or for good, in each phase of a call, between the real gateway and a real
//! Asterisk. Each request's own fate is in `crates/matrix/src/tests/bad_days.rs`.

use std::collections::HashSet;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::homeserver::Homeserver;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;

use super::asterisk::AsteriskSite;
use super::site::PATIENCE;

const CONFIG: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
[[line]]
user = "@bob:localtest"
extension = "2002"
"#;

/// The next requests to send an event of this type fail so often.
fn fails(homeserver: &Homeserver, event_type: &str, status: u16, times: u32) {
    homeserver.trouble(&format!("/send/{event_type}/"), status, times);
}

#[test]
fn a_call_proceeds_late_or_ends_on_both_sides_wherever_the_homeserver_fails_and_nothing_is_told_twice()
 {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let (people, homeserver) = (&site.people, site.people.homeserver());
        let mut sent = homeserver.subscribe();
        let rings = |extension: &str| {
            let channel = format!("Local/{extension}@site");
            site.asterisk.originate(&channel, extension::ECHO)
        };

        // For a moment.
        for status in [500, 429] {
            fails(homeserver, "m.call.answer", status, 2);
            let call = people.dial("alice", extension::ECHO).await?;
            call.is_answered().await?;
            call.is_connected().await?;
            fails(homeserver, "m.call.hangup", status, 2);
            site.asterisk.cli("channel request hangup all")?;
            call.hears("m.call.hangup").await?;

            fails(homeserver, "m.call.invite", status, 2);
            rings("2001")?;
            let call = people.rung("alice").await?;
            fails(homeserver, "m.call.select_answer", status, 2);
            call.answer()?;
            call.hears("m.call.select_answer").await?;
            call.is_connected().await?;
            call.hang_up();
            site.pbx_is_quiet().await?;
        }

        // For good: whoever waits is told, and so is the other side.
        let reason = async || anyhow::Ok(site.record().await?.reason.unwrap_or_default());
        fails(homeserver, "m.call.answer", 500, u32::MAX);
        let call = people.dial("alice", extension::ECHO).await?;
        call.hears("m.call.hangup").await?;
        site.pbx_is_quiet().await?;
        ensure!(
            reason().await? == "unreachable",
            "{:?}",
            site.record().await?
        );

        fails(homeserver, "m.call.invite", 500, u32::MAX);
        rings("2001")?;
        site.pbx_is_quiet().await?;
        ensure!(
            reason().await? == "unreachable",
            "{:?}",
            site.record().await?
        );

        homeserver.trouble("/createRoom", 500, u32::MAX);
        rings("2002")?;
        site.pbx_is_quiet().await?;
        ensure!(
            reason().await? == "unreachable",
            "{:?}",
            site.record().await?
        );

        // It is well again: the next call is as if nothing had been, and the history has all of them.
        homeserver.trouble("/", 500, 0);
        rings("2002")?;
        let call = people.rung("bob").await?;
        call.reject();
        site.pbx_is_quiet().await?;
        for (user, calls) in [("@alice:localtest", 6), ("@bob:localtest", 2)] {
            let what = format!("{calls} calls in the history of {user}");
            until(&what, PATIENCE, async || {
                let room = homeserver.home_room(user, "history")?;
                let shown = homeserver.timeline(&room);
                let is_over = |call: &&_| is_ended(call);
                let over = shown.iter().filter(is_over).count();
                (over == calls && shown.len() == calls).then_some(())
            })
            .await?;
        }

        let mut told = HashSet::new();
        while let Ok(event) = sent.try_recv() {
            let once = event.event_type.starts_with("m.call.");
            let call = event.content["call_id"].to_string();
            let what = (event.event_type, call);
            ensure!(!once || told.insert(what.clone()), "twice: {what:?}");
        }
        Ok(())
    });
}

fn is_ended(shown: &mxtrunk_testbed::homeserver::Shown) -> bool {
    shown.content["org.mxtrunk.call"]["state"] == "ended"
}
