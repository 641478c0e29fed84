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

/// Why the failed tests failed. It is shown again at the end: of a long run often only the end is kept.
#[derive(Debug, Default)]
struct Failures {
    is_inside: bool,
    /// One per failed test, its name first.
    told: Vec<Vec<String>>,
    /// So many lines of the panic that is being told are still wanted.
    wanted: usize,
}

/// So many lines of each panic are shown again, of so many characters: the reason comes first.
const SHOWN: usize = 6;
const WIDTH: usize = 400;

impl Failures {
    /// Adds a line. A harness prints `failures:`, then `---- name stdout ----` before what each printed, then `failures:`
    /// again before their names. What a test printed inside its namespace is indented.
    fn add(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" stdout ----") {
            self.is_inside = true;
            self.told.push(vec![line.to_owned()]);
            self.wanted = 0;
        }
        if line == "failures:" {
            self.is_inside = false;
        }
        let Some(told) = self.told.last_mut().filter(|_| self.is_inside) else {
            return;
        };
        let said = line.trim_start_matches("  | ");
        if said.starts_with("thread '") && said.contains("panicked at") {
            self.wanted = SHOWN + 1;
        }
        if said.starts_with("stack backtrace:") || said.starts_with("note: run with") {
            self.wanted = 0;
        }
        if self.wanted > 0 {
            self.wanted -= 1;
            told.push(line.chars().take(WIDTH).collect());
        }
    }
}

/// Runs the tests of the whole workspace; benches with `test = true` run once among them.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    provision::setup()?;
    let started = Instant::now();
    let mut command = cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    // Their frames are the harness's: they would hide what failed.
    command.env("RUST_BACKTRACE", "0");
    let mut child = command
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .doing("cargo test")?;
    let mut totals = Totals::default();
    let mut failures = Failures::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.doing("reading what cargo test prints")?;
            println!("{line}");
            totals.add(&line);
            failures.add(&line);
        }
    }
    let status = child.wait().doing("cargo test")?;
    let Totals {
        passed,
        failed,
        ignored,
    } = totals;
    if !failures.told.is_empty() {
        println!("\nWhat failed, and why:");
    }
    for line in failures.told.iter().flatten() {
        println!("{line}");
    }
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
    fn why_a_test_failed_is_kept_with_its_name_and_without_what_else_it_printed() {
        let mut failures = Failures::default();
        let long: String = (0..2 * SHOWN).map(|n| format!("  | line {n}\n")).collect();
        let printed = format!(
            "running 3 tests\n\nfailures:\n\n---- a stdout ----\nchatter\nthread 'a' (1) panicked at a.rs:1:2:\n\
             its error\nstack backtrace:\n   0: main\n---- b stdout ----\n  | thread 'b' (2) panicked at b.rs:3:4:\n{long}\n\
             failures:\n    a\n    b\n"
        );
        printed.lines().for_each(|line| failures.add(line));
        let [a, b] = failures.told.as_slice() else {
            panic!("{failures:?}");
        };
        let told = [
            "---- a stdout ----",
            "thread 'a' (1) panicked at a.rs:1:2:",
            "its error",
        ];
        assert_eq!(a, &told);
        assert_eq!(b.len(), 2 + SHOWN, "{b:?}");
        assert_eq!(b[SHOWN + 1], format!("  | line {}", SHOWN - 1));
    }

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
