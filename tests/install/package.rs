//! The Debian package, built as `cargo xtask dist` does and installed by dpkg in a bare Debian 12.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use mxtrunk_testbed::{layout, namespace};
use xtask::dist::{self, Compression};
use xtask::provision;

use super::root::{Root, may_be_had, numbers_of, rights};

const TOKENS: [&str; 3] = ["as_token", "hs_token", "admin_token"];

fn token(root: &Root, name: &str) -> anyhow::Result<String> {
    root.read(&format!("/etc/mxtrunk/{name}"))
}

fn dpkg(root: &Root, arguments: &[&str]) -> anyhow::Result<String> {
    let at = format!("--root={}", root.0.display());
    // This machine may be one that leaves manuals out.
    let output = root.beside(&[&["dpkg", &at, "--path-include=*"], arguments].concat())?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "dpkg {arguments:?}: {said}");
    Ok(said)
}

#[test]
fn the_package_installs_in_a_clean_debian_and_its_gateway_runs_there() {
    if !may_be_had() {
        return;
    }
    // In the namespace there is no network to fetch it over.
    if !namespace::is_inside() {
        provision::clean_root().expect("a bare Debian");
    }
    namespace::test_beside_others(async |run| {
        let root = Root(run.path("root"));
        let copied = Command::new("cp")
            .arg("-a")
            .args([&layout::clean_root(), &root.0])
            .status()?;
        ensure!(copied.success(), "{copied}");
        let program = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let package = dist::package(program, &run.subfolder("package")?, Compression::None)?;
        let package = package.display().to_string();

        let said = dpkg(&root, &["--install", &package])?;
        ensure!(said.contains("mxtrunk does not run yet"), "{said}");
        let user = numbers_of(&root, "mxtrunk")?;
        its_files_are_where_they_are_looked_for(&root, user.1)?;
        what_is_set_stays_at_an_upgrade(&root, &package)?;

        let sound = root.inside(&["/usr/bin/mxtrunk", "check"])?;
        ensure!(
            sound.contains("/etc/mxtrunk/gateway.toml is sound"),
            "{sound}"
        );
        let unit = root.read("/usr/lib/systemd/system/mxtrunk.service")?;
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let start: Vec<&str> = start.unwrap_or_default().split(' ').collect();
        let gateway = root.serve(&run, &start, user).await?;
        gateway.tells("READY=1").await?;
        gateway.tells("WATCHDOG=1").await?;
        gateway.is_alive().await?;
        let calls = root.inside(&["/usr/bin/mxtrunk", "calls"])?;
        ensure!(calls == "There is no call now.\n", "{calls}");
        gateway.stop().await?;

        dpkg(&root, &["--purge", "mxtrunk"])?;
        for gone in ["/var/lib/mxtrunk", "/etc/mxtrunk", "/usr/bin/mxtrunk"] {
            ensure!(!root.path(gone).exists(), "{gone} is left after a purge");
        }
        Ok(())
    });
}

fn its_files_are_where_they_are_looked_for(root: &Root, group: u32) -> anyhow::Result<()> {
    for (path, expected) in [
        ("/etc/mxtrunk", format!("750 0:{group}")),
        ("/etc/mxtrunk/gateway.toml", format!("640 0:{group}")),
        ("/etc/mxtrunk/as_token", format!("640 0:{group}")),
        ("/usr/bin/mxtrunk", "755 0:0".to_owned()),
        (
            "/usr/lib/systemd/system/mxtrunk.service",
            "644 0:0".to_owned(),
        ),
        ("/usr/share/doc/mxtrunk/gateway.toml", "644 0:0".to_owned()),
        ("/usr/share/man/man1/mxtrunk-run.1", "644 0:0".to_owned()),
    ] {
        let found = rights(&root.path(path))?;
        ensure!(found == expected, "{path}: {found}, not {expected}");
    }
    let mut tokens = TOKENS.map(|name| token(root, name).unwrap_or_default());
    for token in &tokens {
        let is_hex = token.chars().all(|c| c.is_ascii_hexdigit());
        ensure!(token.len() == 64 && is_hex, "a token of {}", token.len());
    }
    tokens.sort();
    ensure!(
        tokens[0] != tokens[1] && tokens[1] != tokens[2],
        "twice the same"
    );
    let page = root.read("/usr/share/man/man1/mxtrunk.1")?;
    for part in [".TH mxtrunk 1", ".SH FILES", ".SH SIGNALS", "doctor"] {
        ensure!(page.contains(part), "no {part} in the manual:\n{page}");
    }
    for script in [
        "bash-completion/completions/mxtrunk",
        "zsh/vendor-completions/_mxtrunk",
        "fish/vendor_completions.d/mxtrunk.fish",
    ] {
        let script = root.read(&format!("/usr/share/{script}"))?;
        ensure!(script.contains("registration"), "{script}");
    }
    Ok(())
}

fn what_is_set_stays_at_an_upgrade(root: &Root, package: &str) -> anyhow::Result<()> {
    let config = root.path("/etc/mxtrunk/gateway.toml");
    let changed = fs::read_to_string(&config)?.replace("example.org", "example.com");
    fs::write(&config, &changed)?;
    let before = token(root, "as_token")?;
    let said = dpkg(root, &["--install", package])?;
    ensure!(!said.contains("does not run yet"), "{said}");
    ensure!(fs::read_to_string(&config)? == changed, "it was replaced");
    ensure!(token(root, "as_token")? == before, "another token");
    Ok(())
}
