//! Headless browsers of both families with a microphone that plays a file, and the softphone page in them.
//!
//! Only for use inside a [`crate::namespace`]: a WebRTC browser gathers every address of
//! the machine it finds.

mod bidi;
mod chromium;
mod firefox;
mod page;
mod softphone;
mod sound_card;
mod widget_host;

use std::net::TcpListener;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::judge::Sound;
use crate::run::Run;
use chromium::Chromium;
use firefox::Firefox;

pub use page::{PageServer, Site, SiteNumber, SiteUser};
pub use softphone::{CallState, Ended, Softphone, State};
pub use widget_host::{Consent, Framing, Looker, WidgetHost};

/// The longest a script in the page may take; what waits there has deadlines of its own.
const SCRIPT: Duration = Duration::from_secs(180);

/// Which WebRTC implementation a browser has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Chromium, as in Chrome, Edge and Element Desktop.
    Chromium,
    /// The same on a network that lets no UDP through.
    ChromiumOverTcp,
    /// Firefox ESR.
    Firefox,
}

/// A running headless browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser(Engine);

#[derive(Debug)]
enum Engine {
    Chromium(Chromium),
    Firefox(Box<Firefox>),
}

impl Browser {
    /// Starts a browser; `name` names its log and its files in the run's folder.
    ///
    /// # Errors
    /// When it or its driver does not start within a minute.
    pub async fn start(run: &Run, name: &str, family: Family) -> anyhow::Result<Self> {
        Ok(Self(match family {
            Family::Chromium => Engine::Chromium(Chromium::start(run, name, &json!({})).await?),
            Family::ChromiumOverTcp => {
                let no_udp = json!({ "webrtc.ip_handling_policy": "disable_non_proxied_udp" });
                Engine::Chromium(Chromium::start(run, name, &no_udp).await?)
            }
            Family::Firefox => Engine::Firefox(Box::new(Firefox::start(run, name).await?)),
        }))
    }

    /// Puts a sound before the microphone, which plays it in a loop, from the moment that it
    /// is opened. Between calls another one may be put there. In Firefox the softphone page
    /// must be open.
    ///
    /// # Errors
    /// When the sound does not reach the browser.
    pub async fn speak(&self, sound: &Sound) -> anyhow::Result<()> {
        match &self.0 {
            Engine::Chromium(chromium) => chromium.speak(sound),
            Engine::Firefox(firefox) => firefox.speak(sound).await,
        }
    }

    /// Opens an address.
    ///
    /// # Errors
    /// When the page does not load.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        match &self.0 {
            Engine::Chromium(chromium) => chromium.open(url).await,
            Engine::Firefox(firefox) => firefox.open(url).await,
        }
    }

    /// Runs the body of an async function in the page, with `args` under that name, and
    /// returns what it returns.
    ///
    /// # Errors
    /// When the script throws (its message is kept) or the browser is gone.
    pub async fn run(&self, body: &str, args: Value) -> anyhow::Result<Value> {
        let mut outcome = match &self.0 {
            Engine::Chromium(chromium) => chromium.run(body, args).await?,
            Engine::Firefox(firefox) => firefox.run(body, args).await?,
        };
        let error = outcome["error"].as_str().unwrap_or_default();
        ensure!(error.is_empty(), "in the page: {error}");
        Ok(outcome["value"].take())
    }

    /// Goes into the page's frame, where scripts run and keys are pressed from then on; out of it again, by `false`.
    ///
    /// # Errors
    /// When there is none. Only Chromium can do that here.
    pub async fn step_into_frame(&self, into: bool) -> anyhow::Result<()> {
        self.chromium()?.step_into_frame(into).await
    }

    /// The machine that it is on goes to sleep, or wakes up. Asleep it does nothing that it is asked for.
    ///
    /// # Errors
    /// Only Chromium can do that here.
    pub fn sleeps(&self, sleeps: bool) -> anyhow::Result<()> {
        self.chromium()?.sleeps(sleeps)
    }

    /// Presses keys, as WebDriver writes them, where the focus is.
    ///
    /// # Errors
    /// When nothing has the focus. Only Chromium can do that here.
    pub async fn press(&self, keys: &str) -> anyhow::Result<()> {
        self.chromium()?.press(keys).await
    }

    /// Gives the window another size, in pixels.
    ///
    /// # Errors
    /// When the browser is gone. Only Chromium can do that here.
    pub async fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        self.chromium()?.resize(width, height).await
    }

    fn chromium(&self) -> anyhow::Result<&Chromium> {
        match &self.0 {
            Engine::Chromium(chromium) => Ok(chromium),
            Engine::Firefox(_) => anyhow::bail!("only Chromium can do that here"),
        }
    }

    /// A picture of the page (PNG), for the report of a failure.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn picture(&self) -> anyhow::Result<Vec<u8>> {
        match &self.0 {
            Engine::Chromium(chromium) => chromium.picture().await,
            Engine::Firefox(firefox) => firefox.picture().await,
        }
    }

    /// Closes the page and the browser in order.
    ///
    /// # Errors
    /// When the browser is gone already.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.0 {
            Engine::Chromium(chromium) => chromium.close().await,
            Engine::Firefox(firefox) => firefox.close().await,
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests;
