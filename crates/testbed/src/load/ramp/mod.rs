//! A whole site up to its limit: SIPp is the telephones, people at light clients and two Chromium are behind a real Synapse.
//! More and more calls, until they are not what they were any more; then as many as went well, for a while; then none.

mod report;
mod usage;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::sleep;

pub use report::SiteReport;

use super::Arguments;
use super::figures::percentile;
use super::people::Call;
use super::site::{Site, Wanted, extension};
use crate::asterisk;
use crate::browser::{Browser, CallState, Family, PageServer, Softphone};
use crate::judge::{Clip, Sound};
use crate::process::Peer;
use crate::run::Run;
use crate::sipp::Scenario;
use crate::{gateway, synapse};
use usage::{Usage, Watch};

/// Calls that each step has more than the one before: half of them out, half in. Enough for the slowest one in twenty to be one.
const STEP: usize = 20;
/// The most that is tried.
const MOST: usize = 300;
/// From one new call to the next, in each direction. Most of them have a room to be made, of which a Synapse makes hardly two a
/// second: the limit shall be that of calls.
const EVERY: Duration = Duration::from_secs(2);
/// How long each step is looked at.
const LOOKED_AT: Duration = Duration::from_secs(10);
/// How long a call may take to have sound both ways.
const PATIENCE: Duration = Duration::from_secs(15);
/// Chromium tabs.
const TABS: usize = 2;
const MINUTES: u64 = 10;
/// From here on a gap is heard.
const GAP: f64 = 0.2;
/// From here on a person wonders where their call is, s.
const SLOW: f64 = 3.0;
/// Sound of the telephones, and of those that call.
const SOUND: [u16; 2] = [6_000, 6_100];
const CALLERS: u16 = 5_080;
const LOOK: Duration = Duration::from_millis(100);

/// What one step showed.
#[derive(Clone, Debug, serde::Serialize)]
struct Step {
    calls: usize,
    /// Set-ups of this step that failed.
    failed: usize,
    /// From dialling, or from the call of the telephone, until there was sound both ways: 95th percentile, s.
    set_up: f64,
    /// The longest gap of each call: 95th percentile, s.
    gap: f64,
    /// Cores that each of them took.
    usage: Usage,
}

/// What it was like below the limit.
#[derive(Clone, Debug, serde::Serialize)]
struct Hold {
    calls: usize,
    minutes: u64,
    /// Calls that ended by themselves, and calls that had a gap that is heard, a minute.
    dropped: usize,
    gaps: f64,
    usage: Usage,
    /// Chromium tabs that were in their call and heard something at the end.
    tabs: usize,
}

/// What was left when all had hung up.
#[derive(Clone, Debug, serde::Serialize)]
struct After {
    calls: usize,
    /// Records that are complete and say that both heard each other, and all records.
    both: usize,
    records: usize,
}

/// Runs it.
///
/// # Errors
/// When a peer does not start, or not even the first calls go well.
pub async fn ramp(run: &Run, arguments: &Arguments) -> anyhow::Result<SiteReport> {
    let mut stage = Stage::set(run, arguments).await?;
    let mut steps = Vec::new();
    let mut calls: Vec<(usize, Call)> = Vec::new();
    while calls.len() + STEP <= MOST {
        let step = stage.step(&mut calls).await?;
        println!("{}", report::row(&step));
        let good = step.is_good();
        steps.push(step);
        if !good {
            break;
        }
    }
    let good = steps.iter().rfind(|step| step.is_good());
    let limit = good.map(|step| step.calls);
    let limit = limit.context("not even the first calls went well: see the logs")?;
    stage.hang_up(&mut calls, limit).await?;
    let hold = stage
        .hold(&calls, arguments.minutes.unwrap_or(MINUTES))
        .await?;
    stage.hang_up(&mut calls, 0).await?;
    let after = stage.leave().await?;
    Ok(SiteReport::new(steps, hold, after))
}

impl Step {
    fn is_good(&self) -> bool {
        self.failed == 0 && self.set_up <= SLOW && self.gap <= GAP
    }
}

struct Stage {
    site: Site,
    tabs: Vec<Softphone>,
    _page: PageServer,
    phones: Peer,
    callers: Vec<Peer>,
    run: Run,
}

impl Stage {
    async fn set(run: &Run, arguments: &Arguments) -> anyhow::Result<Self> {
        let phones = Scenario {
            name: "phones",
            xml: include_str!("phones.xml"),
            target: gateway::SIP,
            port: 5060,
            service: "1001",
            calls: 1_000_000,
        };
        let phones = phones.listen_and_echo(run, PATIENCE, SOUND[0]).await?;
        let trunk = format!(
            "[sip]\nmax_calls = 1000\n[log]\nlevel = \"info\"\n[media]\nmax_calls = 1000\n[[trunk]]\nname = \"pbx\"\n\
             target = \"{}\"\ncodecs = [\"pcmu\"]\nmax_calls = 1000\noptions_seconds = 0\n",
            asterisk::SIP
        );
        let wanted = Wanted {
            people: MOST + TABS,
            changes: &trunk,
            variables: Vec::new(),
            has_homes: arguments.homes,
        };
        let site = Site::start(run, &arguments.codec(), wanted).await?;
        let page = PageServer::start(0, crate::browser::Site::default()).await?;
        let mut tabs = Vec::new();
        for tab in 0..TABS {
            let person = site.person(MOST + tab)?;
            person.picks_up(false);
            let name = person.id().trim_start_matches('@');
            let name = name.split(':').next().unwrap_or_default();
            let browser = Browser::start(run, &format!("browser-{tab}"), Family::Chromium).await?;
            let (url, password) = (page.url(), super::people::PASSWORD);
            let mut softphone =
                Softphone::sign_in(browser, &url, synapse::URL, name, password).await?;
            softphone.speak(&tone()?).await?;
            softphone.dial("1001").await?;
            let reached = [CallState::Connected, CallState::Ended];
            let state = softphone.reach(&reached, PATIENCE * 2).await?;
            ensure!(state.is == CallState::Connected, "Chromium: {state:?}");
            tabs.push(softphone);
        }
        Ok(Self {
            site,
            tabs,
            _page: page,
            phones,
            callers: Vec::new(),
            run: run.clone(),
        })
    }

    /// Some calls more.
    async fn step(&mut self, calls: &mut Vec<(usize, Call)>) -> anyhow::Result<Step> {
        let first = calls.last().map_or(0, |(number, _)| number + 1);
        let numbers: Vec<usize> = (first..first + STEP).collect();
        let (out, inwards) = numbers.split_at(STEP / 2);
        let begun = Instant::now();
        let lines: Vec<_> = inwards
            .iter()
            .map(|number| extension(*number).to_string())
            .collect();
        let name = format!("callers-{first}");
        let turn = u16::try_from(self.callers.len())?;
        let callers = Scenario {
            name: &name,
            xml: include_str!("callers.xml"),
            target: gateway::SIP,
            port: CALLERS + turn,
            service: "1001",
            calls: u32::try_from(lines.len())?,
        };
        let sound = SOUND[1] + 10 * turn;
        let callers = callers.call_and_echo(&self.run, &lines, EVERY, sound)?;
        self.callers.push(callers);
        for number in out {
            let person = self.site.person(*number)?.clone();
            tokio::spawn(async move { person.dial("1001").await });
            sleep(EVERY).await;
        }
        let (mut took, mut failed) = (Vec::new(), 0);
        for (turn, number) in numbers.iter().enumerate() {
            let person = self.site.person(*number)?;
            // In each direction one after the other; SIPp waits before its first one, too.
            let before = turn % out.len() + usize::from(turn >= out.len());
            let asked = begun + EVERY * u32::try_from(before)?;
            match heard(person, asked + PATIENCE).await {
                Some((call, at)) => {
                    took.push(at.saturating_duration_since(asked).as_secs_f64());
                    calls.push((*number, call));
                }
                None => failed += 1,
            }
        }
        for (_, call) in calls.iter() {
            call.longest_silence();
        }
        let watch = self.watch()?;
        sleep(LOOKED_AT).await;
        let gaps = calls
            .iter()
            .map(|(_, call)| call.longest_silence().as_secs_f64());
        Ok(Step {
            calls: calls.len() + self.tabs.len(),
            failed,
            set_up: percentile(&took, 0.95),
            gap: percentile(&gaps.collect::<Vec<_>>(), 0.95),
            usage: watch.usage()?,
        })
    }

    /// As many calls as these, Chromium's included, go on for so long.
    async fn hold(&mut self, calls: &[(usize, Call)], minutes: u64) -> anyhow::Result<Hold> {
        println!(
            "{} calls for {minutes} min …",
            calls.len() + self.tabs.len()
        );
        let watch = self.watch()?;
        let mut gaps = 0;
        for _ in 0..minutes {
            for (_, call) in calls {
                call.longest_silence();
            }
            sleep(Duration::from_secs(60)).await;
            let on = calls.iter().filter(|(_, call)| call.standing().is_on());
            let heard = on.filter(|(_, call)| call.longest_silence().as_secs_f64() > GAP);
            gaps += heard.count();
        }
        let dropped = calls.iter().filter(|(_, call)| !call.standing().is_on());
        let dropped = dropped.count();
        let usage = watch.usage()?;
        let mut tabs = 0;
        for tab in &self.tabs {
            let state = tab.state().await?;
            tab.record().await?;
            tab.recorded(Duration::from_secs(2)).await?;
            let level = tab.recording().await?.sound.level_db();
            tabs += usize::from(state.is == CallState::Connected && level > -40.0);
        }
        Ok(Hold {
            calls: calls.len() + self.tabs.len(),
            minutes,
            dropped,
            gaps: gaps as f64 / minutes.max(1) as f64,
            usage,
            tabs,
        })
    }

    /// The last ones hang up, until there are so many, with Chromium's.
    async fn hang_up(&self, calls: &mut Vec<(usize, Call)>, left: usize) -> anyhow::Result<()> {
        while calls.len() + self.tabs.len() > left.max(self.tabs.len()) {
            let Some((number, call)) = calls.pop() else {
                break;
            };
            self.site.person(number)?.hang_up(&call);
            sleep(EVERY / 20).await;
        }
        Ok(())
    }

    /// All that is left hangs up, and the gateway ends.
    async fn leave(mut self) -> anyhow::Result<After> {
        for tab in &self.tabs {
            tab.hangup().await?;
        }
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.site.calls().await? > 0 {
            sleep(LOOK).await;
        }
        let (left, records) = (self.site.calls().await?, self.site.records().await?);
        let both = records
            .iter()
            .filter(|record| record.ended_ms.is_some() && record.audio.as_deref() == Some("both"));
        let after = After {
            calls: left,
            both: both.count(),
            records: records.len(),
        };
        self.site.gateway.stop().await?;
        self.phones.kill().await?;
        Ok(after)
    }

    fn watch(&mut self) -> anyhow::Result<Watch> {
        let gateway = self.site.gateway.peer().context("the gateway runs")?.id();
        let synapse = self.site.synapse.peer().id();
        let callers = self.callers.iter().map(Peer::id);
        let phones = callers.chain([self.phones.id()]).collect();
        Watch::begin(gateway, synapse, phones)
    }
}

/// The person's call with sound, and since when, in time.
async fn heard(person: &super::people::Person, until: Instant) -> Option<(Call, Instant)> {
    loop {
        if let Some(call) = person.calls().into_iter().find(Call::sounds) {
            let at = call.heard_at();
            return Some((call, at));
        }
        if Instant::now() > until {
            for call in person.calls() {
                person.hang_up(&call);
            }
            return None;
        }
        sleep(LOOK).await;
    }
}

/// What a person in Chromium says.
fn tone() -> anyhow::Result<Clip> {
    let wave = |n: u32| (f64::from(n) * 440.0 * std::f64::consts::TAU / 8_000.0).sin();
    let samples: Vec<i16> = (0..240_000).map(|n| (4_000.0 * wave(n)) as i16).collect();
    Ok(Clip {
        name: "tone".to_owned(),
        sound: Sound::from_pcm(&samples, 8_000)?,
    })
}
