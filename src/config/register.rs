//! `register` of a `[[line]]`: the account at a PBX that the line logs in at.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use mxtrunk_signaling::{Number, NumberPlan};
use mxtrunk_sip::{AccountName, Credentials, RegistrationConfig, TrunkName};
use serde::Deserialize;

use super::sip::{Listen, Trunk};
use super::{Config, Problem, secret};

/// `register = { … }`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Register {
    trunk: Option<String>,
    username: Option<String>,
    auth_username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    realm: Option<String>,
    #[serde(default = "default_expires")]
    expires_seconds: u64,
    proxy: Option<SocketAddr>,
}

/// Soon enough for a PBX that lost its registrations unnoticed, and seldom enough for hundreds of lines.
fn default_expires() -> u64 {
    300
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register")
            .field("trunk", &self.trunk)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Register {
    /// The trunk at whose PBX the account is: the one that is named, or the only one.
    pub(super) fn trunk<'a>(&self, place: &str, trunks: &'a [Trunk]) -> Result<&'a Trunk, Problem> {
        let names = || {
            let names = trunks.iter().map(|trunk| format!("{:?}", trunk.name));
            names.collect::<Vec<_>>().join(", ")
        };
        match (&self.trunk, trunks) {
            (None, [only]) => Ok(only),
            (None, _) => Err(Problem::new(
                format!("{place}: register"),
                "does not say at which trunk",
                format!("set trunk in it to one of {}", names()),
            )),
            (Some(name), _) => {
                let mut trunks = trunks.iter();
                trunks.find(|trunk| trunk.name == *name).ok_or_else(|| {
                    Problem::new(
                        format!("{place}: register"),
                        format!("there is no trunk {name:?}"),
                        format!("set trunk in it to one of {}", names()),
                    )
                })
            }
        }
    }

    /// The user name of the account of a line with this extension.
    pub(super) fn user<'a>(&'a self, extension: &'a Number) -> &'a str {
        self.username.as_deref().unwrap_or(extension.as_str())
    }

    /// What the SIP user agent keeps up for a line with this extension.
    pub(super) fn account(
        &self,
        place: &str,
        extension: &Number,
        trunks: &[Trunk],
        listen: &[Listen],
    ) -> Result<RegistrationConfig, Problem> {
        let place = format!("{place}: register");
        let trunk = self.trunk(place.trim_end_matches(": register"), trunks)?;
        let key = format!("{place}: password");
        let password = secret::read(&key, self.password.as_deref(), self.password_file.as_ref())?;
        let Some(password) = password else {
            return Err(Problem::new(
                place,
                "has no password",
                "set password or password_file in it, as the PBX has it for this extension",
            ));
        };
        let user = self.user(extension);
        let login = self.auth_username.as_deref().unwrap_or(user);
        let broken = |text: &str| text.is_empty() || text.contains(breaks_out);
        if broken(user) || broken(login) || self.realm.as_deref().is_some_and(broken) {
            return Err(Problem::new(
                place,
                "has a username, auth_username or realm that is empty, or with a blank, a quote or @ in it",
                "write each as the PBX has it, without host; left out, the username is the extension",
            ));
        }
        if !(60..=86_400).contains(&self.expires_seconds) {
            return Err(Problem::new(
                place,
                format!(
                    "expires_seconds = {} is not between 60 and 86400",
                    self.expires_seconds
                ),
                "300 is the default",
            ));
        }
        self.check_proxy(&place, trunk, listen)?;
        Ok(RegistrationConfig {
            trunk: TrunkName(trunk.name.clone()),
            user: user.to_owned(),
            credentials: Credentials {
                username: login.to_owned(),
                password: password.reveal().to_owned(),
                realm: self.realm.clone(),
            },
            contact: AccountName(extension.to_string()),
            expires: Duration::from_secs(self.expires_seconds),
            proxy: self.proxy,
        })
    }

    fn check_proxy(&self, place: &str, trunk: &Trunk, listen: &[Listen]) -> Result<(), Problem> {
        let Some(proxy) = self.proxy else {
            return Ok(());
        };
        let serves =
            |l: &Listen| l.transport == trunk.transport && l.address.is_ipv4() == proxy.is_ipv4();
        if proxy.port() == 0 || !listen.iter().any(serves) {
            return Err(Problem::new(
                place,
                format!("has the proxy {proxy}, to which nothing in sip.listen speaks"),
                "write ADDRESS:PORT, and have sip.listen listen on that trunk's transport in the proxy's family",
            ));
        }
        Ok(())
    }
}

/// What ends a user name in a SIP address or a quoted string.
fn breaks_out(c: char) -> bool {
    c.is_control() || c.is_whitespace() || matches!(c, '"' | '\\' | '@' | '<' | '>')
}

impl Config {
    /// The accounts of the lines that register.
    ///
    /// # Errors
    /// With every problem found.
    pub(crate) fn registrations(&self) -> Result<Vec<RegistrationConfig>, Vec<Problem>> {
        let plan = self.numbers.plan();
        let (mut ready, mut problems) = (Vec::new(), Vec::new());
        let mut taken = HashSet::new();
        for line in &*self.lines {
            // An extension that is no number is complained about with the directory.
            let extension = line.extension(&plan);
            let (Some(register), Some(extension)) = (&line.register, extension) else {
                continue;
            };
            let place = line.place();
            let account = register.account(&place, &extension, &self.trunks, &self.sip.listen);
            let account = match account {
                Ok(account) => account,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            if let Some(other) = self.line_called_so(&account, &plan) {
                problems.push(Problem::new(
                    format!("{place}: register"),
                    format!("its username {} is the extension of {other:?}", account.user),
                    "calls to that extension would be this line's: give the account another name, or the other line a register",
                ));
            }
            let names = HashSet::from([account.user.clone(), account.contact.0.clone()]);
            for name in names {
                if !taken.insert((account.trunk.clone(), name.clone())) {
                    problems.push(Problem::new(
                        format!("{place}: register"),
                        format!("another line is {name} at trunk {:?} too", account.trunk.0),
                        "give each line an account of its own: two would take each other's calls",
                    ));
                }
            }
            ready.push(account);
        }
        match problems.is_empty() {
            true => Ok(ready),
            false => Err(problems),
        }
    }

    /// Another person whose line has the user name of this account for an extension, and does not register.
    fn line_called_so(&self, account: &RegistrationConfig, plan: &NumberPlan) -> Option<&str> {
        let mut others = self.lines.iter().filter(|line| line.register.is_none());
        let named = others.find(|line| {
            let extension = line.extension(plan);
            extension.is_some_and(|extension| extension.as_str() == account.user)
        });
        named.map(|line| line.user.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::check::tests::{SHIPPED, complaints};

    /// The shipped file, where Bob's line registers so.
    fn with(register: &str) -> String {
        let bob = "extension = \"2002\"\n";
        assert!(SHIPPED.contains(bob), "Bob has no line any more");
        SHIPPED.replace(bob, &format!("{bob}register = {{ {register} }}\n"))
    }

    #[test]
    fn a_line_registers_as_its_extension_at_the_only_trunk() {
        let config = Config::parse(&with("password = \"s\"")).expect("sound");
        let accounts = config.registrations().expect("sound");
        let [account] = accounts.as_slice() else {
            panic!("{accounts:?}");
        };
        assert_eq!(account.trunk.0, "pbx");
        assert_eq!(account.user, "2002");
        assert_eq!(account.credentials.username, "2002");
        assert_eq!(account.contact.0, "2002");
        assert_eq!(account.expires, Duration::from_secs(300));
        let directory = config.directory().expect("sound");
        let line = directory.line_of_account(&account.contact);
        assert_eq!(line.expect("Bob's").user, "@bob:example.org");
    }

    #[test]
    fn a_pbx_may_know_the_line_by_other_names() {
        let text = with(
            "trunk = \"pbx\", username = \"bob-desk\", auth_username = \"x9\", password = \"s\", expires_seconds = 3600",
        );
        let accounts = Config::parse(&text).expect("sound").registrations();
        let account = &accounts.expect("sound")[0];
        assert_eq!(account.user, "bob-desk");
        assert_eq!(account.credentials.username, "x9");
        assert_eq!(account.contact.0, "2002");
    }

    #[test]
    fn what_could_not_register_is_refused_with_a_way_out() {
        for (register, complaint) in [
            ("username = \"2002\"", "register: has no password"),
            ("password = \"s\", password_file = \"/x\"", "is set twice"),
            (
                "password = \"s\", trunk = \"pbx2\"",
                "there is no trunk \"pbx2\"",
            ),
            ("password = \"s\", username = \"bob@pbx\"", "without host"),
            (
                "password = \"s\", expires_seconds = 5",
                "not between 60 and 86400",
            ),
            (
                "password = \"s\", proxy = \"[2001:db8::1]:5060\"",
                "in the proxy's family",
            ),
            (
                "password = \"s\", username = \"2001\"",
                "2001 is the extension of \"@alice",
            ),
            ("password = \"s\", registrar = \"x\"", "registrar"),
        ] {
            let said = complaints(&with(register));
            assert!(said.contains(complaint), "{register} gave:\n{said}");
        }
    }

    #[test]
    fn with_several_trunks_the_line_says_at_which() {
        let second = "\n[[trunk]]\nname = \"second\"\ntarget = \"127.0.0.2:5060\"\n";
        let text = with("password = \"s\"") + second;
        let said = complaints(&text);
        assert!(
            said.contains("set trunk in it to one of \"pbx\", \"second\""),
            "{said}"
        );
    }

    #[test]
    fn two_lines_are_not_the_same_at_one_pbx() {
        let alice = "extension = \"2001\"\n";
        let text = with("password = \"s\"").replace(
            alice,
            &format!("{alice}register = {{ username = \"2002\", password = \"s\" }}\n"),
        );
        let said = complaints(&text);
        assert!(said.contains("another line is 2002"), "{said}");
    }

    #[test]
    fn the_password_does_not_show_itself() {
        let config = Config::parse(&with("password = \"hunter2\"")).expect("sound");
        let shown = format!("{:?} {:?}", config.lines, config.registrations());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
