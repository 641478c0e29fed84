//! What a real Asterisk tells of telephones, as the presence of their numbers. The Matrix side is simulated, but for one test.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::{Asterisk, PHONES, extension};
use mxtrunk_testbed::baresip::{Answering, DeskPhone};
use mxtrunk_testbed::demo::site::write_spoken;
use mxtrunk_testbed::gateway::Gateway;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::synapse::{self, Synapse, User};

use super::asterisk::AsteriskSite;
use super::site::{PATIENCE, hum_of};

/// A desk phone, Alice's line, and Bob's, who wants nobody to see.
const WATCHED: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
options_seconds = 1
watch = ["1001"]
subscribe = ["dialog"]

[presence]
again_seconds = 5

[matrix]
language = "fr"

[media]
workers = 1

[[line]]
user = "@alice:localtest"
extension = "2001"
register = { password = "desk-phone", expires_seconds = 3600 }
language = "en"
[[line]]
user = "@bob:localtest"
extension = "2002"
register = { password = "desk-phone", expires_seconds = 3600 }
presence = false
"#;

const LINES: [&str; 2] = ["2001", "2002"];

fn user(number: &str) -> String {
    format!("@tel_{number}:localtest")
}

async fn shows(
    site: &AsteriskSite,
    number: &str,
    presence: &str,
    words: Option<&str>,
) -> anyhow::Result<()> {
    let what = format!("{number} to be shown as {presence} {words:?}");
    until(&what, PATIENCE, async || {
        let (shown, said) = site.people.homeserver().presence(&user(number))?;
        (shown == presence && said.as_deref() == words).then_some(())
    })
    .await
}

/// Whose presence is shown has a virtual user, which a call from it makes.
async fn calls(site: &AsteriskSite, phone: &mut DeskPhone) -> anyhow::Result<()> {
    phone.dial("2001").await?;
    let call = site.people.rung("alice").await?;
    call.reject();
    phone.closed(PATIENCE).await?;
    site.record().await.map(drop)
}

#[test]
fn a_desk_phone_and_a_line_are_shown_as_free_ringing_and_in_a_call_until_the_pbx_is_gone() {
    namespace::test_beside_others(async |run| {
        let mut site = AsteriskSite::start(&run, &LINES, WATCHED).await?;
        let says = write_spoken(&run, "1001-says", &hum_of(Duration::from_secs(60)))?;
        let auto = Answering::Auto;
        let mut phone = DeskPhone::start(&run, &site.asterisk, PHONES[0], auto, &says).await?;
        calls(&site, &mut phone).await?;
        shows(&site, "1001", "online", None).await?;

        phone.dial("2001").await?;
        let call = site.people.rung("alice").await?;
        shows(&site, "1001", "unavailable", Some("📞 En communication")).await?;
        call.answer()?;
        call.is_connected().await?;
        phone.hang_up().await?;
        shows(&site, "1001", "online", None).await?;

        // It is set again before the homeserver would forget it.
        let set = site.people.homeserver().presences_set();
        until("it to be set again", PATIENCE, async || {
            (site.people.homeserver().presences_set() > set + 1).then_some(())
        })
        .await?;

        // Alice's own line, in her own language; nobody sees Bob's.
        let bobs = site.people.dial("alice", "2002").await?;
        site.people.rung("bob").await?.reject();
        bobs.hears("m.call.reject").await?;
        let alices = site.people.dial("bob", "2001").await?;
        site.people.rung("alice").await?;
        shows(&site, "2001", "unavailable", Some("📞 Ringing")).await?;
        let bob = site.people.homeserver().presence(&user("2002"));
        ensure!(bob.is_none(), "Bob is shown: {bob:?}");
        alices.hang_up();
        shows(&site, "2001", "online", None).await?;

        site.asterisk.peer().kill().await?;
        shows(&site, "1001", "offline", None).await?;
        shows(&site, "2001", "offline", None).await?;
        site.asterisk.start_again(&run).await?;
        shows(&site, "2001", "online", None).await?;
        ensure!(site.gateway.stop().await?.success(), "an unclean stop");
        Ok(())
    });
}

#[test]
fn a_homeserver_without_presence_is_told_of_once_and_left_alone() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &LINES, WATCHED).await?;
        site.people.homeserver().show_no_presence();
        let says = write_spoken(&run, "1001-says", &hum_of(Duration::from_secs(2)))?;
        let auto = Answering::Auto;
        let mut phone = DeskPhone::start(&run, &site.asterisk, PHONES[0], auto, &says).await?;
        calls(&site, &mut phone).await?;
        site.logs("the homeserver shows no presence", 1).await?;
        let set = site.people.homeserver().presences_set();
        site.asterisk.originate("PJSIP/1001", extension::ECHO)?;
        site.has_channel_of("1001").await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let after = site.people.homeserver().presences_set();
        ensure!(after == set, "{} were set", after - set);
        let log = site.gateway.logged();
        let told = log.matches("the homeserver shows no presence").count();
        ensure!(told == 1, "told {told} times");
        Ok(())
    });
}

/// What this person's client is told of a number by the homeserver.
async fn told(http: &reqwest::Client, person: &User, number: &str) -> Option<serde_json::Value> {
    let status = format!(
        "{}/_matrix/client/v3/presence/{}/status",
        synapse::URL,
        user(number)
    );
    let asked = http.get(status).bearer_auth(&person.access_token);
    asked.send().await.ok()?.json().await.ok()
}

#[test]
fn a_real_synapse_tells_a_client_whether_the_desk_phone_is_free() {
    namespace::test_beside_others(async |run| {
        let binary = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let mut gateway = Gateway::configure(&run, binary, &[WATCHED])?;
        let asterisk = Asterisk::start_with_lines(&run, &LINES).await?;
        let shows_presence = "presence: {enabled: true}\n";
        let registration = gateway.registration()?;
        let synapse = Synapse::start_with(&run, &[registration], shows_presence).await?;
        let alice = synapse.register("alice", "a password").await?;
        gateway.start().await?;
        let says = write_spoken(&run, "1001-says", &hum_of(Duration::from_secs(60)))?;
        let auto = Answering::Auto;
        let mut phone = DeskPhone::start(&run, &asterisk, PHONES[0], auto, &says).await?;
        let http = reqwest::Client::new();
        let is_told = async |presence: &str, words: Option<&str>| {
            let what = format!("Alice to be told that 1001 is {presence}, {words:?}");
            until(&what, PATIENCE, async || {
                let told = told(&http, &alice, "1001").await?;
                let is = told["presence"] == presence && told["status_msg"].as_str() == words;
                is.then_some(())
            })
            .await
        };

        // Her room with the number is made by its call, and her client sees nobody before they share one.
        phone.dial("2001").await?;
        is_told("unavailable", Some("📞 En communication")).await?;
        phone.hang_up().await?;
        is_told("online", None).await?;
        asterisk.originate("PJSIP/1001", extension::ECHO)?;
        is_told("unavailable", Some("📞 En communication")).await?;
        phone.hang_up().await?;
        is_told("online", None).await
    });
}
