//! The softphone page, driven as a person would: sign in, dial, answer, hang up, listen.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Browser;
use crate::judge::{Clip, Recording, Sound};

/// Quiet at the head of what the microphone plays: the call connects in this time, so
/// that the clip is heard whole the first time round.
const LEAD: Duration = Duration::from_secs(4);

/// Quiet after the clip, before the microphone's file begins again.
const TRAIL: Duration = Duration::from_secs(1);

/// What a call is doing, in the page's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Nobody is signed in.
    SignedOut,
    /// Signed in, no call yet.
    Ready,
    /// Looking the number up, making the room.
    Dialling,
    /// The invite is sent.
    Ringing,
    /// Somebody calls.
    Incoming,
    /// Answered, the sound is on its way.
    Connecting,
    /// Both can speak.
    Connected,
    /// The last call is over.
    Ended,
}

impl CallState {
    fn name(self) -> &'static str {
        match self {
            Self::SignedOut => "signed_out",
            Self::Ready => "ready",
            Self::Dialling => "dialling",
            Self::Ringing => "ringing",
            Self::Incoming => "incoming",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Ended => "ended",
        }
    }
}

/// The page's state, and how the last call ended.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct State {
    /// What the call is doing.
    pub is: CallState,
    /// Whom the call is with, as shown to the person.
    pub party: Option<String>,
    /// How the call ended.
    #[serde(flatten)]
    pub ended: Ended,
    /// When, in ms since the page was opened.
    pub at: u64,
}

/// How a call ended; all `None` while it lasts.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Ended {
    /// `user_hangup`, `user_busy`, `unknown_number` and the like.
    pub reason: Option<String>,
    /// `us` or `them`.
    pub by: Option<String>,
    /// What went wrong, as an error said it.
    pub detail: Option<String>,
}

/// A softphone page in a browser of its own.
#[derive(Debug)]
pub struct Softphone {
    browser: Browser,
    clip: Duration,
}

impl Softphone {
    /// Opens the page at `url` and signs `user` in; the microphone is taken unprocessed.
    ///
    /// # Errors
    /// When the page does not load or the homeserver does not let the user in.
    pub async fn sign_in(
        browser: Browser,
        url: &str,
        homeserver: &str,
        user: &str,
        password: &str,
    ) -> anyhow::Result<Self> {
        browser.open(url).await?;
        let account = json!({ "homeserver": homeserver, "user": user, "password": password });
        let script = "await phone.login(args); await phone.rawMicrophone();";
        browser
            .run(script, account)
            .await
            .with_context(|| format!("signing {user} in"))?;
        Ok(Self {
            browser,
            clip: Duration::ZERO,
        })
    }

    /// The browser the page runs in.
    #[must_use]
    pub fn browser(&self) -> &Browser {
        &self.browser
    }

    /// Puts `clip` before the microphone. It is played from 4 s after the microphone is
    /// opened (when a call is placed or answered) on, again and again.
    ///
    /// # Errors
    /// When the sound does not reach the browser.
    pub async fn speak(&mut self, clip: &Clip) -> anyhow::Result<()> {
        let mut sound = Sound::default();
        sound.pause(LEAD.as_millis() as usize);
        sound.append(&clip.sound);
        self.clip = Duration::from_millis(clip.sound.millis() as u64);
        sound.pause(TRAIL.as_millis() as usize);
        self.browser.speak(&sound).await
    }

    /// Dials as a person would; the call goes on by itself. See [`Softphone::reach`].
    ///
    /// # Errors
    /// When there is a call already.
    pub async fn dial(&self, number: &str) -> anyhow::Result<()> {
        // Not awaited: the caller may want to see the states on the way.
        let script = "phone.dial(args).catch((error) => console.error(error));";
        self.run(script, Value::from(number)).await
    }

    /// Answers the call that rings.
    ///
    /// # Errors
    /// When none rings.
    pub async fn answer(&self) -> anyhow::Result<()> {
        self.run("await phone.answer();", Value::Null).await
    }

    /// Declines the call that rings.
    ///
    /// # Errors
    /// When none rings.
    pub async fn reject(&self) -> anyhow::Result<()> {
        self.run("phone.reject();", Value::Null).await
    }

    /// Hangs up, whatever the call is doing.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn hangup(&self) -> anyhow::Result<()> {
        self.run("await phone.hangup();", Value::Null).await
    }

    /// Presses keys during a call.
    ///
    /// # Errors
    /// When there is no call, or it cannot carry tones.
    pub async fn send_dtmf(&self, digits: &str) -> anyhow::Result<()> {
        let script = "await phone.sendDtmf(args);";
        self.run(script, Value::from(digits)).await
    }

    /// Puts the call on hold, or takes it off.
    ///
    /// # Errors
    /// When there is no call.
    pub async fn hold(&self, held: bool) -> anyhow::Result<()> {
        self.run("phone.hold(args);", Value::from(held)).await
    }

    /// Switches the microphone off, or on again.
    ///
    /// # Errors
    /// When there is no call.
    pub async fn mute(&self, muted: bool) -> anyhow::Result<()> {
        self.run("await phone.mute(args);", Value::from(muted))
            .await
    }

    /// Begins ICE anew, as matrix-js-sdk does where the connection is lost.
    ///
    /// # Errors
    /// When there is no call.
    pub async fn restart_ice(&self) -> anyhow::Result<()> {
        self.run("phone.restartIce();", Value::Null).await
    }

    /// Hands the call on to a number, as Element's transfer button does: matrix-js-sdk then leaves it.
    ///
    /// # Errors
    /// When there is no call, the number is not known, or the other side cannot be transferred.
    pub async fn transfer(&self, number: &str) -> anyhow::Result<()> {
        let script = "await phone.transfer(args);";
        self.run(script, Value::from(number)).await
    }

    /// Holds the call and calls this number, to ask there first, until that is answered.
    ///
    /// # Errors
    /// When there is no call, the number is not known, or does not answer.
    pub async fn consult(&self, number: &str) -> anyhow::Result<()> {
        let script = "await phone.consult(args);";
        self.run(script, Value::from(number)).await
    }

    /// Leaves the two to each other, as Element does after a consultation.
    ///
    /// # Errors
    /// When there are no two.
    pub async fn join(&self) -> anyhow::Result<()> {
        self.run("await phone.join();", Value::Null).await
    }

    /// Writes to somebody in a direct chat, and waits for an answer that holds these words.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn write(&self, to: &str, text: &str, words: &str) -> anyhow::Result<()> {
        let args = json!({ "to": to, "text": text, "words": words });
        let script = "await phone.write(args.to, args.text, args.words);";
        self.run(script, args).await
    }

    /// What the telephony space is called, as the page shows it; `None` while it is not there.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn space(&self) -> anyhow::Result<Option<String>> {
        let space = self.browser.run("return home.space;", Value::Null).await?;
        Ok(space.as_str().map(str::to_owned))
    }

    /// The last calls of the history, the newest first, as the page shows them.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn told_calls(&self) -> anyhow::Result<Vec<String>> {
        let script = "return home.calls.map((call) => call.text);";
        let calls = self.browser.run(script, Value::Null).await?;
        Ok(serde_json::from_value(calls)?)
    }

    /// What stands in the widget; Chromium alone can look there.
    ///
    /// # Errors
    /// When it is not in the page.
    pub async fn in_widget(&self) -> anyhow::Result<String> {
        self.browser.step_into_frame(true).await?;
        let script = "return document.body.innerText;";
        let text = self.browser.run(script, Value::Null).await;
        self.browser.step_into_frame(false).await?;
        Ok(text?.as_str().unwrap_or_default().to_owned())
    }

    /// Whether the other side has put the call on hold, as matrix-js-sdk tells Element.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn is_held_by_them(&self) -> anyhow::Result<bool> {
        let held = self.browser.run("return phone.heldByThem;", Value::Null);
        Ok(held.await? == true)
    }

    /// What the page shows now.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn state(&self) -> anyhow::Result<State> {
        let state = self.browser.run("return phone.state;", Value::Null).await?;
        Ok(serde_json::from_value(state)?)
    }

    /// Every state since the page was opened.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn history(&self) -> anyhow::Result<Vec<State>> {
        let script = "return phone.history;";
        let states = self.browser.run(script, Value::Null).await?;
        Ok(serde_json::from_value(states)?)
    }

    /// Waits until the call is in one of `states`.
    ///
    /// # Errors
    /// When it is not within `patience`; the states seen are told.
    pub async fn reach(&self, states: &[CallState], patience: Duration) -> anyhow::Result<State> {
        let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
        let args = json!({ "names": names, "patience": patience.as_millis() as u64 });
        let script = "return await phone.reach(args.names, args.patience);";
        let state = self.browser.run(script, args).await?;
        Ok(serde_json::from_value(state)?)
    }

    /// Starts an empty recording of what is heard from now on.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn record(&self) -> anyhow::Result<()> {
        self.run("await heard.record();", Value::Null).await
    }

    /// Waits until the recording lasts `length`.
    ///
    /// # Errors
    /// When it has stopped growing: nothing is being heard.
    pub async fn recorded(&self, length: Duration) -> anyhow::Result<()> {
        let args = json!({ "seconds": length.as_secs_f64() });
        let script = "await heard.recorded(args.seconds);";
        self.run(script, args).await
    }

    /// What was heard since [`Softphone::record`].
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn recording(&self) -> anyhow::Result<Recording> {
        #[derive(Deserialize)]
        struct Heard {
            rate: u32,
            pcm: String,
        }
        let script = "return heard.recording();";
        let heard = self.browser.run(script, Value::Null).await?;
        let heard: Heard = serde_json::from_value(heard)?;
        let bytes = STANDARD.decode(heard.pcm)?;
        let pcm: Vec<i16> = bytes
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        Ok(Recording {
            sound: Sound::from_pcm(&pcm, heard.rate)?,
            made: SystemTime::now(),
        })
    }

    /// Waits until the microphone has played its clip whole since the call connected.
    ///
    /// # Errors
    /// When the call is not connected, or ends meanwhile.
    pub async fn spoken(&self) -> anyhow::Result<()> {
        let args = json!({
            "lead": LEAD.as_millis() as u64,
            "clip": self.clip.as_millis() as u64,
            "trail": TRAIL.as_millis() as u64,
        });
        let spoken = self.browser.run("return await phone.spoken(args);", args);
        ensure!(spoken.await? == true, "the call ended before the clip did");
        Ok(())
    }

    /// What others wrote in the call's room, as the page shows it.
    ///
    /// # Errors
    /// When the browser is gone.
    pub async fn note(&self) -> anyhow::Result<String> {
        let script = "return document.getElementById('note').textContent;";
        let note = self.browser.run(script, Value::Null).await?;
        Ok(note.as_str().unwrap_or_default().to_owned())
    }

    /// Closes the page, which hangs up, and its browser.
    ///
    /// # Errors
    /// When the browser is gone already.
    pub async fn close(self) -> anyhow::Result<()> {
        self.browser.close().await
    }

    async fn run(&self, script: &str, args: Value) -> anyhow::Result<()> {
        self.browser.run(script, args).await.map(drop)
    }
}
