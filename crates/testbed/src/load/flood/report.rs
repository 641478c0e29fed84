//! What a flood showed, beside what is aimed at.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Flood, Seen};
use crate::load::circumstances::Circumstances;
use crate::load::figures::percentile;

use crate::load::{Goal, Pages, verdict};

const MB: f64 = 1e6;

/// What was seen, and when and where.
#[derive(Debug)]
pub struct FloodReport {
    flood: Flood,
    seen: Seen,
    circumstances: Circumstances,
}

impl FloodReport {
    pub(super) fn new(flood: Flood, seen: Seen) -> Self {
        Self {
            flood,
            seen,
            circumstances: Circumstances::now("load"),
        }
    }

    /// What holds on any machine.
    #[must_use]
    pub fn bounds(&self) -> Vec<Goal> {
        let Seen { unknown, trunk, .. } = &self.seen;
        let refused = trunk.statuses.get(&503).copied().unwrap_or(0);
        let others: usize = trunk.statuses.values().sum::<usize>() - refused;
        vec![
            goal(
                "answers to the unknown address",
                unknown.statuses.values().sum(),
                0,
            ),
            goal("calls that did not connect", self.seen.unconnected, 0),
            Goal {
                what: "memory grown, MB".to_owned(),
                value: self.grown(self.seen.memory.most),
                limit: 50.0,
            },
            Goal {
                what: "memory that the unknown address left taken, beyond that of the calls set up meanwhile, MB"
                    .to_owned(),
                value: self.grown(self.seen.memory.between) - self.seen.memory.of_calls as f64 / MB,
                limit: super::KEPT as f64 / MB,
            },
            goal(
                "INVITEs of the trunk without a final answer",
                trunk.sent - refused - others,
                0,
            ),
            goal(
                "of those with 503, without Retry-After",
                trunk.unexplained,
                0,
            ),
            // So many at once, and so many each second, which may begin anywhere in the stream.
            goal(
                "INVITEs of the trunk let through",
                others,
                100 * (super::SETTLES.as_secs() as usize + 2),
            ),
        ]
    }

    /// All that is aimed at; times and lost packets say something on a machine only that is not overloaded.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let mut goals = self.bounds();
        goals.push(goal(
            "packets that running calls lost",
            self.seen.lost as usize,
            0,
        ));
        goals.push(Goal {
            what: "setting a trusted call up, longest, ms".to_owned(),
            value: percentile(&self.seen.set_up_ms, 1.0),
            limit: 100.0,
        });
        goals.push(Goal {
            what: "503 to the trunk, p99, ms".to_owned(),
            value: percentile(&self.seen.trunk.refused_after_ms, 0.99),
            limit: 100.0,
        });
        goals
    }

    /// As it is printed and kept.
    #[must_use]
    pub fn pages(&self) -> Pages {
        let goals = self.goals();
        Pages {
            name: self.circumstances.name("flood"),
            table: self.table(),
            verdict: verdict(&goals),
            json: json!({
                "circumstances": self.circumstances, "goals": goals, "figures": self.figures(),
            }),
            svg: None,
            appendix: None,
        }
    }

    fn grown(&self, memory: u64) -> f64 {
        memory.saturating_sub(self.seen.memory.before) as f64 / MB
    }

    fn figures(&self) -> Value {
        let Seen {
            unknown,
            trunk,
            memory,
            ..
        } = &self.seen;
        json!({
            "unknown": {"sent": unknown.sent, "answers": unknown.statuses},
            "trunk": {"sent": trunk.sent, "answers": trunk.statuses},
            "set_up_ms": self.seen.set_up_ms, "said": self.seen.said, "lost": self.seen.lost, "core": self.seen.core,
            "memory": {
                "before": memory.before, "between": memory.between, "most": memory.most,
            },
        })
    }

    fn table(&self) -> String {
        let Flood {
            calls,
            seconds,
            each_second,
            of_the_trunk,
        } = self.flood;
        let Seen {
            unknown,
            trunk,
            memory,
            ..
        } = &self.seen;
        let mut table = format!(
            "{}\n\n{calls} calls talk while an unknown address sends {each_second} INVITEs a second for {seconds} s and \
             one call is set up each second; then the trunk sends {of_the_trunk} a second for {} s.\n\n| figure | |\n|---|---|\n",
            self.circumstances,
            super::SETTLES.as_secs(),
        );
        let mut row = |what: &str, value: String| {
            let _ = writeln!(table, "| {what} | {value} |");
        };
        row(
            "INVITEs of the unknown address",
            format!("{}, answered {:?}", unknown.sent, unknown.statuses),
        );
        row(
            "INVITEs of the trunk",
            format!("{}, answered {:?}", trunk.sent, trunk.statuses),
        );
        row(
            "503 to the trunk, ms p50 / p99 / longest",
            shares(&trunk.refused_after_ms),
        );
        row(
            "setting a trusted call up, ms p50 / p99 / longest",
            shares(&self.seen.set_up_ms),
        );
        row(
            "packets of running calls",
            format!("{}, lost {}", self.seen.said, self.seen.lost),
        );
        row(
            "the gateway's CPU in the flood",
            format!("{:.2} core", self.seen.core),
        );
        row(
            "memory, MB before / between the floods / most",
            format!(
                "{:.1} / {:.1} / {:.1}",
                memory.before as f64 / MB,
                memory.between as f64 / MB,
                memory.most as f64 / MB,
            ),
        );
        table
    }
}

fn goal(what: &str, value: usize, limit: usize) -> Goal {
    Goal {
        what: what.to_owned(),
        value: value as f64,
        limit: limit as f64,
    }
}

fn shares(millis: &[f64]) -> String {
    let shares = [0.5, 0.99, 1.0].map(|share| format!("{:.1}", percentile(millis, share)));
    shares.join(" / ")
}
