//! Why what is new does not hold: in full for who asks, and in the log without anybody's number.

use std::fmt::Write as _;

use mxtrunk_signaling::Change;
use mxtrunk_sip::StartError;
use tracing::{debug, warn};

use crate::config::Problem;

/// Why everything stays as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The configuration, or a line, is not sound.
    #[error("{}", told(.0).join("\n"))]
    Unsound(Vec<Problem>),
    /// It looks like a list that came half.
    #[error(
        "{removed} of {before} lines would go, with all that is kept of them, since the CSV file or the HTTP directory has them no \
         more; mend it there, or, where they are meant to go, let them (`mxtrunk reload --lines-may-go`; with --check it names them)"
    )]
    RemovesMost { removed: usize, before: usize },
    #[error("the accounts cannot be registered so: {0}")]
    Accounts(StartError),
    #[error("the trunks and the accounts at them cannot be so: {0}")]
    Trunks(StartError),
}

impl From<Vec<Problem>> for Refused {
    fn from(problems: Vec<Problem>) -> Self {
        Refused::Unsound(problems)
    }
}

impl Refused {
    /// All of it, for who asks.
    pub(super) fn told(&self) -> Vec<String> {
        match self {
            Refused::Unsound(problems) => told(problems),
            other => vec![other.to_string()],
        }
    }

    /// Says in the log of what kind it is. What it is about may be somebody's number, and stands at DEBUG.
    pub(super) fn log(&self) {
        match self {
            Refused::Unsound(problems) => warn!(
                "everything stays as it was, since what is new cannot be used (`mxtrunk check` says all of it):{}",
                in_short(problems)
            ),
            Refused::RemovesMost { .. } => warn!("the lines stay as they were: {self}"),
            Refused::Accounts(_) => warn!(
                "everything stays as it was: the accounts cannot be registered so (a level of debug says why)"
            ),
            Refused::Trunks(_) => warn!(
                "everything stays as it was: the trunks and the accounts at them cannot be so (a level of debug says why)"
            ),
        }
        debug!("what cannot be used is this:\n{self}");
    }

    /// The same of what an HTTP directory says at a start, where so many entries that it said before hold instead.
    pub(super) fn log_at_start(&self, lines: usize) {
        match self {
            Refused::Unsound(problems) => warn!(
                lines,
                "what the HTTP directory says cannot be used, and what it said last holds; mend it there (`mxtrunk check` says all \
                 of it):{}",
                in_short(problems)
            ),
            other => warn!(
                lines,
                "what the HTTP directory says is not taken over, and what it said last holds: {other}"
            ),
        }
        debug!("what is not taken over is this:\n{self}");
    }
}

/// Refuses a change that takes most lines away: nobody has asked for just that.
pub(super) fn most_stay(change: &Change) -> Result<(), Refused> {
    match change.removes_most() {
        false => Ok(()),
        true => Err(Refused::RemovesMost {
            removed: change.removed.len(),
            before: change.before,
        }),
    }
}

fn told(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// What many lines have in common stands there once.
fn in_short(problems: &[Problem]) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for problem in problems {
        let kind = problem.in_short();
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, times)) => *times += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let mut text = String::new();
    for (kind, times) in kinds {
        let _ = match times {
            1 => write!(text, "\n{kind}"),
            times => write!(text, "\n{kind} ({times} times)"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::log::tests::logged;

    const SHIPPED: &str = include_str!("../../gateway.toml");
    const BOB: &str = "extension = \"2002\"\n";

    fn refused(bob: &str) -> Refused {
        assert!(SHIPPED.contains(BOB), "Bob has no line any more");
        let text = SHIPPED.replace(BOB, bob);
        let problems = Config::parse(&text).expect_err("it must be refused");
        problems.into()
    }

    /// "both have the number 2001" and "its username 2001 is the extension of …" stood there.
    #[test]
    fn why_lines_are_not_read_anew_stands_in_the_log_without_anybodys_number() {
        for (bob, kind, number) in [
            (
                "extension = \"2001\"\n",
                "a line and a line: each person and each number has one line",
                "2001",
            ),
            (
                "extension = \"2002\"\nregister = { username = \"2001\", password = \"s\" }\n",
                "a line: register: calls to that extension would be this line's",
                "2001",
            ),
            (
                "extension = \"caf\u{e9} 2002\"\n",
                "a line: write digits",
                "caf\u{e9} 2002",
            ),
        ] {
            let refused = refused(bob);
            let log = logged(|| refused.log());
            let (all, debug) = log.split_once("DEBUG").expect("both levels");
            assert!(all.contains("everything stays as it was"), "{all}");
            assert!(all.contains("`mxtrunk check`"), "{all}");
            assert!(all.contains(kind), "{all}");
            for word in ["2001", "2002", "caf", "alice", "bob", "@"] {
                assert!(!all.contains(word), "{word} in {all}");
            }
            assert!(debug.contains(number), "{debug}");
            assert!(refused.told().join("").contains(number));
        }
    }

    #[test]
    fn an_account_that_cannot_be_is_not_named_either() {
        let twice = StartError::DuplicateAccount {
            trunk: mxtrunk_sip::TrunkName("pbx".into()),
            user: "2001".into(),
        };
        let refused = Refused::Accounts(twice);
        let log = logged(|| refused.log());
        let (all, debug) = log.split_once("DEBUG").expect("both levels");
        assert!(!all.contains("2001"), "{all}");
        assert!(debug.contains("2001"), "{debug}");
    }

    #[test]
    fn that_most_lines_would_go_is_refused_with_what_to_do() {
        let gone = |removed: usize| Change {
            removed: vec![ruma::UserId::parse("@alice:x").expect("a test user"); removed],
            before: 5,
            ..Change::default()
        };
        assert!(most_stay(&gone(2)).is_ok());
        let refused = most_stay(&gone(5)).expect_err("all would go");
        let log = logged(|| refused.log());
        for part in [
            "the lines stay as they were: 5 of 5 lines would go",
            "mend it there",
            "mxtrunk reload --lines-may-go",
        ] {
            assert!(log.contains(part), "{part} is missing in {log}");
        }
        assert!(!log.contains("alice"), "{log}");
    }

    #[test]
    fn what_a_hundred_lines_have_in_common_stands_in_the_log_once() {
        let of = |n: u32| Problem::new(format!("line \"@u{n}:x\""), format!("{n}"), "mend it");
        let problems: Vec<Problem> = (0..100).map(of).collect();
        assert_eq!(in_short(&problems), "\na line: mend it (100 times)");
    }
}
