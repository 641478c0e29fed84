//! `cargo xtask setup | demo | test | ci`: the project's one door.

use std::process::ExitCode;

use xtask::{Failure, provision};

const USAGE: &str = "cargo xtask COMMAND

  setup   put the testbed's peers in place (Synapse, Asterisk, SIPp, baresip, Chromium)
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

fn run(command: &str, _rest: &[String]) -> Result<ExitCode, Failure> {
    match command {
        "setup" => provision::setup()?,
        "" | "help" | "--help" | "-h" => print!("{USAGE}"),
        unknown => {
            return Err(Failure::new(format!(
                "unknown command {unknown:?}\n\n{USAGE}"
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}
