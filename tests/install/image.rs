//! The image, as far as no engine is there: its contents by the script that the Dockerfile runs, started as the Dockerfile says.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use mxtrunk_testbed::{layout, namespace};
use xtask::dist;

use super::root::{Root, may_be_had};

/// What stands in the Dockerfile behind this word, the last time.
fn said(word: &str) -> anyhow::Result<String> {
    let file = fs::read_to_string(layout::root().join("Dockerfile"))?;
    let lines = file.lines().rev();
    let mut found = lines.filter_map(|line| line.strip_prefix(word));
    let found = found.next().with_context(|| format!("no {word}"))?;
    Ok(found.trim().to_owned())
}

/// The command in it, a list in JSON.
fn command(word: &str) -> anyhow::Result<Vec<String>> {
    let said = said(word)?;
    let list = &said[said.find('[').context("no list")?..];
    serde_json::from_str(list).with_context(|| list.to_owned())
}

#[test]
fn the_image_holds_what_the_gateway_needs_and_no_more() {
    if !may_be_had() {
        return;
    }
    namespace::test_beside_others(async |run| {
        let root = Root(run.path("root"));
        dist::image(Path::new(env!("CARGO_BIN_EXE_mxtrunk")), &root.0)?;
        let entries = fs::read_dir(&root.0)?.flatten();
        let top: BTreeSet<String> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        let top: Vec<&str> = top.iter().map(String::as_str).collect();
        ensure!(
            top == ["etc", "lib", "lib64", "run", "tmp", "usr", "var"],
            "{top:?}"
        );
        let programs: Vec<_> = fs::read_dir(root.path("/usr/bin"))?.flatten().collect();
        ensure!(programs.len() == 1, "{programs:?}");

        // What an engine brings along, and what its user does.
        for folder in ["/dev", "/proc"] {
            fs::create_dir_all(root.path(folder))?;
        }
        let shipped = layout::root().join("dist/gateway.toml");
        fs::copy(shipped, root.path("/etc/mxtrunk/gateway.toml"))?;
        for token in ["as_token", "hs_token", "admin_token"] {
            fs::write(root.path("/etc/mxtrunk").join(token), "0123456789abcdef")?;
        }
        let user = said("USER")?;
        let (user, group) = user.split_once(':').context("user and group")?;
        let user = (user.parse()?, group.parse()?);
        let start = [command("ENTRYPOINT")?, command("CMD")?].concat();
        let start: Vec<&str> = start.iter().map(String::as_str).collect();
        let gateway = root.serve(&run, &start, user).await?;
        gateway.tells("READY=1").await?;
        gateway.is_alive().await?;
        let health = command("HEALTHCHECK")?;
        let health: Vec<&str> = health.iter().map(String::as_str).collect();
        root.inside(&health)?;
        gateway.stop().await?;
        let told = root.inside(&health).expect_err("nobody is there any more");
        ensure!(!told.to_string().is_empty());
        Ok(())
    });
}
