//! The figures held against what is aimed at.

use std::fmt::Write as _;

use super::Voice;
use super::figures::{Direction, Figures};
use super::report::{Report, Series};
use super::system::Kind;

/// Seen only from this many calls on: a lightly loaded core costs about twice as much a frame.
const ENOUGH: usize = 50;
/// The speech of a system that counts scores at least so much less than the bare chain.
const SPEECH: f64 = 0.3;

/// One figure beside its limit.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Goal {
    /// What is measured.
    pub what: String,
    /// What came out.
    pub value: f64,
    /// What it may be at most.
    pub limit: f64,
}

impl Goal {
    /// Whether it is reached; a figure that is none is not.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.value <= self.limit
    }
}

/// The goals, a line each, and how many were reached.
#[must_use]
pub fn verdict(goals: &[Goal]) -> String {
    let mut lines = String::new();
    for goal in goals {
        let mark = if goal.passed() { "passed" } else { "FAILED" };
        let Goal { what, value, limit } = goal;
        let _ = writeln!(lines, "{mark}  {what}: {value:.2} (at most {limit:.2})");
    }
    let passed = goals.iter().filter(|goal| goal.passed()).count();
    let _ = write!(lines, "{passed} passed, {} failed", goals.len() - passed);
    lines
}

/// The goals that these runs can be held against.
#[must_use]
pub fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for ours in report
        .series
        .iter()
        .filter(|series| series.kind == Kind::Gateway)
    {
        let mut goal = |what: &str, value: f64, limit: f64| {
            let what = format!("N={}: {what}", ours.calls);
            goals.push(Goal { what, value, limit });
        };
        if ours.calls >= ENOUGH {
            beside(report, ours, &mut goal);
        }
        own(ours, report.codec.voice, &mut goal);
    }
    for series in &report.series {
        let short = |direction: &Direction| falls_short(direction);
        let worst = series.figures.iter();
        let worst = worst.flat_map(|run| [short(&run.to_browser), short(&run.to_phone)]);
        goals.push(Goal {
            what: format!(
                "N={}: speech through {}, PESQ below the bare codecs",
                series.calls,
                series.kind.name()
            ),
            value: worst.fold(f64::MIN, f64::max),
            limit: SPEECH,
        });
    }
    goals
}

fn beside(report: &Report, ours: &Series, goal: &mut impl FnMut(&str, f64, f64)) {
    let cpu = |series: &Series| match counts(series) {
        true => series.spread(|run| run.cpu_ms).median,
        false => f64::NAN,
    };
    let other = |kind, calls| {
        let mut all = report.series.iter();
        all.find(|series| series.kind == kind && series.calls == calls)
    };
    if let Some(rtpengine) = other(Kind::Rtpengine, ours.calls) {
        let limit = match (report.codec.voice, report.conversation) {
            (Voice::Pcmu, _) => 0.9,
            (Voice::Opus, true) => 0.45,
            (Voice::Opus, false) => 0.7,
        };
        goal("CPU, times rtpengine's", cpu(ours) / cpu(rtpengine), limit);
    }
    if let Some(floor) = other(Kind::Floor, ours.calls)
        && !report.conversation
    {
        goal("CPU, times the floor's", cpu(ours) / cpu(floor), 1.2);
    }
    if let Some(fewer) = other(Kind::Gateway, ENOUGH)
        && ours.calls > ENOUGH
    {
        goal(
            "CPU a call, times that at N=50",
            cpu(ours) / cpu(fewer),
            1.1,
        );
    }
}

/// Whether speech came through in each run: who lets packets fall saves CPU and memory, and is soon done with the rest.
fn counts(series: &Series) -> bool {
    let short = |run: &Figures| falls_short(&run.to_browser).max(falls_short(&run.to_phone));
    series.spread(short).max <= SPEECH
}

fn own(ours: &Series, voice: Voice, goal: &mut impl FnMut(&str, f64, f64)) {
    let counts = counts(ours);
    let mut goal = |what: &str, value: f64, limit: f64| {
        goal(what, if counts { value } else { f64::NAN }, limit);
    };
    if voice == Voice::Opus {
        goal(
            "memory a call, kB",
            ours.spread(|run| run.memory_kb).median,
            200.0,
        );
    }
    goal(
        "added to browsers, p99, ms",
        ours.spread(|run| run.to_browser.delay_ms[2]).median,
        2.0,
    );
    goal(
        "added to phones, p50, ms",
        ours.spread(|run| run.to_phone.delay_ms[0]).median,
        30.0,
    );
    if ours.spread(|run| run.core).median < 0.8 {
        let lost = ours.spread(Figures::lost);
        goal("packets lost", lost.max, 0.0);
    }
    goal(
        "PESQ below the bare codecs, to browsers",
        ours.spread(|run| falls_short(&run.to_browser)).median,
        0.05,
    );
    goal(
        "PESQ below the bare codecs, to phones",
        ours.spread(|run| falls_short(&run.to_phone)).median,
        0.05,
    );
}

impl Figures {
    /// Packets lost in both directions.
    pub(super) fn lost(&self) -> f64 {
        f64::from(self.to_browser.all_lost() + self.to_phone.all_lost())
    }
}

fn falls_short(direction: &Direction) -> f64 {
    match (direction.pesq, direction.bare_pesq) {
        (Some(pesq), Some(bare)) => bare - pesq,
        _ => f64::INFINITY,
    }
}
