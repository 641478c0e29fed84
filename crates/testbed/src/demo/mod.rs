//! The demo: a telephone site on this machine, for a person to try, or with its calls
//! placed and judged by itself.

mod calls;
mod handed_on;
mod home;
mod interactive;
mod report;
mod scenario;
pub mod site;

use std::path::PathBuf;
use std::time::Duration;

use crate::browser::{Browser, Family, Softphone};
use crate::disturbance::undisturbed;
use crate::gateway::{self, LINES};
use crate::judge::{Clip, Judge, Pesq, Voices};
use crate::layout;
use crate::process::until;
use crate::run::Run;
use crate::synapse;

pub use interactive::interactive;
pub use report::{Report, Row};
pub use scenario::Scenario;

use calls::Stage;
use site::{PASSWORD, Peers, Step, Wanted, write_spoken};

/// What is checked, and with what.
#[derive(Clone, Debug)]
pub struct Check {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Chooses the clips and their names; a new one for every run.
    pub seed: u64,
    /// The browser that Alice sits at.
    pub browser: Family,
    /// The calls to place, in this order.
    pub scenarios: Vec<Scenario>,
    /// Changes to the gateway's configuration, TOML.
    pub changes: String,
}

impl Check {
    /// All calls from Chromium, clips chosen by chance, with the gateway that cargo built.
    ///
    /// # Errors
    /// When the gateway is not built.
    pub fn everything() -> anyhow::Result<Self> {
        Ok(Self {
            binary: gateway::binary()?,
            seed: rand::random(),
            browser: Family::Chromium,
            scenarios: Scenario::ALL.to_vec(),
            changes: String::new(),
        })
    }
}

/// Places the calls and judges them, printing progress; for use inside a
/// [`crate::namespace`]. What goes wrong in a call is in the report.
///
/// # Errors
/// When a peer does not start, or there are no voices.
pub async fn check(run: &Run, check: &Check) -> anyhow::Result<Report> {
    let step = Step::begin("Voices");
    let pesq = Pesq::new(layout::venv_program("python"));
    let mut voices = voices(check.seed)?;
    let phone_clip = voices.clip(&pesq)?;
    let mut clips = Vec::new();
    for scenario in &check.scenarios {
        let own: Result<Vec<Clip>, _> = (0..scenario.clips()).map(|_| voices.clip(&pesq)).collect();
        clips.push(own?);
    }
    step.done();

    let phone_says = write_spoken(run, "1001-says", &phone_clip.sound)?;
    let wanted = Wanted {
        binary: &check.binary,
        changes: &check.changes,
        phone_says: &phone_says,
        page_port: 0,
        widget: check.scenarios.contains(&Scenario::Home),
    };
    let mut peers = Peers::start(run, &wanted).await?;
    let step = Step::begin("Browser");
    let mut alice = sign_in(run, &peers, check.browser).await?;
    come_to_rest(&peers).await;
    step.done();

    let known = clips.iter().flatten().chain([&phone_clip]).cloned();
    let judge = Judge::new(pesq, known.collect());
    let mut report = Report {
        seed: check.seed,
        rows: Vec::new(),
    };
    let mut stage = Stage {
        run,
        peers: &mut peers,
        alice: &mut alice,
        family: check.browser,
        judge: &judge,
        phone_clip: &phone_clip,
    };
    for (scenario, clips) in check.scenarios.iter().zip(&clips) {
        let step = Step::begin(&format!("Calling: {}", scenario.title()));
        let play = async || stage.play(*scenario, clips).await;
        let is_good = |rows: &Vec<Row>| !rows.iter().any(Row::sounds_broken);
        report.rows.extend(undisturbed(play, is_good).await);
        step.done();
    }
    // The report is what counts; a browser that will not close is ended with its driver.
    let _ = alice.close().await;
    let stopped = peers.gateway.stop().await.map(drop);
    let outcome = stopped.map_err(|error| format!("{error:#}"));
    report
        .rows
        .push(Row::event("gateway", "stops when told to", outcome));
    Ok(report)
}

/// Waits for the telephony rooms of Alice and Bob, which are made at the start: of a homeserver that is at it the first call's browser gets
/// to hear something, however calm the machine is by then. Where the log does not tell of them, the calls begin after a while.
async fn come_to_rest(peers: &Peers) {
    let made = "the telephony rooms are there";
    let come = until(made, Duration::from_secs(10), async || {
        (peers.gateway.logged().matches(made).count() >= LINES.len()).then_some(())
    });
    let _ = come.await;
}

fn voices(seed: u64) -> anyhow::Result<Voices> {
    let prefixes = [layout::debian_sid(), layout::debian_bookworm()];
    Ok(Voices::under(&prefixes, seed)?)
}

async fn sign_in(run: &Run, peers: &Peers, family: Family) -> anyhow::Result<Softphone> {
    let user = LINES[0].user;
    let browser = Browser::start(run, &format!("browser-{user}"), family).await?;
    let url = peers.page.url();
    Softphone::sign_in(browser, &url, synapse::URL, user, PASSWORD).await
}

#[cfg(test)]
mod tests;
