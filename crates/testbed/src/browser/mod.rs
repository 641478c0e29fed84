//! Headless Chromium with a microphone that plays a file, and the softphone page in it.
//!
//! Only for use inside a [`crate::namespace`]: a WebRTC browser gathers every address of
//! the machine it finds.

mod page;
mod softphone;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use fantoccini::wd::TimeoutConfiguration;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::layout;
use crate::process::Peer;
use crate::run::Run;

pub use page::{PageServer, Site, SiteNumber, SiteUser};
pub use softphone::{CallState, Ended, Softphone, State};

/// Chromium's first start on a cold and busy machine takes seconds.
const START: Duration = Duration::from_secs(40);

/// The longest a script in the page may take; what waits there has deadlines of its own.
const SCRIPT: Duration = Duration::from_secs(180);

/// A script's value arrives wrapped, so that an exception is told from a value.
const AWAIT: &str = "
const [done, body, args] = [arguments[arguments.length - 1], arguments[0], arguments[1]];
const work = new (async () => {}).constructor('args', body);
work(args).then(
    (value) => done({ value: value ?? null }),
    (error) => done({ error: String(error?.message ?? error) }),
);";

/// A running headless browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    session: Client,
    microphone: PathBuf,
    // Last, so that the session's requests end before the driver does.
    _driver: Peer,
}

impl Browser {
    /// Starts a browser; `name` names its log and its files in the run's folder.
    ///
    /// # Errors
    /// When Chromium or its driver does not start within 40 s.
    pub async fn start(run: &Run, name: &str) -> anyhow::Result<Self> {
        let folder = run.subfolder(name)?;
        let microphone = folder.join("microphone.wav");
        let port = free_port()?;
        let mut command = Command::new(layout::chromedriver());
        command
            .args([&format!("--port={port}"), "--enable-chrome-logs"])
            .envs(layout::bookworm_env())
            .env("HOME", &folder);
        let mut driver = Peer::start(run, name, command)?;
        let options = json!({
            "binary": tied_chromium(&folder)?,
            "args": flags(&folder, &microphone),
        });
        let capabilities = [("goog:chromeOptions".to_owned(), options)];
        driver.logs("started successfully", START).await?;
        let session = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.into_iter().collect())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .with_context(|| format!("{name}: see {}", driver.log().display()))?;
        let patience = TimeoutConfiguration::new(Some(SCRIPT), None, None);
        session.update_timeouts(patience).await?;
        Ok(Self {
            session,
            microphone,
            _driver: driver,
        })
    }

    /// The wav file that the microphone plays, in a loop, from the moment it is opened.
    /// It may be written anew between calls.
    #[must_use]
    pub fn microphone(&self) -> &Path {
        &self.microphone
    }

    /// Opens an address.
    ///
    /// # Errors
    /// When the page does not load.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        Ok(self.session.goto(url).await?)
    }

    /// Runs the body of an async function in the page, with `args` under that name, and
    /// returns what it returns.
    ///
    /// # Errors
    /// When the script throws (its message is kept) or the browser is gone.
    pub async fn run(&self, body: &str, args: Value) -> anyhow::Result<Value> {
        let arguments = vec![Value::from(body), args];
        let mut outcome = self.session.execute_async(AWAIT, arguments).await?;
        let error = outcome["error"].as_str().unwrap_or_default();
        ensure!(error.is_empty(), "in the page: {error}");
        Ok(outcome["value"].take())
    }

    /// A picture of the page (PNG), for the report of a failure.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.session.screenshot().await?)
    }

    /// Closes the page and the browser in order.
    ///
    /// # Errors
    /// When the browser is gone already.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.session.close().await?)
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Chromium under `setpriv --pdeathsig`: the driver starts it, and does not end it when it
/// is itself killed.
fn tied_chromium(folder: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("chromium.sh");
    let chromium = layout::chromium();
    let script = format!(
        "#!/bin/sh\nexec setpriv --pdeathsig KILL -- '{}' \"$@\"\n",
        chromium.display()
    );
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn flags(folder: &Path, microphone: &Path) -> Vec<String> {
    let mut flags: Vec<String> = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        // In a namespace with only a loopback there are no other candidates.
        "--allow-loopback-in-peer-connection",
        "--autoplay-policy=no-user-gesture-required",
        "--enable-logging=stderr",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=460,860",
    ]
    .map(String::from)
    .to_vec();
    let profile = folder.join("profile");
    flags.push(format!("--user-data-dir={}", profile.display()));
    flags.push(format!(
        "--use-file-for-fake-audio-capture={}",
        microphone.display()
    ));
    flags
}

#[cfg(test)]
mod tests;
