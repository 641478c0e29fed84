//! What the PBX is asked to tell about a line (SUBSCRIBE), and tells (NOTIFY).

use anyhow::ensure;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;

use super::{PATIENCE, PHONE, Site, listening, script};

const TOLD: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 0

[[line]]
user = "@alice:localtest"
extension = "2001"
subscribe = ["message-summary", "dialog"]
"#;

#[test]
fn a_pbx_tells_of_a_mailbox_and_of_calls_and_is_left_when_the_gateway_stops() {
    namespace::test_beside_others(async |run| {
        let script = script!("pbx-tells-of-a-mailbox-and-of-calls");
        let pbx = listening(&run, script, PHONE, 2).await?;
        let mut site = Site::start_with(&run, TOLD).await?;
        for told in [
            ["mailbox of the line", "waiting=true", "new=2", "old=1"],
            ["mailbox of the line", "waiting=false", "new=0", "old=3"],
            ["activity of the line at the PBX", "2001", "Ringing", ""],
            ["activity of the line at the PBX", "2001", "Busy", ""],
        ] {
            until(&format!("{told:?}"), PATIENCE, async || {
                let log = site.gateway.logged();
                let is_told = |line: &str| told.iter().all(|word| line.contains(word));
                log.lines().any(is_told).then_some(())
            })
            .await?;
        }
        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        pbx.ends_well().await
    });
}
