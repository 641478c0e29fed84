//! Calls that end with somebody else: transferred by the person, or forwarded by their line.

use std::fs;

use anyhow::ensure;

use super::calls::{PATIENCE, Stage};
use super::report::Row;
use super::scenario::Scenario;
use crate::asterisk::{PHONES, extension};
use crate::browser::CallState;
use crate::gateway::LINES;
use crate::process::until;

/// Who takes commands in a chat.
const SERVICE: &str = "@mxtrunk:localtest";

/// What the PBX writes whenever the echo begins.
const ECHO_BEGINS: &str = "Executing [600@site:2] Echo";

impl Stage<'_> {
    /// Alice calls the desk phone and hands it on to the echo: it stays in its call, and she is free.
    pub(super) async fn transfer(&mut self) -> anyhow::Result<Vec<Row>> {
        let (echoes, ended) = (self.echoes()?, self.ended());
        self.connect(PHONES[0]).await?;
        self.peers.phone.established(PATIENCE).await?;
        self.alice.transfer(extension::ECHO).await?;
        self.alice.reach(&[CallState::Ended], PATIENCE).await?;
        self.echo_begins_after(echoes).await?;
        // Who hangs up before the PBX has said that they are through, is not: it reports 503, and the gateway calls the echo.
        let told = "the gateway to be told that they are through";
        until(told, PATIENCE, async || {
            (self.ended() > ended).then_some(())
        })
        .await?;
        self.peers.phone.hang_up().await?;
        self.nobody_speaks().await?;
        Ok(vec![done(Scenario::Transfer)])
    }

    /// Alice has her calls sent to the echo: the desk phone that calls her gets that, and her browser does not ring.
    pub(super) async fn forward(&mut self) -> anyhow::Result<Vec<Row>> {
        let echoes = self.echoes()?;
        let before = self.alice.history().await?.len();
        let to = extension::ECHO;
        let set = format!("forward always {to}");
        self.alice.write(SERVICE, &set, to).await?;
        self.peers.phone.dial(LINES[0].extension).await?;
        self.peers.phone.established(PATIENCE).await?;
        self.echo_begins_after(echoes).await?;
        self.peers.phone.hang_up().await?;
        self.nobody_speaks().await?;
        self.alice
            .write(SERVICE, "forward always off", "orward")
            .await?;
        let rang = self.alice.history().await?.len() > before;
        ensure!(!rang, "her browser rang");
        Ok(vec![done(Scenario::Forward)])
    }

    /// How many calls the gateway has ended so far.
    fn ended(&self) -> usize {
        self.peers.gateway.logged().matches("call ended").count()
    }

    /// How often the echo has begun so far.
    fn echoes(&self) -> anyhow::Result<usize> {
        let log = fs::read_to_string(self.run.path("asterisk.log"))?;
        Ok(log.matches(ECHO_BEGINS).count())
    }

    async fn echo_begins_after(&self, echoes: usize) -> anyhow::Result<()> {
        until("the echo to begin at the PBX", PATIENCE, async || {
            (self.echoes().ok()? > echoes).then_some(())
        })
        .await
    }
}

fn done(scenario: Scenario) -> Row {
    Row::event(scenario.title(), scenario.expected(), Ok(()))
}
