//! A real Asterisk 22 as the PBX: a trunk to the gateway, two desk phones, and extensions
//! that echo, play, record, refuse and ring.

mod config;
mod listen;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;

pub use config::{MANAGER_SECRET, SHOWS};
pub use listen::Heard;

use crate::layout;
use crate::process::Peer;
use crate::run::Run;

/// Where Asterisk listens for SIP, UDP and TCP.
pub const SIP: &str = "127.0.0.1:5060";
/// Where it listens for SIP over TLS; whoever connects has to show a certificate of [`crate::certificates`].
pub const TLS: &str = "127.0.0.1:5061";
/// Its manager interface, in the clear and over TLS.
pub const MANAGER: [&str; 2] = ["127.0.0.1:5038", "127.0.0.1:5039"];
/// The passwords of the desk phones [`PHONES`] in digest authentication.
pub const PHONE_PASSWORD: &str = "desk-phone";
/// The extensions of the desk phones, which register under these names.
pub const PHONES: [&str; 2] = ["1001", "1002"];
/// One more, which registers over TLS and speaks SRTP alone.
pub const SECURE_PHONE: &str = "1003";

const START: Duration = Duration::from_secs(30);

/// What the extensions do; see [`Asterisk`].
pub mod extension {
    /// Echoes what it hears.
    pub const ECHO: &str = "600";
    /// Answers, and a second later transfers the caller to the echo (REFER).
    pub const TRANSFERS: &str = "613";
    /// Answers, plays the clip, hangs up.
    pub const PLAYBACK: &str = "601";
    /// Answers and records until the caller hangs up.
    pub const RECORD: &str = "602";
    /// Busy: 486.
    pub const BUSY: &str = "603";
    /// Rings and never answers.
    pub const NO_ANSWER: &str = "604";
    /// Refused: 403.
    pub const FORBIDDEN: &str = "605";
    /// Out of circuits: 503.
    pub const UNAVAILABLE: &str = "606";
    /// Answers, and hangs up a second later.
    pub const HANGS_UP: &str = "607";
    /// Plays the clip as early media, then is busy.
    pub const EARLY_MEDIA: &str = "608";
    /// Plays the clip as early media, then answers and echoes.
    pub const ANNOUNCES: &str = "614";
    /// Answers and reads four DTMF digits.
    pub const DIGITS: &str = "609";
    /// Hangs up and calls the caller back, playing the clip.
    pub const CALL_BACK: &str = "610";
    /// Numbers of this shape nobody has: 404.
    pub const UNKNOWN: &str = "699";
}

/// A running Asterisk; dropping it ends it.
#[derive(Debug)]
pub struct Asterisk {
    // Ended first: its control socket lies in `_sockets`.
    peer: Peer,
    config: PathBuf,
    database: PathBuf,
    _sockets: TempDir,
}

impl Asterisk {
    /// Starts Asterisk and waits until it is fully booted.
    pub async fn start(run: &Run) -> anyhow::Result<Self> {
        Self::start_with_lines(run, &[]).await
    }

    /// The same, where these extensions of the gateway are accounts that it registers at (password
    /// [`PHONE_PASSWORD`]), instead of numbers of its trunk.
    pub async fn start_with_lines(run: &Run, lines: &[&str]) -> anyhow::Result<Self> {
        // A socket's path may have 107 characters, and the run's folder can be longer.
        let sockets = tempfile::Builder::new().prefix("mxtrunk").tempdir()?;
        let config = config::write(run, sockets.path(), lines)?;
        let mut asterisk = Self {
            peer: launch(run, &config)?,
            config,
            database: run.path("asterisk/lib/astdb.sqlite3"),
            _sockets: sockets,
        };
        asterisk.booted().await?;
        asterisk.cli("pjsip set logger on")?;
        Ok(asterisk)
    }

    /// Its console, for whoever has something to ask beside others.
    #[must_use]
    pub fn console(&self) -> Console {
        Console(self.config.clone())
    }

    /// Runs a command of Asterisk's console and returns what it prints.
    pub fn cli(&self, command: &str) -> anyhow::Result<String> {
        console(&self.config, command)
    }

    /// What 601, 608, 610 and 614 play: a wav of 8 kHz, mono, 16 bit.
    pub fn play(&self, clip: &Path) -> anyhow::Result<()> {
        self.set_global("CLIP", &without_extension(clip)?)
    }

    /// Where 602 records what it hears, as a wav of 8 kHz, mono, 16 bit.
    pub fn record(&self, recording: &Path) -> anyhow::Result<()> {
        self.set_global("RECORDING", &without_extension(recording)?)
    }

    /// The digits that 609 has read last.
    pub fn digits(&self) -> anyhow::Result<String> {
        let globals = self.cli("dialplan show globals")?;
        let digits = globals
            .lines()
            .find_map(|line| line.trim().strip_prefix("DIGITS="));
        Ok(digits.unwrap_or_default().to_owned())
    }

    /// How many channels are up or ringing.
    pub fn channels(&self) -> anyhow::Result<usize> {
        let printed = self.cli("core show channels concise")?;
        Ok(printed.lines().filter(|line| line.contains('!')).count())
    }

    /// Whether this phone has registered.
    pub fn has_registered(&self, phone: &str) -> anyhow::Result<bool> {
        let printed = self.cli(&format!("pjsip show aor {phone}"))?;
        Ok(printed.contains(&format!("{phone}/sip:")))
    }

    /// Lets `channel` (such as `PJSIP/2001@gateway`) be called and connected to an extension.
    pub fn originate(&self, channel: &str, extension: &str) -> anyhow::Result<()> {
        let command = format!("channel originate {channel} extension {extension}@site");
        self.cli(&command).map(drop)
    }

    /// Has the mailbox of a phone or line hold so many new and old messages.
    pub fn mail(&self, phone: &str, new: u32, old: u32) -> anyhow::Result<()> {
        let mailbox = format!("{phone}@{}", config::MAILBOXES);
        let tell = format!("application MinivmMWI {mailbox},0,{new},{old}");
        let command = format!(
            "channel originate Local/{}@site {tell}",
            extension::HANGS_UP
        );
        self.cli(&command).map(drop)
    }

    /// Starts it again after its end.
    pub async fn start_again(&mut self, run: &Run) -> anyhow::Result<()> {
        self.peer = launch(run, &self.config)?;
        self.booted().await?;
        self.cli("pjsip set logger on").map(drop)
    }

    /// Forgets who has registered, as a PBX whose disk was lost. It has to have ended.
    pub fn forget(&self) -> anyhow::Result<()> {
        ensure!(
            self.database.exists(),
            "{} is not there: nothing would be forgotten",
            self.database.display()
        );
        Ok(std::fs::remove_file(&self.database)?)
    }

    /// The endpoints and numbers whose channels are up or ringing, such as `PJSIP/1001-00000000`.
    pub fn channel_names(&self) -> anyhow::Result<Vec<String>> {
        let printed = self.cli("core show channels concise")?;
        let names = printed.lines().filter_map(|line| line.split_once('!'));
        Ok(names.map(|(name, _)| name.to_owned()).collect())
    }

    /// The process, to stop or kill it in a test.
    pub fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn set_global(&self, name: &str, value: &str) -> anyhow::Result<()> {
        let printed = self.cli(&format!("dialplan set global {name} {value}"))?;
        ensure!(
            printed.contains(name),
            "Asterisk did not set {name}: {printed}"
        );
        Ok(())
    }

    async fn booted(&mut self) -> anyhow::Result<()> {
        let config = self.config.clone();
        self.peer
            .ready(START, async || {
                // It refuses while the control socket is not there yet.
                let printed = console(&config, "core waitfullybooted").ok()?;
                printed.contains("fully booted").then_some(())
            })
            .await
    }
}

/// The console of an Asterisk, whether that runs or not.
#[derive(Clone, Debug)]
pub struct Console(PathBuf);

impl Console {
    /// Runs a command and returns what it prints. Blocks for as long.
    ///
    /// # Errors
    /// When Asterisk does not run.
    pub fn cli(&self, command: &str) -> anyhow::Result<String> {
        console(&self.0, command)
    }
}

fn launch(run: &Run, config: &Path) -> anyhow::Result<Peer> {
    let mut command = asterisk();
    command.arg("-C").arg(config).arg("-f");
    Peer::start(run, "asterisk", command)
}

/// Asterisk through its prefix's own loader.
fn asterisk() -> Command {
    let line = layout::sid_command("usr/sbin/asterisk");
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]);
    command
}

fn console(config: &Path, line: &str) -> anyhow::Result<String> {
    let output = asterisk()
        .arg("-C")
        .arg(config)
        .args(["-rx", line])
        .output()?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "asterisk -rx {line:?}: {printed}");
    Ok(printed)
}

/// Asterisk names sound files without their extension.
fn without_extension(path: &Path) -> anyhow::Result<String> {
    let bare = path.with_extension("");
    let text = bare.to_str().context("a path that is not UTF-8")?;
    ensure!(bare.is_absolute(), "{text} is not an absolute path");
    Ok(text.to_owned())
}
