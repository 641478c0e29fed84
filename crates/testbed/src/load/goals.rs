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

#[cfg(test)]
mod tests {
    use super::super::Arguments;
    use super::*;

    /// Three runs of a system, of which the first is the given one, and the others took less and more.
    fn series(report: &mut Report, kind: Kind, calls: usize, cpu_ms: f64) {
        for times in [1.0, 0.5, 2.0] {
            report.add(
                kind,
                calls,
                Figures {
                    cpu_ms: cpu_ms * times,
                    ..Figures::sample()
                },
            );
        }
    }

    fn report(words: &[&str]) -> Report {
        let words = words.iter().map(|word| (*word).to_owned());
        Report::new(&Arguments::read(words).unwrap())
    }

    fn limits(report: &Report, what: &str) -> Vec<(f64, f64)> {
        let goals = goals(report).into_iter();
        let named = goals.filter(|goal| goal.what.ends_with(what));
        named.map(|goal| (goal.value, goal.limit)).collect()
    }

    #[test]
    fn medians_are_held_against_rtpengine_and_the_floor_each_at_as_many_calls() {
        let mut report = report(&[]);
        for (calls, ours) in [(50, 7.0), (120, 7.5)] {
            series(&mut report, Kind::Gateway, calls, ours);
            series(&mut report, Kind::Rtpengine, calls, 10.0);
            series(&mut report, Kind::Floor, calls, 5.0);
        }
        assert_eq!(
            limits(&report, "times rtpengine's"),
            [(0.7, 0.7), (0.75, 0.7)]
        );
        assert_eq!(
            limits(&report, "times the floor's"),
            [(1.4, 1.2), (1.5, 1.2)]
        );
        let more = limits(&report, "times that at N=50");
        assert_eq!(more, [(7.5 / 7.0, 1.1)]);
    }

    #[test]
    fn a_conversation_and_what_passes_straight_through_have_limits_of_their_own() {
        for (words, limit) in [(&["--conversation"], 0.45), (&["--relay"], 0.9)] {
            let mut report = report(words);
            series(&mut report, Kind::Gateway, 50, 4.0);
            series(&mut report, Kind::Rtpengine, 50, 10.0);
            assert_eq!(limits(&report, "times rtpengine's"), [(0.4, limit)]);
        }
    }

    #[test]
    fn too_few_calls_are_not_held_against_others() {
        let mut report = report(&[]);
        series(&mut report, Kind::Gateway, 10, 4.0);
        series(&mut report, Kind::Rtpengine, 10, 10.0);
        assert_eq!(limits(&report, "times rtpengine's"), []);
        assert_eq!(limits(&report, "packets lost"), [(0.0, 0.0)]);
    }

    #[test]
    fn a_system_that_lets_speech_fall_reaches_no_goal_and_serves_as_no_measure() {
        for silent in [Kind::Gateway, Kind::Rtpengine] {
            let mut report = report(&[]);
            series(&mut report, Kind::Gateway, 50, 1.0);
            series(&mut report, Kind::Rtpengine, 50, 10.0);
            let mut mute = Figures::sample();
            mute.to_phone.pesq = None;
            report.add(silent, 50, mute);

            let goals = goals(&report);
            let beside = goals.iter().find(|goal| goal.what.contains("rtpengine's"));
            assert!(!beside.unwrap().passed(), "{beside:?}");
            let speech = format!("speech through {}", silent.name());
            let speech = goals.iter().find(|goal| goal.what.contains(&speech));
            assert!(!speech.unwrap().passed(), "{speech:?}");
        }
    }

    #[test]
    fn one_packet_lost_in_one_run_is_a_goal_missed_unless_the_core_was_full() {
        for (core, held) in [(0.5, true), (0.9, false)] {
            let mut report = report(&[]);
            let run = Figures {
                core,
                ..Figures::sample()
            };
            report.add(Kind::Gateway, 50, run.clone());
            let mut lossy = run;
            lossy.to_browser.lost = 1;
            report.add(Kind::Gateway, 50, lossy);
            let lost = limits(&report, "packets lost");
            assert_eq!(lost, Vec::from_iter(held.then_some((1.0, 0.0))));
        }
    }

    #[test]
    fn the_last_line_counts_and_what_is_no_number_is_missed() {
        let goal = |value| Goal {
            what: "sound".to_owned(),
            value,
            limit: 1.0,
        };
        let told = verdict(&[goal(1.0), goal(1.01), goal(f64::NAN)]);
        assert!(told.starts_with("passed  sound: 1.00 (at most 1.00)\nFAILED"));
        assert!(told.ends_with("\n1 passed, 2 failed"), "{told}");
    }
}
