//! cargo-deny: licences, duplicate and banned crates, sources, and known vulnerabilities.

use std::process::Command;

use xtask::step::{Step, cargo, quietly, visibly};
use xtask::{Failure, layout};

const VERSION: &str = "0.20.2";

/// Checks the tree against deny.toml.
pub(super) fn check() -> Result<(), Failure> {
    installed()?;
    // Compiling has fetched this platform's crates; cargo-deny looks at those of every target that deny.toml
    // names. `--locked` also notices a lock file that has fallen behind.
    visibly(cargo().args(["fetch", "--locked"]))?;
    visibly(deny().args([
        "--offline",
        "check",
        "--hide-inclusion-graph",
        "licenses",
        "bans",
        "sources",
    ]))?;
    // Their database is a repository on the internet: not everybody can reach it.
    let fetched = quietly(
        Command::new("timeout")
            .arg("60")
            .arg(layout::tools().join("bin/cargo-deny"))
            .args(["fetch", "db"])
            .current_dir(layout::root()),
    );
    if let Err(why) = fetched {
        let why = why.to_string();
        let last = why.lines().last().unwrap_or_default();
        println!("skipped: advisories, their database cannot be fetched ({last})");
        return Ok(());
    }
    visibly(deny().args(["check", "--disable-fetch", "advisories"]))
}

/// Compiles cargo-deny, once. It runs for seconds: optimising it would take longer than that spares.
pub(super) fn installed() -> Result<(), Failure> {
    let step = Step {
        stamp: "cargo-deny",
        title: "cargo-deny (compiled once)",
        key: VERSION.to_owned(),
    };
    step.run(|| {
        let mut install = cargo();
        install.env("CARGO_PROFILE_DEV_DEBUG", "0");
        install.args(["install", "--debug", "--locked", "--force"]);
        install.args(["--version", VERSION]);
        install.arg("--root").arg(layout::tools());
        quietly(install.arg("cargo-deny")).map(drop)
    })
}

fn deny() -> Command {
    let mut command = Command::new(layout::tools().join("bin/cargo-deny"));
    command.current_dir(layout::root());
    command
}
