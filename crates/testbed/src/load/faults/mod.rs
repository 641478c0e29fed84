//! One fault after the other at a whole site (real Synapse, real Asterisk, the gateway as it is shipped) while calls go on:
//! what the people in them noticed, how soon new calls were possible again, and what was lost.

mod aftermath;
mod attempts;
mod disk;
mod fault;
mod report;
mod wall;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::sleep;

pub use report::FaultsReport;

use super::Arguments;
use super::people::{Call, Standing};
use super::site::{Site, Wanted, extension};
use crate::asterisk::{Asterisk, extension as number};
use crate::layout;
use crate::run::Run;
use attempts::Attempts;
use disk::Disk;
use fault::{Fault, Scene};

/// How long the calls may take to be all there.
const FILLS: Duration = Duration::from_secs(60);
/// Calls begun each second: Synapse takes its time for each room.
const APART: Duration = Duration::from_millis(150);
/// Between two set-ups that are tried, in each direction.
const TRIES: Duration = Duration::from_secs(2);
/// The longest that it is waited for new calls to be possible again.
const GIVES_UP: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(250);

/// What one fault did.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Outcome {
    #[serde(skip)]
    fault: Fault,
    /// Calls that were on when it began.
    calls: usize,
    /// Of those, calls that were ended by it.
    dropped: usize,
    /// When the last of those was told, in s after the fault began.
    told_after: Option<f64>,
    /// Of the others, calls without sound for a second or more: how long each was silent, in s.
    silent: Vec<f64>,
    /// Calls that were taken for being on and had no sound any more.
    dead: usize,
    /// Set-ups tried while it lasted, and those that failed.
    tried: usize,
    failed: usize,
    /// From its end until a call out and a call in had sound both ways, in s; `None`: not within 90 s.
    whole_after: Option<f64>,
    /// Calls without a record.
    lost: u64,
    /// Records that say that a call is on which is over, or that are wrong about one that was looked at.
    wrong: Vec<String>,
    /// Calls that people take for being on (ringing, too) and the gateway does not know, 10 s after the recovery.
    stuck: usize,
    /// Calls that the gateway has and nobody else, and legs that the PBX has and nobody else.
    left_over: usize,
}

/// Injects all of them, or those that were named.
///
/// # Errors
/// When a peer does not start, or a fault cannot be made to happen: not when it does harm.
pub async fn faults(run: &Run, arguments: &Arguments) -> anyhow::Result<FaultsReport> {
    let calls = arguments.calls.first().copied().unwrap_or(50);
    let mut stage = Stage::set(run, calls, arguments).await?;
    let mut outcomes = Vec::new();
    for fault in arguments.faults()? {
        println!("{} …", fault.told());
        let outcome = stage.suffer(fault).await;
        let outcome = outcome.with_context(|| fault.told())?;
        println!("{}", report::row(&outcome));
        outcomes.push(outcome);
    }
    stage.scene.site.gateway.stop().await?;
    Ok(FaultsReport::new(calls, outcomes))
}

/// The names of all faults.
fn names() -> Vec<&'static str> {
    Fault::ALL.map(Fault::name).to_vec()
}

impl Arguments {
    fn faults(&self) -> anyhow::Result<Vec<Fault>> {
        let Some(only) = &self.only else {
            return Ok(Fault::ALL.to_vec());
        };
        let known = |name: &String| {
            let mut all = Fault::ALL.into_iter();
            let known = all.find(|fault| fault.name() == name);
            known.with_context(|| format!("no fault {name:?}; there are {}", names().join(", ")))
        };
        only.iter().map(known).collect()
    }
}

/// The site with its calls.
struct Stage {
    scene: Scene,
    calls: usize,
    attempts: Attempts,
}

/// Somebody's telephone rings, and so does somebody's at the PBX.
struct Ringing {
    dialled: Call,
    /// The caller at the PBX.
    caller: Option<String>,
}

impl Stage {
    async fn set(run: &Run, calls: usize, arguments: &Arguments) -> anyhow::Result<Self> {
        let disk = Disk::mount(run)?;
        let clock = run.write("clock", "+0\n")?;
        let asterisk = Asterisk::start(run).await?;
        let changes = format!("[store]\npath = \"{}\"\n", disk.database().display());
        let wanted = Wanted {
            // Two whose telephones ring, and those who try set-ups.
            people: calls + 2 + attempts::PEOPLE,
            changes: &changes,
            variables: shifted_by(&clock)?,
            has_homes: arguments.homes,
        };
        let site = Site::start(run, &arguments.codec(), wanted).await?;
        let attempts = Attempts::new(&site, calls + 2, asterisk.console())?;
        site.person(calls)?.picks_up(false);
        Ok(Self {
            scene: Scene {
                site,
                asterisk,
                disk,
                clock,
                run: run.clone(),
                lock: None,
            },
            calls,
            attempts,
        })
    }

    async fn suffer(&mut self, fault: Fault) -> anyhow::Result<Outcome> {
        let calls = self.fill().await?;
        let mut ringing = Some(self.ring().await?);
        self.attempts.forget();
        for (_, call) in &calls {
            call.longest_silence();
        }
        let began = Instant::now();
        fault.begin(&mut self.scene).await?;
        while began.elapsed() < fault.lasts() {
            self.attempts.begin();
            let left = fault.lasts().saturating_sub(began.elapsed());
            sleep(left.min(TRIES)).await;
            // Callers do not wait for all to be well again.
            if began.elapsed() > fault.lasts() / 2
                && let Some(ringing) = ringing.take()
            {
                self.give_up(&ringing);
            }
        }
        let lifted = fault.end(&mut self.scene).await?;
        let whole = self.is_whole(lifted).await;
        // Whatever was tried has come to an end before anything is counted that is left.
        let (tried, failed) = self.attempts.all_before(lifted).await;
        let recovered = Instant::now();
        let (views, ours) = (self.settle(recovered).await?, self.told(&calls, began));
        let dead = calls.iter().filter(|(_, call)| call.is_dead());
        let dead = dead.count();
        let mut wrong = self.check(&calls).await?;
        let (lost, open) = self.records().await?;
        wrong.extend(open);
        Ok(Outcome {
            fault,
            calls: calls.len(),
            dropped: ours.dropped,
            told_after: ours.last,
            silent: ours.silent,
            dead,
            tried,
            failed,
            whole_after: whole.map(|at| at.duration_since(lifted).as_secs_f64()),
            lost,
            wrong,
            stuck: views.people.saturating_sub(views.gateway),
            left_over: views.gateway.saturating_sub(views.people)
                + views.pbx.saturating_sub(views.people),
        })
    }

    /// As many calls as there shall be, all with sound: every other one dialled by a person, the others by the PBX.
    async fn fill(&self) -> anyhow::Result<Vec<(usize, Call)>> {
        let site = &self.scene.site;
        let begun = Instant::now();
        loop {
            let mut sounding = Vec::new();
            for number in 0..self.calls {
                let person = site.person(number)?;
                person.forget();
                let calls = person.calls();
                match calls.iter().find(|call| call.sounds()) {
                    Some(call) => sounding.push((number, call.clone())),
                    None => {
                        // What is there has no sound.
                        calls.iter().for_each(|call| person.hang_up(call));
                        self.place(number)?;
                        sleep(APART).await;
                    }
                }
            }
            if sounding.len() == self.calls {
                return Ok(sounding);
            }
            let (up, calls) = (sounding.len(), self.calls);
            ensure!(
                begun.elapsed() < FILLS,
                "only {up} of {calls} calls have sound"
            );
            let calm = async {
                while site.people.calls().iter().any(|call| !call.sounds()) {
                    sleep(LOOK).await;
                }
            };
            // Those that have no sound then are placed again.
            let _ = tokio::time::timeout(attempts::PATIENCE, calm).await;
            sleep(Duration::from_secs(1)).await;
        }
    }

    fn place(&self, person: usize) -> anyhow::Result<()> {
        if person.is_multiple_of(2) {
            let person = self.scene.site.person(person)?.clone();
            tokio::spawn(async move { person.dial(number::ECHO).await });
            return Ok(());
        }
        self.scene
            .asterisk
            .originate(&at_gateway(person), number::ECHO)
    }

    /// One call that rings at a person, and one of a person that rings at the PBX.
    async fn ring(&self) -> anyhow::Result<Ringing> {
        let Scene { site, asterisk, .. } = &self.scene;
        let (rung, caller) = (site.person(self.calls)?, site.person(self.calls + 1)?);
        rung.forget();
        caller.forget();
        let dialled = caller.dial(number::NO_ANSWER).await?;
        let known = asterisk.channel_names()?;
        asterisk.originate(&at_gateway(self.calls), number::ECHO)?;
        let rings = async {
            let rings = |call: &Call| call.standing() == Standing::Rings;
            while !rung.calls().iter().any(rings) {
                sleep(LOOK).await;
            }
        };
        let rings = tokio::time::timeout(attempts::PATIENCE, rings).await;
        rings.context("nobody's telephone rings")?;
        let names = asterisk.channel_names()?;
        let dialled_by_pbx =
            |name: &String| !known.contains(name) && name.starts_with("PJSIP/gateway");
        Ok(Ringing {
            dialled,
            // The last one: the call of the other person may have come meanwhile.
            caller: names.into_iter().filter(dialled_by_pbx).max(),
        })
    }

    /// Both callers have had enough.
    fn give_up(&self, ringing: &Ringing) {
        let Scene { site, asterisk, .. } = &self.scene;
        if let Ok(person) = site.person(self.calls + 1) {
            person.hang_up(&ringing.dialled);
        }
        if let Some(channel) = &ringing.caller {
            // It may be gone: then there is nobody to give up.
            let _ = asterisk.cli(&format!("channel request hangup {channel}"));
        }
    }

    /// When a call out and a call in that were tried after that had sound.
    async fn is_whole(&mut self, lifted: Instant) -> Option<Instant> {
        while lifted.elapsed() < GIVES_UP {
            self.attempts.begin();
            let next = Instant::now() + Duration::from_secs(1);
            while Instant::now() < next {
                if let Some(at) = self.attempts.both_since(lifted) {
                    return Some(at);
                }
                sleep(LOOK).await;
            }
        }
        None
    }
}

/// A person as the PBX calls them.
fn at_gateway(person: usize) -> String {
    format!("PJSIP/{}@gateway", extension(person))
}

/// The gateway's wall clock is shifted by what stands in this file, looked at once a second.
fn shifted_by(clock: &std::path::Path) -> anyhow::Result<Vec<(&'static str, PathBuf)>> {
    let library = layout::faketime();
    ensure!(
        library.exists(),
        "libfaketime is not in place: run cargo xtask load --faults"
    );
    Ok(vec![
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_owned()),
        ("FAKETIME_CACHE_DURATION", "1".into()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ("DONT_FAKE_MONOTONIC", "1".into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own_by_which_it_is_found() {
        let mut names = names();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Fault::ALL.len());
        let given = ["--faults", "--only", "gateway,disk-full"].map(str::to_owned);
        let arguments = Arguments::read(given.into_iter()).unwrap();
        let faults = arguments.faults().unwrap();
        assert_eq!(faults, [Fault::GatewayKilled, Fault::DiskFull]);
        let given = ["--only", "the-moon"].map(str::to_owned);
        let arguments = Arguments::read(given.into_iter()).unwrap();
        let error = arguments.faults().unwrap_err().to_string();
        assert!(error.contains("cut-pbx-short"), "{error}");
    }
}
