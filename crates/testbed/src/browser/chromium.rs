//! Chromium, driven through its WebDriver server.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use fantoccini::wd::TimeoutConfiguration;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::SCRIPT;
use crate::judge::Sound;
use crate::layout;
use crate::process::Peer;
use crate::run::Run;

/// Chromium's first start on a cold and busy machine takes seconds.
const START: Duration = Duration::from_secs(40);

/// A script's value arrives wrapped, so that an exception is told from a value. The script is no text to the page, which
/// may forbid such (`script-src` of its CSP).
fn awaited(body: &str) -> String {
    format!(
        "const done = arguments[arguments.length - 1];
const work = async (args) => {{ {body}
}};
work(arguments[0]).then(
    (value) => done({{ value: value ?? null }}),
    (error) => done({{ error: String(error?.message ?? error) }}),
);"
    )
}

#[derive(Debug)]
pub(super) struct Chromium {
    session: Client,
    microphone: PathBuf,
    // Last, so that the session's requests end before the driver does.
    driver: Peer,
}

impl Chromium {
    /// `preferences` are those that a person sets in the browser's settings.
    pub(super) async fn start(run: &Run, name: &str, preferences: &Value) -> anyhow::Result<Self> {
        let folder = run.subfolder(name)?;
        let microphone = folder.join("microphone.wav");
        let port = super::free_port()?;
        let mut command = Command::new(layout::chromedriver());
        command
            .args([&format!("--port={port}"), "--enable-chrome-logs"])
            .envs(layout::bookworm_env())
            .env("HOME", &folder);
        let mut driver = Peer::start(run, name, command)?;
        let options = json!({
            "binary": tied_chromium(&folder)?,
            "args": flags(&folder, &microphone),
            "prefs": preferences,
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
            driver,
        })
    }

    /// The file that the microphone plays is read when the microphone is opened.
    pub(super) fn speak(&self, sound: &Sound) -> anyhow::Result<()> {
        Ok(sound.write(&self.microphone)?)
    }

    pub(super) async fn open(&self, url: &str) -> anyhow::Result<()> {
        Ok(self.session.goto(url).await?)
    }

    /// The script's outcome: `{value}` or `{error}`.
    pub(super) async fn run(&self, body: &str, args: Value) -> anyhow::Result<Value> {
        let script = awaited(body);
        Ok(self.session.execute_async(&script, vec![args]).await?)
    }

    pub(super) async fn step_into_frame(&self, into: bool) -> anyhow::Result<()> {
        match into {
            true => self.session.enter_frame(0).await?,
            false => self.session.enter_parent_frame().await?,
        }
        Ok(())
    }

    /// Stops every process of the browser where it is, or lets them go on.
    pub(super) fn sleeps(&self, sleeps: bool) -> anyhow::Result<()> {
        let signal = match sleeps {
            true => Signal::STOP,
            false => Signal::CONT,
        };
        for process in descendants(self.driver.id())? {
            // One that has just ended needs no signal.
            if let Some(process) = Pid::from_raw(process) {
                let _ = kill_process(process, signal);
            }
        }
        Ok(())
    }

    pub(super) async fn press(&self, keys: &str) -> anyhow::Result<()> {
        let focused = self.session.active_element().await?;
        Ok(focused.send_keys(keys).await?)
    }

    pub(super) async fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        Ok(self.session.set_window_size(width, height).await?)
    }

    pub(super) async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        Ok(self.session.screenshot().await?)
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        Ok(self.session.close().await?)
    }
}

/// The processes that this one has started, and those that they have.
fn descendants(of: u32) -> anyhow::Result<Vec<i32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The name in brackets may hold anything; the state and the parent come after it.
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1));
        let parent: Option<i32> = parent.and_then(|parent| parent.parse().ok());
        let process: Option<i32> = entry.file_name().to_string_lossy().parse().ok();
        parents.extend(process.zip(parent));
    }
    let mut found = vec![i32::try_from(of)?];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        found.extend(children.map(|(process, _)| *process));
        next += 1;
    }
    found.remove(0);
    Ok(found)
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
