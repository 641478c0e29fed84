//! `cargo xtask guards`: takes each guard of the list away, one at a time and in a copy of the source, and looks whether its
//! test goes red. What CONTRIBUTING.md says of guards and tests is worth as much as this says.

mod list;
mod outcome;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xtask::step::{cargo, quietly};
use xtask::{Doing, Failure, layout, provision};

use self::list::{GUARDS, Guard};
use self::outcome::{Outcome, read};

/// Looks at those guards whose attack, file or test holds one of the words; at all of them where there are none.
pub(crate) fn run(words: &[String]) -> Result<(), Failure> {
    provision::setup()?;
    let is_meant = |guard: &&Guard| words.is_empty() || words.iter().any(|w| guard.is_called(w));
    let guards: Vec<&Guard> = GUARDS.iter().filter(is_meant).collect();
    if guards.is_empty() {
        return Err(Failure::new(format!("no guard has {words:?} in it")));
    }
    let source = Copy::make()?;
    println!("With all guards in place …");
    let (mut good, mut failed) = (Vec::new(), 0);
    for guard in &guards {
        match source.test(guard)? {
            Outcome::Green => good.push(guard),
            other => {
                println!("{other} with its guard: {guard}");
                failed += 1;
            }
        }
    }
    for (number, guard) in good.iter().enumerate() {
        let outcome = source.without(guard)?;
        println!("{:>2} of {}  {outcome}  {guard}", number + 1, good.len());
        failed += usize::from(outcome != Outcome::Red);
    }
    println!("{} red, {failed} not", guards.len() - failed);
    match failed {
        0 => Ok(()),
        _ => Err(Failure::new(
            "a guard whose test stays green has no test: write one, or mend the list (crates/xtask/src/guards/list.rs)",
        )),
    }
}

/// What cargo runs the tests with: one that waits for what never comes has not passed. Seconds.
const PATIENCE: &str = "timeout 120";

/// The last commit, checked out beside the working tree, with a build of its own.
struct Copy {
    folder: PathBuf,
}

impl Copy {
    fn make() -> Result<Self, Failure> {
        let folder = layout::root().join("target/guards/source");
        let git = || {
            let mut git = Command::new("git");
            git.current_dir(layout::root());
            git
        };
        // What an earlier run left, should it have been interrupted.
        if folder.exists() {
            fs::remove_dir_all(&folder).doing(folder.display())?;
        }
        quietly(git().args(["worktree", "prune"]))?;
        let add = ["worktree", "add", "--force", "--detach"];
        quietly(git().args(add).arg(&folder).arg("HEAD"))?;
        let testbed = folder.join("target/testbed");
        fs::create_dir_all(folder.join("target")).doing(folder.display())?;
        std::os::unix::fs::symlink(layout::testbed(), &testbed).doing(testbed.display())?;
        Ok(Self { folder })
    }

    /// What the test says without the guard.
    fn without(&self, guard: &Guard) -> Result<Outcome, Failure> {
        let path = self.folder.join(guard.file);
        let text = fs::read_to_string(&path).doing(path.display())?;
        if text.matches(guard.cut).count() != 1 {
            return Ok(Outcome::NotThere);
        }
        let open = text.replacen(guard.cut, guard.put, 1);
        fs::write(&path, open).doing(path.display())?;
        let outcome = self.test(guard);
        fs::write(&path, text).doing(path.display())?;
        outcome
    }

    fn test(&self, guard: &Guard) -> Result<Outcome, Failure> {
        let built = self.cargo_test(guard).arg("--no-run").output();
        if !built.doing("cargo test")?.status.success() {
            return Ok(Outcome::NoBuild);
        }
        let output = self.cargo_test(guard).arg(guard.test).output();
        let output = output.doing("cargo test")?;
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(read(&said, output.status.success()))
    }

    /// `cargo test` of a guard's package.
    fn cargo_test(&self, guard: &Guard) -> Command {
        let mut command = cargo();
        command
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.build())
            // What the copy lacks of a guard may leave something unused.
            .env("RUSTFLAGS", "--cap-lints allow")
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", PATIENCE)
            .args(["test", "--quiet", "--package", guard.package])
            .args(guard.target);
        command
    }

    fn build(&self) -> PathBuf {
        self.folder
            .parent()
            .unwrap_or_else(|| Path::new("."))
            .join("build")
    }
}
