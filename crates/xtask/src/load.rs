//! `cargo xtask load` and `cargo xtask quality`: build the generator and what it measures, and become the generator.

use std::process::{Command, ExitCode};

use xtask::step::{cargo, visibly};
use xtask::{Doing, Failure, layout, provision};

/// A generator, and what it starts as processes of their own.
pub(crate) struct Generator {
    name: &'static str,
    beside: &'static [&'static str],
}

/// Calls under load: the gateway, its media plane as a process, and the floor.
pub(crate) const LOAD: Generator = Generator {
    name: "load",
    beside: &["mxtrunk", "load-gateway", "load-floor"],
};

/// Calls in bad weather.
pub(crate) const QUALITY: Generator = Generator {
    name: "quality",
    beside: &["load-gateway"],
};

/// Builds and runs a generator with these arguments; returns what it exits with.
pub(crate) fn run(generator: &Generator, arguments: &[String]) -> Result<ExitCode, Failure> {
    provision::setup()?;
    let asks_for = |option: &str| arguments.iter().any(|argument| argument == option);
    match asks_for("--faults") {
        true => provision::faults()?,
        // A site is not measured beside anything else.
        false if asks_for("--soak") || asks_for("--site") => {}
        false => provision::load()?,
    }
    if arguments
        .iter()
        .any(|argument| argument.contains("rtpengine-10"))
    {
        provision::load_beside_debian()?;
    }
    // Figures count as a release has them; `--debug`, for work on the generator itself, spares the long build.
    let debug = asks_for("--debug");
    println!("Building the generator and what it measures …");
    let mut build = cargo();
    build.args(["build", "--workspace", "--bin", generator.name]);
    build.args(generator.beside.iter().flat_map(|name| ["--bin", name]));
    if !debug {
        build.arg("--release");
    }
    visibly(&mut build)?;
    let profile = if debug { "debug" } else { "release" };
    let folder = layout::root().join("target").join(profile);
    let program = folder.join(generator.name);
    let status = Command::new(&program)
        .args(arguments.iter().filter(|argument| *argument != "--debug"))
        .current_dir(layout::root())
        .status()
        .doing(program.display())?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
