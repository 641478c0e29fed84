//! Whether people with a line have an account.

use std::ops::ControlFlow;

use reqwest::{Method, StatusCode};

use super::homeserver::{Api, escaped};
use super::report::Report;
use crate::config::Config;

/// So many people are looked up.
const PEOPLE: usize = 100;

/// Looks them up.
pub(super) async fn check(api: &Api, config: &Config, report: &mut Report) {
    let residents = config.residents();
    let mut found = People::default();
    for resident in residents.iter().take(PEOPLE) {
        let path = format!(
            "/_matrix/client/v3/profile/{}",
            escaped(resident.user.as_str())
        );
        let answer = api.ask(Method::GET, &path, None, None).await;
        let status = answer.map(|answer| answer.status);
        // One that does not answer would keep us for each of the others, too.
        if found.count(resident.user.as_str(), status).is_break() {
            break;
        }
    }
    found.tell(residents.len().min(PEOPLE), report);
}

/// What looking people up has shown.
#[derive(Debug, Default)]
struct People {
    looked: usize,
    missing: Vec<String>,
    /// Of whom the homeserver did not say, and what it said instead.
    unknown: usize,
    why: Option<String>,
}

impl People {
    fn count(&mut self, user: &str, status: Result<StatusCode, String>) -> ControlFlow<()> {
        self.looked += 1;
        match status {
            Ok(StatusCode::NOT_FOUND) => self.missing.push(user.to_owned()),
            // 403: it is there, and its profile is not for everybody.
            Ok(status) if status.is_success() || status == StatusCode::FORBIDDEN => {}
            Ok(status) => {
                self.unknown += 1;
                self.why.get_or_insert_with(|| status.to_string());
            }
            Err(why) => {
                self.unknown += 1;
                self.why = Some(why);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    fn tell(&self, of: usize, report: &mut Report) {
        let what = "people";
        let looked = self.looked;
        if let [first, ..] = self.missing.as_slice() {
            report.warn(
                what,
                format!(
                    "{} of {looked} people with a line have no account, {first} for one",
                    self.missing.len()
                ),
                "mend the user of the [[line]], or make the account",
            );
        }
        let unknown = self.unknown + of.saturating_sub(looked);
        match &self.why {
            Some(why) => {
                let found = format!(
                    "of {unknown} of {of} with a line it cannot be seen whether they have an account ({why})"
                );
                report.unknown(what, &found, "see in Synapse's log why");
            }
            None if self.missing.is_empty() => report.ok(
                what,
                format!("the {looked} people with a line that were looked up have accounts"),
            ),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    #[test]
    fn people_of_whom_the_homeserver_does_not_say_are_not_counted_as_there() {
        let mut people = People::default();
        for (user, status) in [
            ("@a:x", StatusCode::OK),
            ("@b:x", StatusCode::NOT_FOUND),
            ("@c:x", StatusCode::BAD_GATEWAY),
        ] {
            assert!(people.count(user, Ok(status)).is_continue());
        }
        assert!(people.count("@d:x", Err("timed out".into())).is_break());
        let mut report = Report::default();
        people.tell(5, &mut report);
        assert_eq!((people.missing.len(), people.unknown), (1, 2));
        let counts = [Verdict::Ok, Verdict::Warn, Verdict::Unknown].map(|one| report.count(one));
        assert_eq!(counts, [0, 1, 1]);
    }
}
