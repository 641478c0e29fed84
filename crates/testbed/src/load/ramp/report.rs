//! Where a whole site gives way, and what first.

use std::fmt::Write as _;

use serde_json::json;

use super::usage::Usage;
use super::{After, GAP, Hold, SLOW, Step, TABS};
use crate::load::circumstances::Circumstances;
use crate::load::{Goal, Pages, verdict};

/// A program of one thread that takes so much of a core has no more to give.
const ONE_CORE: f64 = 0.9;
/// Cores left: less, and everybody waits for the others.
const NONE_LEFT: f64 = 0.1;

/// What was seen, and when and where.
#[derive(Debug)]
pub struct SiteReport {
    steps: Vec<Step>,
    hold: Hold,
    after: After,
    circumstances: Circumstances,
}

impl SiteReport {
    pub(super) fn new(steps: Vec<Step>, hold: Hold, after: After) -> Self {
        Self {
            steps,
            hold,
            after,
            circumstances: Circumstances::now("load"),
        }
    }

    /// What has to be so at the limit that was found, wherever that is.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let goal = |what: &str, value: f64, limit: f64| Goal {
            what: what.to_owned(),
            value,
            limit,
        };
        let After {
            calls,
            both,
            records,
        } = self.after;
        let failed: usize = self.steps.iter().map(|step| step.failed).sum();
        vec![
            goal(
                "calls that ended by themselves below the limit",
                self.hold.dropped as f64,
                0.0,
            ),
            goal(
                "calls with a gap that is heard there, of a hundred a minute",
                100.0 * self.hold.gaps / self.hold.calls.max(1) as f64,
                1.0,
            ),
            goal(
                "Chromium tabs without sound",
                TABS.saturating_sub(self.hold.tabs) as f64,
                0.0,
            ),
            goal("calls left when all had hung up", calls as f64, 0.0),
            goal(
                "records that do not say both, beyond set-ups that failed",
                records.saturating_sub(both + failed) as f64,
                0.0,
            ),
        ]
    }

    /// As it is printed and kept.
    #[must_use]
    pub fn pages(&self) -> Pages {
        let goals = self.goals();
        Pages {
            name: self.circumstances.name("site"),
            table: self.table(),
            verdict: verdict(&goals),
            json: json!({
                "circumstances": self.circumstances, "goals": goals, "steps": self.steps, "hold": self.hold,
                "after": self.after, "gave_way": self.gave_way(),
            }),
            svg: Some(self.svg()),
            appendix: None,
        }
    }

    fn table(&self) -> String {
        let mut table = format!(
            "{}\n\nPeople (light Matrix clients with WebRTC, and {TABS} tabs of Chromium) behind a real Synapse, SIPp as the \
             telephones (PCMU, what is said comes back), half of the calls in each direction, a new call every 2 s in each. A step is \
             good while no set-up fails, 95 % have sound within {SLOW:.0} s, and the longest gap in 10 s is below {GAP} s in \
             95 % of the calls.\n\n| calls | set-ups failed | until sound, p95, s | longest gap, p95, s | cores: gateway | Synapse | SIPp | Chromium | people | idle |\n|---|---|---|---|---|---|---|---|---|---|\n",
            self.circumstances,
        );
        for step in &self.steps {
            table.push_str(&row(step));
            table.push('\n');
        }
        let Hold {
            calls,
            minutes,
            dropped,
            gaps,
            usage,
            tabs,
        } = &self.hold;
        let After {
            calls: left,
            both,
            records,
        } = &self.after;
        let _ = write!(
            table,
            "\n{}\n\n{calls} calls for {minutes} min: {dropped} ended by themselves, {gaps:.1} had a gap that is heard in a \
             minute, {tabs} of {TABS} Chromium heard something at the end; {}.\nAfterwards {left} calls were left; {both} of \
             {records} records say both.\n",
            self.gave_way(),
            cores(usage),
        );
        table
    }

    /// In a sentence.
    fn gave_way(&self) -> String {
        let Some(bad) = self.steps.last().filter(|step| !step.is_good()) else {
            let most = self.steps.last().map_or(0, |step| step.calls);
            return format!("It did not give way up to {most} calls, the most that is tried.");
        };
        let mut signs = Vec::new();
        if bad.failed > 0 {
            signs.push(format!("{} set-ups failed", bad.failed));
        }
        if bad.set_up > SLOW {
            signs.push(format!("sound came after {:.1} s", bad.set_up));
        }
        if bad.gap > GAP {
            signs.push(format!("there were gaps of {:.2} s", bad.gap));
        }
        let why = match bad.usage {
            usage if usage.synapse > ONE_CORE => {
                "Synapse's one thread had its core to itself and no more".to_owned()
            }
            usage if usage.idle < NONE_LEFT => {
                let all = usage.by_name();
                let (name, cores) = all.first().copied().unwrap_or_default();
                format!("the machine had no core left, and most of it went to {name} ({cores:.2})")
            }
            usage => format!("with {:.2} cores idle: not for want of CPU", usage.idle),
        };
        format!(
            "It gave way at {} calls: {}; {why}.",
            bad.calls,
            signs.join(", ")
        )
    }

    /// Cores by calls, a line for each.
    fn svg(&self) -> String {
        /// Name, colour, and what is drawn.
        type Line = (&'static str, &'static str, fn(&Usage) -> f64);
        const COLOURS: [Line; 6] = [
            ("gateway", "#2a7de1", |usage| usage.gateway),
            ("Synapse", "#0a8f5b", |usage| usage.synapse),
            ("SIPp", "#e1862a", |usage| usage.sipp),
            ("Chromium", "#a24fd0", |usage| usage.chromium),
            ("people", "#999", |usage| usage.people),
            ("idle", "#ddd", |usage| usage.idle),
        ];
        let most_calls = self.steps.last().map_or(1, |step| step.calls) as f64;
        let values = self
            .steps
            .iter()
            .flat_map(|step| COLOURS.map(|(_, _, of)| of(&step.usage)));
        let most = values.fold(0.1, f64::max);
        let mut svg = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"360\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"10\" y=\"24\" font-size=\"15\">Cores that each took, by calls at once</text>\n\
             <path d=\"M60 320H560M60 40V320\" stroke=\"#000\" fill=\"none\"/>\n",
        );
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"50\">{most:.1}</text><text x=\"545\" y=\"340\">{most_calls:.0}</text>"
        );
        for (row, (name, colour, of)) in COLOURS.iter().enumerate() {
            let points = self.steps.iter().map(|step| {
                let x = 60.0 + 500.0 * step.calls as f64 / most_calls;
                format!("{x:.1},{:.1}", 320.0 - 280.0 * of(&step.usage) / most)
            });
            let points = points.collect::<Vec<_>>().join(" ");
            let _ = writeln!(
                svg,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"580\" y=\"{}\" fill=\"{colour}\">{name}</text>",
                60 + 20 * row,
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// One row of the table.
pub(super) fn row(step: &Step) -> String {
    let Step {
        calls,
        failed,
        set_up,
        gap,
        usage,
    } = step;
    let Usage {
        gateway,
        synapse,
        sipp,
        chromium,
        people,
        idle,
    } = usage;
    format!(
        "| {calls} | {failed} | {set_up:.2} | {gap:.2} | {gateway:.2} | {synapse:.2} | {sipp:.2} | {chromium:.2} | \
         {people:.2} | {idle:.2} |"
    )
}

fn cores(usage: &Usage) -> String {
    let all = usage.by_name().into_iter();
    let all: Vec<_> = all
        .map(|(name, cores)| format!("{name} {cores:.2}"))
        .collect();
    format!("cores: {}, idle {:.2}", all.join(", "), usage.idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(calls: usize, gap: f64, usage: Usage) -> Step {
        Step {
            calls,
            failed: 0,
            set_up: 0.5,
            gap,
            usage,
        }
    }

    fn report(steps: Vec<Step>) -> SiteReport {
        let hold = Hold {
            calls: 12,
            minutes: 1,
            dropped: 0,
            gaps: 0.0,
            usage: Usage::default(),
            tabs: TABS,
        };
        let after = After {
            calls: 0,
            both: 22,
            records: 22,
        };
        SiteReport::new(steps, hold, after)
    }

    #[test]
    fn what_gave_way_first_is_told_by_who_had_no_core_left() {
        let full = Usage {
            gateway: 0.6,
            synapse: 0.3,
            people: 0.9,
            idle: 0.02,
            ..Usage::default()
        };
        let steps = vec![step(12, 0.03, Usage::default()), step(22, 0.4, full)];
        let told = report(steps).gave_way();
        assert!(
            told.contains("at 22 calls") && told.contains("people (0.90)"),
            "{told}"
        );
        let synapse = Usage {
            synapse: 0.97,
            idle: 0.5,
            ..Usage::default()
        };
        let told = report(vec![step(22, 0.4, synapse)]).gave_way();
        assert!(told.contains("Synapse's one thread"), "{told}");
    }

    #[test]
    fn a_call_that_is_left_behind_fails_the_run() {
        let mut report = report(vec![step(12, 0.03, Usage::default())]);
        assert!(
            report.goals().iter().all(Goal::passed),
            "{:?}",
            report.goals()
        );
        report.after.calls = 1;
        assert!(!report.goals().iter().all(Goal::passed));
    }
}
