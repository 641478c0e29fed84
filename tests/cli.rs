//! What the commands say, and what they exit with.

use std::path::Path;
use std::process::{Command, Output};

const SHIPPED: &str = include_str!("../gateway.toml");

fn mxtrunk(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mxtrunk"))
        .args(arguments)
        .output()
        .expect("the binary is built")
}

fn with_config(command: &str, text: &str) -> Output {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), text).expect("written");
    mxtrunk(&[command, "--config", path(file.path())])
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = mxtrunk(&["--version"]);
    assert!(output.status.success());
    assert_eq!(
        text(&output.stdout),
        format!("mxtrunk {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_shipped_configuration_passes_the_check() {
    let output = with_config("check", SHIPPED);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("is sound: 2 lines over 1 trunk"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn a_check_says_what_is_wrong_where_and_how_to_mend_it() {
    let broken = SHIPPED.replace("opus_complexity = 1", "opus_complexity = 50");
    let output = with_config("check", &broken);
    assert_eq!(output.status.code(), Some(2));
    let complaint = text(&output.stderr);
    assert!(
        complaint.contains("media.opus_complexity: is over 10"),
        "{complaint}"
    );
    assert!(complaint.contains("to mend it: use 0 to 10"), "{complaint}");
}

#[test]
fn a_missing_file_is_named() {
    let output = mxtrunk(&["check", "--config", "/nowhere/gateway.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("/nowhere/gateway.toml"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_registration_has_what_synapse_needs() {
    let output = with_config("registration", SHIPPED);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let yaml = text(&output.stdout);
    for needed in [
        "as_token: 'change-me-as'",
        "hs_token: 'change-me-hs'",
        "url: 'http://127.0.0.1:9000'",
        "sender_localpart: 'mxtrunk'",
        "rate_limited: false",
        "m.protocol.pstn",
        "@tel_",
    ] {
        assert!(yaml.contains(needed), "{needed} is missing in:\n{yaml}");
    }
}

#[test]
fn a_database_that_cannot_be_opened_stops_the_start_with_a_reason() {
    let elsewhere = SHIPPED.replace("path = \"mxtrunk.db\"", "path = \"/nowhere/mxtrunk.db\"");
    let output = with_config("run", &elsewhere);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("/nowhere/mxtrunk.db"),
        "{}",
        text(&output.stderr)
    );
}
