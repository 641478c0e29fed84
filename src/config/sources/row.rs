//! One entry of a source as text by key, and the line that it makes; the templates that an entry of a JSON directory is
//! read with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use toml::{Table, Value};

use super::Place;
use crate::config::{Problem, lines};

/// The keys of a line that are lists; in a cell, blanks, commas or semicolons stand between their words.
const LISTS: [&str; 2] = ["permissions", "subscribe"];

/// The keys that are numbers.
const NUMBERS: [&str; 5] = [
    "register.expires_seconds",
    "limits.max_calls",
    "limits.calls_per_hour",
    "limits.calls_per_day",
    "limits.dear_minutes_per_day",
];

/// The keys that are true or false.
const SWITCHES: [&str; 3] = ["call_waiting", "presence", "at_pbx"];

/// One entry: its keys are those of a `[[line]]`, with `register.password` for what stands inside another.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    #[serde(default)]
    line: u64,
    #[serde(default)]
    entry: usize,
    cells: BTreeMap<String, String>,
}

impl std::fmt::Debug for Row {
    /// Passwords stand in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({})", self.place())
    }
}

impl Row {
    pub(super) fn of_csv(line: u64, cells: BTreeMap<String, String>) -> Self {
        Row {
            line,
            entry: 0,
            cells,
        }
    }

    /// An entry of a JSON directory, read with the templates.
    pub(super) fn of_json(entry: usize, json: &Json, fields: &BTreeMap<String, String>) -> Self {
        let cells = fields.iter().filter_map(|(key, template)| {
            let text = fill(template, json)?;
            Some((key.clone(), text))
        });
        Row {
            line: 0,
            entry,
            cells: cells.collect(),
        }
    }

    fn place(&self) -> Place {
        match self.entry {
            0 => Place::Csv { line: self.line },
            entry => Place::Http { entry },
        }
    }

    /// Whether it has what makes a line; the directory of a whole company has people without a telephone.
    pub(super) fn is_whole(&self) -> bool {
        self.cells.contains_key("user") && self.cells.contains_key("extension")
    }

    /// The line that it makes.
    pub(super) fn line(&self) -> Result<lines::Line, Problem> {
        let place = self.place();
        let wrong = |what: String| {
            let mend = "its keys are those of a [[line]] of gateway.toml, such as user, extension, register.password";
            Problem::new(place.to_string(), what, mend)
        };
        let mut table = Table::new();
        for (key, text) in &self.cells {
            let value = value_of(key, text).map_err(&wrong)?;
            match key.split_once('.') {
                None => _ = table.insert(key.clone(), value),
                Some((outer, inner)) => {
                    let outer = table
                        .entry(outer)
                        .or_insert_with(|| Value::Table(Table::new()));
                    let Value::Table(inside) = outer else {
                        return Err(wrong(format!(
                            "{key:?} cannot be set beside another key of its name"
                        )));
                    };
                    inside.insert(inner.to_owned(), value);
                }
            }
        }
        let line: Result<lines::Line, _> = Value::Table(table).try_into();
        let mut line = line.map_err(|error| wrong(error.message().trim().to_owned()))?;
        line.places = vec![place.clone()];
        Ok(line)
    }
}

fn value_of(key: &str, text: &str) -> Result<Value, String> {
    if LISTS.contains(&key) {
        let words = text.split([' ', ',', ';']).filter(|word| !word.is_empty());
        return Ok(Value::Array(
            words.map(|word| Value::String(word.into())).collect(),
        ));
    }
    if NUMBERS.contains(&key) {
        let number = text
            .parse()
            .map_err(|_| format!("{key} {text:?} is no number"))?;
        return Ok(Value::Integer(number));
    }
    if SWITCHES.contains(&key) {
        let on = text
            .parse()
            .map_err(|_| format!("{key} is neither true nor false"))?;
        return Ok(Value::Boolean(on));
    }
    Ok(Value::String(text.to_owned()))
}

/// Whether a template can be filled at all.
pub(super) fn check_template(template: &str) -> Result<(), String> {
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (name, after) = rest[open + 1..]
            .split_once('}')
            .ok_or_else(|| format!("{template:?} has a {{ without }}"))?;
        let (path, filter) = name.split_once('|').unwrap_or((name, ""));
        if path.trim().is_empty() {
            return Err(format!("{template:?} names no field in {{}}"));
        }
        if !["", "localpart", "lower"].contains(&filter.trim()) {
            return Err(format!(
                "{filter:?} is no filter: there are localpart and lower"
            ));
        }
        rest = after;
    }
    Ok(())
}

/// `{a.b}` is what the entry has there, `{a.0.b}` in the first of a list, `{email|localpart}` what stands before the @,
/// `{name|lower}` in small letters. `None` where something that it names is missing or empty.
fn fill(template: &str, json: &Json) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let (name, after) = after.split_once('}')?;
        let (path, filter) = name.split_once('|').unwrap_or((name, ""));
        let text = text_at(json, path.trim())?;
        match filter.trim() {
            "localpart" => filled.push_str(text.split('@').next().unwrap_or_default()),
            "lower" => filled.push_str(&text.to_lowercase()),
            _ => filled.push_str(&text),
        }
        rest = after;
    }
    filled.push_str(rest);
    let filled = filled.trim();
    (!filled.is_empty()).then(|| filled.to_owned())
}

fn text_at(json: &Json, path: &str) -> Option<String> {
    let found = path.split('.').try_fold(json, |at, step| match at {
        Json::Array(list) => list.get(step.parse::<usize>().ok()?),
        _ => at.get(step),
    })?;
    let text = match found {
        Json::String(text) => text.trim().to_owned(),
        Json::Number(number) => number.to_string(),
        Json::Bool(on) => on.to_string(),
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_is_filled_from_the_entry_or_not_at_all() {
        let entry = json!({
            "firstname": "Zoé", "email": "Zoe@x.org", "exten": 2001, "empty": " ", "none": null,
            "lines": [{"secret": "s"}],
        });
        for (template, filled) in [
            ("@{email|localpart}:x.org", Some("@Zoe:x.org")),
            ("{email|lower}", Some("zoe@x.org")),
            ("{exten}", Some("2001")),
            ("{lines.0.secret}", Some("s")),
            ("{lines.1.secret}", None),
            ("{firstname} {none}", None),
            ("{empty}", None),
            ("{missing.deep}", None),
            ("as it stands", Some("as it stands")),
        ] {
            assert_eq!(fill(template, &entry).as_deref(), filled, "{template}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_filled_is_refused() {
        for broken in ["{exten", "{}", "{a|upper}", "{|lower}"] {
            assert!(check_template(broken).is_err(), "{broken}");
        }
        assert!(check_template("{a} {b.0|localpart}").is_ok());
    }

    fn row(cells: &[(&str, &str)]) -> Row {
        let cells = cells
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Row::of_csv(3, cells.collect())
    }

    #[test]
    fn a_row_has_the_keys_of_a_line_and_those_inside_others() {
        let line = row(&[
            ("user", "@alice:x"),
            ("extension", "2001"),
            ("permissions", "internal; national"),
            ("register.password", "s3cret"),
            ("register.expires_seconds", "120"),
            ("limits.calls_per_hour", "20"),
        ])
        .line();
        let line = line.expect("sound");
        assert!(line.registers());
        assert_eq!(line.places, [Place::Csv { line: 3 }]);
    }

    #[test]
    fn a_row_that_makes_no_line_says_where_and_why_and_shows_no_password() {
        for (cells, complaint) in [
            (vec![("user", "@a:x"), ("extention", "1")], "extention"),
            (
                vec![("user", "@a:x"), ("permissions", "everything")],
                "everything",
            ),
            (vec![("extension", "1")], "user"),
            (
                vec![("user", "@a:x"), ("register.expires_seconds", "soon")],
                "is no number",
            ),
        ] {
            let mut cells = cells;
            cells.push(("register.password", "s3cret"));
            let said = row(&cells).line().expect_err("no line").to_string();
            assert!(said.contains(complaint), "{said}");
            assert!(said.contains("line 3 of the CSV file"), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }
}
