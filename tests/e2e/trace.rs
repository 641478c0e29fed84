//! What the running gateway tells of a call: `mxtrunk trace`.

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::asterisk::{self, extension};
use mxtrunk_testbed::namespace;
use tokio::process::Command;

use super::site::{PATIENCE, Site};

/// What `mxtrunk trace` prints.
async fn trace(site: &Site, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_mxtrunk"))
        .arg("trace")
        .args(arguments)
        .arg("--config")
        .arg(site.peers.gateway.config())
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// These stand in a text in this order.
fn in_order(text: &str, parts: &[&str]) -> anyhow::Result<()> {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part);
        let at =
            at.with_context(|| format!("{part:?} is missing, or not in its place, in:\n{text}"))?;
        rest = &rest[at + part.len()..];
    }
    Ok(())
}

#[test]
fn a_call_is_told_as_a_ladder_from_invite_to_bye_without_its_keys() {
    namespace::test_beside_others(async |run| {
        let encrypted = format!(
            "[[trunk]]\nname = \"pbx\"\ntarget = \"{}\"\nsrtp = \"offered\"\nsrtp_without_tls = true\n",
            asterisk::SIP
        );
        let site = Site::start(&run, &encrypted).await?;
        site.connect(extension::ECHO).await?;
        site.alice.hangup().await?;
        site.pbx_is_quiet(PATIENCE).await?;
        let call = site.record().await?.id.0;
        let list = trace(&site, &[]).await?;
        in_order(
            &list,
            &[
                call.as_str(),
                "calls 600 over pbx",
                "hung_up, by the caller",
            ],
        )?;
        let ladder = trace(&site, &[&call]).await?;
        println!("{ladder}");
        let parts = [
            "-- m.call.invite ",
            "-- INVITE ",
            "<- 200 OK (INVITE) ",
            "-- ACK ",
            "<- m.call.answer ",
            "* media: connected",
            "-- m.call.hangup ",
            "-- BYE ",
        ];
        in_order(&ladder, &parts)?;
        in_order(&ladder, &["-- BYE ", "<- 200 OK (BYE) "])?;
        ensure!(
            ladder.lines().all(|line| line.chars().count() <= 100),
            "{ladder}"
        );
        let whole = trace(&site, &["--whole", &call[..6]]).await?;
        in_order(
            &whole,
            &["INVITE sip:600@", "a=crypto:", "inline:***", "m=audio"],
        )
        .or_else(|_| {
            in_order(
                &whole,
                &["INVITE sip:600@", "m=audio", "a=crypto:", "inline:***"],
            )
        })?;
        let keys = whole.matches("inline:").count();
        ensure!(keys == whole.matches("inline:***").count(), "{whole}");
        let unknown = trace(&site, &["nobody"]).await;
        let complaint = unknown.expect_err("there is no such call").to_string();
        ensure!(complaint.contains("knows no call nobody"), "{complaint}");
        Ok(())
    });
}

#[test]
fn a_refused_call_is_told_with_what_the_pbx_and_the_person_were_told() {
    namespace::test_beside_others(async |run| {
        let site = Site::start(&run, "").await?;
        site.alice.dial("699").await?;
        site.ended_by_them(PATIENCE).await?;
        let record = site.record().await?;
        ensure!(record.sip_status == Some(404), "{record:?}");
        ensure!(record.reason.as_deref() == Some("not_found"), "{record:?}");
        let ladder = trace(&site, &[&record.id.0]).await?;
        println!("{ladder}");
        let parts = [
            "<- 404 Not Found (INVITE)",
            "<- m.call.reject ",
            "<- m.room.message ",
            "699 is not",
        ];
        in_order(&ladder, &parts)
    });
}
