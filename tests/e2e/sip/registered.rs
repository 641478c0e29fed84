//! A line that logs in at the PBX, which asks for all that a registrar may.

use anyhow::ensure;
use mxtrunk_testbed::namespace;

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
