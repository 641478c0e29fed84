//! The trunk over IPv6.

use anyhow::ensure;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::sipp::Scenario;

use super::{PATIENCE, PBX, PHONE, Script, Site, script};

const OVER_IPV6: &str = r#"
[sip]
listen = ["udp:[::1]:5070"]
[[trunk]]
name = "pbx"
target = "[::1]:5060"
options_seconds = 0
[media]
phone_bind = "::1"
"#;

#[test]
fn a_trunk_over_ipv6_is_called_and_calls() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, OVER_IPV6).await?;

        let (script, xml) = over_ipv6(script!("phone-answers-and-hangs-up"));
        let phone = scenario(script, &xml, PHONE, "1001");
        let mut phone = phone.listen(&run, PATIENCE).await?;
        let call = site.people.dial("alice", "1001").await?;
        call.is_answered().await?;
        call.hears("m.call.hangup").await?;
        let status = phone.exited(PATIENCE).await?;
        ensure!(status.success(), "SIPp ended with {status}");
        let told = site.messages(script.name);
        ensure!(told.contains("INVITE sip:1001@[::1]:5060"), "{told}");
        ensure!(told.contains("c=IN IP6 ::1"), "{told}");

        let (script, xml) = over_ipv6(script!("pbx-calls-and-hangs-up"));
        let mut pbx = scenario(script, &xml, PBX, "2001").start(&run)?;
        let call = site.people.rung("alice").await?;
        call.answer()?;
        call.hears("m.call.hangup").await?;
        let status = pbx.exited(PATIENCE).await?;
        ensure!(status.success(), "SIPp ended with {status}");
        Ok(())
    });
}

fn over_ipv6(script: Script) -> (Script, String) {
    let xml = script.xml.replace("IP4 127.0.0.1", "IP6 ::1");
    // In a regular expression.
    (script, xml.replace("127.0.0.1", r"\[::1\]"))
}

fn scenario<'a>(script: Script, xml: &'a str, port: u16, service: &'a str) -> Scenario<'a> {
    Scenario {
        name: script.name,
        xml,
        target: "[::1]:5070",
        port,
        service,
        calls: 1,
    }
}
