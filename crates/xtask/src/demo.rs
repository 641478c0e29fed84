//! `cargo xtask demo`: builds the gateway and the demo, and becomes the demo.

use std::process::{Command, ExitCode};

use xtask::step::{cargo, visibly};
use xtask::{Doing, Failure, layout, provision};

/// Builds and runs the demo with these arguments; returns what it exits with.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode, Failure> {
    provision::setup()?;
    println!("Building the gateway and the demo …");
    // Both at once and of the whole workspace: each selection of packages would compile the dependencies with
    // features of its own.
    let binaries = ["build", "--workspace", "--bin", "mxtrunk", "--bin", "demo"];
    visibly(cargo().args(binaries))?;
    let demo = layout::root().join("target/debug/demo");
    let status = Command::new(&demo)
        .args(arguments)
        .current_dir(layout::root())
        .status()
        .doing(demo.display())?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
