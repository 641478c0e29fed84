//! The virtual environment: cmake for libopus, Synapse, and the speech judge's pesq.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::debian;
use crate::step::{Step, key_of, quietly};
use crate::{Doing, Failure, layout};

const CMAKE: &str = "cmake==4.4.4";
const HAS_PIP: &str = "import ensurepip; ensurepip.version()";
/// pesq is compiled when it is installed.
const FINDS_HEADERS: &str = "import sysconfig, os
open(os.path.join(sysconfig.get_path('include'), 'Python.h')).close()";
const REQUIREMENTS: &str = include_str!("requirements.txt");
const SCHEMATHESIS: &str = include_str!("schemathesis.txt");

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

/// Puts schemathesis into an environment of its own, by the pip of the testbed's, and returns its program.
pub(super) fn schemathesis() -> Result<PathBuf, Failure> {
    let folder = layout::testbed().join("schemathesis");
    let program = folder.join("bin/schemathesis");
    let step = Step {
        stamp: "schemathesis",
        title: "schemathesis",
        key: key_of(&[SCHEMATHESIS.as_bytes()]),
    };
    step.run(|| {
        let mut command = Command::new(layout::venv_program("python"));
        command.args(["-m", "venv", "--clear", "--without-pip"]);
        quietly(command.arg(&folder))?;
        let pins = layout::root().join("crates/xtask/src/provision/schemathesis.txt");
        let mut command = Command::new(layout::venv_program("pip"));
        command.arg("--python").arg(folder.join("bin/python"));
        command.args(["install", "--disable-pip-version-check", "--no-input"]);
        quietly(command.arg("--requirement").arg(pins)).map(drop)
    })?;
    Ok(program)
}

fn make_venv() -> Result<(), Failure> {
    let venv = |arguments: &[&str]| {
        let mut command = Command::new("python3");
        command.args(["-m", "venv", "--clear"]).args(arguments);
        quietly(command.arg(layout::venv())).map(drop)
    };
    if !python_has(HAS_PIP) || !python_has(FINDS_HEADERS) {
        debian::python_parts(parts())?;
    }
    if python_has(HAS_PIP) {
        return venv(&[]);
    }
    // Debian keeps ensurepip in a package of its own; a wheel of pip can run where it lies.
    venv(&["--without-pip"])?;
    let mut command = Command::new(layout::venv_program("python"));
    command.arg(pip_wheel()?.join("pip"));
    quietly(command.args(["install", "pip"])).map(drop)
}

fn python_has(what: &str) -> bool {
    quietly(Command::new("python3").args(["-c", what])).is_ok()
}

/// Where the parts that the machine's Python lacks are unpacked.
fn parts() -> PathBuf {
    layout::testbed().join("python-parts")
}

fn pip_wheel() -> Result<PathBuf, Failure> {
    let folder = parts().join("usr/share/python-wheels");
    let entries = fs::read_dir(&folder).doing(folder.display())?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let wheel = paths.find(|path| path.to_string_lossy().contains("/pip-"));
    wheel.ok_or_else(|| Failure::new(format!("no pip in {}", folder.display())))
}

fn pip(arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new(layout::venv_program("pip"));
    let include = parts().join("usr/include");
    if include.exists() {
        // Debian's own Python.h includes a second header by its architecture's path.
        let include = include.display();
        command.env("CPATH", format!("{include}/python3.11:{include}"));
    }
    command.args(["install", "--disable-pip-version-check", "--no-input"]);
    quietly(command.args(arguments)).map(drop)
}
