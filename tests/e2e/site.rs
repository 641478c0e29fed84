//! A site for one test: the peers of the demo, and Alice in front of her browser.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mxtrunk_store::{CallRecord, Store};
use mxtrunk_testbed::browser::{Browser, CallState, Family, Softphone, State};
use mxtrunk_testbed::demo::site::{PASSWORD, Peers, Wanted, write_spoken};
use mxtrunk_testbed::demo::{self, Check};
use mxtrunk_testbed::gateway::{self, Gateway, Line};
use mxtrunk_testbed::judge::{Clip, Sound};
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::synapse;
use tokio::process::Command;

/// How long a step may take on a busy machine, where the test is not about time.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How long a homeserver that starts beside others may take to have all rooms made.
const STARTED: Duration = Duration::from_secs(60);

/// A tone that is heard, dB below full scale; silence is below -60.
const LOUD: f32 = -40.0;

/// How soon the other side has to hear of an outage, a crash or a stop.
pub(super) const SOON: Duration = Duration::from_secs(10);

pub(super) struct Site {
    pub(super) peers: Peers,
    pub(super) alice: Softphone,
}

impl Site {
    /// Starts everything. `changes` is TOML laid over the testbed's gateway.toml.
    pub(super) async fn start(run: &Run, changes: &str) -> anyhow::Result<Self> {
        Self::start_saying(run, changes, &hum()).await
    }

    /// The same with a desk phone that says this.
    pub(super) async fn start_saying(
        run: &Run,
        changes: &str,
        says: &Sound,
    ) -> anyhow::Result<Self> {
        let phone_says = write_spoken(run, "1001-says", says)?;
        let wanted = Wanted {
            binary: Path::new(env!("CARGO_BIN_EXE_mxtrunk")),
            changes,
            phone_says: &phone_says,
            page_port: 0,
            widget: false,
        };
        let peers = Peers::start(run, &wanted).await?;
        let browser = Browser::start(run, "browser-alice", Family::Chromium).await?;
        let url = peers.page.url();
        let alice = Softphone::sign_in(browser, &url, synapse::URL, "alice", PASSWORD).await?;
        let site = Site { peers, alice };
        site.has_its_rooms(changes).await?;
        Ok(site)
    }

    /// The lines' telephony rooms are there: a homeserver that makes them has no time for calls.
    async fn has_its_rooms(&self, changes: &str) -> anyhow::Result<()> {
        let has_own_lines = changes.contains("[[line]]");
        let lines = gateway::LINES.iter();
        let lines = lines.filter(|line| !has_own_lines || changes.contains(line.user));
        let store = Store::open(&self.peers.gateway.database()).await?;
        for Line { user, .. } in lines {
            let whose = format!("@{user}:{}", synapse::SERVER_NAME);
            until(&format!("the rooms of {whose}"), STARTED, async || {
                let settled = store.settled_homes().await.ok()?;
                settled.contains_key(&whose).then_some(())
            })
            .await?;
        }
        Ok(())
    }

    /// Alice dials, and the call is connected.
    pub(super) async fn connect(&self, number: &str) -> anyhow::Result<()> {
        self.alice.dial(number).await?;
        let state = self
            .alice
            .reach(&[CallState::Connected, CallState::Ended], PATIENCE)
            .await?;
        ensure!(
            state.is == CallState::Connected,
            "{number} did not answer: {state:?}"
        );
        Ok(())
    }

    /// Alice's page says that the call has ended, and not by her.
    pub(super) async fn ended_by_them(&self, within: Duration) -> anyhow::Result<State> {
        let state = self.alice.reach(&[CallState::Ended], within).await?;
        ensure!(state.ended.by.as_deref() == Some("them"), "{state:?}");
        Ok(state)
    }

    /// The page shows a sentence with these words.
    pub(super) async fn reads(&self, words: &str) -> anyhow::Result<()> {
        until(
            &format!("a sentence with {words:?} in the room"),
            PATIENCE,
            async || {
                self.alice
                    .note()
                    .await
                    .ok()
                    .filter(|note| note.contains(words))
            },
        )
        .await?;
        Ok(())
    }

    /// The call that is up is heard at Alice's, she hangs up, and its record says that both heard each other.
    pub(super) async fn is_heard_and_hung_up(&self) -> anyhow::Result<()> {
        self.alice.record().await?;
        self.alice.recorded(Duration::from_secs(2)).await?;
        self.alice.hangup().await?;
        self.pbx_is_quiet(PATIENCE).await?;
        let record = self.record().await?;
        ensure!(record.audio.as_deref() == Some("both"), "{record:?}");
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        Ok(())
    }

    /// Alice says a tone from 4 s after her microphone was opened on, in calls to come.
    pub(super) async fn alice_says_a_tone(&mut self) -> anyhow::Result<()> {
        let name = "tone".to_owned();
        let sound = hum_of(Duration::from_secs(30));
        self.alice.speak(&Clip { name, sound }).await
    }

    /// Alice and this phone hear each other's tones now, by what is recorded on each side; `when` names the recording.
    pub(super) async fn both_hear(&self, run: &Run, phone: &str, when: &str) -> anyhow::Result<()> {
        self.phone_hears(run, phone, when).await?;
        self.alice_hears(when).await
    }

    /// This phone is sent a tone now, by what its PBX records.
    pub(super) async fn phone_hears(
        &self,
        run: &Run,
        phone: &str,
        when: &str,
    ) -> anyhow::Result<()> {
        let recording = run.path(&format!("{phone}-{when}"));
        let heard = self.peers.asterisk.listen(phone, &recording)?;
        let what = format!("{phone} to be sent a tone ({when})");
        until(&what, PATIENCE, async || {
            let last = heard.last(Duration::from_secs(1)).ok()?;
            (last.level_db() > LOUD).then_some(())
        })
        .await
    }

    /// Alice hears something for a second, by her recording.
    pub(super) async fn alice_hears(&self, when: &str) -> anyhow::Result<()> {
        let what = format!("Alice to hear something ({when})");
        until(&what, PATIENCE, async || {
            self.alice.record().await.ok()?;
            self.alice.recorded(Duration::from_secs(1)).await.ok()?;
            let recording = self.alice.recording().await.ok()?;
            (recording.sound.level_db() > LOUD).then_some(())
        })
        .await
    }

    /// The desk phone calls Alice, and she answers.
    pub(super) async fn answers_the_desk_phone(&mut self, number: &str) -> anyhow::Result<()> {
        self.peers.phone.dial(number).await?;
        self.alice.reach(&[CallState::Incoming], PATIENCE).await?;
        self.alice.answer().await?;
        self.alice.reach(&[CallState::Connected], PATIENCE).await?;
        Ok(())
    }

    /// The PBX has no call any more.
    pub(super) async fn pbx_is_quiet(&self, within: Duration) -> anyhow::Result<()> {
        until("the PBX to have no call", within, async || {
            (self.peers.asterisk.channels().ok()? == 0).then_some(())
        })
        .await
    }

    /// The one record there is, once it is complete.
    pub(super) async fn record(&self) -> anyhow::Result<CallRecord> {
        let store = Store::open(&self.peers.gateway.database()).await?;
        let record = until("the call record to be complete", PATIENCE, async || {
            let records = store.records(10).await.ok()?;
            records
                .into_iter()
                .next()
                .filter(|record| record.ended_at.is_some())
        })
        .await?;
        ensure!(
            store.records(10).await?.len() == 1,
            "there is more than one record"
        );
        Ok(record)
    }
}

/// The calls of the demo, through the gateway that is tested.
pub(super) fn everything() -> anyhow::Result<Check> {
    Ok(Check {
        binary: env!("CARGO_BIN_EXE_mxtrunk").into(),
        ..Check::everything()?
    })
}

/// Places the calls and judges their sound; the report is in the test's output.
pub(super) async fn sounds_right(run: &Run, check: &Check) -> anyhow::Result<()> {
    let report = demo::check(run, check).await?;
    println!("{report}");
    ensure!(report.passed(), "{report}");
    Ok(())
}

/// Something for the desk phone to say: these tests do not listen.
pub(super) fn hum() -> Sound {
    hum_of(Duration::from_secs(2))
}

/// The same for so long.
pub(super) fn hum_of(length: Duration) -> Sound {
    let samples: Vec<i16> = (0..8 * length.as_millis())
        .map(|n| (4_000.0 * (n as f64 * 440.0 * std::f64::consts::TAU / 8_000.0).sin()) as i16)
        .collect();
    Sound::from_pcm(&samples, 8_000).expect("8 kHz is a rate that sounds have")
}

/// The call that a person has now, by its name in the log.
pub(super) async fn call_of(gateway: &Gateway, user: &str) -> anyhow::Result<String> {
    let calls = command(gateway, &["calls"]).await?;
    let person = format!(" @{user}:{} ", synapse::SERVER_NAME);
    let line = calls.lines().find(|line| line.contains(&person));
    let call = line.and_then(|line| line.split_whitespace().next());
    Ok(call.with_context(|| calls.clone())?.to_owned())
}

/// What has passed in a call, as `mxtrunk trace` draws it.
pub(super) async fn ladder(gateway: &Gateway, call: &str) -> anyhow::Result<String> {
    command(gateway, &["trace", call]).await
}

/// What one of the gateway's own commands prints.
pub(super) async fn command(gateway: &Gateway, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_mxtrunk"))
        .args(arguments)
        .arg("--config")
        .arg(gateway.config())
        .output()
        .await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(String::from_utf8(output.stdout)?)
}
