//! A trunk that has as many calls as it may, at once or within a second: both sides are told so, and at once.

use anyhow::ensure;
use mxtrunk_testbed::namespace;

use super::{Site, listening, script};

/// A trunk is told by the port that its PBX calls from.
const SLOW: u16 = 5071;

const LIMITED: &str = r#"
[[trunk]]
name = "small"
target = "127.0.0.1:5060"
options_seconds = 0
max_calls = 1
prefixes = ["1"]
[[trunk]]
name = "slow"
target = "127.0.0.1:5071"
options_seconds = 0
new_calls_per_second = 1
prefixes = ["3"]
[numbers]
dialable = ["1XXX", "3XXX"]
"#;

const ALL_IN_USE: &str = "All lines to the telephone system are in use";

#[test]
fn one_call_more_than_a_trunk_may_have_is_refused_on_both_sides() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, LIMITED).await?;
        let (pbx, call) = site
            .alice_picks_up(script!("pbx-calls-and-is-hung-up"))
            .await?;
        pbx.is_answered().await?;
        let script = script!("pbx-is-told-that-the-trunk-is-full");
        site.pbx_at(5064, script, "2002")?.ends_well().await?;

        let refused = site.people.dial("bob", "1001").await?;
        let reject = refused.hears("m.call.reject").await?;
        ensure!(reject["reason"] == "overloaded", "{reject}");
        let sentence = refused.reads().await?;
        ensure!(sentence.contains(ALL_IN_USE), "{sentence}");
        let record = site.record_of("@bob:localtest").await?;
        ensure!(record.reason.as_deref() == Some("overloaded"), "{record:?}");
        call.hang_up();
        pbx.ends_well().await?;

        // There is room again.
        let phone = site.phone(script!("phone-answers-and-hangs-up")).await?;
        let call = site.people.dial("bob", "1001").await?;
        call.is_answered().await?;
        call.hears("m.call.hangup").await?;
        phone.ends_well().await
    });
}

#[test]
fn more_calls_a_second_than_a_trunk_may_have_are_refused_on_both_sides() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, LIMITED).await?;
        let script = script!("pbx-calls-faster-than-it-may");
        // Ten a second, as SIPp has it.
        let pbx = site.pbx_calls(SLOW, script, "2002", 6)?;
        site.people.rung("bob").await?;
        pbx.ends_well().await?;
        let said = site.messages(script.name);
        ensure!(said.contains("SIP/2.0 503 "), "none was too many: {said}");

        let phone = listening(&run, script!("phone-is-busy"), SLOW, 1).await?;
        let calls = [
            site.people.dial("alice", "3001").await?,
            site.people.dial("bob", "3001").await?,
        ];
        let mut reasons = Vec::new();
        for call in &calls {
            let reject = call.hears("m.call.reject").await?;
            reasons.push(reject["reason"].as_str().unwrap_or_default().to_owned());
        }
        reasons.sort();
        ensure!(reasons == ["overloaded", "user_busy"], "{reasons:?}");
        phone.ends_well().await
    });
}
