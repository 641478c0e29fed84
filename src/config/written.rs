//! A file as it was written, key by key, so that two can be told apart: what holds at once where it is read anew, and what
//! from the next start on. Secrets may stand in it, and it shows values only where none can be.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use toml::{Table, Value};

/// Each key's path, and what it says.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Written(BTreeMap<Vec<String>, String>);

/// One key that two files have otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Its key, with those of the tables around it.
    pub(crate) key: String,
    /// In words.
    pub(crate) told: String,
    /// Whether it holds as soon as it is read.
    pub(crate) at_once: bool,
    /// It stands in a `[[line]]`: who may read of it, reads of a person.
    pub(crate) is_of_a_line: bool,
}

/// What of a trunk can be told to whoever reads what has changed: nobody has to think about whether there is a password in it.
const SHOWN: [&str; 17] = [
    "target",
    "targets",
    "prefixes",
    "transport",
    "allow",
    "domain",
    "options_seconds",
    "max_calls",
    "new_calls_per_second",
    "answer_within_seconds",
    "session_seconds",
    "codecs",
    "srtp",
    "nat",
    "early_media",
    "transfer",
    "refer_to",
];

/// What is the same in each entry of a list of tables, and tells them apart.
const NAMES: [&str; 2] = ["user", "name"];

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Written {
    pub(super) fn of(table: &Table) -> Self {
        let mut written = Written::default();
        written.add_table(&[], table);
        written
    }

    /// What another one says otherwise, in the order of the keys.
    pub(crate) fn differences(&self, other: &Written) -> Vec<Difference> {
        let all: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        // A trunk that comes or goes is one thing, and has a name.
        let is_of_one_file = |path: &Vec<String>| match &path[..] {
            [section, name, _, ..] if section == "trunk" => {
                self.has_trunk(name) != other.has_trunk(name)
            }
            _ => false,
        };
        let is_its_name = |path: &Vec<String>| path.len() == 3 && path[2] == "name";
        let differing = all
            .into_iter()
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .filter(|path| !is_of_one_file(path) || is_its_name(path));
        let difference = |path: &Vec<String>| {
            let keys: Vec<&str> = path.iter().map(String::as_str).collect();
            let at_once = self.is_taken_over(&keys, other);
            let shows = at_once && shows_itself(&keys);
            let value = |written: &Written| match written.0.get(path) {
                Some(value) => value.clone(),
                None => "not set".to_owned(),
            };
            let name = keys.join(".");
            Difference {
                told: match (is_of_one_file(path), self.0.contains_key(path), shows) {
                    (true, true, _) => format!("trunk.{}: removed", keys[1]),
                    (true, false, _) => format!("trunk.{}: added", keys[1]),
                    // The media workers have it from their start on.
                    (false, _, true) if name == "numbers.country" => format!(
                        "{name}: {} → {} (its ringback from the next start on)",
                        value(self),
                        value(other)
                    ),
                    (false, _, true) => format!("{name}: {} → {}", value(self), value(other)),
                    (false, _, false) => name.clone(),
                },
                key: name,
                at_once,
                is_of_a_line: keys[0] == "line",
            }
        };
        differing.map(difference).collect()
    }

    /// Says from now on what another one says, where that holds at once.
    pub(super) fn take_over(&mut self, other: &Written) {
        let all: BTreeSet<_> = self.0.keys().chain(other.0.keys()).cloned().collect();
        for path in all {
            let keys: Vec<&str> = path.iter().map(String::as_str).collect();
            if !self.is_taken_over(&keys, other) {
                continue;
            }
            match other.0.get(&path) {
                Some(value) => _ = self.0.insert(path, value.clone()),
                None => _ = self.0.remove(&path),
            }
        }
    }

    /// Whether what another one says of this holds as soon as it is read. A certificate that is there no more is shown until the
    /// next start: those who are connected have seen it.
    fn is_taken_over(&self, keys: &[&str], other: &Self) -> bool {
        let is_certificate = matches!(keys, ["sip", "tls_certificate" | "tls_key"]);
        let is_set = |written: &Self| written.0.keys().any(|path| path == keys);
        let goes = is_certificate && is_set(self) && !is_set(other);
        self.holds_at_once(keys) && other.holds_at_once(keys) && !goes
    }

    /// [`super::Config::taking_over`] says what does.
    fn holds_at_once(&self, keys: &[&str]) -> bool {
        matches!(
            keys,
            ["line" | "trunk" | "directory" | "numbers" | "limits", ..]
                | ["log", "level"]
                | ["sip", "ban", ..]
                | [
                    "sip",
                    "messages_per_second" | "max_calls" | "tls_certificate" | "tls_key",
                ]
                | ["media", "max_calls"]
        )
    }

    fn has_trunk(&self, name: &str) -> bool {
        let path = ["trunk", name, "name"].map(str::to_owned);
        self.0.contains_key(path.as_slice())
    }

    fn add_table(&mut self, path: &[String], table: &Table) {
        for (key, value) in table {
            let path = [path, std::slice::from_ref(key)].concat();
            self.add(path, value);
        }
    }

    fn add(&mut self, path: Vec<String>, value: &Value) {
        match value {
            Value::Table(table) => self.add_table(&path, table),
            Value::Array(all) if is_named(all) => {
                for entry in all.iter().filter_map(Value::as_table) {
                    let name = NAMES.iter().find_map(|key| entry.get(*key)?.as_str());
                    let path = [path.as_slice(), &[name.unwrap_or_default().to_owned()]].concat();
                    self.add_table(&path, entry);
                }
            }
            value => _ = self.0.insert(path, value.to_string()),
        }
    }
}

/// Whether the value of a key can be told: it is no secret, and nobody's number.
fn shows_itself(keys: &[&str]) -> bool {
    match keys {
        ["log" | "sip" | "media" | "limits", ..] | ["numbers", "country"] => true,
        ["trunk", _, key] => SHOWN.contains(key),
        _ => false,
    }
}

/// Whether each of these is a table with a name of its own.
fn is_named(all: &[Value]) -> bool {
    let name = |value: &Value| {
        let table = value.as_table()?;
        let mut names = NAMES.iter();
        names.find_map(|key| table.get(*key)?.as_str().map(str::to_owned))
    };
    let names: BTreeSet<_> = all.iter().filter_map(name).collect();
    !all.is_empty() && names.len() == all.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
        [matrix]
        as_token = "s3cret"
        [log]
        level = "info"
        [[trunk]]
        name = "pbx"
        max_calls = 10
        password = "s3cret"
        [[line]]
        user = "@alice:x"
        extension = "2001"
        [limits]
        night = [{ from = "20:00", to = "07:00", permissions = [] }]
    "#;

    fn written(text: &str) -> Written {
        Written::of(&text.parse().expect("it is TOML"))
    }

    fn told(after: &str) -> (Vec<String>, Vec<String>) {
        let differences = written(BEFORE).differences(&written(after));
        let (now, later): (Vec<_>, Vec<_>) =
            differences.into_iter().partition(|found| found.at_once);
        let told = |all: Vec<Difference>| all.into_iter().map(|found| found.told).collect();
        (told(now), told(later))
    }

    #[test]
    fn each_difference_is_told_with_its_key_and_no_secret() {
        let after = BEFORE
            .replace("s3cret", "0ther")
            .replace("\"info\"", "\"debug\"")
            .replace("max_calls = 10", "max_calls = 20\ncodecs = [\"pcmu\"]")
            .replace("2001", "2002")
            .replace("07:00", "08:00");
        let (now, later) = told(&after);
        assert_eq!(now.len(), 6, "{now:?}");
        let night = &now[0];
        assert!(night.starts_with("limits.night: [{"), "{night}");
        assert!(
            night.contains("07:00") && night.contains("08:00"),
            "{night}"
        );
        assert_eq!(now[1], "line.@alice:x.extension");
        assert_eq!(now[2], "log.level: \"info\" → \"debug\"");
        let codecs = "trunk.pbx.codecs: not set → [\"pcmu\"]";
        let expected = [codecs, "trunk.pbx.max_calls: 10 → 20", "trunk.pbx.password"];
        assert_eq!(now[3..], expected);
        assert_eq!(later, ["matrix.as_token"]);
        assert_eq!(told(BEFORE), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_trunk_that_comes_or_goes_is_told_in_a_word_and_its_order_is_nothing() {
        let another = "[[trunk]]\nname = \"carrier\"\nmax_calls = 5\n";
        let both = format!("{BEFORE}\n{another}");
        let (now, later) = told(&both);
        assert!(later.is_empty(), "{later:?}");
        assert_eq!(now, ["trunk.carrier: added"]);
        let gone = written(&both).differences(&written(BEFORE));
        assert_eq!(gone.len(), 1, "{gone:?}");
        assert_eq!(gone[0].told, "trunk.carrier: removed");
        let own = "[[trunk]]\n        name = \"pbx\"";
        let first = BEFORE.replace(own, &format!("{another}{own}"));
        let last = format!("{BEFORE}\n{another}");
        assert!(written(&first).differences(&written(&last)).is_empty());
    }

    #[test]
    fn a_certificate_that_is_there_no_more_goes_with_the_next_start_and_the_ringback_of_another_country_comes_with_it()
     {
        let with = |more: &str| format!("{BEFORE}\n[sip]\n{more}\n[numbers]\ncountry = \"FR\"");
        let shown = with("tls_certificate = \"a.pem\"\ntls_key = \"a.key\"");
        let mut held = written(&shown);
        let gone = written(&with(""));
        let differences = held.differences(&gone);
        assert!(
            differences.iter().all(|found| !found.at_once),
            "{differences:?}"
        );
        assert_eq!(differences.len(), 2);
        held.take_over(&gone);
        assert_eq!(held.differences(&gone), differences);
        let added = gone.differences(&written(&shown));
        assert!(added.iter().all(|found| found.at_once), "{added:?}");
        let moved = written(&with("").replace("FR", "DE"));
        let told = &gone.differences(&moved)[0].told;
        assert!(
            told.ends_with("(its ringback from the next start on)"),
            "{told}"
        );
    }

    #[test]
    fn what_holds_later_stays_different_until_then() {
        let after = BEFORE
            .replace("\"info\"", "\"debug\"")
            .replace("s3cret", "0ther");
        let mut held = written(BEFORE);
        held.take_over(&written(&after));
        let left = held.differences(&written(&after));
        let left: Vec<_> = left.iter().map(|found| found.told.as_str()).collect();
        assert_eq!(left, ["matrix.as_token"]);
        held.take_over(&written(&BEFORE.replace("level = \"info\"", "")));
        assert_eq!(
            held.differences(&written(BEFORE))[0].told,
            "log.level: not set → \"info\""
        );
    }
}
