//! Which file of the checkout lies where on a machine.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::step::quietly;
use crate::{Doing, Failure, layout};

const PROGRAM: &str = "usr/bin/mxtrunk";

/// From where in the checkout, to where on the machine, and its mode there.
const FILES: [(&str, &str, u32); 10] = [
    ("dist/gateway.toml", "etc/mxtrunk/gateway.toml", 0o640),
    (
        "dist/mxtrunk.service",
        "usr/lib/systemd/system/mxtrunk.service",
        0o644,
    ),
    (
        "dist/debian/copyright",
        "usr/share/doc/mxtrunk/copyright",
        0o644,
    ),
    ("gateway.toml", "usr/share/doc/mxtrunk/gateway.toml", 0o644),
    ("README.md", "usr/share/doc/mxtrunk/README.md", 0o644),
    ("SECURITY.md", "usr/share/doc/mxtrunk/SECURITY.md", 0o644),
    ("CHANGELOG.md", "usr/share/doc/mxtrunk/CHANGELOG.md", 0o644),
    ("docs/sip.md", "usr/share/doc/mxtrunk/docs/sip.md", 0o644),
    (
        "docs/openapi.json",
        "usr/share/doc/mxtrunk/docs/openapi.json",
        0o644,
    ),
    (
        "docs/grafana.json",
        "usr/share/doc/mxtrunk/docs/grafana.json",
        0o644,
    ),
];

/// Puts the program, without its symbols, its manual and everything of [`FILES`] below `root`.
pub(super) fn lay_out(program: &Path, root: &Path) -> Result<(), Failure> {
    let to = root.join(PROGRAM);
    folder_of(&to)?;
    quietly(
        Command::new("strip")
            .arg("--strip-unneeded")
            .arg("-o")
            .arg(&to)
            .arg(program),
    )?;
    set_mode(&to, 0o755)?;
    quietly(
        Command::new(program)
            .arg("manual")
            .arg(root.join("usr/share")),
    )?;
    for (from, to, mode) in FILES {
        let to = root.join(to);
        folder_of(&to)?;
        fs::copy(layout::root().join(from), &to).doing(from)?;
        set_mode(&to, mode)?;
    }
    Ok(())
}

fn folder_of(path: &Path) -> Result<(), Failure> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(folder).doing(folder.display())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing(path.display())
}
