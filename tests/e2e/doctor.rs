//! `mxtrunk doctor` at a site with a real Synapse and a real Asterisk: whole, and broken in one place after the other.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::asterisk::{Asterisk, MANAGER, MANAGER_SECRET};
use mxtrunk_testbed::demo::site::PASSWORD;
use mxtrunk_testbed::gateway::{AS_TOKEN, Gateway, HS_TOKEN};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::synapse::Synapse;

const BINARY: &str = env!("CARGO_BIN_EXE_mxtrunk");

/// A run's folder may be too deep for a socket.
fn config(folder: &Path) -> String {
    format!(
        "[control]\nsocket = \"{}\"\n[media]\nworkers = 1\nmax_calls = 50\n[sip]\nmax_calls = 50\n\
         [ami]\naddress = \"{}\"\nsecret = \"{MANAGER_SECRET}\"\n",
        folder.join("control.sock").display(),
        MANAGER[0]
    )
}

/// What the doctor says of a configuration with this in the place of that, and its exit code.
fn doctor(run: &Run, gateway: &Gateway, (this, by): (&str, &str)) -> anyhow::Result<(String, i32)> {
    let text = std::fs::read_to_string(gateway.config())?;
    ensure!(text.contains(this), "{this:?} is not in the configuration");
    let path = run.write("gateway/examined.toml", &text.replace(this, by))?;
    let output = Command::new(BINARY)
        .args(["doctor", "--config"])
        .arg(&path)
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().context("killed")?;
    println!("{by:?}: {code}\n{said}{errors}");
    Ok((said, code))
}

/// All that failed, or is to be looked at, by what was looked at.
fn complaints<'a>(said: &'a str, word: &str) -> Vec<&'a str> {
    let lines = said.lines().filter_map(|line| line.strip_prefix(word));
    lines
        .map(|line| line.split(": ").next().unwrap_or(line).trim())
        .collect()
}

const AS_IT_IS: (&str, &str) = ("[matrix]", "[matrix]");

/// Nothing failed; what is to be looked at follows from a site on loopback.
fn is_whole((said, code): &(String, i32)) -> anyhow::Result<()> {
    ensure!(*code == 0, "{code}: {said}");
    ensure!(complaints(said, "FAIL").is_empty(), "{said}");
    for what in complaints(said, "warn") {
        let expected = [
            "TURN",
            "the address that browsers are told",
            "UDP buffers",
            "open files",
        ];
        ensure!(expected.contains(&what), "{what} is complained of: {said}");
    }
    Ok(())
}

/// This alone failed, with these words in what is to be done.
fn fails((said, code): &(String, i32), what: &str, words: &str) -> anyhow::Result<()> {
    ensure!(*code == 1, "{code}: {said}");
    ensure!(
        complaints(said, "FAIL") == [what],
        "not {what} alone: {said}"
    );
    let line = said.lines().find(|line| line.starts_with("FAIL"));
    ensure!(
        line.is_some_and(|line| line.contains(words)),
        "no {words:?} in {line:?}"
    );
    Ok(())
}

/// A homeserver.yaml that is of no use for calls.
const ASKEW: &str = "encryption_enabled_by_default_for_room_type: all
auto_accept_invites: {enabled: false}
listeners: [{port: 8008, bind_addresses: [127.0.0.1], type: http, resources: [{names: [client]}]}]
";

async fn synapse(run: &Run, registration: &Path, changes: &str) -> anyhow::Result<Synapse> {
    Synapse::start_with(run, &[registration.to_owned()], changes).await
}

fn limited(run: &Run, registration: &Path) -> anyhow::Result<PathBuf> {
    let text = std::fs::read_to_string(registration)?;
    let limited = text.replace("rate_limited: false", "rate_limited: true");
    ensure!(limited != text, "it has no rate_limited");
    run.write("gateway/limited.yaml", &limited)
}

#[test]
fn finds_what_is_broken() {
    namespace::test_beside_others(async |run| {
        let folder = tempfile::tempdir()?;
        let _asterisk = Asterisk::start(&run).await?;
        let mut gateway = Gateway::configure(&run, Path::new(BINARY), &[&config(folder.path())])?;
        let registration = gateway.registration()?;
        gateway.start().await?;
        let mut homeserver = synapse(&run, &registration, "").await?;
        for user in ["alice", "bob"] {
            homeserver.register(user, PASSWORD).await?;
        }

        // Beside the gateway, and without it.
        let beside = doctor(&run, &gateway, AS_IT_IS)?;
        is_whole(&beside)?;
        for ok in [
            "gateway: runs",
            "homeserver: http://127.0.0.1:8008 answers",
            "our token (as_token): the homeserver knows us as @mxtrunk:localtest",
            "(hs_token): the homeserver reaches us",
            "rate limit: the homeserver does not",
            "invites: are accepted",
            "encryption: new rooms are not",
            "OpenID resource: is served",
            "clock: agrees",
            "people: the 2 people",
            "trunk \"pbx\", 127.0.0.1:5060: answers OPTIONS with 200",
            "manager interface (AMI): 127.0.0.1:5038 lets us",
        ] {
            let is_ok = |line: &str| line.starts_with("ok") && line.contains(ok);
            ensure!(beside.0.lines().any(is_ok), "no {ok:?}");
        }
        ensure!(gateway.stop().await?.success(), "an unclean stop");
        let alone = doctor(&run, &gateway, AS_IT_IS)?;
        is_whole(&alone)?;
        ensure!(alone.0.contains("gateway: does not run"), "{}", alone.0);
        ensure!(alone.0.contains("the homeserver reaches us"), "{}", alone.0);

        // Each mistake in gateway.toml.
        let one = |change: (&str, &str)| doctor(&run, &gateway, change);
        let hs_token = one((HS_TOKEN, "another"))?;
        let what = "the way from the homeserver to us (hs_token)";
        fails(&hs_token, what, "write the registration anew")?;
        fails(
            &one((AS_TOKEN, "another"))?,
            "our token (as_token)",
            "write the registration anew",
        )?;
        fails(
            &one(("http://127.0.0.1:8008", "http://127.0.0.1:8009"))?,
            "homeserver",
            "see that Synapse runs",
        )?;
        fails(
            &one(("http://127.0.0.1:8008", "http://127.0.0.1:5038"))?,
            "homeserver",
            "",
        )?;
        let nobody = one(("127.0.0.1:5060", "127.0.0.1:5069"))?;
        fails(
            &nobody,
            "trunk \"pbx\", 127.0.0.1:5069",
            "see that the PBX runs",
        )?;
        fails(
            &one((MANAGER_SECRET, "another"))?,
            "manager interface (AMI)",
            "manager.conf",
        )?;
        fails(
            &one((MANAGER[0], MANAGER[1]))?,
            "manager interface (AMI)",
            "manager.conf",
        )?;
        fails(
            &one(("gateway/mxtrunk.db", "nowhere/mxtrunk.db"))?,
            "database",
            "right to write",
        )?;
        let taken = std::net::UdpSocket::bind("127.0.0.1:5070")?;
        fails(&one(AS_IT_IS)?, "ports", "ss -lunpt")?;
        drop(taken);
        let (said, code) = one(("@bob:localtest", "@bobby:localtest"))?;
        ensure!(
            code == 0 && complaints(&said, "warn").contains(&"people"),
            "{said}"
        );
        let (_, code) = one(("[media]", "[media]\nopus_complexity = 50"))?;
        ensure!(code == 2, "{code}");

        // Everything that Synapse can have wrong, at once.
        homeserver.peer().kill().await?;
        let limited = limited(&run, &registration)?;
        homeserver = synapse(&run, &limited, ASKEW).await?;
        let (said, code) = one(AS_IT_IS)?;
        ensure!(code == 1, "{code}: {said}");
        ensure!(
            complaints(&said, "FAIL") == ["encryption", "rate limit"],
            "{said}"
        );
        for what in ["invites", "OpenID resource"] {
            ensure!(complaints(&said, "warn").contains(&what), "{said}");
        }
        homeserver.peer().kill().await
    });
}
