//! `cargo xtask dist`: the release build and its Debian package.

use std::fs;

use xtask::dist::{self, Compression};
use xtask::step::{cargo, visibly};
use xtask::{Doing, Failure, layout, provision};

/// Builds the program (`--debug`: for work on the package, without the long build of a release) and packs it.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let debug = match arguments {
        [] => false,
        [one] if one == "--debug" => true,
        other => {
            return Err(Failure::new(format!(
                "unknown arguments {other:?}: there is --debug"
            )));
        }
    };
    provision::build()?;
    let mut build = cargo();
    build.args(["build", "--locked", "--workspace", "--bin", "mxtrunk"]);
    if !debug {
        build.arg("--release");
    }
    visibly(&mut build)?;
    let target = layout::root().join("target");
    let program = target.join(if debug { "debug" } else { "release" });
    let into = target.join("dist");
    let package = dist::package(&program.join("mxtrunk"), &into, Compression::Best)?;
    let size = fs::metadata(&package).doing(package.display())?.len();
    println!("{} ({} kB)", package.display(), size / 1000);
    Ok(())
}
