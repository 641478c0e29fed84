//! The figures of all runs: as a table, as JSON, as a chart.

use std::fmt::Write as _;

use serde_json::json;

use super::figures::{Direction, Figures};
use super::track::Bare;
use super::{Arguments, Condition, Kind, OURS, goals, rtpengines};
use crate::load::circumstances::Circumstances;
use crate::load::report::Spread;
use crate::load::verdict;
use crate::load::{Codec, Pages};

/// All runs of all systems.
#[derive(Clone, Debug)]
pub struct Report {
    /// By condition, in the order of the runs.
    pub rows: Vec<Row>,
    /// The codecs alone.
    pub bare: Bare,
    calls: usize,
    seed: u64,
    rtpengine: Codec,
    circumstances: Circumstances,
}

/// What the systems showed under one condition.
#[derive(Clone, Debug)]
pub struct Row {
    /// The condition.
    pub condition: Condition,
    /// In the order of the runs.
    pub systems: Vec<(Kind, Figures)>,
}

impl Row {
    pub(super) fn figures(&self, kind: Kind) -> Option<&Figures> {
        let mut of = self.systems.iter().filter(|(known, _)| *known == kind);
        of.next().map(|(_, figures)| figures)
    }
}

impl Report {
    pub(super) fn new(arguments: &Arguments, bare: Bare) -> Self {
        Self {
            rows: Vec::new(),
            bare,
            calls: arguments.calls,
            seed: arguments.seed,
            rtpengine: rtpengines(arguments),
            circumstances: Circumstances::now("quality"),
        }
    }

    pub(super) fn add(&mut self, condition: &Condition, kind: Kind, figures: Figures) {
        let known = self.rows.iter_mut();
        let mut known = known.filter(|row| row.condition == *condition);
        match known.next() {
            Some(row) => row.systems.push((kind, figures)),
            None => self.rows.push(Row {
                condition: condition.clone(),
                systems: vec![(kind, figures)],
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
            appendix: None,
        }
    }

    /// The table, with what it was made by.
    #[must_use]
    pub fn table(&self) -> String {
        let Bare {
            to_browser,
            to_phone,
        } = self.bare;
        let mut table = format!(
            "{}\n\n{} calls, seed {}; Opus 32 kbit/s, redundancy as reports ask for it, ↔ PCMU. mxtrunk as it ships ({}). \
             rtpengine with {}, told of {} % loss (of some, it sends redundancy; of none, as it ships, it sends none), its jitter buffer at 4 packets. Browsers wait 150 ms and use \
             redundancy, phones wait 60 ms and repeat; that wait is not in the delay. The bare codecs: PESQ {to_phone:.2} \
             to the phone, {to_browser:.2} to the browser. PESQ is the mean (least / median / greatest) over the calls, \
             the rest the median (worst).\n\n\
             | weather | system | to phone: PESQ | level dB | delay ms | hole ms | to browser: PESQ | level dB | delay ms | \
             hole ms |\n|---|---|---|---|---|---|---|---|---|---|\n",
            self.circumstances,
            self.calls,
            self.seed,
            encoder(&OURS),
            encoder(&self.rtpengine),
            self.rtpengine.fec.unwrap_or_default(),
        );
        for row in &self.rows {
            for (kind, figures) in &row.systems {
                let _ = writeln!(
                    table,
                    "| {} | {} | {} | {} |",
                    row.condition,
                    kind.name(),
                    cells(&figures.to_phone),
                    cells(&figures.to_browser)
                );
            }
        }
        table
    }

    /// The goals, a line each, and how many were reached.
    #[must_use]
    pub fn verdict(&self) -> String {
        verdict(&goals(self))
    }

    /// Everything, each call by itself too.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let runs = self.rows.iter().flat_map(|row| {
            row.systems.iter().map(|(kind, figures)| {
                json!({
                    "condition": row.condition.name, "weather": row.condition.to_string(),
                    "system": kind.name(), "calls": figures,
                    "pesq": {"to_phone": figures.to_phone.mean_pesq(), "to_browser": figures.to_browser.mean_pesq()},
                })
            })
        });
        json!({
            "circumstances": self.circumstances, "calls": self.calls, "seed": self.seed,
            "codec": {"mxtrunk": OURS, "rtpengine": self.rtpengine}, "bare_pesq": self.bare, "goals": goals(self),
            "runs": runs.collect::<Vec<_>>(),
        })
    }

    /// PESQ as bars, each direction in a column of its own; the line: from the worst call to the best.
    #[must_use]
    pub fn svg(&self) -> String {
        const ROW: usize = 16;
        const COLUMNS: [f64; 2] = [250.0, 570.0];
        const WIDE: f64 = 260.0;
        let bars = self.rows.iter().map(|row| row.systems.len()).sum::<usize>();
        let height = 70 + ROW * bars + 8 * self.rows.len();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"880\" height=\"{height}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"10\" y=\"22\" font-size=\"15\">PESQ in bad weather: mean of the calls; the line: worst to best</text>\n\
             <text x=\"{}\" y=\"44\">to the phone</text><text x=\"{}\" y=\"44\">to the browser</text>\n",
            COLUMNS[0], COLUMNS[1],
        );
        let mut y = 52;
        for row in &self.rows {
            let _ = writeln!(
                svg,
                "<text x=\"10\" y=\"{}\">{}</text>",
                y + 13,
                row.condition
            );
            for (kind, figures) in &row.systems {
                let colour = kind.colour();
                for (left, to) in COLUMNS.iter().zip([&figures.to_phone, &figures.to_browser]) {
                    // PESQ goes from 1.0 to 4.55.
                    let x = |pesq: f64| left + WIDE * (pesq - 1.0).max(0.0) / 3.55;
                    let (mean, Spread { min, max, .. }) =
                        (to.mean_pesq(), to.spread(|to| &to.pesq));
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{left}\" y=\"{y}\" width=\"{:.1}\" height=\"13\" fill=\"{colour}\"><title>{} \
                         {mean:.2}</title></rect><path d=\"M{:.1} {mid}H{:.1}\" stroke=\"#000\"/><text x=\"{:.1}\" \
                         y=\"{}\" font-size=\"10\">{mean:.2}</text>",
                        x(mean) - left,
                        kind.name(),
                        x(min),
                        x(max),
                        x(max) + 5.0,
                        y + 11,
                        mid = y + 6,
                    );
                }
                y += ROW;
            }
            y += 8;
        }
        for (number, kind) in [Kind::MediaPlane, Kind::Rtpengine].into_iter().enumerate() {
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"44\" fill=\"{}\">{}</text>",
                10 + 70 * number,
                kind.colour(),
                kind.name()
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// A name for the files of this run.
    #[must_use]
    pub fn name(&self) -> String {
        self.circumstances.name("quality")
    }
}

fn encoder(codec: &Codec) -> String {
    format!(
        "Opus {} bit/s, complexity {}",
        codec.bitrate, codec.complexity
    )
}

fn cells(to: &Direction) -> String {
    let Spread { min, median, max } = to.spread(|to| &to.pesq);
    let level = to.spread(|to| &to.level_db);
    let off = match level.max.abs() > level.min.abs() {
        true => level.max,
        false => level.min,
    };
    let delay = to.spread(|to| &to.delay_ms);
    let hole = to.spread(|to| &to.hole_ms);
    format!(
        "{:.2} ({min:.2} / {median:.2} / {max:.2}) | {:+.1} ({off:+.1}) | {:.0} ({:.0}) | {:.0} ({:.0})",
        to.mean_pesq(),
        level.median,
        delay.median,
        delay.max,
        hole.median,
        hole.max
    )
}
