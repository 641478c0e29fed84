//! `cargo xtask ci`: everything that must hold before a change is kept.

mod deny;
mod purity;

use std::time::Instant;

use xtask::step::{cargo, visibly};
use xtask::{Doing, Failure, provision};

type Check = fn() -> Result<(), Failure>;

/// In the order of their cost; the first that fails ends the run.
const CHECKS: [(&str, Check); 6] = [
    ("setup", provision::setup),
    ("formatting", formatting),
    ("purity", purity::check),
    ("clippy", clippy),
    ("cargo-deny", deny::check),
    ("tests", tests),
];

/// Runs all checks.
pub(crate) fn run() -> Result<(), Failure> {
    let mut lines = Vec::new();
    for (name, check) in CHECKS {
        println!("==== {name}");
        let started = Instant::now();
        check().doing(name)?;
        lines.push(format!("{name:12} ok  {:4} s", started.elapsed().as_secs()));
    }
    println!("\n{}", lines.join("\n"));
    Ok(())
}

fn formatting() -> Result<(), Failure> {
    visibly(cargo().args(["fmt", "--all", "--check"]))
}

fn clippy() -> Result<(), Failure> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    visibly(cargo().args(arguments))
}

/// The very command of the README, in a process of its own.
fn tests() -> Result<(), Failure> {
    visibly(cargo().args(["xtask", "test"]))
}
