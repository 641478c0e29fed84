//! The virtual environment: cmake for libopus, Synapse, and the speech judge's pesq.

use std::process::Command;

use crate::step::{Step, key_of, quietly};
use crate::{Failure, layout};

const CMAKE: &str = "cmake==4.4.4";
const REQUIREMENTS: &str = include_str!("requirements.txt");

pub(super) fn cmake_step() -> Step {
    Step {
        stamp: "cmake",
        title: "Python environment and cmake",
        key: CMAKE.to_owned(),
    }
}

pub(super) fn packages_step() -> Step {
    Step {
        stamp: "python",
        title: "Synapse and pesq",
        key: key_of(&[REQUIREMENTS.as_bytes()]),
    }
}

/// Makes the environment if there is none, and puts cmake into it.
pub(super) fn cmake() -> Result<(), Failure> {
    cmake_step().run(|| {
        if !layout::venv_program("pip").exists() {
            make_venv()?;
        }
        pip(&[CMAKE])
    })
}

/// Puts the pinned packages into the environment.
pub(super) fn packages() -> Result<(), Failure> {
    packages_step().run(|| {
        let file = layout::root().join("crates/xtask/src/provision/requirements.txt");
        pip(&["--requirement", &file.to_string_lossy()])
    })
}

fn make_venv() -> Result<(), Failure> {
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(layout::venv());
    quietly(&mut command).map(drop).map_err(|error| {
        Failure::new(format!(
            "{error}\nOn Debian this takes: apt-get install python3-venv python3-dev"
        ))
    })
}

fn pip(arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(layout::venv_program("pip"));
    command.args(["install", "--disable-pip-version-check", "--no-input"]);
    quietly(command.args(arguments)).map(drop)
}
