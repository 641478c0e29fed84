//! The figures held against what is aimed at.

use super::figures::{Direction, Figures};
use super::report::Report;
use super::{Condition, Kind};
use crate::load::Goal;

/// How much better than rtpengine under the condition that counts, in PESQ.
const BETTER: f64 = 0.3;
/// Under no condition worse by more than what chance moves the mean of a run.
const NO_WORSE: f64 = 0.1;
/// Below the bare chain of codecs in fine weather, in PESQ.
const BELOW_BARE: f64 = 0.05;
/// How far the level may be off, in dB.
const LEVEL: f64 = 3.0;
/// A generator whose frames leave later than this makes weather of its own, in ms.
const LATE: f64 = 8.0;

type Side = (&'static str, fn(&Figures) -> &Direction);

const SIDES: [Side; 2] = [
    ("to the phone", |figures| &figures.to_phone),
    ("to the browser", |figures| &figures.to_browser),
];

/// The goals that this run can be held against.
#[must_use]
pub fn goals(report: &Report) -> Vec<Goal> {
    let mut goals = Vec::new();
    for row in &report.rows {
        let condition = &row.condition;
        let mut goal = |what: String, value: f64, limit: f64| {
            let what = format!("{condition}: {what}");
            goals.push(Goal { what, value, limit });
        };
        let of = |kind| row.figures(kind);
        for (side, direction) in SIDES {
            let ours = of(Kind::MediaPlane).map(direction);
            let rtpengine = of(Kind::Rtpengine).map(direction);
            if let (Some(ours), Some(rtpengine)) = (ours, rtpengine) {
                let behind = rtpengine.mean_pesq() - ours.mean_pesq();
                let limit = match condition.name == Condition::AIM {
                    true => -BETTER,
                    false => NO_WORSE,
                };
                goal(format!("PESQ {side} below rtpengine's"), behind, limit);
            }
            let Some(ours) = ours else {
                continue;
            };
            if condition.name == Condition::FINE {
                let bare = match side {
                    "to the phone" => report.bare.to_phone,
                    _ => report.bare.to_browser,
                };
                let below = bare - ours.mean_pesq();
                goal(
                    format!("PESQ {side} below the bare codecs"),
                    below,
                    BELOW_BARE,
                );
            }
            let level = ours.level_db.iter().map(|level| level.abs());
            goal(
                format!("level {side} off, dB"),
                level.fold(0.0, f64::max),
                LEVEL,
            );
        }
        for (kind, figures) in &row.systems {
            let what = format!("the generator's frames beside {} late, ms", kind.name());
            goal(what, figures.generator_late_ms, LATE);
        }
    }
    goals
}
