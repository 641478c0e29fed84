//! The Debian package, built as `cargo xtask dist` does and installed by dpkg in a bare Debian 12.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use mxtrunk_testbed::{layout, namespace};
use xtask::dist::{self, Compression};
use xtask::provision;

use super::root::{Root, may_be_had, numbers_of, rights};

const TOKENS: [&str; 3] = ["as_token", "hs_token", "admin_token"];

fn token(root: &Root, name: &str) -> anyhow::Result<String> {
    root.read(&format!("/etc/mxtrunk/{name}"))
}

fn dpkg(root: &Root, arguments: &[&str]) -> anyhow::Result<String> {
    let at = format!("--root={}", root.0.display());
    // This machine may be one that leaves manuals out.
    let output = root.beside(&[&["dpkg", &at, "--path-include=*"], arguments].concat())?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "dpkg {arguments:?}: {said}");
    Ok(said)
}

#[test]
fn the_package_installs_in_a_clean_debian_and_its_gateway_runs_there() {
    if !may_be_had() {
        return;
    }
    // In the namespace there is no network to fetch it over.
    if !namespace::is_inside() {
        provision::clean_root().expect("a bare Debian");
    }
    namespace::test_beside_others(async |run| {
        let root = Root(run.path("root"));
        let copied = Command::new("cp")
            .arg("-a")
            .args([&layout::clean_root(), &root.0])
            .status()?;
        ensure!(copied.success(), "{copied}");
        let program = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let folder = run.subfolder("package")?;
        let package = dist::package(program, &folder, Compression::None)?;
        let package = package.display().to_string();
        let older = older_package(&folder)?;

        let said = dpkg(&root, &["--install", &older])?;
        ensure!(said.contains("mxtrunk does not run yet"), "{said}");
        let user = numbers_of(&root, "mxtrunk")?;
        its_files_are_where_they_are_looked_for(&root, user.1)?;
        let services = Services::beside(&root)?;
        what_is_set_stays_at_an_upgrade(&root, &package, &services)?;
        installed_again_it_says_how_to_start_it(&root, &package, &services)?;
        services.end()?;

        let sound = root.inside(&["/usr/bin/mxtrunk", "check"])?;
        ensure!(
            sound.contains("/etc/mxtrunk/gateway.toml is sound"),
            "{sound}"
        );
        let unit = root.read("/usr/lib/systemd/system/mxtrunk.service")?;
        let start = unit
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart="));
        let start: Vec<&str> = start.unwrap_or_default().split(' ').collect();
        let gateway = root.serve(&run, &start, user).await?;
        gateway.tells("READY=1").await?;
        gateway.tells("WATCHDOG=1").await?;
        gateway.is_alive().await?;
        let calls = root.inside(&["/usr/bin/mxtrunk", "calls"])?;
        ensure!(calls == "There is no call now.\n", "{calls}");
        gateway.stop().await?;

        dpkg(&root, &["--purge", "mxtrunk"])?;
        for gone in ["/var/lib/mxtrunk", "/etc/mxtrunk", "/usr/bin/mxtrunk"] {
            ensure!(!root.path(gone).exists(), "{gone} is left after a purge");
        }
        Ok(())
    });
}

fn its_files_are_where_they_are_looked_for(root: &Root, group: u32) -> anyhow::Result<()> {
    for (path, expected) in [
        ("/etc/mxtrunk", format!("750 0:{group}")),
        ("/etc/mxtrunk/gateway.toml", format!("640 0:{group}")),
        ("/etc/mxtrunk/as_token", format!("640 0:{group}")),
        ("/usr/bin/mxtrunk", "755 0:0".to_owned()),
        (
            "/usr/lib/systemd/system/mxtrunk.service",
            "644 0:0".to_owned(),
        ),
        ("/usr/share/doc/mxtrunk/gateway.toml", "644 0:0".to_owned()),
        ("/usr/share/man/man1/mxtrunk-run.1", "644 0:0".to_owned()),
    ] {
        let found = rights(&root.path(path))?;
        ensure!(found == expected, "{path}: {found}, not {expected}");
    }
    let mut tokens = TOKENS.map(|name| token(root, name).unwrap_or_default());
    for token in &tokens {
        let is_hex = token.chars().all(|c| c.is_ascii_hexdigit());
        ensure!(token.len() == 64 && is_hex, "a token of {}", token.len());
    }
    tokens.sort();
    ensure!(
        tokens[0] != tokens[1] && tokens[1] != tokens[2],
        "twice the same"
    );
    let page = root.read("/usr/share/man/man1/mxtrunk.1")?;
    for part in [".TH mxtrunk 1", ".SH FILES", ".SH SIGNALS", "doctor"] {
        ensure!(page.contains(part), "no {part} in the manual:\n{page}");
    }
    for script in [
        "bash-completion/completions/mxtrunk",
        "zsh/vendor-completions/_mxtrunk",
        "fish/vendor_completions.d/mxtrunk.fish",
    ] {
        let script = root.read(&format!("/usr/share/{script}"))?;
        ensure!(script.contains("registration"), "{script}");
    }
    Ok(())
}

fn what_is_set_stays_at_an_upgrade(
    root: &Root,
    package: &str,
    services: &Services,
) -> anyhow::Result<()> {
    let config = root.path("/etc/mxtrunk/gateway.toml");
    let changed = fs::read_to_string(&config)?.replace("example.org", "example.com");
    fs::write(&config, &changed)?;
    let before = token(root, "as_token")?;
    let status = dpkg(root, &["--status", "mxtrunk"])?;
    ensure!(status.contains(&format!("Version: {OLDER}\n")), "{status}");
    // From another version, then from the same.
    for _ in 0..2 {
        let said = dpkg(root, &["--install", package])?;
        ensure!(!said.contains("does not run yet"), "{said}");
        services.were_told(&["try-restart mxtrunk.service"])?;
        let status = dpkg(root, &["--status", "mxtrunk"])?;
        ensure!(!status.contains(OLDER), "{status}");
        ensure!(fs::read_to_string(&config)? == changed, "it was replaced");
        ensure!(token(root, "as_token")? == before, "another token");
    }
    Ok(())
}

/// Its removal switches it off, and to dpkg what comes then is an upgrade: it stayed off, and nobody was told.
fn installed_again_it_says_how_to_start_it(
    root: &Root,
    package: &str,
    services: &Services,
) -> anyhow::Result<()> {
    let config = root.read("/etc/mxtrunk/gateway.toml")?;
    let before = token(root, "as_token")?;
    dpkg(root, &["--remove", "mxtrunk"])?;
    services.were_told(&["disable --now mxtrunk.service"])?;
    ensure!(!root.path("/usr/bin/mxtrunk").exists(), "it is still there");
    let said = dpkg(root, &["--install", package])?;
    for part in ["does not run yet", "systemctl enable --now mxtrunk"] {
        ensure!(said.contains(part), "{said}");
    }
    services.were_told(&[])?;
    let kept = root.read("/etc/mxtrunk/gateway.toml")?;
    ensure!(kept == config, "what was set is lost");
    ensure!(token(root, "as_token")? == before, "another token");
    // What comes now is an upgrade again.
    let said = dpkg(root, &["--install", package])?;
    ensure!(!said.contains("does not run yet"), "{said}");
    services.were_told(&["try-restart mxtrunk.service"])
}

const OLDER: &str = "0.0.1~before";

/// The package that was laid out in this folder, as one of an earlier version.
fn older_package(folder: &Path) -> anyhow::Result<String> {
    let control = folder.join("root/DEBIAN/control");
    let lines = fs::read_to_string(&control)?;
    let lines = lines
        .lines()
        .map(|line| match line.strip_prefix("Version: ") {
            Some(_) => format!("Version: {OLDER}\n"),
            None => format!("{line}\n"),
        });
    fs::write(&control, lines.collect::<String>())?;
    let package = folder.join("older.deb");
    let built = Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Znone", "--build"])
        .args([&folder.join("root"), &package])
        .output()?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "{said}");
    Ok(package.display().to_string())
}

/// A service manager that does nothing, and writes down what it is told.
struct Services {
    program: PathBuf,
    running: PathBuf,
    told: PathBuf,
}

impl Services {
    fn beside(root: &Root) -> anyhow::Result<Self> {
        let services = Services {
            program: root.path("/usr/bin/systemctl"),
            running: root.path("/run/systemd/system"),
            told: root.path("/services-were-told"),
        };
        fs::create_dir_all(&services.running)?;
        let script = "#!/bin/sh\necho \"$*\" >> /services-were-told\n";
        fs::write(&services.program, script)?;
        fs::set_permissions(&services.program, fs::Permissions::from_mode(0o755))?;
        Ok(services)
    }

    /// Since it was last looked, beyond that there are other units.
    fn were_told(&self, expected: &[&str]) -> anyhow::Result<()> {
        let told = fs::read_to_string(&self.told).unwrap_or_default();
        let lines = told.lines().filter(|line| *line != "daemon-reload");
        let lines: Vec<&str> = lines.collect();
        ensure!(lines == expected, "{lines:?}, not {expected:?}");
        Ok(fs::remove_file(&self.told)?)
    }

    fn end(self) -> anyhow::Result<()> {
        fs::remove_file(&self.program)?;
        Ok(fs::remove_dir_all(self.running)?)
    }
}
