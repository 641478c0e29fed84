//! The site of `docker-compose.yml` that an engine has up, as it is: sound by its doctor, and its desk phones are called.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::browser::{Browser, CallState, Family, PageServer, Site as Page, Softphone};
use mxtrunk_testbed::judge::{Clip, Sound};
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::{layout, root};

use super::compose::{HOMESERVER, PATIENCE, password, printed};

/// What docker-compose prints for the site.
fn compose(arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(layout::compose());
    command.arg("--file").arg(root().join("docker-compose.yml"));
    printed(command.args(arguments).current_dir(root()))
}

/// What a command of the gateway prints in its container.
fn mxtrunk(command: &str) -> anyhow::Result<String> {
    compose(&["exec", "-T", "mxtrunk", "mxtrunk", command])
}

/// A tone of half a minute.
fn tone() -> anyhow::Result<Sound> {
    let step = 440.0 * std::f64::consts::TAU / 8_000.0;
    let samples: Vec<i16> = (0..240_000)
        .map(|n| (4_000.0 * (f64::from(n) * step).sin()) as i16)
        .collect();
    Ok(Sound::from_pcm(&samples, 8_000)?)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "an engine has to have the site up: docker compose up --detach; cargo test --test mxtrunk install::engine -- --ignored"]
async fn the_site_that_an_engine_has_up_is_sound_and_takes_calls() -> anyhow::Result<()> {
    let said = mxtrunk("doctor")?;
    ensure!(said.contains(" 0 failed"), "{said}");
    let people = compose(&["logs", "--no-log-prefix", "people"])?;
    let password = password(&people)?;

    let run = Run::start("install.engine")?;
    let page = Page {
        homeserver: HOMESERVER.to_owned(),
        users: Vec::new(),
        numbers: Vec::new(),
    };
    let page = PageServer::start(0, page).await?;
    let browser = Browser::start(&run, "browser-alice", Family::Chromium).await?;
    let mut alice = Softphone::sign_in(browser, &page.url(), HOMESERVER, "alice", password).await?;
    let (name, sound) = ("tone".to_owned(), tone()?);
    alice.speak(&Clip { name, sound }).await?;
    // 1001 sends Alice's tone back until she hangs up; 1002 speaks for 13 s and hangs up itself.
    for number in ["1001", "1002"] {
        alice.dial(number).await?;
        let ends = [CallState::Connected, CallState::Ended];
        let state = alice.reach(&ends, PATIENCE).await?;
        ensure!(state.is == CallState::Connected, "{number}: {state:?}");
        // The microphone's clip begins after 4 s.
        tokio::time::sleep(Duration::from_secs(5)).await;
        alice.record().await?;
        alice.recorded(Duration::from_secs(3)).await?;
        let heard = alice.recording().await?.sound.level_db();
        ensure!(heard > -40.0, "{number}: Alice hears {heard} dB");
        let calls = mxtrunk("calls")?;
        ensure!(calls.contains("@alice:localhost"), "{calls}");
        if number == "1001" {
            alice.hangup().await?;
        }
        alice.reach(&[CallState::Ended], PATIENCE).await?;
    }
    alice.close().await
}
