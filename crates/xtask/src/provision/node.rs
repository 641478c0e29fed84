//! The softphone page: its npm packages, and its bundle.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::step::{Step, key_of, quietly};
use crate::{Doing, Failure, layout};

/// The npm packages, by their lock file.
pub(super) fn packages_step() -> Result<Step, Failure> {
    let path = layout::softphone_source().join("package-lock.json");
    let lock = fs::read(&path).doing(path.display())?;
    Ok(Step {
        stamp: "npm",
        title: "matrix-js-sdk",
        key: key_of(&[&lock]),
    })
}

/// Fetches the packages and builds the page.
pub(super) fn softphone() -> Result<(), Failure> {
    let source = layout::softphone_source();
    packages_step()?.run(|| npm(&source, &["ci", "--no-audit", "--no-fund"]))?;
    page()
}

/// Builds the page anew whenever a file of its source has changed.
pub(super) fn page() -> Result<(), Failure> {
    let source = layout::softphone_source();
    let mut contents = Vec::new();
    collect(&source, &source, &mut contents)?;
    let parts: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
    let step = Step {
        stamp: "softphone",
        title: "Softphone page",
        key: key_of(&parts),
    };
    step.run(|| npm(&source, &["run", "build"]))
}

fn npm(folder: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("npm");
    command.current_dir(folder).args(arguments);
    quietly(&mut command).map(drop)
}

/// Names and contents of all source files below `folder`, in a fixed order.
fn collect(root: &Path, folder: &Path, contents: &mut Vec<Vec<u8>>) -> Result<(), Failure> {
    let entries = fs::read_dir(folder).doing(folder.display())?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.file_name().is_some_and(|name| name == "node_modules") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, contents)?;
            continue;
        }
        // Relative, so that a checkout that was moved keeps its page.
        let name = path.strip_prefix(root).unwrap_or(&path);
        contents.push(name.to_string_lossy().as_bytes().to_vec());
        contents.push(fs::read(&path).doing(path.display())?);
    }
    Ok(())
}
