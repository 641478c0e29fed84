//! The control socket: how a command asks the running gateway. One question and one answer for each connection, a line of
//! JSON each.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use mxtrunk_signaling::Traces;
use mxtrunk_signaling::trace::{About, Trace};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// The longest question, in bytes.
const QUESTION: u64 = 4096;

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 4;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Question {
    /// The last calls.
    Calls,
    /// One call, by the beginning of its name or of a Call-ID of its.
    Trace(String),
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// The last calls, latest first.
    Calls(Vec<About>),
    /// The call that was asked for; `None`: it is not known.
    Trace(Option<Trace>),
    /// The question was none.
    Misunderstood(String),
}

/// The open socket; dropping it takes it away.
pub(crate) struct Control(PathBuf);

impl Control {
    /// Answers at `path` from now on. Calls do not depend on it: where it cannot be opened, a warning says so.
    pub(crate) fn open(path: PathBuf, traces: Arc<Traces>) -> Option<Self> {
        match listen(&path) {
            Ok(listener) => {
                tokio::spawn(serve(listener, traces));
                Some(Control(path))
            }
            Err(error) => {
                warn!(
                    "mxtrunk trace will not reach this gateway: {error:#}; set [control] socket to another path"
                );
                None
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("another gateway answers at {}", path.display());
    }
    // What a killed gateway has left; nothing but a socket is taken away.
    if is_socket(path) {
        let _ = std::fs::remove_file(path);
    }
    let opened =
        UnixListener::bind(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("{} cannot be kept from others", path.display()))?;
    Ok(opened)
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

async fn serve(listener: UnixListener, traces: Arc<Traces>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let traces = traces.clone();
                tokio::spawn(async move {
                    match tokio::time::timeout(PATIENCE, answer(stream, &traces)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => {
                            debug!(%error, "a question at the control socket came to nothing")
                        }
                        Err(_) => debug!("a question at the control socket took too long"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                debug!(%error, "a connection to the control socket was not taken");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, traces: &Traces) -> anyhow::Result<()> {
    // Between `bind` and the change of its mode the socket was open to whom the umask lets.
    let (peer, own) = (
        stream.peer_cred()?.uid(),
        rustix::process::geteuid().as_raw(),
    );
    anyhow::ensure!(peer == own || peer == 0, "user {peer} may not ask");
    let (reading, mut writing) = stream.split();
    let mut line = String::new();
    BufReader::new(reading.take(QUESTION))
        .read_line(&mut line)
        .await?;
    let answer = match serde_json::from_str(&line) {
        Ok(Question::Calls) => Answer::Calls(traces.recent()),
        Ok(Question::Trace(call)) => Answer::Trace(traces.find(&call)),
        Err(error) => Answer::Misunderstood(error.to_string()),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writing.write_all(&line).await?;
    Ok(())
}

/// Asks the gateway that runs.
pub(crate) fn ask(path: &Path, question: &Question) -> anyhow::Result<Answer> {
    use std::io::{BufRead as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(path).with_context(|| {
        format!(
            "no gateway answers at {}: see that it runs with this configuration, and ask as its user or as root",
            path.display()
        )
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    std::io::BufReader::new(stream).read_line(&mut answer)?;
    serde_json::from_str(&answer)
        .context("the gateway's answer was not understood: it may be of another version")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a gateway without calls answers at a path of its own.
    async fn asked(question: &str) -> (String, u32) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        let control = Control::open(path.clone(), Arc::default()).expect("it opens");
        let mode = std::fs::metadata(&path)
            .expect("it is there")
            .permissions()
            .mode();
        let mut stream = UnixStream::connect(&path).await.expect("it listens");
        stream.write_all(question.as_bytes()).await.expect("taken");
        stream.shutdown().await.expect("taken");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        drop(control);
        assert!(!path.exists(), "it is taken away");
        (answer, mode)
    }

    #[tokio::test]
    async fn a_question_gets_a_line_of_json_and_nobody_else_may_ask() {
        let (answer, mode) = asked("\"calls\"\n").await;
        assert_eq!(answer, "{\"calls\":[]}\n");
        assert_eq!(mode & 0o777, 0o600);
        let (answer, _) = asked("{\"trace\":\"abc\"}\n").await;
        assert_eq!(answer, "{\"trace\":null}\n");
    }

    #[tokio::test]
    async fn what_is_no_question_is_answered_and_no_more_than_a_few_kilobytes_of_it_are_read() {
        for odd in ["", "odd\n", &"[".repeat(4_096)] {
            let (answer, _) = asked(odd).await;
            assert!(answer.starts_with("{\"misunderstood\":"), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_a_killed_gateway_left_is_no_hindrance_and_a_running_one_or_a_file_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let first = Control::open(path.clone(), Arc::default());
        assert!(first.is_some());
        assert!(Control::open(path.clone(), Arc::default()).is_none());
        let file = folder.path().join("a-file");
        std::fs::write(&file, "kept").expect("written");
        assert!(Control::open(file.clone(), Arc::default()).is_none());
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "kept");
    }
}
