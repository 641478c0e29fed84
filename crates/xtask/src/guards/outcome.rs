//! What a test says of a guard that is gone.

use std::fmt;

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The test fails without the guard, as it has to.
    Red,
    /// It passes all the same.
    Green,
    /// There is no such test.
    NoTest,
    /// It does not compile without the guard: that says nothing of the test.
    NoBuild,
    /// What the list would cut out does not stand in the file, or more than once.
    NotThere,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Red => "red",
            Outcome::Green => "GREEN",
            Outcome::NoTest => "NO SUCH TEST",
            Outcome::NoBuild => "DOES NOT COMPILE",
            Outcome::NotThere => "NOT IN THE FILE, OR TWICE",
        })
    }
}

/// Reads what cargo printed and whether it was content.
pub(super) fn read(said: &str, is_content: bool) -> Outcome {
    let mut totals = said.lines().filter_map(|line| {
        let counts = line.trim().strip_prefix("test result: ")?;
        let of = |what: &str| {
            let before = counts.split(what).next()?;
            before.trim().rsplit(' ').next()?.parse::<u32>().ok()
        };
        Some((of("passed")?, of("failed")?))
    });
    let (passed, failed) = totals
        .by_ref()
        .fold((0, 0), |(passed, failed), (p, f)| (passed + p, failed + f));
    match (passed, failed, is_content) {
        (_, 1.., _) => Outcome::Red,
        (1.., 0, true) => Outcome::Green,
        (0, 0, true) => Outcome::NoTest,
        // One that ends its process, or never ends, has not passed; where none ran, it is the compiler's.
        (_, 0, false) if said.contains("running ") => Outcome::Red,
        (_, 0, false) => Outcome::NoBuild,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_red_test_is_told_from_none_and_from_what_does_not_compile() {
        let result =
            |words: &str| format!("\nrunning 1 test\n\ntest result: {words}; 9 filtered\n");
        let failed = result("FAILED. 0 passed; 1 failed; 0 ignored");
        let passed = result("ok. 1 passed; 0 failed; 0 ignored");
        assert_eq!(read(&failed, false), Outcome::Red);
        assert_eq!(read(&passed, true), Outcome::Green);
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored";
        assert_eq!(read(none, true), Outcome::NoTest);
        assert_eq!(read("", false), Outcome::NoBuild);
        // Of two binaries one has the test.
        let two = format!("{none}{passed}");
        assert_eq!(read(&two, true), Outcome::Green);
        assert_eq!(read("\nrunning 12 tests\n", false), Outcome::Red);
    }
}
