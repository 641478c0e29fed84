//! What a report was made by, where and when.

use std::fmt;
use std::process::Command;

use serde::Serialize;

/// Of this run.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Circumstances {
    command: String,
    machine: String,
    date: String,
}

impl Circumstances {
    /// Of a run of `cargo xtask NAME` that begins.
    pub(super) fn now(name: &str) -> Self {
        let given: Vec<String> = std::env::args().skip(1).collect();
        let command = format!("cargo xtask {name} {}", given.join(" "));
        let built = match cfg!(debug_assertions) {
            true => " (debug build)",
            false => "",
        };
        Self {
            command: command.trim().to_owned() + built,
            machine: machine(),
            date: said_by(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
        }
    }

    /// A name for the files of this run.
    pub(super) fn name(&self, of: &str) -> String {
        let date = self.date.replace(" UTC", "").replace(' ', "-");
        format!("{}-{of}", date.replace(':', ""))
    }
}

impl fmt::Display for Circumstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            machine,
            date,
        } = self;
        write!(f, "`{command}`, {machine}, {date}")
    }
}

fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = |line: &&str| line.starts_with("model name");
    let model = info
        .lines()
        .find(named)
        .and_then(|line| line.split(": ").nth(1));
    let cores = info.lines().filter(named).count();
    format!("{cores} × {}", model.unwrap_or("unknown processor"))
}

fn said_by(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
