//! A trunk that the operator moves, adds and takes out while calls are up (`mxtrunk reload`).

use std::fs;

use anyhow::ensure;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;

use super::super::site::command;
use super::{PHONE, Script, Site, scenario, script};

/// Where the PBX is after its move.
const MOVED: u16 = 5066;

impl Site {
    /// Writes the configuration anew, and has the gateway take it over; what it says to that.
    async fn reloads(&self, from: &str, to: &str) -> anyhow::Result<String> {
        let config = fs::read_to_string(self.gateway.config())?;
        ensure!(config.contains(from), "{from:?} does not stand in {config}");
        fs::write(self.gateway.config(), config.replace(from, to))?;
        command(&self.gateway, &["reload"]).await
    }

    /// The next call of a person goes to this port and is answered there.
    async fn is_called_at(&self, script: Script, port: u16) -> anyhow::Result<()> {
        let scenario = scenario(script, port, "1001");
        let phone = self.playing(script, scenario.listen(&self.run, super::PATIENCE).await?);
        let call = self.people.dial("bob", "1001").await?;
        call.is_answered().await?;
        call.hears("m.call.hangup").await?;
        phone.ends_well().await
    }
}

#[test]
fn a_trunk_is_moved_and_taken_out_in_mid_call_and_the_call_ends_as_it_would_have() {
    namespace::test_beside_others(async |run| {
        let site = Site::start(&run).await?;
        let (phone, call) = site
            .phone_picks_up(script!("phone-answers-and-is-hung-up"))
            .await?;

        let said = site
            .reloads(&format!("127.0.0.1:{PHONE}"), &format!("127.0.0.1:{MOVED}"))
            .await?;
        ensure!(said.contains("trunk.pbx.target:"), "{said}");
        site.is_called_at(script!("phone-answers-and-hangs-up"), MOVED)
            .await?;
        call.hang_up();
        phone.ends_well().await?;

        // Another name is another trunk: the old one is gone, and with it what came from its address.
        let (pbx, called) = site
            .alice_picks_up(script!("pbx-calls-and-is-hung-up"))
            .await?;
        let said = site.reloads("name = \"pbx\"", "name = \"carrier\"").await?;
        ensure!(said.contains("trunk.carrier: added"), "{said}");
        ensure!(said.contains("trunk.pbx: removed"), "{said}");
        called.hang_up();
        pbx.ends_well().await?;
        let listed = command(&site.gateway, &["calls"]).await?;
        ensure!(!listed.contains("pbx"), "{listed}");
        site.is_called_at(script!("phone-answers-and-hangs-up"), MOVED)
            .await?;
        // Its line in the log comes once the call has ended on both sides.
        until("a call over it in the log", super::PATIENCE, async || {
            let log = site.gateway.logged();
            log.contains("trunk=carrier").then_some(())
        })
        .await
    });
}

#[test]
fn a_trunk_that_cannot_be_is_refused_with_what_to_do_and_nothing_changes() {
    namespace::test_beside_others(async |run| {
        let site = Site::start(&run).await?;
        // It listens on UDP and TCP alone.
        let refused = site
            .reloads(
                "options_seconds = 0",
                "options_seconds = 0\ntransport = \"tls\"\ntls_ca = \"/nowhere.pem\"",
            )
            .await;
        let refused = refused
            .expect_err("there is no such certificate")
            .to_string();
        ensure!(refused.contains("trunk"), "{refused}");
        site.is_called_at(script!("phone-answers-and-hangs-up"), PHONE)
            .await
    });
}
