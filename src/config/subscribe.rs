//! `subscribe` of a `[[line]]` or a `[[trunk]]`: what the PBX is asked to tell about lines.

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
        for line in &self.lines {
            // An extension that is no number, and a register without its trunk, are complained about elsewhere.
            let Some(extension) = plan.normalise(&line.extension) else {
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
