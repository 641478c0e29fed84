//! Lines that log in at a real Asterisk as its desk phones do. The Matrix side is simulated.

use anyhow::ensure;
use mxtrunk_testbed::asterisk::{PHONES, extension};
use mxtrunk_testbed::baresip::{Answering, DeskPhone};
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;

use super::asterisk::AsteriskSite;
use super::site::{PATIENCE, hum};

/// Alice registers as 2001, Bob as 2002 and asserts a number of his own; Carol does that without an account.
const REGISTERED: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 1

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
register = { password = "desk-phone", expires_seconds = 3600 }
[[line]]
user = "@bob:localtest"
extension = "2002"
caller_id = "+33177000002"
name = "Bob"
register = { username = "2002", password = "desk-phone", expires_seconds = 3600 }
[[line]]
user = "@carol:localtest"
extension = "2003"
caller_id = "+33177000003"
name = "Carol"
"#;

const LINES: [&str; 2] = ["2001", "2002"];

#[test]
fn a_line_that_registers_is_called_and_calls_as_a_desk_phone_of_the_pbx() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &LINES, REGISTERED).await?;
        for line in LINES {
            site.is_registered(line, true).await?;
        }
        let says = write_spoken(&run, "1001-says", &hum())?;
        let (pbx, auto) = (&site.asterisk, Answering::Auto);
        let mut phone = DeskPhone::start(&run, pbx, PHONES[0], auto, &says).await?;

        phone.dial("2001").await?;
        let call = site.people.rung("alice").await?;
        ensure!(call.virtual_user == "@tel_1001:localtest", "{call:?}");
        site.has_channel_of("2001").await?;
        call.answer()?;
        call.is_connected().await?;
        phone.established(PATIENCE).await?;
        call.hang_up();
        phone.closed(PATIENCE).await?;

        let call = site.people.dial("alice", "1001").await?;
        call.is_answered().await?;
        call.is_connected().await?;
        // The account's, not the trunk's: the PBX knows who calls.
        site.has_channel_of("2001").await?;
        let names = site.asterisk.channel_names()?;
        let of_trunk = names.iter().any(|name| name.starts_with("PJSIP/gateway-"));
        ensure!(!of_trunk, "{names:?}");
        // As the PBX has it for this endpoint.
        let caller = "From: \"Desk 2001\" <sip:2001@";
        let said = std::fs::read_to_string(site.run.path("asterisk.log"))?;
        ensure!(said.contains(caller), "1001 was not told {caller}");
        phone.hang_up().await?;
        call.hears("m.call.hangup").await?;

        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        for line in LINES {
            site.is_registered(line, false).await?;
        }
        Ok(())
    });
}

#[test]
fn a_line_tells_its_own_number_and_name_and_one_that_registers_its_account_too() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &LINES, REGISTERED).await?;
        site.is_registered("2002", true).await?;
        for (user, endpoint, told) in [
            (
                "bob",
                "2002",
                [
                    "From: \"Bob\" <sip:2002@",
                    "P-Asserted-Identity: \"Bob\" <sip:+33177000002@",
                ],
            ),
            (
                "carol",
                "gateway",
                [
                    "From: \"Carol\" <sip:+33177000003@",
                    "P-Asserted-Identity: \"Carol\" <sip:+33177000003@",
                ],
            ),
        ] {
            let call = site.people.dial(user, extension::ECHO).await?;
            call.is_answered().await?;
            site.has_channel_of(endpoint).await?;
            call.hang_up();
            site.pbx_is_quiet().await?;
            let heard = std::fs::read_to_string(site.run.path("asterisk.log"))?;
            for header in told {
                ensure!(heard.contains(header), "Asterisk did not hear {header}");
            }
        }
        Ok(())
    });
}

#[test]
fn a_line_with_a_wrong_password_is_told_of_and_does_not_hammer() {
    namespace::test_beside_others(async |run| {
        let config = REGISTERED.replacen("desk-phone", "not-the-password", 1);
        let site = AsteriskSite::start(&run, &LINES, &config).await?;
        site.is_registered("2002", true).await?;
        site.logs("compare username and password of its `register`", 1)
            .await?;
        let heard = || std::fs::read_to_string(site.run.path("asterisk.log"));
        let asked = |heard: &str| heard.matches("To: <sip:2001@").count();
        let questions = |heard: &str| heard.matches("OPTIONS sip:").count();
        let before = heard()?;
        until(
            "the gateway to ask the PBX three times more",
            PATIENCE,
            async || (questions(&heard().ok()?) >= questions(&before) + 3).then_some(()),
        )
        .await?;
        // One without a password, one with the wrong one, and their two refusals.
        let times = asked(&heard()?);
        ensure!(times <= 4, "{times} REGISTERs and answers");
        let log = site.gateway.logged();
        ensure!(!log.contains("not-the-password"), "the password is told");
        site.is_reachable("2002", "bob").await
    });
}

#[test]
fn a_line_is_registered_again_by_itself_when_the_pbx_has_forgotten_it() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &LINES, REGISTERED).await?;
        site.is_registered("2001", true).await?;
        site.is_reachable("2001", "alice").await?;
        site.asterisk.peer().kill().await?;
        site.asterisk.forget()?;
        site.logs("trunk does not answer", 1).await?;
        site.asterisk.start_again(&run).await?;
        site.is_registered("2001", true).await?;
        site.logs("trunk is up", 1).await?;
        site.is_reachable("2001", "alice").await
    });
}

#[test]
fn a_line_registers_over_tcp_too_and_again_when_the_pbx_has_forgotten_it() {
    namespace::test_beside_others(async |run| {
        let tcp = "target = \"127.0.0.1:5060\"\ntransport = \"tcp\"";
        let config = REGISTERED.replace("target = \"127.0.0.1:5060\"", tcp);
        let mut site = AsteriskSite::start(&run, &LINES, &config).await?;
        site.is_registered("2001", true).await?;
        site.is_reachable("2001", "alice").await?;
        let call = site.people.dial("alice", extension::ECHO).await?;
        call.is_answered().await?;
        site.has_channel_of("2001").await?;
        call.hang_up();
        site.record().await?;
        site.asterisk.peer().kill().await?;
        site.asterisk.forget()?;
        site.logs("trunk does not answer", 1).await?;
        site.asterisk.start_again(&run).await?;
        site.is_registered("2001", true).await?;
        site.is_reachable("2001", "alice").await
    });
}
