//! `subscribe` of a `[[line]]` or a `[[trunk]]`, and `watch` of a `[[trunk]]`: what the PBX is asked to tell about lines,
//! and about desk phones.

use std::collections::HashSet;
use std::time::Duration;

use mxtrunk_signaling::Number;
use mxtrunk_sip::{AccountName, Package, SubscriptionConfig, TrunkName};

use super::lines::Line;
use super::sip::Trunk;
use super::{Config, Problem};

/// For how long each SUBSCRIBE asks: a PBX that lost it without being missed has it again as soon.
const EXPIRES: Duration = Duration::from_secs(600);

impl Config {
    /// What the PBX of each line is asked to tell.
    ///
    /// # Errors
    /// With every problem found.
    pub(crate) fn subscriptions(&self) -> Result<Vec<SubscriptionConfig>, Vec<Problem>> {
        let plan = self.numbers.plan();
        let (mut ready, mut problems) = (Vec::new(), Vec::new());
        for trunk in &self.trunks {
            let place = format!("trunk {:?}", trunk.name);
            problems.extend(twice(&place, &trunk.subscribe));
        }
        match self.desk_phones() {
            Ok(phones) => ready.extend(phones),
            Err(more) => problems.extend(more),
        }
        for line in &*self.lines {
            // An extension that is no number, and a register without its trunk, are complained about elsewhere.
            let Some(extension) = line.extension(&plan) else {
                continue;
            };
            match self.watched(line, &extension) {
                Ok(watched) => ready.extend(watched),
                Err(problem) => problems.push(problem),
            }
        }
        match problems.is_empty() {
            true => Ok(ready),
            false => Err(problems),
        }
    }

    /// What each trunk is asked to tell about extensions that are no line's.
    fn desk_phones(&self) -> Result<Vec<SubscriptionConfig>, Vec<Problem>> {
        let plan = self.numbers.plan();
        let lines: HashSet<_> = self
            .lines
            .iter()
            .filter_map(|line| line.extension(&plan))
            .collect();
        let (mut ready, mut problems, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
        for trunk in &self.trunks {
            for written in &trunk.watch {
                let problem = |what: &str, mend: &str| {
                    let place = format!("trunk {:?}: watch", trunk.name);
                    Problem::new(place, format!("{written:?} {what}"), mend)
                };
                let Some(number) = plan.normalise(written) else {
                    let mend = "write extensions, for instance \"1001\"";
                    problems.push(problem("is no number", mend));
                    continue;
                };
                // A line may come from elsewhere at any time: it is what holds, and no reason to stay as we were.
                if lines.contains(&number) {
                    continue;
                } else if !seen.insert(number.clone()) {
                    problems.push(problem("is watched twice", "write each extension once"));
                } else {
                    ready.push(SubscriptionConfig {
                        trunk: TrunkName(trunk.name.clone()),
                        line: number.to_string(),
                        account: None,
                        user: number.to_string(),
                        package: Package::Dialog,
                        expires: EXPIRES,
                    });
                }
            }
        }
        match problems.is_empty() {
            true => Ok(ready),
            false => Err(problems),
        }
    }

    /// Watched extensions that are a line's, and are passed over for that.
    pub(crate) fn watched_lines(&self) -> Vec<String> {
        let plan = self.numbers.plan();
        let lines = self.lines.iter();
        let lines: HashSet<_> = lines.filter_map(|line| line.extension(&plan)).collect();
        let watched = self.trunks.iter().flat_map(|trunk| &trunk.watch);
        let watched = watched.filter(|written| {
            let number = plan.normalise(written);
            number.is_some_and(|number| lines.contains(&number))
        });
        watched.cloned().collect()
    }

    /// Tells of them, unless all of them were told of already.
    pub(crate) fn warn_of_watched_lines(&self, told: &[String]) {
        let watched = self.watched_lines();
        if watched.iter().any(|one| !told.contains(one)) {
            tracing::warn!(
                extensions = watched.len(),
                "extensions in a trunk's watch are lines, which `mxtrunk lines` lists. The line holds, and its calls are seen only \
                 with \"dialog\" in its subscribe; take them out of watch"
            );
            tracing::debug!(extensions = watched.join(", "), "which of them are lines");
        }
    }

    fn watched(&self, line: &Line, extension: &Number) -> Result<Vec<SubscriptionConfig>, Problem> {
        let place = line.place();
        let own = line.subscribe.as_deref();
        if let Some(problem) = own.and_then(|own| twice(&place, own)) {
            return Err(problem);
        }
        let (trunk, packages, mailbox) = match &line.register {
            Some(register) => {
                let Ok(trunk) = register.trunk(&place, &self.trunks) else {
                    return Ok(Vec::new());
                };
                let packages = own.unwrap_or(&trunk.subscribe);
                (trunk, packages, register.user(extension))
            }
            None => {
                let packages = own.unwrap_or_default();
                if packages.is_empty() {
                    return Ok(Vec::new());
                }
                (self.only_trunk(&place)?, packages, extension.as_str())
            }
        };
        let account = line.register.as_ref();
        let account = account.map(|_| AccountName(extension.to_string()));
        let watched = packages.iter().map(|package| SubscriptionConfig {
            trunk: TrunkName(trunk.name.clone()),
            line: extension.to_string(),
            account: account.clone(),
            // A mailbox is its account's, a hint its extension's.
            user: match package {
                Package::MessageSummary => mailbox.to_owned(),
                Package::Dialog => extension.to_string(),
            },
            package: *package,
            expires: EXPIRES,
        });
        Ok(watched.collect())
    }

    fn only_trunk(&self, place: &str) -> Result<&Trunk, Problem> {
        match self.trunks.as_slice() {
            [only] => Ok(only),
            _ => Err(Problem::new(
                format!("{place}: subscribe"),
                "there are several trunks, and the line registers at none of them",
                "give the line a register, or take subscribe out",
            )),
        }
    }
}

/// The complaint about a list that names a package twice.
fn twice(place: &str, packages: &[Package]) -> Option<Problem> {
    let mut seen = HashSet::new();
    let twice = packages.iter().find(|package| !seen.insert(**package))?;
    Some(Problem::new(
        format!("{place}: subscribe"),
        format!("names {:?} twice", twice.name()),
        "write each once",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::tests::{SHIPPED, complaints};
    use crate::log::tests::logged;

    const BOB: &str = "extension = \"2002\"\n";

    fn with_bob(keys: &str) -> String {
        assert!(SHIPPED.contains(BOB), "Bob has no line any more");
        SHIPPED.replace(BOB, &format!("{BOB}{keys}\n"))
    }

    fn subscriptions(text: &str) -> Vec<SubscriptionConfig> {
        let config = Config::parse(text).expect("sound");
        config.subscriptions().expect("sound")
    }

    #[test]
    fn nothing_is_subscribed_to_unless_it_is_asked_for() {
        assert_eq!(subscriptions(SHIPPED), []);
        assert_eq!(
            subscriptions(&with_bob("register = { password = \"s\" }")),
            []
        );
    }

    #[test]
    fn the_mailbox_is_its_accounts_and_the_calls_are_its_extensions() {
        let text = with_bob(
            "register = { username = \"bob\", password = \"s\" }\nsubscribe = [\"message-summary\", \"dialog\"]",
        );
        let both = subscriptions(&text);
        let [mailbox, calls] = both.as_slice() else {
            panic!("{both:?}");
        };
        assert_eq!(mailbox.package, Package::MessageSummary);
        assert_eq!(
            (mailbox.user.as_str(), mailbox.line.as_str()),
            ("bob", "2002")
        );
        assert_eq!(calls.package, Package::Dialog);
        assert_eq!(calls.user, "2002");
        let account = Some(AccountName("2002".into()));
        assert!(both.iter().all(|one| one.account == account));
    }

    #[test]
    fn what_a_trunk_says_holds_for_the_lines_that_register_there_and_say_nothing() {
        let of_trunk = |text: String| {
            let off = "\nsubscribe = []\n";
            assert!(
                text.contains(off),
                "the shipped trunk says nothing any more"
            );
            subscriptions(&text.replacen(off, "\nsubscribe = [\"dialog\"]\n", 1))
        };
        assert_eq!(of_trunk(SHIPPED.to_owned()), []);
        let register = "register = { password = \"s\" }";
        assert_eq!(of_trunk(with_bob(register)).len(), 1);
        let own = format!("{register}\nsubscribe = []");
        assert_eq!(of_trunk(with_bob(&own)), []);
    }

    #[test]
    fn a_line_that_does_not_register_is_asked_about_by_its_trunk() {
        let text = with_bob("subscribe = [\"message-summary\"]");
        let one = subscriptions(&text);
        assert_eq!(one[0].account, None);
        assert_eq!(one[0].user, "2002");
        let second = "\n[[trunk]]\nname = \"second\"\ntarget = \"127.0.0.2:5060\"\n";
        let said = complaints(&(text + second));
        assert!(said.contains("give the line a register"), "{said}");
    }

    #[test]
    fn desk_phones_are_watched_by_their_trunk() {
        let watching = |list: &str| {
            let none = "\nwatch = []\n";
            assert!(
                SHIPPED.contains(none),
                "the shipped trunk says it otherwise"
            );
            SHIPPED.replacen(none, &format!("\nwatch = {list}\n"), 1)
        };
        let phones = subscriptions(&watching("[\"1001\", \"1002\"]"));
        assert_eq!(phones.len(), 2);
        assert_eq!(
            (phones[0].package, phones[0].user.as_str()),
            (Package::Dialog, "1001")
        );
        assert_eq!(phones[0].account, None);
        for (list, complaint) in [
            ("[\"1001\", \"10 01\"]", "watched twice"),
            ("[\"caf\u{e9}\"]", "is no number"),
        ] {
            let said = complaints(&watching(list));
            assert!(said.contains(complaint), "{list} gave:\n{said}");
        }
    }

    #[test]
    fn a_watched_extension_that_becomes_a_line_is_passed_over_and_nothing_is_refused() {
        let none = "\nwatch = []\n";
        let text = SHIPPED.replacen(none, "\nwatch = [\"1001\", \"2002\"]\n", 1);
        let phones = subscriptions(&text);
        assert_eq!(phones.len(), 1, "{phones:?}");
        assert_eq!(phones[0].user, "1001");
        let config = Config::parse(&text).expect("sound");
        assert_eq!(config.watched_lines(), ["2002"]);
        let log = logged(|| config.warn_of_watched_lines(&[]));
        let (all, debug) = log.split_once("DEBUG").expect("both levels");
        assert!(all.contains("are lines") && all.contains("extensions=1"));
        assert!(!all.contains("2002"), "its number stood there: {all}");
        assert!(debug.contains("2002"), "{debug}");
    }

    #[test]
    fn what_is_no_event_or_named_twice_is_refused() {
        for (list, complaint) in [
            ("[\"dialog\", \"dialog\"]", "names \"dialog\" twice"),
            ("[\"presence\"]", "presence"),
        ] {
            let said = complaints(&with_bob(&format!("subscribe = {list}")));
            assert!(said.contains(complaint), "{list} gave:\n{said}");
        }
    }
}
