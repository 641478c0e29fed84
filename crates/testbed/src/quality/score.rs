//! What was measured, and how it is told.

use std::fmt;

use mxtrunk_media::LegStats;

use super::Clause;

/// How one direction of a call sounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// PESQ (narrow band).
    pub pesq: f64,
    /// The level against what was said, in dB.
    pub level_db: f32,
    /// From the speaker's packet to the listener's, in ms: the median of its parts. The listener's own buffer is not in it.
    pub delay_ms: i64,
    /// The longest hole in the speech, in ms.
    pub gap_ms: usize,
}

/// How a call sounded under one clause.
#[derive(Clone, Debug)]
pub struct Scores {
    /// What the links did.
    pub clause: Clause,
    /// What the person at the telephone heard; the internet had the weather.
    pub to_phone: Score,
    /// What the person at the browser heard; the internet had the weather.
    pub to_browser: Score,
    /// What the person at the browser heard when the company's own network had the weather.
    pub from_bad_lan: Score,
    /// The longest time that the telephone waited for a packet, in ms.
    pub longest_wait_ms: u64,
}

impl fmt::Display for Scores {
    /// A row of the table, see [`HEADER`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} ", self.clause)?;
        for score in [self.to_phone, self.to_browser, self.from_bad_lan] {
            let Score {
                pesq,
                level_db,
                delay_ms,
                gap_ms,
            } = score;
            write!(f, "| {pesq:.2} | {delay_ms} | {level_db:+.1} | {gap_ms} ")?;
        }
        write!(f, "| {} |", self.longest_wait_ms)
    }
}

/// The head of a table of [`Scores`].
pub const HEADER: &str = "\
| weather | browser → phone: PESQ | delay ms | level dB | hole ms \
| phone → browser: PESQ | delay ms | level dB | hole ms \
| same, weather before the gateway: PESQ | delay ms | level dB | hole ms \
| phone waited ms |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// An hour of a browser whose clock is wrong.
#[derive(Clone, Debug)]
pub struct Hour {
    /// How the first clip sounded at the phone.
    pub first: Score,
    /// How the last one did.
    pub last: Score,
    /// What the gateway counted on the browser's leg.
    pub counted: LegStats,
    /// Packets that the phone got.
    pub packets: usize,
    /// The longest time that it waited for one, in ms.
    pub longest_wait_ms: u64,
}
