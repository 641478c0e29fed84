//! The gateway's database on a disk of its own, which is small and can be full; and somebody else who locks it.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::layout;
use crate::process::Peer;
use crate::run::Run;

/// How big the disk is: far more than the database of such a run.
const SIZE: &str = "size=32m";
/// How long whoever locks the database may wait for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// As a backup does that does it wrong.
const LOCK: &str = "\
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=25)
db.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
time.sleep(600)
";

/// The write-ahead log is folded into the database, and cut to nothing: what is written next needs room.
const FOLD: &str = "\
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=25)
print(db.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchall())
";

/// A disk in memory, mounted for this run alone.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// # Errors
    /// Where nothing may be mounted.
    pub(super) fn mount(run: &Run) -> anyhow::Result<Self> {
        let folder = run.subfolder("disk")?;
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]);
        let output = command.arg(&folder).output().context("mount")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "a small disk: {said}");
        Ok(Self { folder })
    }

    /// Where the gateway's database is to be.
    pub(super) fn database(&self) -> PathBuf {
        self.folder.join("mxtrunk.db")
    }

    /// There is not a byte left.
    ///
    /// # Errors
    /// When the database is locked, or the disk cannot be written to for another reason.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let output = python(FOLD, &self.database()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "folding the log in: {said}");
        let mut filler = File::create(self.filler())?;
        for size in [1 << 16, 1 << 12, 1] {
            let block = vec![b'x'; size];
            loop {
                match filler.write_all(&block) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// There is room again.
    ///
    /// # Errors
    /// When it was not full.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

/// Somebody else holds the database; dropping it lets go.
///
/// # Errors
/// When they do not get it.
pub(super) async fn lock(run: &Run, database: &Path) -> anyhow::Result<Peer> {
    // Each has a log of its own, in which `locked` stands once.
    static LOCKS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let number = LOCKS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut peer = Peer::start(run, &format!("lock-{number}"), python(LOCK, database))?;
    peer.logs("locked", PATIENCE).await?;
    Ok(peer)
}

fn python(script: &str, database: &Path) -> Command {
    let mut command = Command::new(layout::venv_program("python"));
    command.args(["-c", script]).arg(database);
    command
}
