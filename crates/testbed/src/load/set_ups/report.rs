//! What setting calls up showed, beside what is aimed at.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::{Seen, SetUps};
use crate::load::circumstances::Circumstances;
use crate::load::figures::percentile;
use crate::load::{Goal, Pages, verdict};

/// What was seen, and when and where.
#[derive(Debug)]
pub struct SetUpsReport {
    plan: SetUps,
    seen: Seen,
    circumstances: Circumstances,
}

impl SetUpsReport {
    pub(super) fn new(plan: SetUps, seen: Seen) -> Self {
        Self {
            plan,
            seen,
            circumstances: Circumstances::now("load"),
        }
    }

    /// What failed, and how often.
    #[must_use]
    pub fn failures(&self) -> &BTreeMap<String, usize> {
        &self.seen.failures
    }

    /// All that is aimed at; times say something on a machine only that is not overloaded.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        vec![
            Goal {
                what: "calls that failed".to_owned(),
                value: self.seen.failures.values().sum::<usize>() as f64,
                limit: 0.0,
            },
            Goal {
                what: "from the invite until the answer, p95, ms".to_owned(),
                value: percentile(&self.answers(), 0.95),
                limit: 20.0,
            },
        ]
    }

    /// As it is printed and kept.
    #[must_use]
    pub fn pages(&self) -> Pages {
        let goals = self.goals();
        Pages {
            name: self.circumstances.name("set-ups"),
            table: self.table(),
            verdict: verdict(&goals),
            json: json!({
                "circumstances": self.circumstances, "goals": goals, "failures": self.seen.failures,
                "answer_ms": self.answers(), "sound_ms": self.sounds(), "core": self.seen.core,
                "own_core": self.seen.own_core,
            }),
            svg: None,
            appendix: None,
        }
    }

    fn answers(&self) -> Vec<f64> {
        self.seen.took.iter().map(|took| took.answer_ms).collect()
    }

    fn sounds(&self) -> Vec<f64> {
        self.seen.took.iter().map(|took| took.sound_ms).collect()
    }

    fn table(&self) -> String {
        let SetUps {
            each_second,
            seconds,
        } = self.plan;
        let Seen {
            took,
            failures,
            core,
            own_core,
        } = &self.seen;
        let shares = |millis: &[f64]| {
            let shares = [0.5, 0.95, 0.99, 1.0].map(|share| percentile(millis, share));
            shares.map(|millis| format!("{millis:.1}")).join(" / ")
        };
        let mut table = format!(
            "{}\n\n{each_second} calls a second for {seconds} s: browser (DTLS-SRTP, Opus) to a telephone (SIPp, PCMU) that \
             sends back what it hears; hung up 1 s after that is heard. From the invite until the answer the homeserver's and \
             SIPp's time counts too.\n\n| figure | |\n|---|---|\n",
            self.circumstances,
        );
        let mut row = |what: &str, value: String| {
            let _ = writeln!(table, "| {what} | {value} |");
        };
        row("calls", format!("{}", took.len()));
        row(
            "from the invite until the answer, ms p50 / p95 / p99 / longest",
            shares(&self.answers()),
        );
        row(
            "from the answer until sound both ways, ms p50 / p95 / p99 / longest",
            shares(&self.sounds()),
        );
        row("the gateway's CPU", format!("{core:.2} core"));
        row(
            "CPU of browsers and homeserver",
            format!("{own_core:.2} core"),
        );
        for (failure, times) in failures {
            row("failed", format!("{times} × {failure}"));
        }
        table
    }
}
