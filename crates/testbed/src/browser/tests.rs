//! Two pages call each other through Synapse alone, without a telephone between.

use std::time::SystemTime;

use super::*;
use crate::disturbance::undisturbed;
use crate::judge::{Clip, Judge, Pesq, Verdict, Voices};
use crate::layout;
use crate::namespace;
use crate::synapse::{self, Synapse};

const PATIENCE: Duration = Duration::from_secs(20);

/// A Synapse, a page server, and two people signed in.
struct Site {
    alice: Softphone,
    bob: Softphone,
    _page: PageServer,
    _synapse: Synapse,
}

async fn site(run: &Run) -> anyhow::Result<Site> {
    let synapse = Synapse::start(run, &[]).await?;
    let page = PageServer::start(0, page::Site::default()).await?;
    let sign_in = async |name: &str| -> anyhow::Result<Softphone> {
        synapse.register(name, "secret").await?;
        let browser = Browser::start(run, name, Family::Chromium).await?;
        Softphone::sign_in(browser, &page.url(), synapse::URL, name, "secret").await
    };
    let alice = sign_in("alice").await?;
    let bob = sign_in("bob").await?;
    Ok(Site {
        alice,
        bob,
        _page: page,
        _synapse: synapse,
    })
}

/// Alice calls Bob, both speak their clip, both are heard well.
async fn converse(
    run: &Run,
    site: &mut Site,
    judge: &Judge,
    clips: [&Clip; 2],
) -> anyhow::Result<()> {
    let heard = async || hear(run, site, judge, clips).await;
    let is_good = |heard: &anyhow::Result<[Verdict; 2]>| {
        let verdicts = heard.as_ref().ok();
        verdicts.is_none_or(|verdicts| verdicts.iter().all(Verdict::passed))
    };
    for verdict in undisturbed(heard, is_good).await? {
        ensure!(verdict.passed(), "{verdict:?}");
    }
    Ok(())
}

async fn hear(
    run: &Run,
    site: &mut Site,
    judge: &Judge,
    clips: [&Clip; 2],
) -> anyhow::Result<[Verdict; 2]> {
    let Site { alice, bob, .. } = site;
    alice.speak(clips[0]).await?;
    bob.speak(clips[1]).await?;
    alice.record().await?;
    bob.record().await?;
    let began = SystemTime::now();
    alice.dial("@bob:localtest").await?;
    bob.reach(&[CallState::Incoming], PATIENCE).await?;
    bob.answer().await?;
    alice.reach(&[CallState::Connected], PATIENCE).await?;
    bob.reach(&[CallState::Connected], PATIENCE).await?;
    alice.spoken().await?;
    bob.spoken().await?;
    alice.hangup().await?;
    let state = bob.reach(&[CallState::Ended], PATIENCE).await?;
    ensure!(state.ended.by.as_deref() == Some("them"), "{state:?}");
    let heard = async |spoken: &Clip, listener: &Softphone| -> anyhow::Result<Verdict> {
        let recording = listener.recording().await?;
        recording
            .sound
            .write(&run.path(&format!("{}.wav", spoken.name)))?;
        Ok(judge.verdict(spoken, &recording, began)?)
    };
    Ok([
        heard(clips[0], &*bob).await?,
        heard(clips[1], &*alice).await?,
    ])
}

#[test]
fn two_pages_hear_each_other_and_other_clips_in_the_next_call() {
    namespace::test(async |run| {
        let mut site = site(&run).await?;
        let pesq = Pesq::new(layout::venv_program("python"));
        let prefixes = [layout::debian_sid(), layout::debian_bookworm()];
        let mut voices = Voices::under(&prefixes, rand::random())?;
        let clips: Result<Vec<Clip>, _> = (0..4).map(|_| voices.clip(&pesq)).collect();
        let clips = clips?;
        let judge = Judge::new(pesq, clips.clone());
        converse(&run, &mut site, &judge, [&clips[0], &clips[1]]).await?;
        converse(&run, &mut site, &judge, [&clips[2], &clips[3]]).await
    });
}

#[test]
fn a_declined_call_says_so_on_the_callers_page() {
    namespace::test(async |run| {
        let site = site(&run).await?;
        site.alice.dial("@bob:localtest").await?;
        site.bob.reach(&[CallState::Incoming], PATIENCE).await?;
        site.bob.reject().await?;
        let state = site.alice.reach(&[CallState::Ended], PATIENCE).await?;
        ensure!(state.ended.by.as_deref() == Some("them"), "{state:?}");
        ensure!(
            state.ended.reason.as_deref() == Some("user_hangup"),
            "{state:?}"
        );
        Ok(())
    });
}

#[test]
fn without_a_telephone_system_a_number_cannot_be_dialled() {
    namespace::test(async |run| {
        let site = site(&run).await?;
        site.alice.dial("600").await?;
        let state = site.alice.reach(&[CallState::Ended], PATIENCE).await?;
        ensure!(
            state.ended.reason.as_deref() == Some("no_telephone"),
            "{state:?}"
        );
        Ok(())
    });
}
