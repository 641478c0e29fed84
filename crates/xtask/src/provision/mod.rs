//! Putting the testbed's peers in place: Python packages, Debian packages, the softphone page.
//!
//! Everything is idempotent: a second call looks at stamps and returns at once, offline.

mod debian;
mod node;
mod python;

use std::fs::{self, File};
use std::thread;

use crate::{Doing, Failure, layout};

/// Puts in place whatever is missing; prints a line per step.
pub fn setup() -> Result<(), Failure> {
    require_debian()?;
    let testbed = layout::testbed();
    fs::create_dir_all(&testbed).doing(testbed.display())?;
    // Two setups at once would unpack into the same folders.
    let path = testbed.join("setup.lock");
    let lock = File::create(&path).doing(path.display())?;
    lock.lock().doing(path.display())?;

    // cmake alone first: with it the workspace can compile while the rest arrives.
    python::cmake()?;
    thread::scope(|scope| {
        let packages = scope.spawn(python::packages);
        let bookworm = scope.spawn(debian::bookworm);
        let page = scope.spawn(node::softphone);
        let sid = debian::sid();
        [join(packages), join(bookworm), join(page), sid]
            .into_iter()
            .collect()
    })
}

/// Says what is not in place, by title; empty when a test may start.
pub fn missing() -> Result<Vec<&'static str>, Failure> {
    let mut steps = vec![
        python::cmake_step(),
        python::packages_step(),
        debian::bookworm_step(),
        debian::sid_step(),
    ];
    steps.extend(node::steps()?);
    let missing = steps.iter().filter(|step| !step.is_done());
    Ok(missing.map(|step| step.title).collect())
}

fn join(handle: thread::ScopedJoinHandle<'_, Result<(), Failure>>) -> Result<(), Failure> {
    handle
        .join()
        .unwrap_or_else(|_| Err(Failure::new("a setup step ended abruptly")))
}

fn require_debian() -> Result<(), Failure> {
    if cfg!(not(all(target_os = "linux", target_arch = "x86_64"))) {
        return Err(Failure::new("the testbed runs on x86-64 Linux only"));
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    if release
        .lines()
        .any(|line| line == "VERSION_CODENAME=bookworm")
    {
        return Ok(());
    }
    Err(Failure::new(
        "the testbed unpacks Debian packages that need Debian 12 (bookworm); run it in a container of that release",
    ))
}
