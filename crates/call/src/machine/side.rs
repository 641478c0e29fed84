//! One side of a call: its leg, and how far that leg has come.

use crate::{Leg, Side};

/// What one leg's signalling has been through, which decides how the leg is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signalled {
    /// The callee's leg, before our offer went out.
    Nothing,
    /// An offer waits for its answer.
    Offered,
    /// Offer and answer are exchanged.
    Answered,
    /// The far end is gone, or has been told to go.
    Gone,
}

impl Signalled {
    /// Whether the far end has been offered the call, or has offered it, and is still there.
    pub(super) fn is_alive(self) -> bool {
        matches!(self, Signalled::Offered | Signalled::Answered)
    }
}

/// Where a leg's new offer stands, whosever it is. One at a time (RFC 3264 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renegotiation {
    Idle,
    /// The far end's is with the media plane.
    Theirs,
    /// Ours is being made, because the far end has asked for it.
    Asked,
    /// Ours is being made.
    Describing,
    /// Ours waits for the far end's answer.
    Offered,
}

/// Which of the two legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Caller,
    Callee,
}

impl End {
    pub(super) fn other(self) -> End {
        match self {
            End::Caller => End::Callee,
            End::Callee => End::Caller,
        }
    }
}

impl From<End> for Side {
    fn from(end: End) -> Side {
        match end {
            End::Caller => Side::Caller,
            End::Callee => Side::Callee,
        }
    }
}

/// One side of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CallSide {
    pub(super) leg: Leg,
    pub(super) signalled: Signalled,
    /// WebRTC handshake through, or none needed.
    pub(super) connected: bool,
    pub(super) renegotiation: Renegotiation,
    /// What the other side wants has changed since the far end was told.
    pub(super) offer_due: bool,
    /// Offers of ours that the media plane still makes, though an offer of the far end has taken their place.
    pub(super) outdated: u8,
    pub(super) media_open: bool,
}

impl CallSide {
    pub(super) fn new(leg: Leg, signalled: Signalled) -> Self {
        CallSide {
            leg,
            signalled,
            connected: !leg.kind.media_follows_answer(),
            renegotiation: Renegotiation::Idle,
            offer_due: false,
            outdated: 0,
            media_open: true,
        }
    }
}
