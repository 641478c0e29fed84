//! Peers as child processes: logs captured, readiness awaited, killed with the run.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

use crate::run::Run;

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(20);

/// A running peer. Dropping it kills it; its log stays.
#[derive(Debug)]
pub struct Peer {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Peer {
    /// Starts `command`; standard output and error go to `NAME.log` of the run's folder.
    /// The peer also dies when this process does, however that ends.
    pub fn start(run: &Run, name: &str, command: Command) -> anyhow::Result<Self> {
        let log = run.path(&format!("{name}.log"));
        // Appended, so that a restarted peer continues its log.
        let out = File::options().create(true).append(true).open(&log)?;
        let mut tied = tied_to_us(&command);
        tied.stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // Ctrl-C in the terminal is for us: we end the peers in their turn, the gateway first.
            .process_group(0);
        let child = spawn(tied).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// The file with everything that the peer printed.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Everything that the peer has printed up to now.
    pub fn logged(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `probe` yields a value; fails at the deadline or when the peer exits.
    pub async fn ready<T>(
        &mut self,
        within: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(value) = probe().await {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} exited: {status}; see {}", self.name, self.log.display());
            }
            if Instant::now() > deadline {
                let log = self.log.display();
                bail!("{} was not ready within {within:?}; see {log}", self.name);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the peer's log contains `text`.
    pub async fn logs(&mut self, text: &str, within: Duration) -> anyhow::Result<()> {
        let log = self.log.clone();
        self.ready(within, async || {
            let bytes = fs::read(&log).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(text).then_some(())
        })
        .await
        .with_context(|| format!("waiting for {text:?}"))
    }

    /// Asks the peer to end (SIGTERM) and waits until it has.
    pub async fn stop(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.exited(within).await
    }

    /// Ends the peer at once (SIGKILL), as a crash would.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::KILL)?;
        self.exited(Duration::from_secs(5)).await.map(drop)
    }

    /// Waits until the peer ends by itself.
    pub async fn exited(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let Self { name, child, .. } = self;
        until(&format!("{name} to end"), within, async || {
            child.try_wait().ok().flatten()
        })
        .await
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process id out of range")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `probe` yields a value, looking every 20 ms; `what` is what the error names.
pub async fn until<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = probe().await {
            return Ok(value);
        }
        if Instant::now() > deadline {
            bail!("waited {within:?} for {what}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// This process may open as many files as the system lets it.
///
/// # Errors
/// When the system refuses.
pub fn open_many_files() -> anyhow::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("the limit of open files")
}

/// The same command under `setpriv --pdeathsig`, so that no peer outlives a killed test.
fn tied_to_us(command: &Command) -> Command {
    let mut tied = Command::new("setpriv");
    tied.args(["--pdeathsig", "KILL", "--"]);
    tied.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => tied.env(key, value),
            None => tied.env_remove(key),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        tied.current_dir(folder);
    }
    tied
}

type Spawned = std::io::Result<Child>;

/// Spawns on a thread that lives as long as this process: the kernel sends the death signal
/// when the *thread* that spawned ends, and a runtime's threads may end early.
fn spawn(command: Command) -> Spawned {
    static SPAWNER: OnceLock<mpsc::Sender<(Command, mpsc::Sender<Spawned>)>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<(Command, mpsc::Sender<Spawned>)>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The orderer waits for the reply, so it is still there.
                let _ = reply.send(command.spawn());
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    let gone = |_| std::io::Error::other("the spawning thread has ended");
    spawner
        .send((command, reply))
        .map_err(|_| std::io::Error::other("the spawning thread has ended"))?;
    answer.recv().map_err(gone)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_peer_that_exits_is_noticed_long_before_the_deadline() {
        let run = Run::start("process::exits").unwrap();
        let mut peer = Peer::start(&run, "short", shell("echo no licence; exit 3")).unwrap();
        let started = Instant::now();
        let within = Duration::from_secs(60);
        let error = peer.logs("ready", within).await.unwrap_err();
        assert!(format!("{error:#}").contains("exit status: 3"), "{error:#}");
        assert!(started.elapsed() < within / 2);
        assert!(run.log_tails().contains("no licence"));
    }

    #[tokio::test]
    async fn a_dropped_peer_is_dead() {
        let run = Run::start("process::dropped").unwrap();
        let peer = Peer::start(&run, "long", shell("exec sleep 600")).unwrap();
        let alive = PathBuf::from(format!("/proc/{}", peer.id()));
        assert!(alive.exists());
        drop(peer);
        assert!(!alive.exists());
    }

    #[tokio::test]
    async fn a_peer_that_is_asked_to_end_tells_its_status() {
        let run = Run::start("process::asked").unwrap();
        let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done";
        let mut peer = Peer::start(&run, "polite", shell(script)).unwrap();
        peer.logs("up", Duration::from_secs(10)).await.unwrap();
        let status = peer.stop(Duration::from_secs(10)).await.unwrap();
        assert_eq!(status.code(), Some(7));
    }

    #[tokio::test]
    async fn a_condition_that_never_holds_is_named_when_time_is_up() {
        let never = until("the moon", Duration::from_millis(50), async || None::<()>);
        let error = never.await.unwrap_err();
        assert!(error.to_string().contains("the moon"), "{error}");
    }
}
