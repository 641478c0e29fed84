//! Debian packages unpacked into prefixes of their own: no root, no chroot, nothing installed.
//!
//! A private apt state (empty package status, own sources list) fetches them from the mirror
//! that the machine's own sources name; apt checks the signatures as always.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::step::{Step, key_of, quietly};
use crate::{Doing, Failure, layout};

/// What one prefix holds.
pub(super) struct Prefix {
    pub(super) folder: PathBuf,
    pub(super) suites: &'static [&'static str],
    /// What is wanted.
    pub(super) wanted: &'static [&'static str],
    /// What that needs, by the names these packages have today.
    pub(super) needed: &'static str,
    /// Packages left to the machine itself, when the whole closure has to be fetched.
    pub(super) left_out: &'static [&'static str],
    /// Lets apt work out what is needed: dear, and nothing has to be named.
    pub(super) whole: bool,
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

pub(super) const BOOKWORM_SUITES: &[&str] = &["bookworm", "bookworm-updates", "bookworm-security"];

const SID_WANTED: &[&str] = &["asterisk", "sip-tester", "asterisk-core-sounds-en-wav"];
/// The shared objects of Asterisk's modules in use and of SIPp, down to the C library:
/// it is newer than the machine's, so the prefix brings its own with its loader.
const SID_NEEDED: &str = "asterisk-modules asterisk-config libbsd0 libc6 libcap2 libcrypt1 \
    libedit2 libgcc-s1 libgsl28 libgslcblas0 libjansson4 libmd0 libncursesw6 libnspr4 libnss3 \
    libopus0 libpcap0.8t64 libpugixml1v5 libsctp1 libsqlite3-0 libsrtp2-1 libssl3t64 libstdc++6 \
    libsystemd0 libtinfo6 liburiparser1 libuuid1 libxml2-16 libxslt1.1 libzstd1 zlib1g \
    libdbus-1-3 libibverbs1";

const COMPOSE_WANTED: &[&str] = &["docker-compose"];

const RTPENGINE_WANTED: &[&str] = &["rtpengine-daemon"];

const FAULTS_WANTED: &[&str] = &["nftables", "libfaketime"];
/// The shared objects of `nft`.
const FAULTS_NEEDED: &str = "libnftables1 libnftnl11 libmnl0 libjansson4 libxtables12 libedit2 libbsd0 libmd0 libgmp10 \
    libtinfo6";

const BOOKWORM_WANTED: &[&str] = &[
    "chromium",
    "chromium-driver",
    "firefox-esr",
    "pulseaudio",
    "baresip-core",
    "fonts-dejavu-core",
    "codec2-examples",
];
/// What `ldd` names for Chromium, its driver, Firefox, PulseAudio, baresip and the modules in use.
const BOOKWORM_NEEDED: &str = "chromium-common fontconfig-config libasound2 libasyncns0 \
    libatk-bridge2.0-0 libatk1.0-0 libatspi2.0-0 libavahi-client3 libavahi-common3 libblkid1 \
    libbrotli1 libbsd0 libcairo2 libcap2 libcom-err2 libcups2 libdatrie1 libdav1d6 libdbus-1-3 \
    libdouble-conversion3 libdrm2 libexpat1 libffi8 libflac12 libfontconfig1 libfreetype6 \
    libfribidi0 libgbm1 libgcc-s1 libgcrypt20 libglib2.0-0 libgmp10 libgnutls30 libgpg-error0 \
    libgraphite2-3 libgssapi-krb5-2 libharfbuzz-subset0 libharfbuzz0b libhogweed6 libidn2-0 \
    libjpeg62-turbo libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 liblcms2-2 liblz4-1 \
    liblzma5 libmd0 libminizip1 libmount1 libmp3lame0 libmpg123-0 libnettle8 libnspr4 libnss3 \
    libogg0 libopenh264-7 libopenjp2-7 libopus0 libp11-kit0 libpango-1.0-0 libpcre2-8-0 \
    libpixman-1-0 libpng16-16 libpulse0 libre0 librem0 libselinux1 libsndfile1 libsqlite3-0 \
    libssl3 libstdc++6 libsystemd0 libtasn1-6 libthai0 libudev1 libunistring2 libvorbis0a \
    libvorbisenc2 libwayland-server0 libx11-6 libx11-xcb1 libxau6 libxcb-render0 libxcb-shm0 \
    libxcb1 libxcomposite1 libxdamage1 libxdmcp6 libxext6 libxfixes3 libxi6 libxkbcommon0 \
    libxnvctrl0 libxrandr2 libxrender1 libzstd1 zlib1g \
    libcairo-gobject2 libepoxy0 libevent-2.1-7 libgdk-pixbuf-2.0-0 libgtk-3-0 \
    libpangocairo-1.0-0 libpangoft2-1.0-0 libvpx7 libwayland-client0 libwayland-cursor0 \
    libwayland-egl1 libxcursor1 libxinerama1 libgomp1 libltdl7 liborc-0.4-0 libsoxr0 \
    libspeexdsp1 libtdb1 libwrap0";

pub(super) fn sid_step() -> Step {
    Step {
        stamp: "debian",
        title: "Asterisk, SIPp and voices",
        key: key_of(&[SID_WANTED.concat().as_bytes(), SID_NEEDED.as_bytes()]),
    }
}

pub(super) fn bookworm_step() -> Step {
    Step {
        stamp: "debian-bookworm",
        title: "Chromium, Firefox and baresip",
        key: key_of(&[
            BOOKWORM_WANTED.concat().as_bytes(),
            BOOKWORM_NEEDED.as_bytes(),
        ]),
    }
}

/// Asterisk 22 and SIPp 3.8, which Debian 12 lacks or has too old.
pub(super) fn sid() -> Result<(), Failure> {
    let prefix = Prefix {
        folder: layout::debian_sid(),
        suites: &["sid"],
        wanted: SID_WANTED,
        needed: SID_NEEDED,
        left_out: &[],
        whole: false,
    };
    sid_step().run(|| prefix.unpack())
}

/// docker-compose 2; Debian 12 has 1 alone.
pub(super) fn compose() -> Result<(), Failure> {
    let prefix = Prefix {
        folder: layout::compose_prefix(),
        suites: &["sid"],
        wanted: COMPOSE_WANTED,
        needed: "",
        left_out: &[],
        whole: false,
    };
    let step = Step {
        stamp: "compose",
        title: "docker-compose",
        key: key_of(&[COMPOSE_WANTED.concat().as_bytes()]),
    };
    step.run(|| prefix.unpack())
}

/// rtpengine 26 and all it links to: 77 MB. Only `cargo xtask load` wants it.
pub(super) fn rtpengine() -> Result<(), Failure> {
    let title = "rtpengine, to measure beside";
    unpack_rtpengine("rtpengine", title, layout::rtpengine_prefix(), &["sid"])
}

/// nftables, which cuts ways, and libfaketime, which shifts a clock. Only `cargo xtask load --faults` wants them.
pub(super) fn faults() -> Result<(), Failure> {
    let prefix = Prefix {
        folder: layout::faults_prefix(),
        suites: BOOKWORM_SUITES,
        wanted: FAULTS_WANTED,
        needed: FAULTS_NEEDED,
        left_out: &["libc6"],
        whole: false,
    };
    let step = Step {
        stamp: "faults",
        title: "nftables and libfaketime",
        key: key_of(&[FAULTS_WANTED.concat().as_bytes(), FAULTS_NEEDED.as_bytes()]),
    };
    step.run(|| prefix.unpack())
}

/// rtpengine 10.5 of Debian 12, which only those want who name it.
pub(super) fn rtpengine_10() -> Result<(), Failure> {
    let title = "rtpengine 10.5, to measure beside";
    let folder = layout::rtpengine_10_prefix();
    unpack_rtpengine("rtpengine-10", title, folder, BOOKWORM_SUITES)
}

fn unpack_rtpengine(
    stamp: &'static str,
    title: &'static str,
    folder: PathBuf,
    suites: &'static [&'static str],
) -> Result<(), Failure> {
    let step = Step {
        stamp,
        title,
        key: key_of(&[RTPENGINE_WANTED.concat().as_bytes()]),
    };
    // Some libraries come without the link that bears their soname: their packages' scripts would make it.
    let libraries = folder.join("usr/lib/x86_64-linux-gnu");
    let prefix = Prefix {
        folder,
        suites,
        wanted: RTPENGINE_WANTED,
        needed: "",
        left_out: &[],
        whole: true,
    };
    step.run(|| {
        prefix.unpack()?;
        let ldconfig = ["/sbin/ldconfig", "/usr/sbin/ldconfig"];
        let ldconfig = ldconfig.iter().find(|path| Path::new(path).exists());
        quietly(
            Command::new(ldconfig.unwrap_or(&"ldconfig"))
                .arg("-n")
                .arg(libraries),
        )
        .map(drop)
    })
}

/// Chromium, Firefox and baresip of the machine's own release, on the machine's own C library.
pub(super) fn bookworm() -> Result<(), Failure> {
    let prefix = Prefix {
        folder: layout::debian_bookworm(),
        suites: BOOKWORM_SUITES,
        wanted: BOOKWORM_WANTED,
        needed: BOOKWORM_NEEDED,
        left_out: &["libc6"],
        whole: false,
    };
    bookworm_step().run(|| {
        prefix.unpack()?;
        write_fonts_conf()
    })
}

/// pip and Python's C headers, where the machine's Python came without them.
pub(super) fn python_parts(folder: PathBuf) -> Result<(), Failure> {
    let prefix = Prefix {
        folder,
        suites: BOOKWORM_SUITES,
        wanted: &["python3-pip-whl", "libpython3.11-dev"],
        needed: "",
        left_out: &["libc6"],
        whole: false,
    };
    prefix.unpack()
}

impl Prefix {
    fn unpack(&self) -> Result<(), Failure> {
        self.unpack_and(|_| Ok(()))
    }

    /// The same, and then something with the packages before they are gone.
    pub(super) fn unpack_and(
        &self,
        then: impl FnOnce(&[PathBuf]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let state = self.folder.with_extension("apt");
        for folder in [&self.folder, &state] {
            if folder.exists() {
                fs::remove_dir_all(folder).doing(folder.display())?;
            }
        }
        fs::create_dir_all(&self.folder).doing(self.folder.display())?;
        let config = self.write_apt_state(&state)?;
        let apt = || {
            let mut command = Command::new("apt-get");
            command
                .env("APT_CONFIG", &config)
                .current_dir(state.join("packages"));
            command
        };
        quietly(apt().arg("update"))?;
        let by_name = || {
            let mut download = apt();
            download.arg("download").args(self.wanted);
            quietly(download.args(self.needed.split_whitespace()))
        };
        if self.whole || by_name().is_err() {
            // Or a package has been renamed since: let apt work out the closure, ten times as big.
            let mut whole = apt();
            whole
                .args(["install", "--yes", "--download-only"])
                .args(self.wanted);
            quietly(&mut whole)?;
        }
        let mut packages = packages_in(&state.join("packages"))?;
        packages.extend(packages_in(&state.join("cache/archives"))?);
        packages.retain(|package| !self.is_left_out(package));
        unpack_all(&packages, &self.folder)?;
        then(&packages)?;
        fs::remove_dir_all(&state).doing(state.display())
    }

    fn is_left_out(&self, package: &Path) -> bool {
        let file = package.file_name().unwrap_or_default().to_string_lossy();
        let name = file.split('_').next().unwrap_or_default();
        self.left_out.contains(&name)
    }

    /// Writes an apt state that knows no installed package; returns its configuration file.
    fn write_apt_state(&self, state: &Path) -> Result<PathBuf, Failure> {
        for folder in [
            "state/lists/partial",
            "cache/archives/partial",
            "log",
            "parts",
            "packages",
        ] {
            let folder = state.join(folder);
            fs::create_dir_all(&folder).doing(folder.display())?;
        }
        let at = state.display();
        // The validity date is not checked, the signature is: a mirror may lag, and an archived
        // suite stays past its date for ever.
        let config = format!(
            r#"Dir::State "{at}/state";
Dir::State::status "{at}/status";
Dir::Cache "{at}/cache";
Dir::Log "{at}/log";
Dir::Etc::sourcelist "{at}/sources.list";
Dir::Etc::sourceparts "{at}/parts";
Dir::Etc::preferencesparts "{at}/parts";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "5";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Architecture "amd64";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
"#
        );
        let path = state.join("apt.conf");
        fs::write(&path, config).doing(path.display())?;
        fs::write(state.join("status"), "").doing("status")?;
        fs::write(state.join("sources.list"), self.sources()?).doing("sources.list")?;
        Ok(path)
    }

    fn sources(&self) -> Result<String, Failure> {
        let machine = machine_suites()?;
        let main = machine.iter().find(|(_, suite)| suite == "bookworm");
        let Some((main, _)) = main else {
            return Err(Failure::new(
                "this machine's apt sources name no mirror of Debian 12 (suite bookworm)",
            ));
        };
        let mut lines = String::new();
        for suite in self.suites {
            let own = machine.iter().find(|(_, known)| known == suite);
            let mirror = match own {
                Some((mirror, _)) => mirror,
                None if suite.ends_with("-security") || suite.ends_with("-updates") => continue,
                None => main,
            };
            lines.push_str(&format!(
                "deb [signed-by={KEYRING}] {mirror} {suite} main\n"
            ));
        }
        Ok(lines)
    }
}

/// Mirror and suite of every apt source of this machine.
fn machine_suites() -> Result<Vec<(String, String)>, Failure> {
    // It only prints what an update would fetch, from whatever form the sources are in.
    let printed = quietly(Command::new("apt-get").args(["update", "--print-uris"]))?;
    let suites = printed.lines().filter_map(suite_of).collect();
    Ok(suites)
}

/// Reads `'http://mirror/debian/dists/bookworm/InRelease' name 0`.
fn suite_of(line: &str) -> Option<(String, String)> {
    let uri = line.strip_prefix('\'')?.split('\'').next()?;
    let (mirror, suite) = uri.strip_suffix("/InRelease")?.split_once("/dists/")?;
    Some((mirror.to_owned(), suite.to_owned()))
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).doing(folder.display())?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect())
}

/// Unpacks on two threads: decompression, not the disk, is what takes the time.
fn unpack_all(packages: &[PathBuf], into: &Path) -> Result<(), Failure> {
    let unpack = |packages: &[PathBuf]| -> Result<(), Failure> {
        for package in packages {
            quietly(Command::new("dpkg").arg("-x").arg(package).arg(into))?;
        }
        Ok(())
    };
    let (first, second) = packages.split_at(packages.len() / 2);
    thread::scope(|scope| {
        let other = scope.spawn(|| unpack(first));
        let own = unpack(second);
        super::join(other).and(own)
    })
}

fn write_fonts_conf() -> Result<(), Failure> {
    let prefix = layout::debian_bookworm();
    let at = prefix.display();
    let conf = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">\n<fontconfig>\n  \
         <dir>{at}/usr/share/fonts</dir>\n  <cachedir>{at}/var/cache/fontconfig</cachedir>\n</fontconfig>\n"
    );
    fs::write(layout::fonts_conf(), conf).doing("fonts.conf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_and_its_suite_are_read_from_what_apt_would_fetch() {
        let line =
            "'http://mirror.example/debian/dists/bookworm/InRelease' mirror.example_InRelease 0 ";
        let expected = (
            "http://mirror.example/debian".to_owned(),
            "bookworm".to_owned(),
        );
        assert_eq!(suite_of(line), Some(expected));
    }

    #[test]
    fn a_package_index_is_not_taken_for_a_suite() {
        let line =
            "'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' x 0 ";
        assert_eq!(suite_of(line), None);
    }
}
