//! What the demo relies on beside the gateway: a desk phone and Asterisk pass the judge.

use std::time::{Duration, SystemTime};

use anyhow::ensure;

use super::*;
use crate::asterisk::{Asterisk, PHONES, extension};
use crate::baresip::{Answering, DeskPhone};
use crate::judge::Recording;
use crate::namespace;
use crate::process::until;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_desk_phone_and_asterisk_alone_pass_the_judge_both_ways() {
    namespace::test(async |run| {
        let pesq = Pesq::new(layout::venv_program("python"));
        let mut voices = voices(rand::random())?;
        let (spoken, played) = (voices.clip(&pesq)?, voices.clip(&pesq)?);
        let judge = Judge::new(pesq, vec![spoken.clone(), played.clone()]);
        let asterisk = Asterisk::start(&run).await?;
        let says = write_spoken(&run, "1001-says", &spoken.sound)?;
        let mut phone =
            DeskPhone::start(&run, &asterisk, PHONES[0], Answering::Auto, &says).await?;

        let began = SystemTime::now();
        asterisk.play(&write_spoken(&run, "601-says", &played.sound)?)?;
        phone.dial(extension::PLAYBACK).await?;
        phone.closed(PATIENCE).await?;
        let heard = Recording::read(&phone.heard()?)?;
        let verdict = judge.verdict(&played, &heard, began)?;
        ensure!(verdict.passed(), "{verdict:?}");

        let began = SystemTime::now();
        let path = run.path("602-heard.wav");
        asterisk.record(&path)?;
        phone.dial(extension::RECORD).await?;
        phone.established(PATIENCE).await?;
        // The file grows by 16,000 bytes a second: the breath, the clip, and a second more.
        let whole = (spoken.sound.millis() as u64 + 3_000) * 16;
        until("602 to have heard the clip", PATIENCE, async || {
            let written = std::fs::metadata(&path).ok()?.len();
            (written >= whole).then_some(())
        })
        .await?;
        phone.hang_up().await?;
        until("the call to end", PATIENCE, async || {
            (asterisk.channels().ok()? == 0).then_some(())
        })
        .await?;
        let verdict = judge.verdict(&spoken, &Recording::read(&path)?, began)?;
        ensure!(verdict.passed(), "{verdict:?}");
        Ok(())
    });
}
