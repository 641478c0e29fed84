//! What is shipped: the files as they lie on a machine, the Debian package of them, and the contents of the image.
//!
//! The package is built by `dpkg-deb` alone, which every Debian has: cargo-deb would lay out a dozen files for us at the price of some
//! minutes of compiling in each fresh CI, and compress in Rust what dpkg-deb compresses anyhow.

mod tree;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::step::quietly;
use crate::{Doing, Failure, layout};

/// How hard the package is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As Debian does: small, and some seconds.
    Best,
    /// Not at all: for a test.
    None,
}

/// Scripts that dpkg runs, from `dist/debian`.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Files whose changes on a machine an upgrade leaves alone.
const CONFFILES: &str = "/etc/mxtrunk/gateway.toml\n";

/// Builds the Debian package of this program in the folder `into`, and returns its path.
///
/// # Errors
/// When a tool is missing, or a file cannot be written; the message says which.
pub fn package(program: &Path, into: &Path, compression: Compression) -> Result<PathBuf, Failure> {
    let root = into.join("root");
    if root.exists() {
        fs::remove_dir_all(&root).doing(root.display())?;
    }
    tree::lay_out(program, &root)?;
    let version = version(program)?;
    let architecture = quietly(Command::new("dpkg").arg("--print-architecture"))?;
    let architecture = architecture.trim();
    let control = root.join("DEBIAN");
    fs::create_dir_all(&control).doing(control.display())?;
    let sums = sums(&root)?;
    let about = about(&version, architecture, &libc_of(program)?, size(&root)?);
    for (name, contents) in [
        ("control", &about),
        ("conffiles", &CONFFILES.to_owned()),
        ("md5sums", &sums),
    ] {
        fs::write(control.join(name), contents).doing(name)?;
    }
    for script in SCRIPTS {
        let to = control.join(script);
        fs::copy(layout::root().join("dist/debian").join(script), &to).doing(script)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).doing(script)?;
    }
    let package = into.join(format!("mxtrunk_{version}_{architecture}.deb"));
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "--build"]);
    if compression == Compression::None {
        build.arg("-Znone");
    }
    quietly(build.arg(&root).arg(&package))?;
    Ok(package)
}

/// Lays out the contents of the image of this program below `into`, by the script that the Dockerfile runs.
///
/// # Errors
/// When the script fails; the message holds what it said.
pub fn image(program: &Path, into: &Path) -> Result<(), Failure> {
    let script = layout::root().join("dist/image.sh");
    quietly(Command::new("sh").arg(script).arg(program).arg(into)).map(drop)
}

fn version(program: &Path) -> Result<String, Failure> {
    let said = quietly(Command::new(program).arg("--version"))?;
    let version = said.trim().strip_prefix("mxtrunk ");
    let version = version.ok_or_else(|| Failure::new(format!("no version in {said:?}")))?;
    Ok(version.to_owned())
}

fn about(version: &str, architecture: &str, libc: &str, kilobytes: u64) -> String {
    format!(
        "Package: mxtrunk
Version: {version}
Architecture: {architecture}
Maintainer: The authors of mxtrunk <mxtrunk@localhost>
Section: comm
Priority: optional
Installed-Size: {kilobytes}
Depends: libc6 (>= {libc}), libgcc-s1, passwd, ca-certificates
Suggests: matrix-synapse, asterisk, coturn
Description: gateway that joins Matrix to the telephone
 A person in Element dials a number and a desk phone rings; a desk phone dials
 an extension and Element rings. A Matrix application service, a SIP
 back-to-back user agent and a media gateway in one program.
"
    )
}

/// The oldest C library that has all that the program asks of it: `2.34`.
fn libc_of(program: &Path) -> Result<String, Failure> {
    let headers = quietly(Command::new("objdump").arg("-p").arg(program))?;
    newest(&headers).ok_or_else(|| {
        Failure::new(format!(
            "{} asks for no version of the C library: is it linked to glibc?",
            program.display()
        ))
    })
}

fn newest(headers: &str) -> Option<String> {
    let versions = headers
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("GLIBC_"));
    let numbers = versions.filter_map(|version| {
        let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        parts
    });
    let newest = numbers.max()?;
    let parts: Vec<String> = newest.iter().map(u32::to_string).collect();
    Some(parts.join("."))
}

/// In kB.
fn size(root: &Path) -> Result<u64, Failure> {
    let said = quietly(Command::new("du").args(["-sk"]).arg(root))?;
    let kilobytes = said.split_whitespace().next().map(str::parse);
    let kilobytes = kilobytes.and_then(Result::ok);
    kilobytes.ok_or_else(|| Failure::new(format!("no size in {said:?}")))
}

/// What `dpkg --verify` compares with; configuration is expected to change.
fn sums(root: &Path) -> Result<String, Failure> {
    let find = "find usr -type f -print0 | sort -z | xargs -0 md5sum";
    quietly(Command::new("sh").args(["-c", find]).current_dir(root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_library_that_is_asked_for_is_the_one_that_is_needed() {
        let headers = "  required from libc.so.6:
    0x0d696919 0x00 11 GLIBC_2.9
    0x069691b4 0x00 10 GLIBC_2.34
    0x09691972 0x00 09 GLIBC_2.3.4
    0x00000000 0x00 08 GLIBC_PRIVATE
    0x0b792655 0x00 07 GCC_3.3";
        assert_eq!(newest(headers).as_deref(), Some("2.34"));
        assert_eq!(newest("statically linked"), None);
    }
}
