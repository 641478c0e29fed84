//! The arrows of ARCHITECTURE.md, and what the pure crates must not know.
//!
//! clippy's disallowed methods (a crate's `clippy.toml`) guard the code of the pure crates;
//! this guards their dependencies.

use std::path::{Path, PathBuf};

use xtask::layout::root;
use xtask::step::{cargo, quietly};
use xtask::{Doing, Failure};

/// Which crates of ours each crate may depend on. A new crate gets a line here.
const ARROWS: &[(&str, &[&str])] = &[
    ("mxtrunk-ami", &[]),
    ("mxtrunk-call", &[]),
    ("mxtrunk-media", &[]),
    ("mxtrunk-sip", &[]),
    ("mxtrunk-store", &[]),
    ("mxtrunk-media-io", &["mxtrunk-media"]),
    ("mxtrunk-matrix", &["mxtrunk-call", "mxtrunk-store"]),
    (
        "mxtrunk-signaling",
        &[
            "mxtrunk-ami",
            "mxtrunk-call",
            "mxtrunk-media",
            "mxtrunk-media-io",
            "mxtrunk-matrix",
            "mxtrunk-sip",
            "mxtrunk-store",
        ],
    ),
    (
        "mxtrunk-widget",
        &["mxtrunk-matrix", "mxtrunk-signaling", "mxtrunk-sip"],
    ),
    (
        "mxtrunk",
        &[
            "mxtrunk-ami",
            "mxtrunk-call",
            "mxtrunk-media",
            "mxtrunk-media-io",
            "mxtrunk-matrix",
            "mxtrunk-signaling",
            "mxtrunk-sip",
            "mxtrunk-store",
            "mxtrunk-widget",
        ],
    ),
    // A call in bad weather is simulated over the media legs themselves; `load-gateway` is the media plane by itself.
    (
        "mxtrunk-testbed",
        &["mxtrunk-media", "mxtrunk-media-io", "xtask"],
    ),
    ("xtask", &[]),
];

const PURE: [&str; 2] = ["mxtrunk-call", "mxtrunk-media"];
/// Runtimes and sockets, however deep in the tree of a pure crate.
const NEVER: [&str; 7] = [
    "tokio",
    "mio",
    "socket2",
    "async-std",
    "smol",
    "reqwest",
    "hyper",
];
/// Sources of chance, as direct dependencies: the WebRTC engine has its own inside, which DTLS
/// keys need, but our code gets its randomness as input.
const NOT_DIRECTLY: [&str; 3] = ["rand", "getrandom", "fastrand"];

/// A pure module inside a crate that is a shell: clippy's settings reach whole crates only.
const PURE_MODULE: &str = "crates/matrix/src/voip_v1";
/// What its code must not name.
const IMPURE: [&str; 7] = [
    "tokio",
    "reqwest",
    "async fn",
    "Instant::now",
    "SystemTime",
    "std::net",
    "rand::",
];

/// Compares the dependencies that cargo resolves with the arrows.
pub(super) fn check() -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for package in workspace()? {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
            wrong.push(format!("{package} has no arrows: add it to ci/purity.rs"));
            continue;
        };
        let direct = dependencies(&package, &["--depth", "1"])?;
        wrong.extend(against_arrows(&package, &direct, allowed));
    }
    for package in PURE {
        let direct = dependencies(package, &["--depth", "1"])?;
        let whole = dependencies(package, &[])?;
        wrong.extend(against_purity(package, &direct, &whole));
    }
    for file in sources(&root().join(PURE_MODULE))? {
        let code = std::fs::read_to_string(&file).doing("reading a pure module")?;
        wrong.extend(against_words(&file.display().to_string(), &code));
    }
    if wrong.is_empty() {
        println!("arrows and purity hold");
        return Ok(());
    }
    Err(Failure::new(wrong.join("\n")))
}

fn against_arrows(package: &str, direct: &[String], allowed: &[&str]) -> Vec<String> {
    direct
        .iter()
        .filter(|name| ARROWS.iter().any(|(ours, _)| ours == name))
        .filter(|name| !allowed.contains(&name.as_str()))
        .map(|name| format!("{package} must not depend on {name}"))
        .collect()
}

fn against_purity(package: &str, direct: &[String], whole: &[String]) -> Vec<String> {
    let deep = whole.iter().filter(|name| NEVER.contains(&name.as_str()));
    let near = direct
        .iter()
        .filter(|name| NOT_DIRECTLY.contains(&name.as_str()));
    deep.chain(near)
        .map(|name| format!("{package} is pure and must not know {name}"))
        .collect()
}

/// The code of a module, without its tests, which begin their virtual time somewhere.
fn sources(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).doing("listing a pure module")? {
        let path = entry.doing("listing a pure module")?.path();
        let is_code = path.extension().is_some_and(|extension| extension == "rs");
        if is_code && path.file_stem().is_some_and(|name| name != "tests") {
            files.push(path);
        }
    }
    Ok(files)
}

fn against_words(file: &str, code: &str) -> Vec<String> {
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let named = |word: &&&str| lines.clone().any(|line| line.contains(**word));
    IMPURE
        .iter()
        .filter(named)
        .map(|word| format!("{file} is pure and must not name {word}"))
        .collect()
}

fn workspace() -> Result<Vec<String>, Failure> {
    let arguments = ["tree", "--workspace", "--depth", "0", "--prefix", "none"];
    Ok(names(&quietly(cargo().args(arguments))?))
}

/// The names of what `package` depends on outside its tests, without itself.
fn dependencies(package: &str, arguments: &[&str]) -> Result<Vec<String>, Failure> {
    let mut command = cargo();
    command.args([
        "tree",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--package",
        package,
    ]);
    let mut names = names(&quietly(command.args(arguments))?);
    names.retain(|name| name != package);
    Ok(names)
}

/// The first word of every line, each once.
fn names(tree: &str) -> Vec<String> {
    let words = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut names: Vec<String> = words.map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_points_up_is_found() {
        let direct = ["mxtrunk-sip".to_owned(), "tracing".to_owned()];
        let wrong = against_arrows("mxtrunk-media", &direct, &[]);
        assert_eq!(wrong, ["mxtrunk-media must not depend on mxtrunk-sip"]);
    }

    #[test]
    fn a_socket_deep_below_a_pure_crate_is_found_and_chance_only_beside_it() {
        let direct = ["rand".to_owned()];
        let whole = ["mio".to_owned(), "rand".to_owned(), "str0m".to_owned()];
        let wrong = against_purity("mxtrunk-media", &direct, &whole);
        let expected = [
            "mxtrunk-media is pure and must not know mio",
            "mxtrunk-media is pure and must not know rand",
        ];
        assert_eq!(wrong, expected);
        assert!(against_purity("mxtrunk-media", &[], &whole[2..]).is_empty());
    }

    #[test]
    fn a_clock_in_a_pure_module_is_found_and_a_comment_about_it_is_not() {
        let code = "/// Like Instant::now, but told.\nlet now = Instant::now();\n";
        assert_eq!(
            against_words("leg.rs", code),
            ["leg.rs is pure and must not name Instant::now"]
        );
        assert!(against_words("leg.rs", "// Instant::now\n").is_empty());
    }

    #[test]
    fn every_package_of_a_tree_is_named_once() {
        let tree = "a v1.0.0 (/x)\nb v2.0.0\nb v2.0.0 (*)\n";
        assert_eq!(names(tree), ["a", "b"]);
    }
}
