//! What came of the demo's calls: a table for people, figures for programs.

use std::fmt;

use serde::Serialize;

use crate::judge::{Fault, Figures, Verdict};

/// One thing that was checked: a direction of a call's sound, or how a call went.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The call, as `browser → 602`.
    pub call: String,
    /// What was looked at, as `browser → phone` for sound.
    pub direction: String,
    /// The clip that was spoken.
    pub clip: Option<String>,
    /// What the judge measured on the recording.
    pub figures: Option<Figures>,
    /// What the judge found wrong with the sound.
    pub faults: Vec<Fault>,
    /// Why it failed; `None` when it passed.
    pub failure: Option<String>,
}

impl Row {
    /// The sound of one direction, as judged.
    #[must_use]
    pub fn sound(call: &str, direction: &str, verdict: Verdict) -> Self {
        let failure = (!verdict.passed()).then(|| {
            let faults: Vec<String> = verdict.faults.iter().map(Fault::to_string).collect();
            faults.join(", ")
        });
        Self {
            call: call.to_owned(),
            direction: direction.to_owned(),
            clip: Some(verdict.expected),
            figures: Some(verdict.figures),
            faults: verdict.faults,
            failure,
        }
    }

    /// Something other than sound: what was expected, and what went wrong if it did.
    #[must_use]
    pub fn event(call: &str, expected: &str, outcome: Result<(), String>) -> Self {
        Self {
            call: call.to_owned(),
            direction: expected.to_owned(),
            clip: None,
            figures: None,
            faults: Vec::new(),
            failure: outcome.err(),
        }
    }

    /// Whether it is as it should be.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// Whether the sound came from the right mouth and at the right level, but not well: what a machine that stands
    /// still does to it, beside a gateway that does its work badly.
    #[must_use]
    pub fn sounds_broken(&self) -> bool {
        let broken = |fault| matches!(fault, &Fault::Quality | &Fault::Gap);
        !self.faults.is_empty() && self.faults.iter().all(broken)
    }

    fn cells(&self) -> [String; 7] {
        let figure = |format: &dyn Fn(&Figures) -> String| {
            self.figures.as_ref().map_or_else(|| "–".to_owned(), format)
        };
        [
            self.call.clone(),
            self.direction.clone(),
            self.clip.clone().unwrap_or_else(|| "–".to_owned()),
            figure(&|f| {
                f.pesq
                    .map_or_else(|| "silent".to_owned(), |p| format!("{p:.2}"))
            }),
            figure(&|f| format!("{:+.1} dB", f.level_db)),
            figure(&|f| format!("{} ms", f.gap_ms)),
            match &self.failure {
                None => "passed".to_owned(),
                Some(why) => format!("FAILED: {why}"),
            },
        ]
    }
}

/// Everything that was checked in one run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The seed that chose the clips; the same seed speaks the same clips.
    pub seed: u64,
    /// In the order of the calls.
    pub rows: Vec<Row>,
}

impl Report {
    /// The report of a run that ended before its first call.
    #[must_use]
    pub fn of_failure(error: &anyhow::Error) -> Self {
        let row = Row::event("the site", "comes up", Err(format!("{error:#}")));
        Report {
            seed: 0,
            rows: vec![row],
        }
    }

    /// Whether there was something to check and all of it is as it should be.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(Row::passed)
    }
}

const HEADINGS: [&str; 7] = [
    "call",
    "direction",
    "clip",
    "PESQ",
    "level",
    "gap",
    "verdict",
];

/// The table, and as its last line `N passed, N failed`.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<[String; 7]> = std::iter::once(HEADINGS.map(str::to_owned))
            .chain(self.rows.iter().map(Row::cells))
            .collect();
        let width = |column: usize| {
            let lengths = lines.iter().map(|line| line[column].chars().count());
            lengths.max().unwrap_or(0)
        };
        let widths: [usize; 7] = std::array::from_fn(width);
        for (number, line) in lines.iter().enumerate() {
            let cells: Vec<String> = line
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
            if number == 0 {
                writeln!(f, "{}", widths.map(|width| "─".repeat(width)).join("  "))?;
            }
        }
        let passed = self.rows.iter().filter(|row| row.passed()).count();
        write!(f, "{passed} passed, {} failed", self.rows.len() - passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard() -> Verdict {
        Verdict {
            expected: "english-00000001".to_owned(),
            figures: Figures {
                heard: Some("english-00000001".to_owned()),
                coverage: 1.0,
                pesq: Some(4.312),
                level_db: -0.25,
                gap_ms: 0,
                lag_ms: 2_000,
                slip_ms: 0,
            },
            faults: Vec::new(),
        }
    }

    #[test]
    fn the_last_line_counts() {
        let report = Report {
            seed: 1,
            rows: vec![
                Row::sound("browser → 602", "browser → phone", heard()),
                Row::event("browser → 603", "busy", Err("the page says Ready".into())),
            ],
        };
        let table = report.to_string();
        assert_eq!(table.lines().last(), Some("1 passed, 1 failed"));
        assert!(table.contains("4.31  -0.2 dB  0 ms  passed"), "{table}");
        assert!(!report.passed());
    }

    #[test]
    fn a_row_with_a_fault_names_it() {
        let mut verdict = heard();
        verdict.faults = vec![Fault::Level, Fault::Gap];
        let row = Row::sound("browser → 602", "browser → phone", verdict);
        assert_eq!(row.failure.as_deref(), Some("level, gap"));
    }

    #[test]
    fn bad_sound_may_be_the_machines_doing_and_a_strangers_voice_may_not() {
        let row = |faults: &[Fault]| {
            let mut verdict = heard();
            verdict.faults = faults.to_vec();
            Row::sound("browser → 602", "browser → phone", verdict)
        };
        assert!(row(&[Fault::Quality, Fault::Gap]).sounds_broken());
        assert!(!row(&[Fault::WrongClip, Fault::Quality]).sounds_broken());
        assert!(!row(&[]).sounds_broken());
        assert!(!Row::event("browser → 603", "busy", Err("no".into())).sounds_broken());
    }

    #[test]
    fn a_site_that_does_not_come_up_is_a_failure_with_a_last_line() {
        let report = Report::of_failure(&anyhow::anyhow!("Synapse did not start"));
        assert!(!report.passed());
        let text = report.to_string();
        assert!(text.contains("Synapse did not start"), "{text}");
        assert!(text.ends_with("\n0 passed, 1 failed"), "{text}");
    }

    #[test]
    fn a_report_of_nothing_has_not_passed() {
        assert!(!Report::default().passed());
    }
}
