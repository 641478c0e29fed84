//! The figures of all runs: as a table, as JSON, as a chart.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::circumstances::Circumstances;
use super::figures::Figures;
use super::goals::{goals, verdict};
use super::system::Kind;
use super::{Arguments, Codec, Pages, Voice};

/// Least, middle and greatest of some runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

/// All runs of one system with so many calls.
#[derive(Clone, Debug)]
pub struct Series {
    /// The system.
    pub kind: Kind,
    /// Calls at once.
    pub calls: usize,
    /// One for each run.
    pub figures: Vec<Figures>,
}

/// All runs of all systems.
#[derive(Clone, Debug)]
pub struct Report {
    /// In the order of the first runs.
    pub series: Vec<Series>,
    /// Whether it was talk spurts.
    pub conversation: bool,
    pub(super) codec: Codec,
    circumstances: Circumstances,
}

impl Series {
    /// Of one figure.
    pub fn spread(&self, figure: impl Fn(&Figures) -> f64) -> Spread {
        Spread::of(self.figures.iter().map(figure).collect())
    }
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            min: at(0),
            median: at(values.len() / 2),
            max: at(values.len().saturating_sub(1)),
        }
    }
}

impl Report {
    pub(super) fn new(arguments: &Arguments) -> Self {
        Self {
            series: Vec::new(),
            conversation: arguments.conversation,
            codec: arguments.codec(),
            circumstances: Circumstances::now("load"),
        }
    }

    pub(super) fn add(&mut self, kind: Kind, calls: usize, figures: Figures) {
        let known = self.series.iter_mut();
        let mut known = known.filter(|series| series.kind == kind && series.calls == calls);
        match known.next() {
            Some(series) => series.figures.push(figures),
            None => self.series.push(Series {
                kind,
                calls,
                figures: vec![figures],
            }),
        }
    }

    /// As it is printed and kept.
    #[must_use]
    pub fn pages(&self) -> Pages {
        Pages {
            name: self.name(),
            table: self.table(),
            verdict: self.verdict(),
            json: self.json(),
            svg: Some(self.svg()),
            appendix: self.appendix(),
        }
    }

    /// The table, with what it was made by.
    #[must_use]
    pub fn table(&self) -> String {
        let talk = if self.conversation {
            "conversation, 45 % each side"
        } else {
            "continuous speech"
        };
        let mut table = format!(
            "{}\n\n{}, {talk}. Median (min to max) of {} runs that took turns.\n\n\
             | system | N | CPU ms per call-second | calls a core | memory kB a call | handshake CPU ms | set-up ms p50 | \
             lost | delay to browser p50/p95/p99 ms | delay to phone p50/p95/p99 ms | PESQ to browser | to phone | of the bare \
             codecs, to browser / phone | to browser kbit/s, SRTP tag |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
            self.circumstances,
            self.setting(),
            self.series.first().map_or(0, |series| series.figures.len()),
        );
        for series in &self.series {
            table.push_str(&row(series));
        }
        table
    }

    /// The floor's source, where it took part: everybody shall see what a call costs at least, and why.
    fn appendix(&self) -> Option<String> {
        let mut kinds = self.series.iter().map(|series| series.kind);
        kinds.any(|kind| kind == Kind::Floor).then(|| {
            let source = include_str!("../bin/load_floor.rs");
            format!(
                "\nThe floor, `crates/testbed/src/bin/load_floor.rs`:\n\n```rust\n{source}```\n"
            )
        })
    }

    /// What all systems had to do.
    fn setting(&self) -> String {
        let Codec {
            voice,
            threads,
            complexity,
            bitrate,
            dtx,
            ..
        } = self.codec;
        let silence = match dtx {
            true => "DTX (none with rtpengine, either way)",
            false => "no DTX",
        };
        let way = match voice {
            Voice::Opus => format!(
                "DTLS-SRTP Opus 32 kbit/s ↔ PCMU; towards browsers Opus at {bitrate} bit/s, complexity {complexity}, no \
                 FEC, {silence}"
            ),
            Voice::Pcmu => "DTLS-SRTP PCMU ↔ PCMU, passed on; rtpengine with --io-uring".to_owned(),
        };
        format!("{way}; {threads} threads for packets")
    }

    /// The goals, a line each, and how many were reached.
    #[must_use]
    pub fn verdict(&self) -> String {
        verdict(&goals(self))
    }

    /// Everything, each run by itself too.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let series = self.series.iter().map(|series| {
            json!({
                "system": series.kind.name(), "calls": series.calls, "runs": series.figures,
                "cpu_ms": series.spread(|run| run.cpu_ms), "memory_kb": series.spread(|run| run.memory_kb),
                "handshake_ms": series.spread(|run| run.handshake_ms), "set_up_ms": series.spread(|run| run.set_up_ms[0]),
                "lost": series.spread(Figures::lost),
                "to_browser_p99_ms": series.spread(|run| run.to_browser.delay_ms[2]),
                "to_phone_p99_ms": series.spread(|run| run.to_phone.delay_ms[2]),
            })
        });
        json!({
            "circumstances": self.circumstances, "codec": self.codec,
            "conversation": self.conversation, "goals": goals(self), "series": series.collect::<Vec<_>>(),
        })
    }

    /// CPU for a call and second as bars, from the least to the greatest run marked by a line.
    #[must_use]
    pub fn svg(&self) -> String {
        const ROW: usize = 28;
        const LEFT: f64 = 150.0;
        const WIDE: f64 = 420.0;
        let spreads = self
            .series
            .iter()
            .map(|series| series.spread(|run| run.cpu_ms));
        let most = spreads.clone().map(|spread| spread.max).fold(0.1, f64::max);
        let height = 60 + ROW * self.series.len();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"680\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"10\" y=\"24\" font-size=\"15\">CPU ms per call-second, median; the line: min to max</text>\n"
        );
        for (number, (series, spread)) in self.series.iter().zip(spreads).enumerate() {
            let y = 42 + ROW * number;
            let x = |value: f64| LEFT + WIDE * value / most;
            let colour = series.kind.colour();
            let _ = writeln!(
                svg,
                "<text x=\"10\" y=\"{}\">{} N={}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"18\" \
                 fill=\"{colour}\"/><path d=\"M{:.1} {mid}H{:.1}\" stroke=\"#000\"/><text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
                y + 14,
                series.kind.name(),
                series.calls,
                x(spread.median) - LEFT,
                x(spread.min),
                x(spread.max),
                x(spread.max) + 8.0,
                y + 14,
                spread.median,
                mid = y + 9,
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// A name for the files of this run.
    #[must_use]
    pub fn name(&self) -> String {
        let talk = match (self.codec.voice, self.conversation) {
            (Voice::Pcmu, _) => "relay",
            (Voice::Opus, true) => "conversation",
            (Voice::Opus, false) => "continuous",
        };
        self.circumstances.name(talk)
    }
}

fn row(series: &Series) -> String {
    let all = |figure: &dyn Fn(&Figures) -> f64, digits: usize| {
        let Spread { min, median, max } = series.spread(figure);
        format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
    };
    let delays = |of: &dyn Fn(&Figures) -> [f64; 3]| {
        let of = [0, 1, 2].map(|at| all(&|run| of(run)[at], 1));
        of.join(" / ")
    };
    let tag = series.figures.first().and_then(|run| run.srtp_tag);
    let tag = tag.map_or("-".to_owned(), |tag| tag.to_string());
    let pesq = |of: fn(&Figures) -> Option<f64>| all(&|run| of(run).unwrap_or(f64::NAN), 2);
    let columns = [
        series.kind.name().to_owned(),
        series.calls.to_string(),
        all(&|run| run.cpu_ms, 2),
        all(&|run| 1_000.0 / run.cpu_ms, 0),
        all(&|run| run.memory_kb, 0),
        all(&|run| run.handshake_ms, 1),
        all(&|run| run.set_up_ms[0], 0),
        all(&Figures::lost, 0),
        delays(&|run| run.to_browser.delay_ms),
        delays(&|run| run.to_phone.delay_ms),
        pesq(|run| run.to_browser.pesq),
        pesq(|run| run.to_phone.pesq),
        format!(
            "{} / {}",
            pesq(|run| run.to_browser.bare_pesq),
            pesq(|run| run.to_phone.bare_pesq)
        ),
        format!("{}, {tag}", all(&|run| run.payload_kbps, 1)),
    ];
    format!("| {} |\n", columns.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new(&Arguments::default());
        for cpu_ms in [6.0, 5.0, 8.0] {
            for kind in [Kind::Gateway, Kind::Floor] {
                let figures = Figures {
                    cpu_ms,
                    ..Figures::sample()
                };
                report.add(kind, 50, figures);
            }
        }
        report
    }

    #[test]
    fn each_system_has_a_row_with_median_least_and_greatest_of_its_runs() {
        let table = report().table();
        assert!(table.contains("of 3 runs that took turns"), "{table}");
        let rows = Vec::from_iter(table.lines().filter(|line| line.contains("| 50 |")));
        let [gateway, floor] = rows[..] else {
            panic!("{table}")
        };
        assert!(gateway.starts_with("| mxtrunk | 50 | 6.00 (5.00 to 8.00) |"));
        assert!(floor.starts_with("| floor | 50 | 6.00 (5.00 to 8.00) |"));
        let columns = |line: &str| line.matches('|').count();
        let heading = table.lines().find(|line| line.starts_with("| system"));
        assert_eq!(columns(gateway), columns(heading.unwrap()), "{table}");
    }

    #[test]
    fn the_json_has_every_run_and_every_goal_and_the_page_the_floor_s_source() {
        let pages = report().pages();
        let series = &pages.json["series"][0];
        assert_eq!(series["system"], "mxtrunk");
        assert_eq!(series["runs"].as_array().map(Vec::len), Some(3));
        assert_eq!(series["cpu_ms"]["median"], 6.0);
        assert!(!pages.json["goals"].as_array().unwrap().is_empty());
        assert!(pages.appendix.unwrap().contains("fn main"));
        let chart = pages.svg.unwrap();
        assert_eq!(chart.matches("<rect").count(), 1 + 2, "{chart}");
    }
}
