//! A sound card that nobody listens to: without one, Firefox does not run the page's WebAudio.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::layout;
use crate::process::Peer;
use crate::run::Run;

const START: Duration = Duration::from_secs(20);

/// PulseAudio with a null sink.
#[derive(Debug)]
pub(super) struct SoundCard {
    socket: PathBuf,
    _server: Peer,
    // A socket's path has at most 107 bytes, and the run's folder can be longer.
    _folder: TempDir,
}

impl SoundCard {
    /// Starts one for the browser of that name.
    pub(super) async fn start(run: &Run, browser: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("mxtrunk").tempdir()?;
        // `pulse` is a folder that the server makes for itself.
        let socket = folder.path().join("socket");
        let protocol = format!(
            "module-native-protocol-unix auth-anonymous=1 socket={}",
            socket.display()
        );
        let mut command = Command::new(layout::pulseaudio());
        command
            .args(["-n", "--daemonize=no", "--use-pid-file=no"])
            .args(["--exit-idle-time=-1", "--disable-shm=yes"])
            .args(["--realtime=no", "--high-priority=no"])
            .arg("--dl-search-path")
            .arg(layout::pulseaudio_modules())
            .args(["-L", "module-null-sink rate=48000 channels=1"])
            .args(["-L", &protocol])
            .envs(layout::bookworm_env())
            .env("HOME", folder.path())
            .env("XDG_RUNTIME_DIR", folder.path());
        let mut server = Peer::start(run, &format!("{browser}-sound"), command)?;
        server
            .ready(START, async || UnixStream::connect(&socket).await.ok())
            .await?;
        Ok(Self {
            socket,
            _server: server,
            _folder: folder,
        })
    }

    /// What tells a program to use it.
    pub(super) fn env(&self) -> [(&'static str, String); 1] {
        [("PULSE_SERVER", format!("unix:{}", self.socket.display()))]
    }
}
