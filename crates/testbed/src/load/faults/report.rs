//! What the faults did, as a table, beside what is aimed at.

use std::fmt::Write as _;

use serde_json::json;

use super::Outcome;
use crate::load::circumstances::Circumstances;
use crate::load::{Goal, Pages, verdict};

/// New calls have to be possible again so soon after a fault, s: what a person waits who tries again.
const WHOLE: f64 = 30.0;

/// What was seen, and when and where.
#[derive(Debug)]
pub struct FaultsReport {
    calls: usize,
    outcomes: Vec<Outcome>,
    circumstances: Circumstances,
}

impl FaultsReport {
    pub(super) fn new(calls: usize, outcomes: Vec<Outcome>) -> Self {
        Self {
            calls,
            outcomes,
            circumstances: Circumstances::now("load"),
        }
    }

    /// What must not happen, whatever goes wrong.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        let sum = |of: &dyn Fn(&Outcome) -> f64| self.outcomes.iter().map(of).sum::<f64>();
        let most = |of: &dyn Fn(&Outcome) -> f64| self.outcomes.iter().map(of).fold(0.0, f64::max);
        let needless = |outcome: &Outcome| match outcome.fault.ends_calls() {
            true => 0.0,
            false => outcome.dropped as f64,
        };
        let goal = |what: &str, value: f64, limit: f64| Goal {
            what: what.to_owned(),
            value,
            limit,
        };
        vec![
            goal(
                "calls dropped by what need not end them",
                sum(&needless),
                0.0,
            ),
            goal(
                "calls without sound once all was well again",
                sum(&|outcome| outcome.dead as f64),
                0.0,
            ),
            goal(
                "until new calls had sound both ways again, longest, s",
                most(&|outcome| outcome.whole_after.unwrap_or(f64::INFINITY)),
                WHOLE,
            ),
            goal(
                "calls without a record",
                sum(&|outcome| outcome.lost as f64),
                0.0,
            ),
            goal(
                "records that are wrong, or open for ever",
                sum(&|outcome| outcome.wrong.len() as f64),
                0.0,
            ),
            goal(
                "calls that people still saw 10 s after the recovery, ringing or on, and nobody else",
                sum(&|outcome| outcome.stuck as f64),
                0.0,
            ),
            goal(
                "calls and legs that gateway or PBX still had then, and nobody else",
                sum(&|outcome| outcome.left_over as f64),
                0.0,
            ),
        ]
    }

    /// As it is printed and kept.
    #[must_use]
    pub fn pages(&self) -> Pages {
        let goals = self.goals();
        let faults = self.outcomes.iter().map(|outcome| {
            let mut told = json!(outcome);
            told["fault"] = json!(outcome.fault.name());
            told
        });
        Pages {
            name: self.circumstances.name("faults"),
            table: self.table(),
            verdict: verdict(&goals),
            json: json!({
                "circumstances": self.circumstances, "goals": goals, "calls": self.calls,
                "faults": faults.collect::<Vec<_>>(),
            }),
            svg: None,
            appendix: None,
        }
    }

    fn table(&self) -> String {
        let mut table = format!(
            "{}\n\nReal Synapse, real Asterisk, the gateway as it is shipped; {} calls between people (a light Matrix client each, \
             WebRTC, Opus) and the PBX's echo, half of them dialled by people, half by the PBX; two more ring. One after the \
             other:\n\n{HEAD}",
            self.circumstances, self.calls,
        );
        for outcome in &self.outcomes {
            table.push_str(&row(outcome));
            table.push('\n');
        }
        for outcome in &self.outcomes {
            for wrong in &outcome.wrong {
                let _ = writeln!(table, "\n{}: {wrong}", outcome.fault.told());
            }
        }
        table
    }
}

const HEAD: &str = "| what went wrong | calls dropped | went silent for 1 s or more (longest) | no sound afterwards | set-ups \
    that failed meanwhile | new calls again after | records missing / wrong | stuck at people | left at gateway or PBX |\n\
    |---|---|---|---|---|---|---|---|---|\n";

/// One row of the table.
pub(super) fn row(outcome: &Outcome) -> String {
    let Outcome {
        fault,
        calls,
        dropped,
        told_after,
        silent,
        dead,
        tried,
        failed,
        whole_after,
        lost,
        wrong,
        stuck,
        left_over,
    } = outcome;
    let told = told_after.map_or_else(String::new, |after| format!(", told within {after:.1} s"));
    let longest = silent.iter().copied().fold(0.0, f64::max);
    let silent = match silent.len() {
        0 => "0".to_owned(),
        count => format!("{count} ({longest:.1} s)"),
    };
    let whole = whole_after.map_or("never".to_owned(), |after| format!("{after:.1} s"));
    let wrong = wrong.len();
    let expected = match fault.ends_calls() {
        true => " (has to end them)",
        false => "",
    };
    format!(
        "| {} | {dropped} of {calls}{told}{expected} | {silent} | {dead} | {failed} of {tried} | {whole} | {lost} / {wrong} | \
         {stuck} | {left_over} |",
        fault.told(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::faults::fault::Fault;

    fn outcome(fault: Fault, dropped: usize) -> Outcome {
        Outcome {
            fault,
            calls: 50,
            dropped,
            told_after: (dropped > 0).then_some(2.5),
            silent: vec![1.5, 4.0],
            dead: 0,
            tried: 8,
            failed: 3,
            whole_after: Some(7.0),
            lost: 0,
            wrong: Vec::new(),
            stuck: 0,
            left_over: 0,
        }
    }

    #[test]
    fn only_calls_that_need_not_end_count_as_dropped() {
        let killed = outcome(Fault::GatewayKilled, 50);
        let report = FaultsReport::new(50, vec![killed, outcome(Fault::DiskFull, 0)]);
        assert!(
            report.goals().iter().all(Goal::passed),
            "{:?}",
            report.goals()
        );
        let report = FaultsReport::new(50, vec![outcome(Fault::DiskFull, 1)]);
        assert_eq!(
            report.goals().iter().filter(|goal| !goal.passed()).count(),
            1
        );
    }

    #[test]
    fn a_service_that_does_not_come_back_fails() {
        let mut never = outcome(Fault::SynapseKilled, 0);
        never.whole_after = None;
        let report = FaultsReport::new(50, vec![never]);
        assert!(report.goals().iter().any(|goal| !goal.passed()));
        assert!(report.table().contains("| never |"));
    }

    #[test]
    fn a_row_says_what_people_noticed() {
        let row = row(&outcome(Fault::AsteriskKilled, 50));
        assert!(
            row.contains(
                "50 of 50, told within 2.5 s (has to end them) | 2 (4.0 s) | 0 | 3 of 8 | 7.0 s |"
            ),
            "{row}"
        );
    }
}
