//! Each peer of the testbed alone: it starts, and does what the scenarios rely on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::{self, Asterisk, extension};
use mxtrunk_testbed::baresip::{Answering, DeskPhone, Happened};
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::sipp::{self, Scenario};
use mxtrunk_testbed::synapse::Synapse;
use mxtrunk_testbed::{layout, namespace};

#[test]
fn synapse_starts_and_registers_a_user() {
    namespace::test(async |run| {
        let synapse = Synapse::start(&run, &[]).await?;
        let alice = synapse.register("alice", "wonderland").await?;
        ensure!(alice.user_id == "@alice:localtest", "{alice:?}");
        ensure!(!alice.access_token.is_empty() && !alice.device_id.is_empty());
        ensure!(
            synapse.register("alice", "again").await.is_err(),
            "registered twice"
        );
        Ok(())
    });
}

#[test]
fn asterisk_answers_options_from_sipp() {
    namespace::test(async |run| {
        let _asterisk = Asterisk::start(&run).await?;
        let options = Scenario {
            name: "options",
            xml: sipp::OPTIONS,
            target: asterisk::SIP,
            port: 5070,
            service: extension::ECHO,
            calls: 3,
        };
        options.run(&run, Duration::from_secs(20)).await
    });
}

#[test]
fn a_desk_phone_hears_the_clip_that_asterisk_plays() {
    namespace::test(async |run| {
        let asterisk = Asterisk::start(&run).await?;
        let clip = clip();
        asterisk.play(&clip)?;
        let mut phone = phone(&run, &asterisk, "1001", Answering::Auto).await?;
        phone.dial(extension::PLAYBACK).await?;
        phone.established(Duration::from_secs(5)).await?;
        phone.closed(Duration::from_secs(30)).await?;
        let played = loudest(&clip)?;
        let heard = loudest(&phone.heard()?)?;
        ensure!(
            heard.abs_diff(played) < played / 10,
            "played {played}, heard {heard}"
        );
        Ok(())
    });
}

#[test]
fn asterisk_records_what_a_desk_phone_says() {
    namespace::test(async |run| {
        let asterisk = Asterisk::start(&run).await?;
        let recording = run.path("recorded.wav");
        asterisk.record(&recording)?;
        let mut phone = phone(&run, &asterisk, "1001", Answering::Auto).await?;
        phone.dial(extension::RECORD).await?;
        phone.established(Duration::from_secs(5)).await?;
        let said = loudest(&clip())?;
        let whole = std::fs::metadata(clip())?.len();
        until(
            "the whole clip to be recorded",
            Duration::from_secs(20),
            async || {
                let length = std::fs::metadata(&recording).ok()?.len();
                (length > whole).then_some(())
            },
        )
        .await?;
        phone.hang_up().await?;
        until("the channel to end", Duration::from_secs(5), async || {
            (asterisk.channels().ok()? == 0).then_some(())
        })
        .await?;
        let recorded = loudest(&recording)?;
        ensure!(
            recorded.abs_diff(said) < said / 10,
            "said {said}, recorded {recorded}"
        );
        Ok(())
    });
}

#[test]
fn one_desk_phone_calls_the_other_and_both_hang_up_together() {
    namespace::test(async |run| {
        let asterisk = Asterisk::start(&run).await?;
        let mut caller = phone(&run, &asterisk, "1001", Answering::Auto).await?;
        let mut called = phone(&run, &asterisk, "1002", Answering::OnCommand).await?;
        caller.dial("1002").await?;
        called
            .until(
                "a call",
                Duration::from_secs(5),
                |happened| match happened {
                    Happened::Incoming(from) => Some(from.clone()),
                    _ => None,
                },
            )
            .await?;
        called.answer().await?;
        caller.established(Duration::from_secs(5)).await?;
        called.hang_up().await?;
        caller.closed(Duration::from_secs(5)).await.map(drop)
    });
}

#[test]
fn refusals_reach_a_desk_phone_with_their_status() {
    namespace::test(async |run| {
        let asterisk = Asterisk::start(&run).await?;
        let mut phone = phone(&run, &asterisk, "1001", Answering::Auto).await?;
        let expected = [
            (extension::BUSY, "486"),
            (extension::FORBIDDEN, "403"),
            (extension::UNAVAILABLE, "503"),
            (extension::UNKNOWN, "404"),
        ];
        for (number, status) in expected {
            phone.dial(number).await?;
            let why = phone.closed(Duration::from_secs(5)).await?;
            ensure!(why.starts_with(status), "{number}: {why}");
        }
        Ok(())
    });
}

async fn phone(
    run: &Run,
    asterisk: &Asterisk,
    extension: &'static str,
    answering: Answering,
) -> anyhow::Result<DeskPhone> {
    DeskPhone::start(run, asterisk, extension, answering, &clip()).await
}

/// A few seconds of a real voice.
fn clip() -> PathBuf {
    layout::asterisk_sounds().join("demo-thanks.wav")
}

/// The largest sample of a wav, in absolute value.
fn loudest(wav: &Path) -> anyhow::Result<u16> {
    let mut reader = hound::WavReader::open(wav)?;
    let samples: Result<Vec<i16>, _> = reader.samples::<i16>().collect();
    let peak = samples?.iter().map(|sample| sample.unsigned_abs()).max();
    Ok(peak.unwrap_or(0))
}
