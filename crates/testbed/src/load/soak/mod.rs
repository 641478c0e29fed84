//! Calls that come and go at a whole site for an hour, and what the gateway holds meanwhile: nothing of it may grow, and
//! every call has its record.

mod growth;
mod report;
mod through;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

pub use report::SoakReport;

use super::Arguments;
use super::account::{cpu, memory};
use super::people::{Call, Person};
use super::site::{Record, Site, Wanted, extension};
use crate::asterisk::{Asterisk, Console, extension as number};
use crate::run::Run;
use through::Through;

/// Calls at once where nothing else was asked for: half of what two cores bear with a real homeserver beside them.
const CALLS: usize = 25;
const MINUTES: u64 = 60;
/// How often it is looked at what the gateway holds.
const SAMPLE: Duration = Duration::from_secs(5);
/// How long a call may take to have sound both ways.
const PATIENCE: Duration = Duration::from_secs(15);
/// The shortest call, and how much longer others are, in seconds: the traces of the last 1,000 calls shall be full before
/// growth is looked at.
const SHORTEST: u64 = 5;
const LONGER: u64 = 20;
/// Not all at once, neither at the start nor later: each first call has its room made, of which a homeserver on a part of two cores makes
/// a few each second, and who calls waits for `[matrix] join_seconds` alone.
const BETWEEN_FIRST_CALLS: Duration = Duration::from_secs(1);

/// Between two calls of a person.
const BREATH: Duration = Duration::from_secs(1);
/// How long the last records may take.
const WRITTEN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// What the gateway held at one moment.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Sample {
    /// Since the first call, s.
    at: f64,
    calls: usize,
    /// Its own and resident, bytes.
    memory: f64,
    descriptors: f64,
    /// Of those, sockets: ports that it holds, and connections.
    sockets: f64,
    threads: f64,
    /// Of its runtime.
    tasks: f64,
}

/// What was seen.
#[derive(Debug, serde::Serialize)]
struct Seen {
    samples: Vec<Sample>,
    /// Calls that had sound both ways.
    talked: usize,
    /// What went wrong with others, and how often.
    failures: BTreeMap<String, usize>,
    /// Complete records with the verdict "both", records with another, and such as are not complete.
    both: usize,
    other: BTreeMap<String, usize>,
    open: usize,
    through: Through,
    /// The share of a core that the gateway took.
    core: f64,
    minutes: u64,
    at_once: usize,
}

#[derive(Debug, Default)]
struct Tally {
    talked: usize,
    failures: BTreeMap<String, usize>,
}

/// Runs it.
///
/// # Errors
/// When a peer does not start, or the gateway does not answer any more.
pub async fn soak(run: &Run, arguments: &Arguments) -> anyhow::Result<SoakReport> {
    let calls = match arguments.calls[..] {
        [calls] if calls != 50 => calls,
        _ => CALLS,
    };
    let minutes = arguments.minutes.unwrap_or(MINUTES);
    let asterisk = Asterisk::start(run).await?;
    let wanted = Wanted {
        people: calls,
        changes: "[log]\nlevel = \"info\"\n",
        variables: Vec::new(),
        has_homes: arguments.homes,
    };
    let mut site = Site::start(run, &arguments.codec(), wanted).await?;
    let process = site.gateway.peer().context("the gateway has started")?.id();
    println!("{calls} calls at once for {minutes} min …");
    let (begun, used) = (Instant::now(), cpu(process)?);
    let until = begun + Duration::from_secs(60 * minutes);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut lives = JoinSet::new();
    for (number, person) in site.people.all().iter().enumerate() {
        let life = Life {
            person: person.clone(),
            number,
            pbx: asterisk.console(),
            tally: Arc::clone(&tally),
        };
        lives.spawn(life.lives(until));
        sleep(BETWEEN_FIRST_CALLS).await;
    }
    let samples = sample(&site, process, begun, until).await?;
    let core = cpu(process)?.saturating_sub(used).as_secs_f64() / begun.elapsed().as_secs_f64();
    while let Some(life) = lives.join_next().await {
        life?;
    }
    let records = written(&site).await?;
    let tally = std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner));
    let mut seen = Seen {
        samples,
        talked: tally.talked,
        failures: tally.failures,
        both: 0,
        other: BTreeMap::new(),
        open: 0,
        through: Through::of(&site).await?,
        core,
        minutes,
        at_once: calls,
    };
    for record in &records {
        match (&record.ended_ms, record.audio.as_deref()) {
            (None, _) => seen.open += 1,
            (Some(_), Some("both")) => seen.both += 1,
            (Some(_), audio) => {
                let audio = audio.unwrap_or("no verdict").to_owned();
                *seen.other.entry(audio).or_default() += 1;
            }
        }
    }
    site.gateway.stop().await?;
    Ok(SoakReport::new(seen))
}

/// One person, who is on the telephone all day.
struct Life {
    person: Person,
    number: usize,
    pbx: Console,
    tally: Arc<Mutex<Tally>>,
}

impl Life {
    async fn lives(self, until: Instant) {
        let mut turn = self.number;
        while Instant::now() < until {
            let talked = match turn % 2 {
                0 => self.dials().await,
                _ => self.is_called().await,
            };
            if let Ok(call) = &talked {
                // Long and short ones, each in another order for each person.
                let longer = (turn as u64 * 37 + self.number as u64 * 11) % LONGER;
                let length = Duration::from_secs(SHORTEST + longer);
                let left = until.saturating_duration_since(Instant::now());
                let goes_on = !call.is_over(length.min(left)).await;
                if !goes_on {
                    self.fails("a call that was on ended by itself");
                } else if call.longest_silence() > PATIENCE / 5 {
                    self.fails("a call was silent for more than 3 s");
                }
            }
            for call in self.person.calls() {
                self.person.hang_up(&call);
            }
            {
                let mut tally = self.locked();
                match talked {
                    Ok(_) => tally.talked += 1,
                    Err(why) => *tally.failures.entry(why.to_owned()).or_default() += 1,
                }
            }
            sleep(BREATH).await;
            self.person.forget();
            turn += 1;
        }
    }

    async fn dials(&self) -> Result<Call, &'static str> {
        let call = self.person.dial(number::ECHO).await;
        let call = call.map_err(|_| "the homeserver did not take an invite")?;
        match call.is_heard(PATIENCE).await {
            true => Ok(heard(call)),
            false => Err("a call out had no sound"),
        }
    }

    async fn is_called(&self) -> Result<Call, &'static str> {
        let (pbx, line) = (self.pbx.clone(), extension(self.number));
        let command = format!(
            "channel originate PJSIP/{line}@gateway extension {}@site",
            number::ECHO
        );
        let called = tokio::task::spawn_blocking(move || pbx.cli(&command)).await;
        if !matches!(called, Ok(Ok(_))) {
            return Err("the PBX did not call");
        }
        let heard_at = async {
            loop {
                if let Some(call) = self.person.calls().into_iter().find(Call::sounds) {
                    return call;
                }
                sleep(LOOK).await;
            }
        };
        let call = timeout(PATIENCE, heard_at).await;
        call.map(heard).map_err(|_| "a call in had no sound")
    }

    fn fails(&self, why: &str) {
        *self.locked().failures.entry(why.to_owned()).or_default() += 1;
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long it was silent before it was answered does not count.
fn heard(call: Call) -> Call {
    call.longest_silence();
    call
}

async fn sample(
    site: &Site,
    process: u32,
    begun: Instant,
    until: Instant,
) -> anyhow::Result<Vec<Sample>> {
    let (mut due, mut samples) = (interval(SAMPLE), Vec::new());
    while Instant::now() < until {
        due.tick().await;
        let (descriptors, sockets) = descriptors(process)?;
        samples.push(Sample {
            at: begun.elapsed().as_secs_f64(),
            calls: site.calls().await?,
            memory: memory(process)? as f64,
            descriptors,
            sockets,
            threads: site.metric("process_threads").await?,
            tasks: site.metric("mxtrunk_tasks").await?,
        });
    }
    Ok(samples)
}

/// All of a process, and those that are sockets.
fn descriptors(process: u32) -> anyhow::Result<(f64, f64)> {
    let entries = fs::read_dir(format!("/proc/{process}/fd"))?.flatten();
    // One that was closed meanwhile leads nowhere.
    let links: Vec<_> = entries.map(|entry| fs::read_link(entry.path())).collect();
    let is_socket = |link: &&std::io::Result<std::path::PathBuf>| {
        let path = link.as_ref().ok();
        path.is_some_and(|path| path.to_string_lossy().starts_with("socket:"))
    };
    let sockets = links.iter().filter(is_socket).count();
    Ok((links.len() as f64, sockets as f64))
}

/// All records, once none is open any more.
async fn written(site: &Site) -> anyhow::Result<Vec<Record>> {
    let begun = Instant::now();
    loop {
        let records = site.records().await?;
        let open = records.iter().any(|record| record.ended_ms.is_none());
        if !open || begun.elapsed() > WRITTEN {
            return Ok(records);
        }
        sleep(LOOK).await;
    }
}
