//! A trunk that has to show a password when it calls.

use anyhow::ensure;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::sipp::Over;

use super::{PATIENCE, PBX, Playing, Script, Site, scenario, script};

/// A trunk is told by the port that its PBX calls from.
const ELSEWHERE: u16 = 5072;

const ASKED: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 0
require_auth = { username = "pbx", password = "sesame" }
[[trunk]]
name = "carrier"
target = "127.0.0.1:5072"
options_seconds = 0
prefixes = []
require_auth = { username = "pbx", password = "sesame", algorithm = "sha-256" }
"#;

/// The digest is of the URI that is called; SIPp would take the host's alone.
fn calls(site: &Site, port: u16, script: Script) -> anyhow::Result<Playing> {
    let called = ["-auth_uri", "2001@127.0.0.1:5070"];
    let peer = scenario(script, port, "2001").start_over(&site.run, Over::Udp, &called)?;
    Ok(site.playing(script, peer))
}

#[test]
fn a_pbx_that_has_to_show_its_password_is_let_in_with_it_alone() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, ASKED).await?;
        for (port, algorithm) in [(PBX, "MD5"), (ELSEWHERE, "SHA-256")] {
            let wrong = calls(&site, port, script!("pbx-shows-a-wrong-password"))?;
            wrong.ends_well().await?;

            let right = calls(&site, port, script!("pbx-shows-its-password"))?;
            let call = site.people.rung("alice").await?;
            call.answer()?;
            until(
                "the ACKs of the challenge and of the answer",
                PATIENCE,
                async || {
                    let messages = right.messages().ok()?;
                    (messages.matches("ACK sip:").count() >= 2).then_some(())
                },
            )
            .await?;
            let asked = format!("algorithm={algorithm}");
            ensure!(right.messages()?.contains(&asked), "no {asked}");
            call.hang_up();
            right.ends_well().await?;
            let rang = site.people.unread();
            let rang = rang.iter().any(|sent| sent.event_type == "m.call.invite");
            ensure!(!rang, "it rang for a wrong password");
        }
        let log = site.gateway.logged();
        ensure!(
            log.contains("wrong user name or password is not let in"),
            "the log does not tell"
        );
        Ok(())
    });
}
