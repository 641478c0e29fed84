//! A database that takes nothing for a while: calls go on without it.

use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::process::{Peer, until};

use super::asterisk::{AsteriskSite, CONFIG};
use super::site::PATIENCE;

/// Holds a lock that keeps all others from writing, until it is killed.
const LOCK: &str = "\
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
database.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
time.sleep(600)
";

/// From now on nobody else writes to the gateway's database, until what is returned is dropped.
async fn locked(site: &AsteriskSite) -> anyhow::Result<Peer> {
    let mut command = Command::new("python3");
    command.args(["-c", LOCK]).arg(site.gateway.database());
    let mut lock = Peer::start(&site.run, "lock", command)?;
    lock.logs("locked", PATIENCE).await?;
    Ok(lock)
}

/// Their last call counted as one that goes on until its record was written: its room was in use, and they were busy.
#[test]
fn who_calls_again_while_the_database_is_locked_is_not_told_that_they_are_busy() {
    namespace::test_beside_others(async |run| {
        let site = AsteriskSite::start(&run, &[], CONFIG).await?;
        let room = site.people.room_with("alice", extension::ECHO);
        let dials = async || {
            let lifetime = Duration::from_secs(60);
            let people = &site.people;
            people
                .dial_in(&room, "alice", extension::ECHO, lifetime)
                .await
        };
        let call = dials().await?;
        call.is_answered().await?;
        call.is_connected().await?;
        let lock = locked(&site).await?;
        call.hang_up();
        site.logs("call ended", 1).await?;

        let again = dials().await?;
        tokio::select! {
            answered = again.is_answered() => answered?,
            told = again.hears("m.call.reject") => anyhow::bail!("{}", told?),
        }
        again.is_connected().await?;
        drop(lock);
        again.hang_up();
        let both = until("both to be written down", PATIENCE, async || {
            let records = site.records_of("alice").await.ok()?;
            (records.len() == 2).then_some(records)
        })
        .await?;
        let are_whole = both
            .iter()
            .all(|record| record.reason.as_deref() == Some("hung_up"));
        ensure!(are_whole, "{both:?}");
        Ok(())
    });
}
