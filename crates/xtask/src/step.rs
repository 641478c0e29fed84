//! Steps that are done once: a stamp file holds the version key of what was put in place.

use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::{Doing, Failure, layout};

/// One thing to put in place, and the key that says which version of it is meant.
#[derive(Debug)]
pub struct Step {
    /// The name of the stamp file.
    pub stamp: &'static str,
    /// What the progress line calls it.
    pub title: &'static str,
    /// Changes whenever the thing must be put in place anew.
    pub key: String,
}

impl Step {
    /// Whether the stamp says that this very version is in place.
    pub fn is_done(&self) -> bool {
        fs::read_to_string(self.path()).is_ok_and(|key| key == self.key)
    }

    /// Runs `work` unless it is done, with a progress line before and after.
    pub fn run(&self, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        if self.is_done() {
            return Ok(());
        }
        println!("{} …", self.title);
        let started = Instant::now();
        let path = self.path();
        // An interrupted step must not look done.
        if path.exists() {
            fs::remove_file(&path).doing(path.display())?;
        }
        work().doing(self.title)?;
        let folder = layout::testbed().join("stamps");
        fs::create_dir_all(&folder).doing(folder.display())?;
        fs::write(&path, &self.key).doing(path.display())?;
        println!("{} {:.0} s", self.title, started.elapsed().as_secs_f32());
        Ok(())
    }

    fn path(&self) -> PathBuf {
        layout::testbed().join("stamps").join(self.stamp)
    }
}

/// A short key over `parts`; the same parts give the same key.
pub fn key_of(parts: &[&[u8]]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Cargo itself, in the root of the checkout; the one that started us where there is one.
///
/// What `cargo run` says about us is not passed on: build scripts (ring's) ask to be run again when it changes, and every
/// build after a `cargo xtask` would begin with the cryptography.
pub fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(layout::root());
    let about_us = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    let named = std::env::vars_os().map(|(name, _)| name);
    named.filter(|name| about_us(name)).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Runs a command that writes to the terminal itself.
pub fn visibly(command: &mut Command) -> Result<(), Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().doing(&program)?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{program}: {status}")))
}

/// Runs a command in silence and returns its standard output; on failure the message holds
/// the end of what it wrote.
pub fn quietly(command: &mut Command) -> Result<String, Failure> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .doing(format!("cannot run {program} (is it installed?)"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
    let tail = lines[lines.len().saturating_sub(15)..].join("\n");
    Err(Failure::new(format!(
        "{program}: {}\n{tail}",
        output.status
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(key: &str) -> Step {
        Step {
            stamp: "test-of-steps",
            title: "A step under test",
            key: key.to_owned(),
        }
    }

    #[test]
    fn a_step_is_done_once_for_each_key_and_not_when_it_failed() {
        let fail = || Err(Failure::new("no network"));
        assert!(step("1").run(fail).is_err());
        assert!(!step("1").is_done());
        step("1").run(|| Ok(())).unwrap();
        assert!(step("1").is_done());
        step("1").run(fail).unwrap();
        assert!(!step("2").is_done());
        assert!(step("2").run(fail).is_err());
        assert!(!step("1").is_done(), "what it made may be half overwritten");
    }

    #[test]
    fn a_failed_command_shows_the_end_of_what_it_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "seq 100; echo why >&2; exit 1"]);
        let failure = quietly(&mut command).unwrap_err().to_string();
        assert!(failure.ends_with("100\nwhy"), "{failure}");
        assert!(!failure.contains("\n50\n"), "{failure}");
    }
}
