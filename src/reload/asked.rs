//! `mxtrunk reload`: somebody asks for it, and waits to be told what it came to.

use std::fmt;
use std::time::Duration;

use mxtrunk_signaling::Change;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::admin;
use crate::config::Config;

/// Those that wait at once; further ones are refused.
const WAITING: usize = 4;

/// How long reading it anew may take: an HTTP directory is waited for, and one after the other is served.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// What reading the configuration anew came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// It was only looked at: nothing was changed.
    pub(crate) only_checked: bool,
    /// What holds from now on.
    pub(crate) now: Vec<String>,
    /// What will from the next start on.
    pub(crate) later: Vec<String>,
    /// What stays as it was although it should be another, and why.
    pub(crate) stays: Vec<String>,
}

impl Report {
    /// What lines there are from now on, and what nobody gets back who has left one out by mistake.
    pub(super) fn tell_lines(&mut self, change: &Change) {
        if change.is_any() {
            self.now.push(format!("lines: {change}"));
        }
        if !change.removed.is_empty() {
            let erased = "erased with each line that goes: what its person has set, its rooms with us, and the records of its \
                          calls, whatever [records] keep_days says (with push_url: once they are there)";
            self.now.push(erased.to_owned());
        }
    }
}

/// That, or all that is in its way: then everything stays as it was.
pub(crate) type Answer = Result<Report, Vec<String>>;

/// What is asked for beyond that all is read anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// It is only looked at: nothing is changed.
    pub(crate) only_check: bool,
    /// Most lines may go, where the CSV file or the HTTP directory has them no more.
    pub(crate) lines_may_go: bool,
}

/// Somebody asks.
pub(super) struct Asked {
    pub(super) wish: Wish,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// How it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asks(mpsc::Sender<Asked>);

/// Both ends.
pub(super) fn channel() -> (Asks, mpsc::Receiver<Asked>) {
    let (asks, asked) = mpsc::channel(WAITING);
    (Asks(asks), asked)
}

impl Asks {
    /// Has the configuration read anew, or only looked at. `None`: too many ask, or the gateway stops.
    pub(crate) async fn ask(&self, wish: Wish) -> Option<Answer> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked { wish, answer };
        self.0.try_send(asked).ok()?;
        answered.await.ok()
    }
}

/// Asks the running gateway, and says what it came to.
pub(crate) fn ask(config: &Config, wish: Wish) -> anyhow::Result<String> {
    let Wish {
        only_check,
        lines_may_go,
    } = wish;
    let path = format!("/api/reload?check={only_check}&lines_may_go={lines_may_go}");
    let report: Report = admin::post_within(PATIENCE, &config.admin_socket(), &path, &json!({}))?;
    Ok(report.to_string())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, heading: &str, all: &[String]| {
            if all.is_empty() {
                return Ok(());
            }
            writeln!(f, "{heading}")?;
            all.iter().try_for_each(|line| writeln!(f, "  {line}"))
        };
        if self.now.is_empty() && self.later.is_empty() {
            writeln!(f, "Nothing is other than it was.")?;
            return list(f, "And this stays as it was:", &self.stays);
        }
        let now = match self.only_checked {
            true => "Sound. As soon as it is read anew (mxtrunk reload):",
            false => "From now on:",
        };
        list(f, now, &self.now)?;
        list(f, "From the next start on:", &self.later)?;
        list(f, "And this stays as it was:", &self.stays)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_holds_now_and_what_later() {
        let mut report = Report::default();
        assert_eq!(report.to_string(), "Nothing is other than it was.\n");
        report.now.push("log.level: \"info\" → \"debug\"".into());
        report.later.push("media.workers".into());
        assert_eq!(
            report.to_string(),
            "From now on:\n  log.level: \"info\" → \"debug\"\nFrom the next start on:\n  media.workers\n"
        );
        report.stays.push("the directory: did not answer".into());
        let told = report.to_string();
        let end = "media.workers\nAnd this stays as it was:\n  the directory: did not answer\n";
        assert!(told.ends_with(end), "{told}");
        let nothing = Report {
            stays: std::mem::take(&mut report.stays),
            ..Report::default()
        };
        assert!(
            nothing.to_string().ends_with("did not answer\n"),
            "{nothing}"
        );
        report.only_checked = true;
        report.later.clear();
        assert!(report.to_string().starts_with("Sound. "), "{report}");
    }

    #[test]
    fn that_the_records_of_a_line_go_with_it_is_told_before_it_goes() {
        let alice = ruma::UserId::parse("@alice:localtest").expect("a test user");
        let told = |change: &Change| {
            let mut report = Report {
                only_checked: true,
                ..Report::default()
            };
            report.tell_lines(change);
            report.to_string()
        };
        let mut change = Change::default();
        assert_eq!(told(&change), "Nothing is other than it was.\n");
        change.added.push(alice.clone());
        assert!(!told(&change).contains("erased"), "{}", told(&change));
        change.removed.push(alice);
        let told = told(&change);
        for part in ["-@alice:localtest", "erased", "records", "keep_days"] {
            assert!(told.contains(part), "{told}");
        }
    }

    const CHECK: Wish = Wish {
        only_check: true,
        lines_may_go: false,
    };

    #[tokio::test]
    async fn who_asks_is_answered_and_not_kept_waiting_by_a_gateway_that_stops() {
        let (asks, mut asked) = channel();
        let answering = async {
            let asked = asked.recv().await.expect("somebody asks");
            assert_eq!(asked.wish, CHECK);
            let _ = asked.answer.send(Err(vec!["wrong".into()]));
        };
        let (answer, ()) = tokio::join!(asks.ask(CHECK), answering);
        assert_eq!(answer, Some(Err(vec!["wrong".into()])));
        drop(asked);
        assert_eq!(asks.ask(Wish::default()).await, None);
    }
}
