//! Where the provisioned things lie, all under `target/testbed/` of the checkout.

use std::path::{Path, PathBuf};

/// The root of the checkout this crate was built from.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().nth(2).unwrap_or(own).to_path_buf()
}

/// Everything that provisioning and test runs write.
pub fn testbed() -> PathBuf {
    root().join("target/testbed")
}

/// The directory of the logs and generated configurations of one run.
pub fn run(name: &str) -> PathBuf {
    testbed().join("run").join(name)
}

/// Programs that provisioning fetched for the build itself (cargo-deny).
pub fn tools() -> PathBuf {
    root().join("target/tools")
}

/// The Python virtual environment: cmake, Synapse, pesq.
pub fn venv() -> PathBuf {
    testbed().join("venv")
}

/// A program of the virtual environment, such as `python` or `cmake`.
pub fn venv_program(name: &str) -> PathBuf {
    venv().join("bin").join(name)
}

/// The prefix with Debian `sid`'s Asterisk, SIPp and English prompts.
pub fn debian_sid() -> PathBuf {
    testbed().join("debian")
}

/// The prefix with Debian 12's Chromium, its driver, Firefox, PulseAudio, baresip and the codec2 voices.
pub fn debian_bookworm() -> PathBuf {
    testbed().join("debian-bookworm")
}

/// A bare Debian 12 with a shell and dpkg's records of what is there: what a package is installed in. Tests copy it.
pub fn clean_root() -> PathBuf {
    testbed().join("clean-root")
}

/// The prefix with docker-compose.
pub fn compose_prefix() -> PathBuf {
    testbed().join("compose")
}

/// docker-compose itself; the machine's own C library is new enough for it.
pub fn compose() -> PathBuf {
    compose_prefix().join("usr/bin/docker-compose")
}

/// The wav files (8 kHz mono, 16 bit) of Asterisk's English prompts, some in folders below.
pub fn asterisk_sounds() -> PathBuf {
    debian_sid().join("usr/share/asterisk/sounds/en_US_f_Allison")
}

/// The wav files (8 and 16 kHz mono) of codec2's example voices.
pub fn codec2_voices() -> PathBuf {
    debian_bookworm().join("usr/share/codec2/wav")
}

/// The source of the softphone page.
pub fn softphone_source() -> PathBuf {
    root().join("crates/testbed/softphone")
}

/// The built softphone page, ready to be served.
pub fn softphone() -> PathBuf {
    testbed().join("softphone")
}

/// The variables that let a program of [`debian_bookworm`] run where it was unpacked:
/// its libraries and its fonts, beside the machine's own C library.
pub fn bookworm_env() -> Vec<(&'static str, PathBuf)> {
    env_with(&[])
}

/// As [`bookworm_env`], for Firefox: the libraries it brings along (a newer NSS) go first.
pub fn firefox_env() -> Vec<(&'static str, PathBuf)> {
    env_with(&["usr/lib/firefox-esr"])
}

fn env_with(first: &[&str]) -> Vec<(&'static str, PathBuf)> {
    let prefix = debian_bookworm();
    let folders = [
        "usr/lib/x86_64-linux-gnu",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/pulseaudio",
        "usr/lib/pulse-16.1+dfsg1/modules",
    ];
    let libraries: Vec<String> = first
        .iter()
        .chain(&folders)
        .map(|folder| prefix.join(folder).display().to_string())
        .collect();
    vec![
        ("LD_LIBRARY_PATH", PathBuf::from(libraries.join(":"))),
        ("FONTCONFIG_FILE", fonts_conf()),
    ]
}

/// The font configuration that names the prefix's fonts only.
pub fn fonts_conf() -> PathBuf {
    debian_bookworm().join("fonts.conf")
}

/// Chromium itself; run it with [`bookworm_env`] and `--headless --no-sandbox`.
pub fn chromium() -> PathBuf {
    debian_bookworm().join("usr/lib/chromium/chromium")
}

/// Chromium's WebDriver server; run it with [`bookworm_env`].
pub fn chromedriver() -> PathBuf {
    debian_bookworm().join("usr/bin/chromedriver")
}

/// Firefox itself; run it with [`firefox_env`] and `--headless`.
pub fn firefox() -> PathBuf {
    debian_bookworm().join("usr/lib/firefox-esr/firefox-esr")
}

/// The sound server; run it with [`bookworm_env`].
pub fn pulseaudio() -> PathBuf {
    debian_bookworm().join("usr/bin/pulseaudio")
}

/// Where the sound server's modules lie.
pub fn pulseaudio_modules() -> PathBuf {
    debian_bookworm().join("usr/lib/pulse-16.1+dfsg1/modules")
}

/// The desk phone; run it with [`bookworm_env`].
pub fn baresip() -> PathBuf {
    debian_bookworm().join("usr/bin/baresip")
}

/// Where baresip's modules lie.
pub fn baresip_modules() -> PathBuf {
    debian_bookworm().join("usr/lib/baresip/modules")
}

/// The command line that runs a program of [`debian_sid`]: the prefix's own loader first,
/// because its C library is newer than the machine's.
pub fn sid_command(program: &str) -> Vec<PathBuf> {
    by_own_loader(&debian_sid(), &[""], program)
}

/// The prefix with Debian `sid`'s rtpengine; only `cargo xtask load` fills it.
pub fn rtpengine_prefix() -> PathBuf {
    testbed().join("rtpengine")
}

/// The command line that runs rtpengine, by the loader of its own prefix.
pub fn rtpengine_command() -> Vec<PathBuf> {
    let libraries = ["", "/blas", "/lapack", "/pulseaudio"];
    by_own_loader(&rtpengine_prefix(), &libraries, "usr/bin/rtpengine")
}

/// The prefix with Debian 12's own rtpengine; only `cargo xtask load --systems …,rtpengine-10` fills it.
pub fn rtpengine_10_prefix() -> PathBuf {
    testbed().join("rtpengine-10")
}

/// The command line that runs it, by the loader of its own prefix, which has folders as before the great merge of `/usr`.
pub fn rtpengine_10_command() -> Vec<PathBuf> {
    let prefix = rtpengine_10_prefix();
    let loader = prefix.join("lib/x86_64-linux-gnu/ld-linux-x86-64.so.2");
    let below = ["", "/blas", "/lapack", "/pulseaudio"];
    let usual = below.map(|folder| format!("usr/lib/x86_64-linux-gnu{folder}"));
    let libraries = ["lib/x86_64-linux-gnu".to_owned()].into_iter().chain(usual);
    by_loader(&prefix, loader, libraries, "usr/bin/rtpengine")
}

/// The prefix with what faults are made with, nftables and libfaketime; only `cargo xtask load --faults` fills it.
pub fn faults_prefix() -> PathBuf {
    testbed().join("faults")
}

/// What cuts ways in the kernel; run it with [`faults_env`].
pub fn nft() -> PathBuf {
    faults_prefix().join("usr/sbin/nft")
}

/// What lets a program of [`faults_prefix`] run where it was unpacked.
pub fn faults_env() -> [(&'static str, PathBuf); 1] {
    let prefix = faults_prefix();
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];
    let folders = folders.map(|folder| prefix.join(folder).display().to_string());
    [("LD_LIBRARY_PATH", PathBuf::from(folders.join(":")))]
}

/// What shifts the wall clock of a program that it is preloaded into.
pub fn faketime() -> PathBuf {
    faults_prefix().join("usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
}

/// The program of a prefix, run by the prefix's loader with its libraries, from these folders below their usual one.
fn by_own_loader(prefix: &Path, libraries: &[&str], program: &str) -> Vec<PathBuf> {
    let libraries = libraries
        .iter()
        .map(|folder| format!("usr/lib/x86_64-linux-gnu{folder}"));
    let loader = prefix.join("usr/lib64/ld-linux-x86-64.so.2");
    by_loader(prefix, loader, libraries, program)
}

/// The same by this loader, with libraries from these folders of the prefix.
fn by_loader(
    prefix: &Path,
    loader: PathBuf,
    libraries: impl Iterator<Item = String>,
    program: &str,
) -> Vec<PathBuf> {
    let folders = libraries.map(|folder| prefix.join(folder).display().to_string());
    vec![
        loader,
        PathBuf::from("--library-path"),
        PathBuf::from(folders.collect::<Vec<_>>().join(":")),
        prefix.join(program),
    ]
}
