//! What changes while the gateway runs. Lines do because the CSV file is another one, or because the HTTP directory says
//! otherwise; these, and trunks, limits, how much is logged and our certificate, because a person asks for it (SIGHUP, `mxtrunk
//! reload`). What is new is checked as a whole first; where anything is wrong, all stays as it was. Where most lines would go by
//! their sources alone, these stay as they were, and all else is taken over.
//!
//! [`sources`]: where lines stand; [`knobs`]: what is turned beside them; [`asked`]: who asks, and what they are told;
//! [`refused`]: what the log says where anything is wrong.

mod asked;
mod knobs;
mod refused;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use mxtrunk_signaling::{Change, Peers, lines};
use mxtrunk_sip::{TrunkChange, TrunkConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::{Config, Difference, Problem};

use asked::Asked;
pub(crate) use asked::{Asks, PATIENCE, Report, Wish, ask};
pub(crate) use knobs::Knobs;
use refused::{Refused, most_stay};
use sources::keep;
pub(crate) use sources::{Sources, gather, gather_at_start};

/// How often the CSV file is looked at. It is read once it stayed the same from one look to the next.
const LOOK: Duration = Duration::from_secs(2);

/// How soon an HTTP directory is asked again that has never answered.
const SOON: Duration = Duration::from_secs(10);

/// Tells the gateway to read its lines anew.
pub(crate) fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("SIGHUP cannot be watched for")
}

/// What a file was when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    changed: SystemTime,
    length: u64,
}

fn look_at(path: &Path) -> Option<Look> {
    let found = std::fs::metadata(path).ok()?;
    Some(Look {
        changed: found.modified().ok()?,
        length: found.len(),
    })
}

/// Reads lines anew for as long as the gateway runs.
pub(crate) struct Reloader {
    file: PathBuf,
    /// What holds now.
    config: Config,
    sources: Sources,
    peers: Peers,
    knobs: Knobs,
    asks: Asks,
    asked: mpsc::Receiver<Asked>,
    /// The CSV file as it was read last, and as it was seen last.
    read: Option<Look>,
    seen: Option<Look>,
}

impl Reloader {
    /// `config` is what the gateway has started with.
    pub(crate) fn new(
        file: &Path,
        config: Config,
        sources: Sources,
        peers: Peers,
        knobs: Knobs,
    ) -> Self {
        let (asks, asked) = asked::channel();
        let seen = config.sources.csv.as_deref().and_then(look_at);
        Reloader {
            file: file.to_owned(),
            config,
            sources,
            peers,
            knobs,
            asks,
            asked,
            read: seen,
            seen,
        }
    }

    /// How it is asked to read everything anew.
    pub(crate) fn asks(&self) -> Asks {
        self.asks.clone()
    }

    /// Until `stop`.
    pub(crate) async fn run(mut self, mut hangup: Signal, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        let mut ask = self.next_question();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangup.recv() => {
                    info!("told to read lines, trunks and all else that may change anew (SIGHUP)");
                    if let Err(refused) = self.read_everything(Wish::default()).await {
                        refused.log();
                    }
                    ask = self.next_question();
                }
                Some(asked) = self.asked.recv() => {
                    let Wish { only_check, lines_may_go } = asked.wish;
                    info!(
                        only_check,
                        lines_may_go,
                        "asked to read lines, trunks and all else that may change anew (mxtrunk reload)"
                    );
                    let answer = self.read_everything(asked.wish).await;
                    if let Err(refused) = &answer {
                        refused.log();
                    }
                    // Who asked may have gone.
                    let _ = asked.answer.send(answer.map_err(|refused| refused.told()));
                    ask = self.next_question();
                }
                _ = look.tick() => self.look_at_csv().await,
                () = until(ask) => {
                    self.ask_directory().await;
                    ask = self.next_question();
                }
            }
        }
    }

    fn next_question(&self) -> Option<Instant> {
        let every = self.config.sources.every()?;
        let wait = if self.sources.has_answered {
            every
        } else {
            every.min(SOON)
        };
        Some(Instant::now() + wait)
    }

    /// Somebody has changed something and asks for it.
    async fn read_everything(&mut self, wish: Wish) -> Result<Report, Refused> {
        let file = Config::load(&self.file)?;
        let mut differences = self.config.written.differences(&file.written);
        let look = file.sources.csv.as_deref().and_then(look_at);
        let mut report = Report::default();
        let mut sources = self.read_sources(&file, &mut report).await?;
        let mut next = self.next_of(&file, &sources)?;
        if !wish.lines_may_go
            && !differences.iter().any(is_of_the_directory)
            && let Some((held, refused)) = self.instead_of(&next, &file)?
        {
            refused.log();
            report.stays.push(format!("the lines: {refused}"));
            (next, sources) = (held, self.sources.clone());
        }
        if let Some((key, why)) = self.knobs.stuck() {
            let is_stuck = |found: &mut Difference| found.key == key;
            let stuck = differences.extract_if(.., is_stuck).count();
            report.stays.extend((stuck > 0).then(|| why.to_owned()));
        }
        let (now, later): (Vec<_>, Vec<_>) = differences.into_iter().partition(|d| d.at_once);
        let directory = next.directory()?;
        let trunks = next.sip_trunks()?;
        let change = Change::between(&self.peers.directory.now(), &directory);
        report.only_checked = wish.only_check;
        report.now = now.iter().map(|found| found.told.clone()).collect();
        report.later = later.iter().map(|found| found.told.clone()).collect();
        report.tell_lines(&change);
        report.now.extend(self.config.other_order(&next));
        if wish.only_check {
            return Ok(report);
        }
        (self.read, self.seen) = (look, look);
        let changed = self.put_in_place(&next, Some(&trunks)).await?;
        if changed.is_any() {
            report.now.push(format!("trunks: {changed}"));
        }
        report.now.extend(self.knobs.turn(&next));
        self.take_over(next, sources);
        if self.sources.has_answered {
            keep(&file, &self.sources.http);
        }
        log(&now, &later);
        Ok(report)
    }

    /// What all sources of this file say now, or said last.
    async fn read_sources(&self, file: &Config, report: &mut Report) -> Result<Sources, Refused> {
        let mut sources = self.sources.clone();
        sources.csv = file.read_csv()?.into();
        match (file.sources.every(), file.fetch().await) {
            (None, _) => (sources.http, sources.has_answered) = (Arc::default(), false),
            (Some(_), Ok(fetched)) => {
                (sources.http, sources.has_answered) = (fetched.rows.into(), true);
            }
            (Some(_), Err(problem)) => {
                warn!("the HTTP directory cannot be read, and what it said last holds: {problem}");
                report
                    .stays
                    .push(format!("the lines of the HTTP directory: {problem}"));
            }
        }
        Ok(sources)
    }

    /// What holds instead of `next` where most lines would go by what the sources say alone: SIGHUP is how certificates are
    /// renewed, too, and who sends it for that has no lines in mind.
    fn instead_of(
        &self,
        next: &Config,
        file: &Config,
    ) -> Result<Option<(Config, Refused)>, Refused> {
        // The file may fit only what the sources say now: then a person has changed lines in it.
        let Ok(held) = self.next_of(file, &self.sources) else {
            return Ok(None);
        };
        let change = Change::between(&held.directory()?, &next.directory()?);
        Ok(most_stay(&change).err().map(|refused| (held, refused)))
    }

    async fn look_at_csv(&mut self) {
        let Some(path) = self.config.sources.csv.clone() else {
            return;
        };
        let look = look_at(&path);
        let is_at_rest = look == std::mem::replace(&mut self.seen, look);
        if look.is_none() || !is_at_rest || look == self.read {
            return;
        }
        self.read = look;
        match self.config.read_csv() {
            Ok(rows) if rows == *self.sources.csv => {}
            Ok(rows) => {
                let sources = Sources {
                    csv: rows.into(),
                    ..self.sources.clone()
                };
                self.take(sources).await;
            }
            Err(problems) => Refused::from(problems).log(),
        }
    }

    async fn ask_directory(&mut self) {
        match self.config.fetch().await {
            Ok(fetched) if fetched.rows == *self.sources.http => self.sources.has_answered = true,
            Ok(fetched) => {
                let sources = Sources {
                    csv: self.sources.csv.clone(),
                    http: fetched.rows.into(),
                    has_answered: true,
                };
                if self.take(sources).await {
                    keep(&self.config, &self.sources.http);
                }
            }
            Err(problem) => {
                warn!("the HTTP directory cannot be read, and what it said last holds: {problem}");
            }
        }
    }

    /// Puts the lines of these sources in the place of those that hold. `false`: those hold still.
    async fn take(&mut self, sources: Sources) -> bool {
        match self.put_lines(&sources).await {
            Ok(next) => {
                self.take_over(next, sources);
                true
            }
            Err(refused) => {
                refused.log();
                false
            }
        }
    }

    /// The lines of these sources are in the place of those that hold, beside all else as it is: that is what holds then.
    async fn put_lines(&self, sources: &Sources) -> Result<Config, Refused> {
        let next = self.next_of(&self.config, sources)?;
        let change = Change::between(&self.peers.directory.now(), &next.directory()?);
        most_stay(&change)?;
        self.put_in_place(&next, None).await?;
        Ok(next)
    }

    /// What is to hold, of this file and these sources.
    fn next_of(&self, file: &Config, sources: &Sources) -> Result<Config, Vec<Problem>> {
        let whole = file.with_lines(&sources.csv, &sources.http)?;
        self.config.taking_over(&whole)
    }

    fn take_over(&mut self, next: Config, sources: Sources) {
        next.warn_of_watched_lines(&self.config.watched_lines());
        self.config = next;
        self.sources = sources;
    }

    /// `sip_trunks`: those of `next`, where they may be others than those that there are.
    async fn put_in_place(
        &self,
        next: &Config,
        sip_trunks: Option<&[TrunkConfig]>,
    ) -> Result<TrunkChange, Refused> {
        let directory = next.directory()?;
        let trunks = next.signaling_trunks()?;
        let registrations = next.registrations()?;
        let subscriptions = next.subscriptions()?;
        let change = Change::between(&self.peers.directory.now(), &directory);
        let phones = &self.peers.phones;
        let mut changed = TrunkChange::default();
        match sip_trunks {
            None => phones
                .replace_accounts(&registrations, &subscriptions)
                .map_err(Refused::Accounts)?,
            Some(sip_trunks) => {
                changed = phones
                    .replace(sip_trunks, &registrations, &subscriptions)
                    .map_err(Refused::Trunks)?;
                self.knobs.trunks.replace(trunks);
                if changed.is_any() {
                    info!(%changed, "the trunks were read anew: calls over those that were go on");
                }
            }
        }
        self.peers.directory.replace(directory);
        self.peers.app.keep_homes(next.residents());
        info!(
            lines = next.lines.len(),
            added = change.added.len(),
            removed = change.removed.len(),
            changed = change.changed.len(),
            "the lines were read anew"
        );
        debug!(%change, "which lines are others");
        lines::settle(&self.peers, &change).await;
        Ok(changed)
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// It says where lines stand, or how they are read there: who has changed that has lines in mind.
fn is_of_the_directory(difference: &Difference) -> bool {
    difference.key.starts_with("directory.")
}

/// Tells the log what a person has changed; nobody's line is named there.
fn log(now: &[Difference], later: &[Difference]) {
    for found in now.iter().filter(|found| !found.is_of_a_line) {
        info!("from now on {}", found.told);
    }
    if !later.is_empty() {
        let all: Vec<&str> = later.iter().map(|found| found.told.as_str()).collect();
        warn!(
            settings = all.join(", "),
            "gateway.toml has other changes than lines, trunks, [directory], [numbers], limits, bans, [log] level and certificates: those \
             hold from the next start on"
        );
    }
}
