//! The admin interface against its document, while there are lines, a record, and calls.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::run::Run;
use serde_json::Value;
use tokio::process::Command;

use super::{PHONE, Site, listening, script};

const ADMIN: &str = "http://127.0.0.1:9010";
const TOKEN: &str = "a token for tests only";

/// Run by `cargo xtask ci`, which has schemathesis.
#[test]
#[ignore = "cargo xtask ci runs it: it wants schemathesis"]
fn the_interface_is_what_its_document_says() {
    namespace::test_beside_others(async |run| {
        let site = Site::start_with(&run, &format!("[admin]\ntoken = {TOKEN:?}\n")).await?;
        let over = script!("pbx-calls-and-is-hung-up");
        let (pbx, call) = site.alice_picks_up(over).await?;
        pbx.is_answered().await?;
        call.hang_up();
        pbx.ends_well().await?;
        site.record().await?;
        let _phones = listening(&run, script!("phone-answers-and-stays"), PHONE, 2).await?;
        let call = site.people.dial("alice", "1001").await?;
        call.is_answered().await?;

        // A gateway without a telephone network behind it is not ready, and says so with 503.
        let but = [
            "--exclude-path",
            "/api/drain",
            "--exclude-path",
            "/health/ready",
        ];
        is_what_it_says(&run, &but).await?;

        // No drain ends a call for help, however few seconds it is given: the gateway goes on answering.
        let help = site.people.dial("bob", "112").await?;
        help.is_answered().await?;
        is_what_it_says(&run, &["--include-path", "/api/drain"]).await?;
        let drain = reqwest::Client::builder().no_proxy().build()?;
        let drain = drain.get(format!("{ADMIN}/api/drain")).bearer_auth(TOKEN);
        let drain = drain.timeout(Duration::from_secs(10)).send().await?;
        let drain: Value = serde_json::from_str(&drain.text().await?)?;
        ensure!(drain["draining"] == true, "none was asked for: {drain}");
        Ok(())
    });
}

/// Requests that schemathesis makes up after the document, good and bad ones, are answered as it says.
async fn is_what_it_says(run: &Run, of_it: &[&str]) -> anyhow::Result<()> {
    let program = std::env::var("MXTRUNK_SCHEMATHESIS").context("MXTRUNK_SCHEMATHESIS")?;
    let output = Command::new(program)
        .arg("run")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json"))
        .args(["--url", ADMIN, "--header"])
        .arg(format!("Authorization: Bearer {TOKEN}"))
        .args(["--max-examples", "30", "--seed", "1", "--no-color"])
        .args(["--suppress-health-check", "all"])
        .args(of_it)
        .current_dir(run.folder())
        .env("no_proxy", "*")
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stdout);
    println!("{told}");
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{of_it:?}: {errors}");
    Ok(())
}
