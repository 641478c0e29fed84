//! What an hour of calls left behind, beside what is aimed at.

use std::fmt::Write as _;

use serde_json::json;

use super::growth::Growth;
use super::{LONGER, SHORTEST, Sample, Seen};
use crate::load::circumstances::Circumstances;
use crate::load::figures::percentile;
use crate::load::{Goal, Pages, verdict};

/// See [`LOOKED_AT`].
type LookedAt = (&'static str, fn(&Sample) -> f64, f64, f64);

/// What is looked at: its name, its unit, how many of that are one, and by how many it may grow in an hour. Memory has some
/// room: records and traces of the last 1,000 calls are kept on purpose.
const LOOKED_AT: [LookedAt; 5] = [
    ("memory, MB", |sample| sample.memory, 1e6, 4.0),
    ("descriptors", |sample| sample.descriptors, 1.0, 2.0),
    (
        "sockets (ports and connections)",
        |sample| sample.sockets,
        1.0,
        2.0,
    ),
    ("threads", |sample| sample.threads, 1.0, 0.5),
    ("tasks", |sample| sample.tasks, 1.0, 4.0),
];

/// What was seen, and when and where.
#[derive(Debug)]
pub struct SoakReport {
    seen: Seen,
    growths: Vec<(&'static str, Growth, f64)>,
    circumstances: Circumstances,
}

impl SoakReport {
    pub(super) fn new(seen: Seen) -> Self {
        let growths = LOOKED_AT.map(|(name, of, one, limit)| {
            let samples = seen.samples.iter();
            let samples: Vec<_> = samples
                .map(|sample| (sample.at, of(sample) / one))
                .collect();
            (name, Growth::of(&samples), limit)
        });
        Self {
            seen,
            growths: growths.to_vec(),
            circumstances: Circumstances::now("load"),
        }
    }

    /// All that is aimed at.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let Seen {
            talked,
            failures,
            both,
            other,
            open,
            through,
            ..
        } = &self.seen;
        let grows = self.growths.iter().map(|(name, growth, limit)| Goal {
            what: format!("{name}: growth an hour, beyond chance"),
            value: growth.surely(),
            limit: *limit,
        });
        let goal = |what: &str, value: usize| Goal {
            what: what.to_owned(),
            value: value as f64,
            limit: 0.0,
        };
        let late = |what: &str, millis: &[f64], limit: f64| Goal {
            what: format!("{what}, p95, ms"),
            value: percentile(millis, 0.95),
            limit,
        };
        let unlike_both = other.values().sum::<usize>() + open;
        grows
            .chain([
                goal("calls that failed", failures.values().sum()),
                goal(
                    "calls without a record that says both",
                    talked.saturating_sub(*both),
                ),
                goal("records that say something else", unlike_both),
                goal("runs without a call", usize::from(*talked == 0)),
                late(
                    "from a person's invite to the INVITE",
                    &through.out_ms,
                    10.0,
                ),
                // 20 of ours; the homeserver's own time is not told apart, and not allowed for.
                late(
                    "from an INVITE to the person's invite, homeserver and all",
                    &through.in_ms,
                    20.0,
                ),
            ])
            .collect()
    }

    /// As it is printed and kept.
    #[must_use]
    pub fn pages(&self) -> Pages {
        let goals = self.goals();
        Pages {
            name: self.circumstances.name("soak"),
            table: self.table(),
            verdict: verdict(&goals),
            json: json!({ "circumstances": self.circumstances, "goals": goals, "seen": self.seen }),
            svg: Some(self.svg()),
            appendix: None,
        }
    }

    fn table(&self) -> String {
        let Seen {
            talked,
            failures,
            both,
            other,
            open,
            core,
            minutes,
            at_once,
            through,
            ..
        } = &self.seen;
        let longest = SHORTEST + LONGER;
        let mut table = format!(
            "{}\n\nReal Synapse, real Asterisk; {at_once} calls at once that come and go for {minutes} min, {SHORTEST} to {longest} s each, half \
             dialled by people, half by the PBX. Growth by the line that fits best, after the first quarter.\n\n| of the gateway | mean | most | growth an hour (give or take) |\n|---|---|---|---|\n",
            self.circumstances,
        );
        for (name, growth, _) in &self.growths {
            let Growth {
                mean,
                most,
                an_hour,
                give_or_take,
            } = growth;
            let _ = writeln!(
                table,
                "| {name} | {mean:.1} | {most:.1} | {an_hour:+.2} (± {give_or_take:.2}) |"
            );
        }
        let _ = writeln!(
            table,
            "\n{talked} calls had sound; {both} records are complete and say \"both\", {open} are open; CPU {core:.2} core."
        );
        for (what, millis) in [
            ("a person's invite to the INVITE", &through.out_ms),
            (
                "an INVITE to the person's invite, homeserver and all",
                &through.in_ms,
            ),
        ] {
            let shares = [0.5, 0.95, 0.99].map(|share| percentile(millis, share));
            let [p50, p95, p99] = shares;
            let calls = millis.len();
            let _ = writeln!(
                table,
                "- from {what}: {p50:.0} / {p95:.0} / {p99:.0} ms (p50, p95, p99 of the last {calls} calls)"
            );
        }
        for (word, count) in other {
            let _ = writeln!(table, "- {count} records say {word:?}");
        }
        for (why, count) in failures {
            let _ = writeln!(table, "- {count} × {why}");
        }
        table
    }

    /// Each as a line of its own height.
    fn svg(&self) -> String {
        const ROW: f64 = 90.0;
        const WIDE: f64 = 560.0;
        let last = self.seen.samples.last().map_or(1.0, |sample| sample.at);
        let height = 40.0 + ROW * LOOKED_AT.len() as f64;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"10\" y=\"24\" font-size=\"15\">What the gateway held, {:.0} min</text>\n",
            last / 60.0
        );
        for (row, (name, of, one, _)) in LOOKED_AT.iter().enumerate() {
            let top = 40.0 + ROW * row as f64;
            let values = self.seen.samples.iter().map(|sample| of(sample) / one);
            let most = values.clone().fold(1.0, f64::max);
            let points = self.seen.samples.iter().zip(values).map(|(sample, value)| {
                let x = 100.0 + WIDE * sample.at / last;
                let y = top + 70.0 - 60.0 * value / most;
                format!("{x:.1},{y:.1}")
            });
            let points = points.collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                svg,
                "<text x=\"10\" y=\"{:.0}\">{most:.0}</text><text x=\"100\" y=\"{:.0}\">{name}</text>\
                 <path d=\"M100 {base:.0}H660\" stroke=\"#ccc\"/>\
                 <polyline points=\"{points}\" fill=\"none\" stroke=\"#2a7de1\"/>",
                top + 16.0,
                top + 84.0,
                base = top + 70.0,
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
