//! A bare Debian 12, as its installer leaves it but for what no package of ours asks for: a shell, the everyday commands, the C
//! library, and dpkg's records of them, so that a package's dependencies are really looked up.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::{BOOKWORM_SUITES, Prefix};
use crate::step::{Step, key_of, quietly};
use crate::{Doing, Failure, layout};

const WANTED: &[&str] = &[
    "base-files",
    "base-passwd",
    "ca-certificates",
    "coreutils",
    "dash",
    "login",
    "passwd",
];
/// What those link to.
const NEEDED: &str = "libacl1 libattr1 libaudit1 libbz2-1.0 libc6 libc-bin libcap-ng0 libcrypt1 libgcc-s1 libgmp10 \
    libpam0g libpcre2-8-0 libselinux1 libsemanage2 libsepol2 gcc-12-base";

fn step() -> Step {
    Step {
        stamp: "clean-root",
        title: "A bare Debian 12",
        key: key_of(&[WANTED.concat().as_bytes(), NEEDED.as_bytes(), b"2"]),
    }
}

pub(super) fn provision() -> Result<(), Failure> {
    let prefix = Prefix {
        folder: layout::clean_root(),
        suites: BOOKWORM_SUITES,
        wanted: WANTED,
        needed: NEEDED,
        left_out: &[],
        whole: false,
    };
    step().run(|| {
        prefix.unpack_and(|packages| register(packages, &prefix.folder))?;
        settle(&prefix.folder)
    })
}

/// Writes dpkg's records: each of these packages is installed.
fn register(packages: &[PathBuf], root: &Path) -> Result<(), Failure> {
    let mut status = String::new();
    for package in packages {
        let control = quietly(Command::new("dpkg-deb").arg("--field").arg(package))?;
        status.push_str(&installed(&control));
    }
    let folder = root.join("var/lib/dpkg");
    for below in ["info", "updates", "triggers"] {
        fs::create_dir_all(folder.join(below)).doing(folder.display())?;
    }
    fs::write(folder.join("status"), status).doing("status")
}

/// A package's own description as an entry of dpkg's status file.
fn installed(control: &str) -> String {
    let control = control.trim_end();
    let (name, rest) = control.split_once('\n').unwrap_or((control, ""));
    format!("{name}\nStatus: install ok installed\n{rest}\n\n")
}

/// What the scripts of these packages would do: users, groups, whom TLS trusts, and `sh`.
fn settle(root: &Path) -> Result<(), Failure> {
    for name in ["passwd", "group"] {
        let master = root.join(format!("usr/share/base-passwd/{name}.master"));
        fs::copy(&master, root.join("etc").join(name)).doing(master.display())?;
    }
    let authorities = root.join("etc/ssl/certs");
    fs::create_dir_all(&authorities).doing(authorities.display())?;
    let all = "cat usr/share/ca-certificates/mozilla/*.crt > etc/ssl/certs/ca-certificates.crt";
    quietly(Command::new("sh").args(["-c", all]).current_dir(root))?;
    let shell = root.join("bin/sh");
    if fs::symlink_metadata(&shell).is_err() {
        symlink("dash", &shell).doing(shell.display())?;
    }
    for folder in ["dev", "proc", "run", "tmp", "var/lib"] {
        fs::create_dir_all(root.join(folder)).doing(folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_recorded_as_installed() {
        let entry = installed("Package: dash\nVersion: 1\nDescription: shell\n small\n");
        let expected = "Package: dash\nStatus: install ok installed\nVersion: 1\nDescription: shell\n small\n\n";
        assert_eq!(entry, expected);
    }
}
