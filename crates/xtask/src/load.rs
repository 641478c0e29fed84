//! `cargo xtask load`: builds the load generator and what it measures, and becomes the generator.

use std::process::{Command, ExitCode};

use xtask::step::{cargo, visibly};
use xtask::{Doing, Failure, layout, provision};

/// The generator, the gateway, its media plane as a process, and the floor.
const BINARIES: [&str; 4] = ["load", "mxtrunk", "load-gateway", "load-floor"];

/// Builds and runs the load generator with these arguments; returns what it exits with.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    provision::setup()?;
    provision::load()?;
    // Figures count as a release has them; `--debug`, for work on the generator itself, spares the long build.
    let debug = arguments.iter().any(|argument| argument == "--debug");
    println!("Building the load generator and what it measures …");
    let mut build = cargo();
    build.args(["build", "--workspace"]);
    build.args(BINARIES.iter().flat_map(|name| ["--bin", name]));
    if !debug {
        build.arg("--release");
    }
    visibly(&mut build)?;
    let profile = if debug { "debug" } else { "release" };
    let load = layout::root().join("target").join(profile).join("load");
    let status = Command::new(&load)
        .args(arguments.iter().filter(|argument| *argument != "--debug"))
        .current_dir(layout::root())
        .status()
        .doing(load.display())?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
