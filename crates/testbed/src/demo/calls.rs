//! The calls that the demo places and judges, each a scenario of its own.

use std::fs;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};

use super::report::Row;
use super::scenario::Scenario;
use super::site::{Peers, write_spoken};
use crate::asterisk::{PHONES, extension};
use crate::browser::{CallState, Family, Softphone, State};
use crate::gateway::LINES;
use crate::judge::{Clip, Judge, LEVEL_TOLERANCE_DB, RATE, Recording};
use crate::process::until;
use crate::run::Run;

/// How long a step of call set-up or tear-down may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a clip may be spoken and heard.
const LISTENING: Duration = Duration::from_secs(60);

/// So much of an announcement comes while the browser's playout still settles, in samples: 1.5 s.
const FIRST_WORDS: usize = RATE as usize * 3 / 2;

/// Not allowed by the demo's dial plan, so the look-up finds nobody.
const NOT_DIALABLE: &str = "5555";

/// The site while calls are placed on it.
pub(super) struct Stage<'a> {
    pub(super) run: &'a Run,
    pub(super) peers: &'a mut Peers,
    pub(super) alice: &'a mut Softphone,
    /// Her browser.
    pub(super) family: Family,
    pub(super) judge: &'a Judge,
    /// What the desk phone says in each call.
    pub(super) phone_clip: &'a Clip,
}

impl Stage<'_> {
    /// Places the calls of `scenario`, speaking `clips`. What goes wrong is a failed row.
    pub(super) async fn play(&mut self, scenario: Scenario, clips: &[Clip]) -> Vec<Row> {
        let played = match (scenario, clips) {
            (Scenario::SpeakToPhone, [clip, ..]) => self.speak_to_phone(clip).await,
            (Scenario::HearPhone, [clip, ..]) => self.hear_phone(clip).await,
            (Scenario::Echo, [clip, ..]) => self.echo(clip).await,
            (Scenario::PhoneCallsBrowser, [clip, ..]) => self.phone_calls_browser(clip).await,
            (Scenario::BrowserCallsPhone, [clip, ..]) => self.browser_calls_phone(clip).await,
            (Scenario::Keys, _) => self.keys().await,
            (Scenario::Announcement, [clip, ..]) => self.announcement(clip).await,
            (Scenario::Busy, _) => self.busy().await,
            (Scenario::BrowserGivesUp, _) => self.browser_gives_up().await,
            (Scenario::PhoneGivesUp, _) => self.phone_gives_up().await,
            (Scenario::UnknownAtPbx, _) => self.unknown_at_pbx().await,
            (Scenario::NotDialable, _) => self.not_dialable().await,
            (Scenario::Transfer, _) => self.transfer().await,
            (Scenario::Forward, _) => self.forward().await,
            (Scenario::Home, _) => self.home().await,
            (_, []) => Err(anyhow::anyhow!("no clip was given for this call")),
        };
        match played {
            Ok(rows) => rows,
            Err(error) => {
                self.clear_the_line().await;
                let (call, expected) = (scenario.title(), scenario.expected());
                vec![Row::event(call, expected, Err(format!("{error:#}")))]
            }
        }
    }

    /// After a failure: the next call shall not suffer from this one.
    async fn clear_the_line(&mut self) {
        // Each may have nothing to end; what stays is seen by the next call.
        let _ = self.alice.hangup().await;
        let _ = self.peers.phone.hang_up().await;
        let _ = self.peers.asterisk.cli("channel request hangup all");
        let _ = self.nobody_speaks().await;
    }

    async fn speak_to_phone(&mut self, clip: &Clip) -> anyhow::Result<Vec<Row>> {
        let path = self.recording_path("602", clip)?;
        self.peers.asterisk.record(&path)?;
        self.alice.speak(clip).await?;
        let began = SystemTime::now();
        self.connect(extension::RECORD).await?;
        self.alice.spoken().await?;
        self.alice.hangup().await?;
        self.nobody_speaks().await?;
        let recording = Recording::read(&path)?;
        let row = self.judged(
            Scenario::SpeakToPhone,
            "browser → phone",
            clip,
            recording,
            began,
        )?;
        Ok(vec![row])
    }

    async fn hear_phone(&mut self, clip: &Clip) -> anyhow::Result<Vec<Row>> {
        let path = write_spoken(self.run, &format!("601-says-{}", clip.name), &clip.sound)?;
        self.peers.asterisk.play(&path)?;
        let began = SystemTime::now();
        self.alice.record().await?;
        self.connect(extension::PLAYBACK).await?;
        // 601 hangs up when it has said everything.
        let ended = self.alice.reach(&[CallState::Ended], LISTENING).await?;
        ensure!(
            by_them(&ended),
            "the page did not see the phone hang up: {ended:?}"
        );
        let recording = self.alice.recording().await?;
        self.keep("browser", clip, &recording)?;
        let row = self.judged(
            Scenario::HearPhone,
            "phone → browser",
            clip,
            recording,
            began,
        )?;
        Ok(vec![row])
    }

    async fn echo(&mut self, clip: &Clip) -> anyhow::Result<Vec<Row>> {
        self.alice.speak(clip).await?;
        let began = SystemTime::now();
        self.alice.record().await?;
        self.connect(extension::ECHO).await?;
        self.alice.spoken().await?;
        self.alice.hangup().await?;
        self.nobody_speaks().await?;
        let recording = self.alice.recording().await?;
        self.keep("echo", clip, &recording)?;
        let row = self.judged(Scenario::Echo, "there and back", clip, recording, began)?;
        Ok(vec![row])
    }

    async fn phone_calls_browser(&mut self, clip: &Clip) -> anyhow::Result<Vec<Row>> {
        self.alice.speak(clip).await?;
        let began = SystemTime::now();
        self.alice.record().await?;
        self.peers.phone.dial(LINES[0].extension).await?;
        self.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        self.alice.answer().await?;
        self.alice.reach(&[CallState::Connected], PATIENCE).await?;
        self.converse(Scenario::PhoneCallsBrowser, clip, began)
            .await
    }

    async fn browser_calls_phone(&mut self, clip: &Clip) -> anyhow::Result<Vec<Row>> {
        self.alice.speak(clip).await?;
        let began = SystemTime::now();
        self.alice.record().await?;
        self.connect(PHONES[0]).await?;
        self.converse(Scenario::BrowserCallsPhone, clip, began)
            .await
    }

    /// Both ends say what they have to say, then the phone hangs up.
    async fn converse(
        &mut self,
        scenario: Scenario,
        clip: &Clip,
        began: SystemTime,
    ) -> anyhow::Result<Vec<Row>> {
        self.peers.phone.established(PATIENCE).await?;
        self.alice.spoken().await?;
        // The phone began with its clip after the breath; both must have come to an end.
        let phone_speaks = Duration::from_millis(self.phone_clip.sound.millis() as u64);
        self.alice.recorded(phone_speaks + PHONE_MARGIN).await?;
        self.peers.phone.hang_up().await?;
        let ended = self.alice.reach(&[CallState::Ended], PATIENCE).await?;
        ensure!(
            by_them(&ended),
            "the page did not see the phone hang up: {ended:?}"
        );
        self.nobody_speaks().await?;
        let heard = self.alice.recording().await?;
        self.keep("browser", self.phone_clip, &heard)?;
        let phone_heard = Recording::read(&self.peers.phone.heard()?)?;
        self.keep("1001", clip, &phone_heard)?;
        let phone_clip = self.phone_clip;
        Ok(vec![
            self.judged(scenario, "phone → browser", phone_clip, heard, began)?,
            self.judged(scenario, "browser → phone", clip, phone_heard, began)?,
        ])
    }

    async fn keys(&mut self) -> anyhow::Result<Vec<Row>> {
        self.connect(extension::DIGITS).await?;
        // Other keys in every run: what 609 read in an earlier one is no success.
        let pressed = format!("{:04}", rand::random_range(0..10_000));
        self.alice.send_dtmf(&pressed).await?;
        // 609 reads four keys and hangs up.
        self.alice.reach(&[CallState::Ended], PATIENCE).await?;
        let read = self.peers.asterisk.digits()?;
        let outcome = if read == pressed {
            Ok(())
        } else {
            Err(format!("pressed {pressed}, read {read:?}"))
        };
        let (call, expected) = (Scenario::Keys.title(), Scenario::Keys.expected());
        Ok(vec![Row::event(call, expected, outcome)])
    }

    /// The browser hears 608 from its first word on. Chromium stretches and squeezes what comes in the first second
    /// after its sound is up (15 to 35 ms back and forth), so there the level is judged, and only then the quality.
    async fn announcement(&mut self, clip: &Clip) -> anyhow::Result<Vec<Row>> {
        let scenario = Scenario::Announcement;
        let first_words = self.phone_clip.sound.cut(0, FIRST_WORDS);
        let mut spoken = first_words.clone();
        spoken.append(&clip.sound);
        let path = write_spoken(self.run, &format!("608-says-{}", clip.name), &spoken)?;
        self.peers.asterisk.play(&path)?;
        let began = SystemTime::now();
        self.alice.record().await?;
        self.connect(extension::EARLY_MEDIA).await?;
        // 608 is busy when it has said everything.
        let ended = self.alice.reach(&[CallState::Ended], LISTENING).await?;
        let recording = self.alice.recording().await?;
        self.keep("announcement", clip, &recording)?;
        let heard = recording.sound.clone();
        let sound = self.judged(scenario, "before the answer", clip, recording, began)?;
        let lag_ms = sound.figures.as_ref().map_or(0, |figures| figures.lag_ms);
        let from = lag_ms as isize * RATE as isize / 1_000 - FIRST_WORDS as isize;
        let quieter = first_words.level_db() - heard.cut(from, FIRST_WORDS).level_db();
        let outcome = match quieter.abs() <= LEVEL_TOLERANCE_DB {
            true => Ok(()),
            false => Err(format!(
                "they are {quieter:.1} dB quieter than they were spoken"
            )),
        };
        let first = Row::event(scenario.title(), "from its first words on", outcome);
        // Element believes that the call was answered, and shows nothing of its own.
        let alice = &*self.alice;
        until("a sentence that says busy", PATIENCE, async || {
            alice.note().await.ok().filter(|note| note.contains("busy"))
        })
        .await?;
        Ok(vec![sound, first, told(scenario, by_them(&ended), &ended)])
    }

    async fn busy(&mut self) -> anyhow::Result<Vec<Row>> {
        self.alice.dial(extension::BUSY).await?;
        let ended = self.alice.reach(&[CallState::Ended], PATIENCE).await?;
        let busy = ended.ended.reason.as_deref() == Some("user_busy") && by_them(&ended);
        Ok(vec![told(Scenario::Busy, busy, &ended)])
    }

    async fn browser_gives_up(&mut self) -> anyhow::Result<Vec<Row>> {
        let scenario = Scenario::BrowserGivesUp;
        self.alice.dial(extension::NO_ANSWER).await?;
        self.alice.reach(&[CallState::Ringing], PATIENCE).await?;
        let asterisk = &self.peers.asterisk;
        until("604 to ring at the PBX", PATIENCE, async || {
            (asterisk.channels().ok()? > 0).then_some(())
        })
        .await?;
        self.alice.hangup().await?;
        self.nobody_speaks().await?;
        // The log tells a CANCEL from a call that ran into some limit of its own.
        let cancel = format!("CANCEL sip:{}@", extension::NO_ANSWER);
        let log = fs::read_to_string(self.run.path("asterisk.log"))?;
        let outcome = if log.contains(&cancel) {
            Ok(())
        } else {
            Err("no CANCEL came to the PBX".to_owned())
        };
        Ok(vec![Row::event(
            scenario.title(),
            scenario.expected(),
            outcome,
        )])
    }

    async fn phone_gives_up(&mut self) -> anyhow::Result<Vec<Row>> {
        self.peers.phone.dial(LINES[0].extension).await?;
        self.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        self.peers.phone.hang_up().await?;
        let ended = self.alice.reach(&[CallState::Ended], PATIENCE).await?;
        self.nobody_speaks().await?;
        Ok(vec![told(Scenario::PhoneGivesUp, by_them(&ended), &ended)])
    }

    async fn unknown_at_pbx(&mut self) -> anyhow::Result<Vec<Row>> {
        self.alice.dial(extension::UNKNOWN).await?;
        let ended = self.alice.reach(&[CallState::Ended], PATIENCE).await?;
        // Element shows only "Call Failed" for this, so a sentence in the room says why.
        let alice = &*self.alice;
        let note = until("a sentence in the room", PATIENCE, async || {
            alice.note().await.ok().filter(|note| !note.is_empty())
        })
        .await?;
        let says_why = by_them(&ended) && note.to_lowercase().contains("number");
        Ok(vec![told(Scenario::UnknownAtPbx, says_why, &ended)])
    }

    async fn not_dialable(&mut self) -> anyhow::Result<Vec<Row>> {
        self.alice.dial(NOT_DIALABLE).await?;
        let ended = self.alice.reach(&[CallState::Ended], PATIENCE).await?;
        let unknown = ended.ended.reason.as_deref() == Some("unknown_number");
        Ok(vec![told(Scenario::NotDialable, unknown, &ended)])
    }

    /// Dials, and waits until the call is answered and its sound is up.
    pub(super) async fn connect(&self, number: &str) -> anyhow::Result<()> {
        self.alice.dial(number).await?;
        let reached = [CallState::Connected, CallState::Ended];
        let state = self.alice.reach(&reached, PATIENCE).await?;
        ensure!(
            state.is == CallState::Connected,
            "{number} did not answer: {state:?}"
        );
        Ok(())
    }

    /// Waits until no call is left at the PBX; recordings are complete then.
    pub(super) async fn nobody_speaks(&self) -> anyhow::Result<()> {
        let asterisk = &self.peers.asterisk;
        until("the last call to end at the PBX", PATIENCE, async || {
            (asterisk.channels().ok()? == 0).then_some(())
        })
        .await
    }

    /// A file that no earlier run can have left.
    fn recording_path(&self, who: &str, clip: &Clip) -> anyhow::Result<std::path::PathBuf> {
        let name = format!("{who}-heard-{}.wav", clip.name);
        Ok(self.run.subfolder("sound")?.join(name))
    }

    /// Keeps what was heard beside the logs, for a person's own ears.
    fn keep(&self, who: &str, clip: &Clip, recording: &Recording) -> anyhow::Result<()> {
        Ok(recording.sound.write(&self.recording_path(who, clip)?)?)
    }

    fn judged(
        &self,
        scenario: Scenario,
        direction: &str,
        clip: &Clip,
        recording: Recording,
        began: SystemTime,
    ) -> anyhow::Result<Row> {
        let verdict = tokio::task::block_in_place(|| self.judge.verdict(clip, &recording, began))
            .with_context(|| format!("judging {direction}"))?;
        Ok(Row::sound(scenario.title(), direction, verdict))
    }
}

/// What the desk phone's clip needs beside its own length: the breath before it, and the
/// sound's way.
const PHONE_MARGIN: Duration = Duration::from_secs(4);

fn by_them(state: &State) -> bool {
    state.ended.by.as_deref() == Some("them")
}

/// A row about how the page says that a call ended.
fn told(scenario: Scenario, right: bool, state: &State) -> Row {
    let outcome = if right {
        Ok(())
    } else {
        Err(format!("the page says {:?}", state.ended))
    };
    Row::event(scenario.title(), scenario.expected(), outcome)
}
