//! SECURITY.md, held against the code: what it says is shown by a test is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mxtrunk_testbed::root;

const DOCUMENT: &str = include_str!("../../SECURITY.md");

/// The names of all tests in the Rust files below `folder`.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder)
        .expect("a folder of the source")
        .flatten()
    {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a file of the source");
            names.extend(tests_in(&text));
        }
    }
}

/// The names of functions that an attribute makes tests.
fn tests_in(text: &str) -> Vec<String> {
    let mut is_test = false;
    let mut names = Vec::new();
    for line in text.lines().map(str::trim) {
        let name = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ");
        match name {
            Some(name) if is_test => {
                names.extend(name.split(['(', '<']).next().map(str::to_owned));
                is_test = false;
            }
            _ if line.starts_with("#[test") || line.starts_with("#[tokio::test") => is_test = true,
            // Other attributes and comments may stand between.
            _ if line.starts_with("#[") || line.starts_with("//") => {}
            _ => is_test &= line.ends_with(',') || line == ")]",
        }
    }
    names
}

/// What stands in backquotes and is named as a test of ours is: a sentence.
fn named(text: &str) -> Vec<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_sentence = |name: &&str| {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        name.chars().all(is_name) && name.matches('_').count() >= 3
    };
    quoted.filter(is_sentence).collect()
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let mut known = BTreeSet::new();
    for folder in ["crates", "src", "tests"] {
        tests_below(&root().join(folder), &mut known);
    }
    let named = named(DOCUMENT);
    assert!(named.len() > 40, "only {}", named.len());
    let unknown: Vec<&&str> = named
        .iter()
        .filter(|name| !known.contains(**name))
        .collect();
    assert!(
        unknown.is_empty(),
        "SECURITY.md names {unknown:?}: no test is called so"
    );
}

#[test]
fn every_attack_on_the_list_has_a_test_or_a_reason() {
    let rows: Vec<Vec<&str>> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    for attack in 1..=19 {
        let attack = attack.to_string();
        let row = rows.iter().find(|row| row[0] == attack && row.len() == 4);
        let row = row.unwrap_or_else(|| unreachable!("attack {attack} is not in the table"));
        let shown = row[3];
        assert!(
            !named(shown).is_empty() || shown.starts_with("none: "),
            "attack {attack}: {shown:?} is neither a test nor a reason"
        );
    }
}

#[test]
fn every_listener_of_the_shipped_configuration_is_in_the_threat_model() {
    let config = include_str!("../../gateway.toml");
    let config: toml::Table = config.parse().expect("gateway.toml");
    let mut count = 0;
    for (section, value) in &config {
        let Some(table) = value.as_table() else {
            continue;
        };
        let addresses = table.iter().filter(|(key, _)| *key == "listen");
        for (_, address) in addresses {
            count += 1;
            let heading = format!("[{section}] listen");
            let row = DOCUMENT.lines().find(|line| line.contains(&heading));
            let row = row.unwrap_or_else(|| unreachable!("{heading} is not in the table"));
            let address = address.to_string();
            let port = address.rsplit(':').next().unwrap_or_default();
            let port = port.trim_matches(|c: char| !c.is_ascii_digit());
            assert!(
                row.contains(&format!("127.0.0.1:{port}")),
                "{heading}: {row}"
            );
        }
    }
    assert!(count >= 4, "{count}");
}

#[test]
fn a_test_is_found_behind_its_attributes() {
    let text = "#[test]\nfn one_is() {\n#[tokio::test(flavor = \"x\")]\n#[ignore]\nasync fn two_is() {\nfn none_is() {";
    assert_eq!(tests_in(text), ["one_is", "two_is"]);
}
