//! What was found, a line for each check.

use std::fmt;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Ok,
    /// Cannot be known from here.
    Unknown,
    /// Calls work, and something will not, or not for everybody.
    Warn,
    /// Calls will not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) verdict: Verdict,
    /// What was looked at.
    pub(crate) what: String,
    /// What was found.
    pub(crate) found: String,
    /// What to do.
    pub(crate) mend: Option<String>,
}

/// All checks, printed as they come.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Finding>);

impl Report {
    pub(crate) fn ok(&mut self, what: &str, found: impl Into<String>) {
        self.add(Verdict::Ok, what, found.into(), None);
    }

    pub(crate) fn unknown(&mut self, what: &str, found: &str, mend: &str) {
        self.add(Verdict::Unknown, what, found.into(), Some(mend.into()));
    }

    pub(crate) fn warn(&mut self, what: &str, found: impl Into<String>, mend: impl Into<String>) {
        self.add(Verdict::Warn, what, found.into(), Some(mend.into()));
    }

    pub(crate) fn fail(&mut self, what: &str, found: impl Into<String>, mend: impl Into<String>) {
        self.add(Verdict::Fail, what, found.into(), Some(mend.into()));
    }

    /// How many came out so.
    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        let all = self.0.iter();
        all.filter(|finding| finding.verdict == verdict).count()
    }

    fn add(&mut self, verdict: Verdict, what: &str, found: String, mend: Option<String>) {
        let finding = Finding {
            verdict,
            what: what.to_owned(),
            found,
            mend,
        };
        println!("{finding}");
        self.0.push(finding);
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Ok => "ok  ",
            Verdict::Unknown => "?   ",
            Verdict::Warn => "warn",
            Verdict::Fail => "FAIL",
        };
        write!(f, "{word}  {}: {}", self.what, self.found)?;
        match &self.mend {
            Some(mend) => write!(f, ". To do: {mend}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    /// The last line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |verdict| self.count(verdict);
        write!(
            f,
            "{} ok, {} to look at, {} failed, {} that cannot be known from here",
            count(Verdict::Ok),
            count(Verdict::Warn),
            count(Verdict::Fail),
            count(Verdict::Unknown)
        )
    }
}
