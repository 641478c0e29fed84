//! `cargo xtask test`: what is missing is put in place, then every test of the workspace runs.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use xtask::step::cargo;
use xtask::{Doing, Failure, provision};

/// What the test harnesses counted, summed over all of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Totals {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`. A test that ran
    /// itself again in a namespace shows that run's lines indented: they do not count twice.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else {
            return;
        };
        let counts = counts.split_once(". ").map_or(counts, |(_, rest)| rest);
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Runs the tests of the whole workspace; benches with `test = true` run once among them.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    provision::setup()?;
    let started = Instant::now();
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .doing("cargo test")?;
    let mut totals = Totals::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.doing("reading what cargo test prints")?;
            println!("{line}");
            totals.add(&line);
        }
    }
    let status = child.wait().doing("cargo test")?;
    let Totals {
        passed,
        failed,
        ignored,
    } = totals;
    let seconds = started.elapsed().as_secs();
    println!("\nAll tests: {passed} passed, {failed} failed, {ignored} ignored in {seconds} s");
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("cargo test: {status}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_summed_over_the_harnesses() {
        let mut totals = Totals::default();
        totals.add("running 3 tests");
        totals.add("  | test result: FAILED. 0 passed; 1 failed");
        totals.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out");
        totals
            .add("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        let expected = Totals {
            passed: 4,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(totals, expected);
    }
}
