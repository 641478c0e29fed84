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
fn a_configuration_that_lies_here_needs_no_naming() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("gateway.toml"), SHIPPED).expect("written");
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let output = command.arg("check").current_dir(folder.path()).output();
        output.expect("the binary is built")
    };
    let told = text(&check().stdout);
    assert!(told.starts_with("gateway.toml is sound"), "{told}");
    std::fs::remove_file(folder.path().join("gateway.toml")).expect("it was there");
    // Where there is none, it is the machine's that is read, or missed.
    let output = check();
    let told = text(&output.stdout) + &text(&output.stderr);
    assert!(told.contains("/etc/mxtrunk/gateway.toml"), "{told}");
}

#[test]
fn a_registration_in_a_file_is_not_for_everybody_and_replaces_the_old_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let (config, out) = (folder.path().join("c.toml"), folder.path().join("r.yaml"));
    std::fs::write(&config, SHIPPED).expect("written");
    std::fs::write(&out, "old").expect("written");
    let arguments = [
        "registration",
        "--config",
        path(&config),
        "--output",
        path(&out),
    ];
    let output = mxtrunk(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "the tokens are on the screen");
    let written = std::fs::read_to_string(&out).expect("a registration");
    assert_eq!(written, text(&mxtrunk(&arguments[..3]).stdout));
    assert!(written.contains("as_token: 'change-me-as'"), "{written}");
    let mode = std::fs::metadata(&out)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
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

/// What `mxtrunk number` says with the shipped file and these rules for its trunk.
fn number(rules: &str, arguments: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let config = SHIPPED.replace("nat = false\n", &format!("nat = false\n{rules}\n"));
    std::fs::write(file.path(), config).expect("written");
    mxtrunk(&[&["number", "--config", path(file.path())], arguments].concat())
}

const FRENCH: &str = r#"dial = [ { prefix = "+331", replace = "9$1" }, { prefix = "+33", replace = "0$1" } ]
caller = [ { pattern = '[1-9]\d{8}', replace = "+33$0" } ]"#;

#[test]
fn a_number_is_explained_from_the_dial_pad_to_the_request_uri() {
    let output = number(FRENCH, &["06 77 12 34 56", "--line", "@alice:example.org"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let told = text(&output.stdout);
    for part in [
        "read as     +33677123456: an outside number of this country",
        "dialable    yes",
        "@alice:example.org may dial it, as +33177000001",
        "limits      5 at once, 100 an hour, 500 a day",
        "trunk       \"pbx\"",
        "prefix '+331' → '9$1'\n                the number begins otherwise",
        "prefix '+33' → '0$1'\n                fits, and makes 0677123456 of it",
        "sent        INVITE sip:0677123456@127.0.0.1:5060",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
}

#[test]
fn a_caller_is_explained_up_to_the_name_that_element_shows() {
    let told = text(&number(FRENCH, &["177000001"]).stdout);
    let (_, calling) = told
        .split_once("calling over trunk")
        .expect("a part for callers");
    assert!(calling.contains("fits, and makes +33177000001"), "{told}");
    assert!(
        calling.contains("shown as    Alice (+33 1 77 00 00 01)"),
        "{told}"
    );
}

#[test]
fn an_emergency_number_is_explained_as_past_every_rule() {
    let rules = "dial = [ { pattern = '.*', replace = \"666\" } ]";
    let told = text(&number(rules, &["+33112"]).stdout);
    assert!(
        told.contains("read as     112: an emergency number"),
        "{told}"
    );
    assert!(told.contains("none is tried"), "{told}");
    assert!(told.contains("INVITE sip:112@127.0.0.1:5060"), "{told}");
}

#[test]
fn a_number_that_may_not_be_dialled_and_a_person_without_a_line_are_told_apart() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let config = SHIPPED.replace("dialable = []", "dialable = [\"2XXX\"]");
    std::fs::write(file.path(), config).expect("written");
    let ask = |arguments: &[&str]| {
        mxtrunk(&[&["number", "--config", path(file.path())], arguments].concat())
    };
    let refused = text(&ask(&["0177123456"]).stdout);
    assert!(
        refused.contains("fits none of [numbers] dialable (2XXX)"),
        "{refused}"
    );
    let nobody = ask(&["2002", "--line", "@eve:example.org"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        text(&nobody.stderr).contains("has no line"),
        "{}",
        text(&nobody.stderr)
    );
}

#[test]
fn the_class_of_a_number_is_told_and_who_may_not_call_it() {
    let told = text(&number("", &["0899123456"]).stdout);
    assert!(
        told.contains("class       premium: the pattern \"+3389.\""),
        "{told}"
    );
    let told = text(&number("", &["0899123456", "--line", "2001"]).stdout);
    for part in [
        "@alice:example.org may not dial it, only internal, national, international",
        "refused: the person reads that calling it is not allowed from here",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
    let told = text(&number("", &["112", "--line", "2001"]).stdout);
    assert!(!told.contains("class "), "{told}");
}

/// The shipped file, where Bob's line registers so.
fn with_register(register: &str) -> String {
    let bob = "extension = \"2002\"\n";
    SHIPPED.replace(bob, &format!("{bob}register = {{ {register} }}\n"))
}

#[test]
fn a_line_that_registers_is_checked_and_its_way_explained() {
    let sound = with_register("password = \"s3cret\"");
    let output = with_config("check", &sound);
    let said = text(&output.stdout);
    assert!(
        said.contains("2 lines over 1 trunk; 1 line registered"),
        "{said}"
    );
    let broken = with_config("check", &with_register("trunk = \"pbx\""));
    assert_eq!(broken.status.code(), Some(2));
    let complaint = text(&broken.stderr);
    for part in [
        "line \"@bob:example.org\": register: has no password",
        "to mend it: set password or password_file in it",
    ] {
        assert!(
            complaint.contains(part),
            "{part} is missing in:\n{complaint}"
        );
    }
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), sound).expect("written");
    let asked = ["0177123456", "--line", "@bob:example.org"];
    let told = mxtrunk(&[&["number", "--config", path(file.path())], &asked[..]].concat());
    let told = text(&told.stdout);
    for part in [
        "@bob:example.org may dial it, as 2002, by its account at \"pbx\"",
        "trunk       \"pbx\": the line registers there",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
    assert!(!told.contains("s3cret"), "{told}");
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
