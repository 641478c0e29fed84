//! The clauses: what a link can do to the sound on it.

use std::fmt;
use std::time::Duration;

use crate::link::{Bursts, Weather};

/// What a link does to the sound on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clause {
    /// Nothing.
    Fine,
    /// It loses so many per cent of the packets, by chance.
    Loss(u8),
    /// It loses everything for 200 ms, every 3 s.
    Bursts,
    /// It delays each packet by up to so many ms, by chance.
    Jitter(u16),
    /// Of 5 % of the packets, the next one comes first.
    Reordering,
    /// A tenth of the packets come twice.
    Duplicates,
    /// The speaker's clock runs fast by so many parts per million, for a minute.
    Drift(i16),
    /// It loses everything for 3 s, before the clips that are judged.
    Blackout,
}

impl Clause {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 14] = [
        Self::Fine,
        Self::Loss(1),
        Self::Loss(5),
        Self::Loss(10),
        Self::Loss(20),
        Self::Loss(30),
        Self::Bursts,
        Self::Jitter(30),
        Self::Jitter(100),
        Self::Reordering,
        Self::Duplicates,
        Self::Drift(200),
        Self::Drift(-200),
        Self::Blackout,
    ];

    pub(super) fn weather(self) -> Weather {
        let fine = Weather::default();
        match self {
            Self::Fine | Self::Drift(_) | Self::Blackout => fine,
            Self::Loss(percent) => Weather {
                loss: f64::from(percent) / 100.0,
                ..fine
            },
            Self::Bursts => Weather {
                bursts: Some(Bursts {
                    every: Duration::from_secs(3),
                    length: Duration::from_millis(200),
                }),
                ..fine
            },
            Self::Jitter(ms) => Weather {
                jitter: Duration::from_millis(ms.into()),
                ..fine
            },
            Self::Reordering => Weather {
                reordered: 0.05,
                ..fine
            },
            Self::Duplicates => Weather {
                doubled: 0.1,
                ..fine
            },
        }
    }

    pub(super) fn clips(self) -> usize {
        match self {
            Self::Drift(_) => super::CLIPS_OF_A_MINUTE,
            _ => super::CLIPS,
        }
    }

    pub(super) fn ppm(self) -> f64 {
        match self {
            Self::Drift(ppm) => ppm.into(),
            _ => 0.0,
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fine => f.write_str("fine weather"),
            Self::Loss(percent) => write!(f, "{percent} % lost"),
            Self::Bursts => f.write_str("200 ms lost every 3 s"),
            Self::Jitter(ms) => write!(f, "jitter {ms} ms"),
            Self::Reordering => f.write_str("5 % reordered"),
            Self::Duplicates => f.write_str("10 % twice"),
            Self::Drift(ppm) => write!(f, "drift {ppm:+} ppm"),
            Self::Blackout => f.write_str("after 3 s of nothing"),
        }
    }
}
