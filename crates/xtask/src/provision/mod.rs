//! Putting the testbed's peers in place: Python packages, Debian packages, the softphone page.
//!
//! Everything is idempotent: a second call looks at stamps and returns at once, offline.

mod clean_root;
mod debian;
mod node;
mod python;

use std::fs::{self, File};
use std::path::PathBuf;
use std::thread;

use crate::{Doing, Failure, layout};

/// Puts in place whatever is missing; prints a line per step.
pub fn setup() -> Result<(), Failure> {
    require_debian()?;
    let testbed = layout::testbed();
    fs::create_dir_all(&testbed).doing(testbed.display())?;
    let _lock = lock()?;
    // cmake alone first: with it the workspace can compile while the rest arrives.
    python::cmake()?;
    thread::scope(|scope| {
        let packages = scope.spawn(python::packages);
        let bookworm = scope.spawn(debian::bookworm);
        let page = scope.spawn(node::softphone);
        let root = scope.spawn(clean_root::provision);
        let sid = debian::sid().and_then(|()| debian::compose());
        [join(packages), join(bookworm), join(page), join(root), sid]
            .into_iter()
            .collect()
    })
}

/// What the build alone needs: cmake.
pub fn build() -> Result<(), Failure> {
    let testbed = layout::testbed();
    fs::create_dir_all(&testbed).doing(testbed.display())?;
    let _lock = lock()?;
    python::cmake()
}

/// What only `cargo xtask load` needs, beside what [`setup`] puts in place: rtpengine.
pub fn load() -> Result<(), Failure> {
    let _lock = lock()?;
    debian::rtpengine()
}

/// Debian 12's own rtpengine, for who measures beside it too.
pub fn load_beside_debian() -> Result<(), Failure> {
    let _lock = lock()?;
    debian::rtpengine_10()
}

/// What only `cargo xtask load --faults` needs: nftables and libfaketime.
pub fn faults() -> Result<(), Failure> {
    let _lock = lock()?;
    debian::faults()
}

/// What only `cargo xtask ci` needs: schemathesis. Returns its program.
pub fn schemathesis() -> Result<PathBuf, Failure> {
    let _lock = lock()?;
    python::schemathesis()
}

/// A bare Debian 12 for the package to be installed in; [`setup`] puts it in place, and a test that wants it asks for it.
pub fn clean_root() -> Result<(), Failure> {
    let _lock = lock()?;
    clean_root::provision()
}

/// docker-compose, which only has to read files; likewise.
pub fn compose() -> Result<(), Failure> {
    let _lock = lock()?;
    debian::compose()
}

/// What a test needs before it starts: an error names what is missing and the command that
/// brings it. A softphone page older than its source is built anew: a second, and no network.
pub fn require() -> Result<(), Failure> {
    let steps = [
        python::cmake_step(),
        python::packages_step(),
        debian::bookworm_step(),
        debian::sid_step(),
        node::packages_step()?,
    ];
    let missing = steps.iter().filter(|step| !step.is_done());
    let missing: Vec<_> = missing.map(|step| step.title).collect();
    if missing.is_empty() {
        let _lock = lock()?;
        return node::page();
    }
    let missing = missing.join(", ");
    Err(Failure::new(format!(
        "not in place: {missing}. Run: cargo xtask setup"
    )))
}

/// Two setups at once would write into the same folders.
fn lock() -> Result<File, Failure> {
    let path = layout::testbed().join("setup.lock");
    let lock = File::create(&path).doing(path.display())?;
    lock.lock().doing(path.display())?;
    Ok(lock)
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
