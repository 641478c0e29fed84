//! What a call record needs to know, kept by the call as it goes.

use std::time::Instant;

use crate::{Device, LegId, Reason};

/// Which side of a call did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that started the call.
    Caller,
    /// The side that was called.
    Callee,
    /// The gateway.
    Gateway,
}

/// The milestones of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// When the caller's offer arrived.
    pub started: Instant,
    /// When the callee began to ring.
    pub rang: Option<Instant>,
    /// When the caller was answered ahead of the callee, so that its early media is heard. The call did not count as
    /// answered by that.
    pub early: Option<Instant>,
    /// When the callee picked up: from here on the call counts, and is billed, as answered.
    pub answered: Option<Instant>,
    /// The callee's device that picked up, where the network tells.
    pub device: Option<Device>,
    /// Which parties took the place of others, in order.
    pub transfers: Vec<Transferred>,
    /// How many transfers came to nothing.
    pub failed_transfers: u32,
    /// How it ended.
    pub ended: Option<Ended>,
}

/// One party took the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transferred {
    /// When the new party picked up.
    pub at: Instant,
    /// Whose side it is on.
    pub by: Side,
    /// Its leg.
    pub to: LegId,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Instant,
    /// Who ended it.
    pub by: Side,
    /// Why.
    pub reason: Reason,
    /// What the media plane said, where it was the cause.
    pub detail: Option<String>,
}

impl Story {
    /// Whether the caller was answered, and nobody has picked up: what becomes of the call is no more told by ringing
    /// or refusing.
    #[must_use]
    pub fn is_early(&self) -> bool {
        self.early.is_some() && self.answered.is_none()
    }

    pub(crate) fn begin(now: Instant) -> Self {
        Story {
            started: now,
            rang: None,
            early: None,
            answered: None,
            device: None,
            transfers: Vec::new(),
            failed_transfers: 0,
            ended: None,
        }
    }
}
