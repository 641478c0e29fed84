//! `cargo xtask ci`: everything that must hold before a change is kept.

mod admin;
mod deny;
mod purity;

use std::thread;
use std::time::Instant;

use xtask::step::{cargo, visibly};
use xtask::{Doing, Failure, provision};

type Check = fn() -> Result<(), Failure>;

/// In the order of their cost; the first that fails ends the run.
const CHECKS: [(&str, Check); 7] = [
    ("setup", setup),
    ("formatting", formatting),
    ("purity", purity::check),
    ("clippy", clippy),
    ("cargo-deny", deny::check),
    ("admin interface", admin::check),
    ("tests", tests),
];

/// Runs the checks of these names, or all of them when none is named.
pub(crate) fn run(names: &[String]) -> Result<(), Failure> {
    let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(Failure::new(format!(
            "no check {unknown:?}; there are {known}"
        )));
    }
    let mut lines = Vec::new();
    for (name, check) in CHECKS {
        if !names.is_empty() && !names.iter().any(|wanted| wanted == name) {
            continue;
        }
        println!("==== {name}");
        let started = Instant::now();
        check().doing(name)?;
        lines.push(format!("{name:12} ok {:5} s", started.elapsed().as_secs()));
    }
    println!("\n{}", lines.join("\n"));
    Ok(())
}

/// Most of it arrives over the network: cargo-deny compiles meanwhile.
fn setup() -> Result<(), Failure> {
    thread::scope(|scope| {
        let arrives = scope.spawn(provision::setup);
        deny::installed()?;
        arrives.join().map_err(|_| Failure::new("it panicked"))?
    })
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
