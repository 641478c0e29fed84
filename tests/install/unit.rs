//! The systemd unit, held against what the program does and needs.

use std::fs;
use std::process::Command;

use toml::Table;

const UNIT: &str = include_str!("../../dist/mxtrunk.service");
const CONFIG: &str = include_str!("../../dist/gateway.toml");
const EVERYTHING: &str = include_str!("../../gateway.toml");

/// The value of a key that stands there once.
fn unit(key: &str) -> &'static str {
    let values: Vec<&str> = UNIT
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .collect();
    assert_eq!(values.len(), 1, "{key}: {values:?}");
    values[0]
}

fn config(section: &str, key: &str) -> String {
    let config: Table = CONFIG.parse().expect("dist/gateway.toml");
    let value = config[section][key].as_str();
    value.expect("a text").to_owned()
}

#[test]
fn what_the_gateway_writes_lies_where_the_unit_lets_it_write() {
    let state = format!("/var/lib/{}/", unit("StateDirectory"));
    assert!(config("store", "path").starts_with(&state));
    assert_eq!(format!("{}/", unit("WorkingDirectory")), state);
    let run = format!("/run/{}/", unit("RuntimeDirectory"));
    assert!(config("admin", "socket").starts_with(&run));
    assert_eq!(unit("ProtectSystem"), "strict");
}

#[test]
fn the_configuration_of_the_package_is_sound_and_listens_on_this_machine_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut text = CONFIG.to_owned();
    for token in ["as_token", "hs_token", "admin_token"] {
        let path = folder.path().join(token);
        fs::write(&path, "0123456789abcdef").expect("written");
        text = text.replace(&format!("/etc/mxtrunk/{token}"), &path.to_string_lossy());
    }
    let file = folder.path().join("gateway.toml");
    fs::write(&file, &text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_mxtrunk"))
        .arg("check")
        .arg("--config")
        .arg(&file)
        .output()
        .expect("the binary is built");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(!text.contains("0.0.0.0") && !text.contains("[::]"));
}

#[test]
fn a_configuration_that_cannot_be_used_is_not_tried_again() {
    let output = Command::new(env!("CARGO_BIN_EXE_mxtrunk"))
        .args(["run", "--config", "/nowhere/gateway.toml"])
        .output()
        .expect("the binary is built");
    let code = output.status.code().map(|code| code.to_string());
    assert_eq!(code.as_deref(), Some(unit("RestartPreventExitStatus")));
    assert_eq!(unit("Restart"), "on-failure");
}

#[test]
fn the_manager_is_told_by_the_program_and_reloads_it_as_it_wants_to_be() {
    // That it tells: `install::package` and `service::tests`.
    assert_eq!(unit("Type"), "notify");
    assert_eq!(unit("ExecReload"), "/bin/kill -HUP $MAINPID");
    // While calls end the gateway asks for 30 s more every 10 s.
    let stop: u64 = unit("TimeoutStopSec").parse().expect("seconds");
    assert!(stop >= 30, "{stop}");
    // The router beats every 10 s, and is taken to stand still after 30 s.
    let watchdog: u64 = unit("WatchdogSec").parse().expect("seconds");
    assert!(watchdog > 30, "{watchdog}");
}

#[test]
fn media_workers_may_take_the_priority_that_they_want() {
    let settings: Table = EVERYTHING.parse().expect("gateway.toml");
    let nice = settings["media"]["worker_nice"].as_integer();
    assert_eq!(
        nice.map(|nice| nice.to_string()).as_deref(),
        Some(unit("LimitNICE"))
    );
}

/// systemd's own verdict, where it is there: nothing that it does not know, and exposed to hardly anything.
#[test]
fn systemd_understands_the_unit_and_finds_it_well_shut() {
    let found = Command::new("systemd-analyze").arg("--version").output();
    if !found.is_ok_and(|found| found.status.success()) {
        println!("skipped: there is no systemd-analyze here");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mxtrunk.service");
    // It wants the program to be there.
    let here = UNIT.replace("/usr/bin/mxtrunk", env!("CARGO_BIN_EXE_mxtrunk"));
    fs::write(&file, here).expect("written");
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let output = command.args(arguments).arg(&file).output();
        let output = output.expect("it was there a moment ago");
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&said).into_owned())
    };
    let (_, said) = analyze(&["verify", "--man=no"]);
    let own: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("mxtrunk"))
        .collect();
    assert!(own.is_empty(), "{said}");
    // From 0 to 100, in tenths; systemd calls up to 20 well shut.
    let (status, said) = analyze(&["security", "--offline=yes", "--threshold=20", "--no-pager"]);
    assert!(status.success(), "{said}");
}
