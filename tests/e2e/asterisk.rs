//! The gateway between a real Asterisk and people at simulated browsers, who are there faster than real ones.

use std::path::Path;

use anyhow::ensure;
use mxtrunk_store::{CallRecord, Store};
use mxtrunk_testbed::asterisk::{Asterisk, extension};
use mxtrunk_testbed::gateway::Gateway;
use mxtrunk_testbed::person::People;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::run::Run;
use mxtrunk_testbed::synapse;

use super::site::PATIENCE;

/// A site with nothing special about it: the PBX's trunk, and one media worker.
pub(super) const CONFIG: &str = r#"
[[trunk]]
name = "pbx"
target = "127.0.0.1:5060"

[media]
workers = 1
"#;

pub(super) struct AsteriskSite {
    pub(super) run: Run,
    pub(super) gateway: Gateway,
    pub(super) people: People,
    pub(super) asterisk: Asterisk,
}

impl AsteriskSite {
    /// Starts everything; `lines` are accounts of Asterisk's, `config` is laid over the testbed's gateway.toml.
    pub(super) async fn start(run: &Run, lines: &[&str], config: &str) -> anyhow::Result<Self> {
        let people = People::start().await?;
        let asterisk = Asterisk::start_with_lines(run, lines).await?;
        let binary = Path::new(env!("CARGO_BIN_EXE_mxtrunk"));
        let mut gateway = Gateway::configure(run, binary, &[config])?;
        gateway.start().await?;
        Ok(Self {
            run: run.clone(),
            gateway,
            people,
            asterisk,
        })
    }

    pub(super) async fn is_registered(&self, line: &str, wanted: bool) -> anyhow::Result<()> {
        let what = format!("{line} to be registered: {wanted}");
        until(&what, PATIENCE, async || {
            let registered = self.asterisk.has_registered(line).ok()?;
            (registered == wanted).then_some(())
        })
        .await
    }

    pub(super) async fn logs(&self, words: &str, times: usize) -> anyhow::Result<()> {
        until(&format!("{words:?} in the log"), PATIENCE, async || {
            (self.gateway.logged().matches(words).count() >= times).then_some(())
        })
        .await
    }

    /// Asterisk has a channel of this endpoint.
    pub(super) async fn has_channel_of(&self, endpoint: &str) -> anyhow::Result<()> {
        let name = format!("PJSIP/{endpoint}-");
        until(&format!("a channel of {endpoint}"), PATIENCE, async || {
            let names = self.asterisk.channel_names().ok()?;
            names.iter().any(|n| n.starts_with(&name)).then_some(())
        })
        .await
    }

    /// Asterisk has no call any more.
    pub(super) async fn pbx_is_quiet(&self) -> anyhow::Result<()> {
        until("the PBX to have no call", PATIENCE, async || {
            (self.asterisk.channels().ok()? == 0).then_some(())
        })
        .await
    }

    /// The record of the newest call, once it is complete.
    pub(super) async fn record(&self) -> anyhow::Result<CallRecord> {
        let store = Store::open(&self.gateway.database()).await?;
        until("the record to be complete", PATIENCE, async || {
            let newest = store.records(1).await.ok()?.into_iter().next()?;
            newest.ended_at.is_some().then_some(newest)
        })
        .await
    }

    /// The records of a person's calls, the newest first, once all are complete.
    pub(super) async fn records_of(&self, user: &str) -> anyhow::Result<Vec<CallRecord>> {
        let user = format!("@{user}:{}", synapse::SERVER_NAME);
        let store = Store::open(&self.gateway.database()).await?;
        let what = format!("the records of {user} to be complete");
        until(&what, PATIENCE, async || {
            let mut records = store.records(100).await.ok()?;
            records.retain(|record| record.user == user);
            let complete = records.iter().all(|record| record.ended_at.is_some());
            (complete && !records.is_empty()).then_some(records)
        })
        .await
    }

    /// What Asterisk has written down: every SIP message, and what its extensions did.
    pub(super) fn pbx_log(&self) -> String {
        let log = std::fs::read(self.run.path("asterisk.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Asterisk calls this line at its contact, and the person picks up and hangs up.
    pub(super) async fn is_reachable(&self, line: &str, user: &str) -> anyhow::Result<()> {
        let channel = format!("PJSIP/{line}");
        self.asterisk.originate(&channel, extension::ECHO)?;
        let call = self.people.rung(user).await?;
        call.answer()?;
        call.is_connected().await?;
        call.hang_up();
        let record = self.record().await?;
        ensure!(record.reason.as_deref() == Some("hung_up"), "{record:?}");
        Ok(())
    }
}
