//! The trunk over TCP, and over TLS.

use anyhow::ensure;
use mxtrunk_testbed::certificates::Certificates;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::person::Call;
use mxtrunk_testbed::sipp::Over;

use super::{PATIENCE, PBX, PHONE, Playing, Script, Site, scenario, script};

const OVER_TCP: &str = r#"
[sip]
listen = ["tcp:127.0.0.1:5070"]
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"
transport = "tcp"
options_seconds = 0
"#;

#[test]
fn a_trunk_over_tcp_is_called_and_calls() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, OVER_TCP).await?;
        calls_both_ways(&site, (Over::Tcp, "TCP")).await
    });
}

#[test]
fn a_trunk_over_tls_is_called_and_calls_and_shows_its_certificate() {
    namespace::test_beside_others(async |run| {
        let certificates = Certificates::of(&run)?;
        let (authority, own, key) = (
            certificates.authority(),
            certificates.certificate("gateway"),
            certificates.key("gateway"),
        );
        let over_tls = OVER_TCP.replace("tcp", "tls");
        let over_tls = over_tls.replace(
            "[[trunk]]",
            &format!(
                "tls_certificate = {own:?}\ntls_key = {key:?}\n[[trunk]]\ntls_ca = {authority:?}"
            ),
        );
        let site = Site::start_with(&run, &over_tls).await?;
        calls_both_ways(&site, (Over::Tls(&certificates, "phone"), "TLS")).await
    });
}

#[test]
fn a_target_that_takes_no_connection_gives_way_to_the_next() {
    namespace::test_beside_others(async |run| {
        let two = OVER_TCP.replace(
            "target = \"127.0.0.1:5060\"",
            "targets = [\"127.0.0.1:5060\", { address = \"127.0.0.1:5066\", priority = 1 }]",
        );
        let site = Site::start_with(&run, &two).await?;
        let script = script!("phone-answers-and-hangs-up");
        is_called(&site, (Over::Tcp, "TCP"), 5066, script).await
    });
}

type Way<'a> = (Over<'a>, &'static str);

/// Each side hangs up once: what it says then goes by the connection that there is.
async fn calls_both_ways(site: &Site, way: Way<'_>) -> anyhow::Result<()> {
    for script in [
        script!("phone-answers-and-hangs-up"),
        script!("phone-answers-and-is-hung-up"),
    ] {
        is_called(site, way, PHONE, script).await?;
    }
    for script in [
        script!("pbx-calls-and-hangs-up"),
        script!("pbx-calls-and-is-hung-up"),
    ] {
        let pbx = scenario(script, PBX, "2001").start_over(&site.run, way.0, &[])?;
        let pbx = site.playing(script, pbx);
        let call = site.people.rung("alice").await?;
        call.answer()?;
        pbx.is_answered().await?;
        is_over(&call, pbx, way.1).await?;
    }
    Ok(())
}

/// Alice calls the phone that listens at this port.
async fn is_called(
    site: &Site,
    (over, name): Way<'_>,
    port: u16,
    script: Script,
) -> anyhow::Result<()> {
    let phone = scenario(script, port, "1001");
    let phone = phone.listen_over(&site.run, over, PATIENCE).await?;
    let phone = site.playing(script, phone);
    let call = site.people.dial("alice", "1001").await?;
    call.is_answered().await?;
    is_over(&call, phone, name).await
}

/// The one whose turn it is hangs up; nothing was said over anything else than this.
async fn is_over(call: &Call, playing: Playing, over: &str) -> anyhow::Result<()> {
    match playing.name.ends_with("is-hung-up") {
        true => call.hang_up(),
        false => drop(call.hears("m.call.hangup").await?),
    }
    let said = playing.messages()?;
    ensure!(said.contains(&format!("Via: SIP/2.0/{over} ")), "{said}");
    ensure!(!said.contains("Via: SIP/2.0/UDP "), "{said}");
    playing.ends_well().await
}
