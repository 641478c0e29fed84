//! The Unix socket, and how the gateway's own commands ask over it.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use reqwest::{Method, StatusCode};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixListener;
use tracing::warn;

use super::api::Failure;
use super::{BODY, api, serve};

/// How long a command waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest path that the system takes for a socket, in bytes (unix(7): 108 with the NUL behind it).
const LONGEST: usize = 107;

/// The open socket; dropping it takes it away.
pub(super) struct Socket(PathBuf);

impl Socket {
    /// Answers at `path` from now on. Calls do not depend on it: where it cannot be opened, a warning says so.
    pub(super) fn open(path: PathBuf, routes: Router) -> Option<Self> {
        let app = routes
            .fallback(api::not_found)
            .method_not_allowed_fallback(api::wrong_method)
            .layer(DefaultBodyLimit::max(BODY));
        match listen(&path) {
            Ok(listener) => {
                tokio::spawn(serve::unix(listener, app, may_ask));
                Some(Socket(path))
            }
            Err(error) => {
                warn!(
                    "mxtrunk calls, trace, lines and the like will not reach this gateway: {error:#}; set [admin] socket to another path"
                );
                None
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn may_ask(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    let short = Short::of(path)?;
    if std::os::unix::net::UnixStream::connect(&short.path).is_ok() {
        bail!("another gateway answers at {}", path.display());
    }
    // What a killed gateway has left; nothing but a socket is taken away.
    if is_socket(path) {
        let _ = std::fs::remove_file(path);
    }
    let opened = UnixListener::bind(&short.path)
        .with_context(|| format!("{} cannot be opened", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("{} cannot be kept from others", path.display()))?;
    Ok(opened)
}

/// Whether a gateway answers there.
pub(crate) fn reached(path: &Path) -> std::io::Result<()> {
    let short = Short::of(path).map_err(|error| match error.downcast_ref::<Errno>() {
        Some(errno) => std::io::Error::from(*errno),
        None => std::io::Error::other(error),
    })?;
    std::os::unix::net::UnixStream::connect(&short.path).map(drop)
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// A way to a socket that is short enough for the system, by the open folder where the path is not.
struct Short {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl Short {
    fn of(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str().len() <= LONGEST {
            let path = path.to_owned();
            return Ok(Short {
                path,
                _folder: None,
            });
        }
        let (folder, name) = path
            .parent()
            .zip(path.file_name())
            .with_context(|| format!("{} names no file", path.display()))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(folder, flags, Mode::empty())
            .with_context(|| format!("{} cannot be opened", folder.display()))?;
        let path = Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(name);
        Ok(Short {
            path,
            _folder: Some(folder),
        })
    }
}

/// Where a call is asked for, by whatever a person has typed for its name.
pub(crate) fn path_of(call: &str) -> String {
    format!("/api/calls/{}", escaped(call))
}

/// As it stands in a path or a query (RFC 3986 section 2.1).
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Asks the gateway that runs.
pub(crate) fn ask<A: DeserializeOwned>(socket: &Path, what: &str) -> anyhow::Result<A> {
    request(PATIENCE, socket, Method::GET, what, None)
}

/// Has it end something.
pub(crate) fn delete<A: DeserializeOwned>(socket: &Path, what: &str) -> anyhow::Result<A> {
    request(PATIENCE, socket, Method::DELETE, what, None)
}

/// Has it do something.
pub(crate) fn post<A: DeserializeOwned>(
    socket: &Path,
    what: &str,
    body: &Value,
) -> anyhow::Result<A> {
    post_within(PATIENCE, socket, what, body)
}

/// Has it do something that may take so long.
pub(crate) fn post_within<A: DeserializeOwned>(
    patience: Duration,
    socket: &Path,
    what: &str,
    body: &Value,
) -> anyhow::Result<A> {
    request(patience, socket, Method::POST, what, Some(body))
}

/// Nobody is there, or somebody who takes long: what was asked for may still be done then.
fn unanswered(error: &reqwest::Error, patience: Duration, socket: &Path) -> String {
    let socket = socket.display();
    match error.is_timeout() {
        true => format!(
            "the gateway at {socket} has not answered within {} s, and may still do what was asked: its log says so",
            patience.as_secs()
        ),
        false => format!(
            "no gateway answers at {socket}: see that it runs with this configuration, and ask as its user or as root"
        ),
    }
}

/// What it says in words, and whether that is good.
pub(super) fn words(socket: &Path, what: &str) -> anyhow::Result<(bool, String)> {
    let (status, text) = answer(PATIENCE, socket, Method::GET, what, None)?;
    Ok((
        status.is_success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

fn request<A: DeserializeOwned>(
    patience: Duration,
    socket: &Path,
    method: Method,
    what: &str,
    body: Option<&Value>,
) -> anyhow::Result<A> {
    let (status, text) = answer(patience, socket, method, what, body)?;
    if !status.is_success() {
        match serde_json::from_slice::<Failure>(&text) {
            Ok(failure) => bail!("{}", failure.error),
            Err(_) => bail!("the gateway answered {status}: it may be of another version"),
        }
    }
    serde_json::from_slice(&text)
        .context("the gateway's answer was not understood: it may be of another version")
}

fn answer(
    patience: Duration,
    socket: &Path,
    method: Method,
    what: &str,
    body: Option<&Value>,
) -> anyhow::Result<(StatusCode, Vec<u8>)> {
    let short = Short::of(socket)?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(patience)
        .unix_socket(short.path.as_path())
        .build()?;
    let mut request = client.request(method, format!("http://gateway{what}"));
    if let Some(body) = body {
        request = request.json(body);
    }
    let asked = async {
        let answer = request.send().await.map_err(|error| {
            let why = unanswered(&error, patience, socket);
            anyhow::Error::from(error).context(why)
        })?;
        Ok((answer.status(), answer.bytes().await?.into()))
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;

    fn routes() -> Router {
        Router::new().route("/who", get(|| async { axum::Json("a gateway") }))
    }

    async fn asked(path: PathBuf, what: &'static str) -> anyhow::Result<String> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let asked = move || ask::<String>(&path, what);
        tokio::task::spawn_blocking(asked).await.expect("it ends")
    }

    #[tokio::test]
    async fn a_command_is_answered_at_a_path_of_any_length_and_nobody_else_may_ask() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a".repeat(90)).join("b".repeat(90));
        std::fs::create_dir_all(&deep).expect("made");
        for path in [folder.path().join("admin.sock"), deep.join("admin.sock")] {
            let socket = Socket::open(path.clone(), routes()).expect("it opens");
            let mode = std::fs::metadata(&path)
                .expect("it is there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
            let answer = asked(path.clone(), "/who").await.expect("an answer");
            assert_eq!(answer, "a gateway");
            let odd = asked(path.clone(), "/odd")
                .await
                .expect_err("there is none");
            assert!(odd.to_string().contains("/odd"), "{odd}");
            drop(socket);
            assert!(!path.exists(), "it is taken away");
            let gone = asked(path, "/who").await.expect_err("nobody is there");
            assert!(gone.to_string().contains("no gateway answers"), "{gone}");
        }
    }

    #[test]
    fn a_call_id_of_any_characters_is_one_part_of_a_path() {
        assert_eq!(
            path_of("ab-1/../x@h.?"),
            "/api/calls/ab-1%2F%2E%2E%2Fx%40h%2E%3F"
        );
    }

    #[test]
    fn only_root_and_the_gateways_own_user_may_ask() {
        let own = rustix::process::geteuid().as_raw();
        assert!(may_ask(0) && may_ask(own) && !may_ask(own + 1));
    }

    #[tokio::test]
    async fn what_a_killed_gateway_left_is_no_hindrance_and_a_running_one_or_a_file_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let first = Socket::open(path.clone(), routes());
        assert!(first.is_some());
        assert!(Socket::open(path.clone(), routes()).is_none());
        let file = folder.path().join("a-file");
        std::fs::write(&file, "kept").expect("written");
        assert!(Socket::open(file.clone(), routes()).is_none());
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "kept");
    }
}
