//! A line that logs in at the PBX, which asks for all that a registrar may.

use anyhow::ensure;
use mxtrunk_testbed::namespace;
use tokio::net::UdpSocket;

use super::{PHONE, Site, listening, script};

/// The trunk has a password of its own, which is not the line's.
const REGISTERED: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 0
username = "mxtrunk"
password = "sesame"

[[line]]
user = "@alice:localtest"
extension = "2001"
register = { username = "a2001", password = "desk-phone", expires_seconds = 60 }
"#;

#[test]
fn a_line_registers_is_called_and_calls_by_its_own_password_and_goes_when_the_gateway_does() {
    namespace::test_beside_others(async |run| {
        let script = script!("pbx-registers-a-line-and-is-called-by-it");
        // The registration is one dialog, and her call the other.
        let registrar = listening(&run, script, PHONE, 2).await?;
        let mut site = Site::start_with(&run, REGISTERED).await?;
        site.says(script.name, ";expires=120", 1).await?;

        let (pbx, call) = site
            .alice_picks_up(script!("pbx-calls-the-contact-of-a-line"))
            .await?;
        pbx.is_answered().await?;
        call.hang_up();
        pbx.ends_well().await?;

        let call = site.people.dial("alice", "1001").await?;
        call.is_answered().await?;
        call.hang_up();
        site.record().await?;

        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        registrar.ends_well().await
    });
}

const PROXY: u16 = 5066;

/// Bob's line registers by way of a proxy; the PBX has another password for Alice's.
const TWO_LINES: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 0

[[line]]
user = "@alice:localtest"
extension = "2001"
register = { password = "wrong" }
[[line]]
user = "@bob:localtest"
extension = "2002"
register = { password = "desk-phone", expires_seconds = 60, proxy = "127.0.0.1:5066" }
"#;

#[test]
fn a_line_registers_through_its_proxy_and_in_time_again_and_one_that_is_refused_does_not() {
    namespace::test_beside_others(async |run| {
        let script = script!("proxy-passes-a-registration-on");
        let proxy = listening(&run, script, PROXY, 1).await?;
        let refusing = script!("pbx-refuses-the-password-of-a-line");
        let refusing = listening(&run, refusing, PHONE, 1).await?;
        let mut site = Site::start_with(&run, TWO_LINES).await?;
        refusing.ends_well().await?;
        let registrar = UdpSocket::bind(("127.0.0.1", PHONE)).await?;
        site.says(script.name, ";expires=60", 1).await?;
        let log = site.gateway.logged();
        let told = log.matches("the PBX refuses it: compare username and password");
        ensure!(told.count() == 1, "{log}");
        // It was good when it came again.
        ensure!(!log.contains("could not be registered"), "{log}");
        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        proxy.ends_well().await?;
        let heard = registrar.try_recv(&mut [0; 2_048]);
        ensure!(heard.is_err(), "the refused one came again: {heard:?}");
        let log = site.gateway.logged();
        ensure!(log.contains("a line is registered"), "{log}");
        // Both extensions stood there.
        let for_all = [" INFO ", " WARN ", "ERROR "];
        for line in log.lines() {
            let (_time, said) = line.split_once(' ').unwrap_or_default();
            let is_for_all = for_all.iter().any(|level| line.contains(level));
            let names = said.contains("2001") || said.contains("2002");
            ensure!(!(is_for_all && names), "{line}");
        }
        Ok(())
    });
}
