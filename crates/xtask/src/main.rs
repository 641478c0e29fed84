//! `cargo xtask setup | demo | load | quality | dist | guards | test | ci`: the project's one door.

mod ci;
mod demo;
mod guards;
mod load;
mod ship;
mod test;

use std::process::ExitCode;

use xtask::{Failure, provision};

const USAGE: &str = "cargo xtask COMMAND

  setup           put in place what the build and the tests need; seconds when it is there
  demo            a telephone site on this machine: Synapse, Asterisk, the gateway, a softphone page
  demo --check    the same, with the calls placed and judged by itself; --json FILE keeps the figures
  load [ARG...]   calls under load, and a whole site with faults; --help lists what can be set
  quality [ARG...] calls in bad weather, beside rtpengine; --help lists what can be set
  dist [--debug]  the Debian package, in target/dist; --debug packs the unoptimised build
  guards [WORD...] takes each guard away in a copy of the source, and looks whether its test goes red; an hour
  test [ARG...]   all tests, the calls between real peers too; arguments go to cargo test
  ci [CHECK...]   formatting, purity, clippy, cargo-deny, tests; or only those named
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match run(&command, &rest) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("xtask {command}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, rest: &[String]) -> Result<ExitCode, Failure> {
    match command {
        "setup" => provision::setup()?,
        "demo" => return demo::run(rest),
        "load" => return load::run(&load::LOAD, rest),
        "quality" => return load::run(&load::QUALITY, rest),
        "dist" => ship::run(rest)?,
        "guards" => guards::run(rest)?,
        "test" => test::run(rest)?,
        "ci" => ci::run(rest)?,
        "" | "help" | "--help" | "-h" => print!("{USAGE}"),
        unknown => {
            let message = format!("unknown command {unknown:?}\n\n{USAGE}");
            return Err(Failure::new(message));
        }
    }
    Ok(ExitCode::SUCCESS)
}
