//! A folder that is a machine's whole file system to the gateway that runs in it.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mxtrunk_testbed::process::Peer;
use mxtrunk_testbed::run::Run;
use tokio::net::UnixDatagram;
use tokio::time::timeout;

/// How long a gateway on a busy machine may take to say something.
const PATIENCE: Duration = Duration::from_secs(20);

/// Mounts what a process expects from the kernel, and becomes the command.
const MOUNTED: &str = "set -e
root=$1; shift
mount --rbind /dev \"$root/dev\"
mount --rbind /proc \"$root/proc\"
exec \"$@\"";

/// Whether this user may have roots with other users' files in them. Who may not is told why nothing is tested.
pub(super) fn may_be_had() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: it takes root to give files to other users, as an installation does");
    }
    is_root
}

pub(super) struct Root(pub(super) PathBuf);

impl Root {
    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.0.join(below.trim_start_matches('/'))
    }

    pub(super) fn read(&self, below: &str) -> anyhow::Result<String> {
        fs::read_to_string(self.path(below)).with_context(|| below.to_owned())
    }

    /// A command of the machine beside it, which sees the root as a folder.
    pub(super) fn beside(&self, command: &[&str]) -> anyhow::Result<Output> {
        let mut all = self.mounted();
        let output = all.args(command).output()?;
        Ok(output)
    }

    /// What a command inside, run by root, prints.
    pub(super) fn inside(&self, command: &[&str]) -> anyhow::Result<String> {
        let mut all = self.mounted();
        let output = all.arg("chroot").arg(&self.0).args(command).output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?}: {errors}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts a gateway inside as a service manager does: with this user, folders of its own, and a socket to tell how it stands.
    pub(super) async fn serve(
        &self,
        run: &Run,
        command: &[&str],
        (user, group): (u32, u32),
    ) -> anyhow::Result<Served> {
        for folder in ["/var/lib/mxtrunk", "/run/mxtrunk"] {
            let folder = self.path(folder);
            fs::create_dir_all(&folder)?;
            chown(&folder, Some(user), Some(group))?;
        }
        // The whole path is longer than a socket's may be.
        let folder = File::open(self.path("/run/mxtrunk"))?;
        let short = format!("/proc/self/fd/{}/notify", folder.as_raw_fd());
        let told = UnixDatagram::bind(&short)?;
        fs::set_permissions(&short, fs::Permissions::from_mode(0o666))?;
        let mut all = self.mounted();
        all.arg("chroot")
            .arg(format!("--userspec={user}:{group}"))
            .arg(&self.0)
            .args(command)
            .env("NOTIFY_SOCKET", "/run/mxtrunk/notify")
            .env("WATCHDOG_USEC", "3000000")
            .env_remove("http_proxy")
            .env_remove("https_proxy");
        let peer = Peer::start(run, "gateway", all)?;
        Ok(Served { peer, told })
    }

    fn mounted(&self) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", MOUNTED, "sh"])
            .arg(&self.0);
        command
    }
}

/// A gateway in a root.
pub(super) struct Served {
    pub(super) peer: Peer,
    told: UnixDatagram,
}

impl Served {
    /// Waits until it has told its service manager this.
    pub(super) async fn tells(&self, what: &str) -> anyhow::Result<()> {
        let mut heard = Vec::new();
        let listen = async {
            loop {
                let mut buffer = [0; 4096];
                let length = self.told.recv(&mut buffer).await?;
                let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if told.lines().any(|line| line == what) {
                    return anyhow::Ok(());
                }
                heard.push(told);
            }
        };
        match timeout(PATIENCE, listen).await {
            Ok(outcome) => outcome,
            Err(_) => bail!("it has not told {what}, but {heard:?}"),
        }
    }

    /// Whether it is alive, by its own word.
    pub(super) async fn is_alive(&self) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get("http://127.0.0.1:9010/health/live").send();
        let status = answer.await?.status();
        ensure!(status.is_success(), "{status}");
        Ok(())
    }

    /// Tells it to stop, as a service manager does.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let status = self.peer.stop(PATIENCE).await?;
        ensure!(status.success(), "it ended with {status}");
        // What it said last waits in the socket.
        self.tells("STOPPING=1").await
    }
}

/// The number of a user, and of their group, in the root's own list.
pub(super) fn numbers_of(root: &Root, user: &str) -> anyhow::Result<(u32, u32)> {
    let users = root.read("/etc/passwd")?;
    let line = users
        .lines()
        .find(|line| line.starts_with(&format!("{user}:")));
    let line = line.with_context(|| format!("no user {user} in {users}"))?;
    let number = |field| line.split(':').nth(field).unwrap_or_default().parse();
    Ok((number(2)?, number(3)?))
}

/// Permissions and owner of a file: `640 0:999`.
pub(super) fn rights(path: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(format!(
        "{:o} {}:{}",
        found.mode() & 0o7777,
        found.uid(),
        found.gid()
    ))
}
