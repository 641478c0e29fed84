//! Firefox, driven over WebDriver BiDi: its classic driver is not in Debian.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::SCRIPT;
use super::bidi::Bidi;
use super::sound_card::SoundCard;
use crate::judge::Sound;
use crate::layout;
use crate::process::Peer;
use crate::run::Run;

/// Firefox makes its profile at its first start, which takes a busy machine a while.
const START: Duration = Duration::from_secs(60);

/// How long a command that waits for nothing may take.
const COMMAND: Duration = Duration::from_secs(30);

const PREFERENCES: &str = include_str!("user.js");

/// BiDi has types of its own for values; JSON text passes them by.
const AWAIT: &str = "async (body, args) => {
    try {
        const work = new (async () => {}).constructor('args', body);
        return JSON.stringify({ value: (await work(JSON.parse(args))) ?? null });
    } catch (error) {
        return JSON.stringify({ error: String(error?.message ?? error) });
    }
}";

#[derive(Debug)]
pub(super) struct Firefox {
    session: Bidi,
    /// The one tab there is.
    tab: String,
    process: Peer,
    _sound_card: SoundCard,
}

impl Firefox {
    pub(super) async fn start(run: &Run, name: &str) -> anyhow::Result<Self> {
        let folder = run.subfolder(name)?;
        let profile = run.subfolder(&format!("{name}/profile"))?;
        std::fs::write(profile.join("user.js"), PREFERENCES)?;
        let sound_card = SoundCard::start(run, name).await?;
        let port = super::free_port()?;
        let mut command = Command::new(layout::firefox());
        command
            .args(["--headless", "--no-remote", "--window-size=460,860"])
            .args(["--remote-debugging-port", &port.to_string()])
            .arg("--profile")
            .arg(&profile)
            .envs(layout::firefox_env())
            .envs(sound_card.env())
            // Its folder must belong to the user it runs as.
            .env("HOME", &folder)
            .env("MOZ_CRASHREPORTER_DISABLE", "1")
            .env("GSETTINGS_BACKEND", "memory");
        let mut process = Peer::start(run, name, command)?;
        process.logs("WebDriver BiDi listening", START).await?;
        let log = process.log().to_owned();
        let begin = async {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let session = Bidi::begin(address, START).await?;
            let tree = session
                .command("browsingContext.getTree", json!({}), COMMAND)
                .await?;
            let tab = tree["contexts"][0]["context"].as_str().context("a tab")?;
            anyhow::Ok((session, tab.to_owned()))
        };
        let (session, tab) = begin
            .await
            .with_context(|| format!("{name}: see {}", log.display()))?;
        Ok(Self {
            session,
            tab,
            process,
            _sound_card: sound_card,
        })
    }

    /// The page itself plays the sound where a microphone would be.
    pub(super) async fn speak(&self, sound: &Sound) -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("microphone.wav");
        sound.write(&path)?;
        let wav = STANDARD.encode(std::fs::read(&path)?);
        let script = "await microphone.plays(args);";
        let outcome = self.run(script, Value::from(wav)).await?;
        ensure!(outcome["error"].is_null(), "the microphone: {outcome}");
        Ok(())
    }

    pub(super) async fn open(&self, url: &str) -> anyhow::Result<()> {
        let target = json!({ "context": self.tab, "url": url, "wait": "complete" });
        let navigate = "browsingContext.navigate";
        self.session
            .command(navigate, target, COMMAND)
            .await
            .map(drop)
    }

    /// The script's outcome: `{value}` or `{error}`.
    pub(super) async fn run(&self, body: &str, args: Value) -> anyhow::Result<Value> {
        let call = json!({
            "functionDeclaration": AWAIT,
            "awaitPromise": true,
            "target": { "context": self.tab },
            "arguments": [
                { "type": "string", "value": body },
                { "type": "string", "value": args.to_string() },
            ],
        });
        let returned = self
            .session
            .command("script.callFunction", call, SCRIPT)
            .await?;
        let text = returned["result"]["value"].as_str();
        let text = text.with_context(|| format!("the script returned {returned}"))?;
        Ok(serde_json::from_str(text)?)
    }

    pub(super) async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        let tab = json!({ "context": self.tab });
        let taken = self
            .session
            .command("browsingContext.captureScreenshot", tab, COMMAND)
            .await?;
        let data = taken["data"].as_str().context("a picture")?;
        Ok(STANDARD.decode(data)?)
    }

    pub(super) async fn close(mut self) -> anyhow::Result<()> {
        self.session
            .command("browser.close", json!({}), COMMAND)
            .await?;
        self.process.exited(COMMAND).await.map(drop)
    }
}
