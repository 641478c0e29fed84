//! What the workers are told, and why they may refuse.

use mxtrunk_media::{Key, LegId, PhoneProfile};
use thiserror::Error;

/// What is to happen to a leg.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Makes a browser leg. With an `offer` the event `LocalDescription` carries our answer to it, without one our
    /// offer.
    OpenBrowser {
        /// Puts the leg on that leg's worker, so that the two can be bridged.
        beside: Option<LegId>,
        /// The remote offer (SDP).
        offer: Option<String>,
        /// How its call is treated under load.
        priority: Priority,
    },
    /// The same for a phone leg.
    OpenPhone {
        /// Puts the leg on that leg's worker, so that the two can be bridged.
        beside: Option<LegId>,
        /// The remote offer (SDP).
        offer: Option<String>,
        /// What its trunk allows.
        profile: PhoneProfile,
    },
    /// The remote answer to our offer: somebody has picked up.
    ApplyAnswer {
        /// The SDP text.
        sdp: String,
    },
    /// What a phone answered before anybody picked up; may come several times. The event `EarlySound` follows once it
    /// sends sound. The leg that it is bridged with hears it, and is not heard there until `ApplyAnswer`.
    ApplyEarlyAnswer {
        /// The SDP text.
        sdp: String,
    },
    /// A phone that was heard early rings: where it sends nothing more, ringback of ours is heard.
    Ringback,
    /// The phone has left, and nobody had picked it up: what it said last is heard to its end. The event `HeardOut`
    /// follows, unless the leg that it is bridged with never connects.
    HearOut,
    /// The answer to the remote offer that the leg was opened with, chosen now that the leg is bridged: `LocalDescription`
    /// carries it. The one that came with the opening showed only that there can be one.
    Describe,
    /// A later remote offer (hold, ICE restart, session refresh); `LocalDescription` carries our answer. One that
    /// cannot be met changes nothing, and `OfferRefused` says why.
    ApplyOffer {
        /// The SDP text.
        sdp: String,
    },
    /// A later offer of ours, after `OfferDue`; `LocalDescription` carries it, and `ApplyAnswer` brings its answer. An
    /// offer of the far end that comes first takes its place.
    Reoffer,
    /// A trickled `candidate:…` line of `m.call.candidates`; the empty one means the end. One that cannot be read is
    /// dropped and counted.
    AddCandidate {
        /// The line.
        candidate: String,
    },
    /// From now on audio and DTMF flow both ways between this leg and that one, and no longer between either and
    /// whoever it was bridged with. Neither needs to be connected yet. Where they stand on different workers, a phone
    /// leg moves first.
    Bridge {
        /// The other leg.
        with: LegId,
    },
    /// Moves a phone leg to the worker of another leg; what it was bridged with stays. Not a packet is lost: its
    /// datagrams wait in its sockets meanwhile.
    Move {
        /// That leg.
        beside: LegId,
    },
    /// The phone pressed a key, as its signalling tells; the leg that it is bridged with hears it. In the other direction
    /// the event `Keyed` comes.
    HearKey {
        /// Which, and how long.
        key: Key,
    },
    /// Asks how long ago the leg's peer was heard; the event `Heard` says so.
    Probe,
    /// Asks what has flowed over the leg so far; the event `Report` says so.
    Report,
    /// Ends the leg; the event `Closed` carries its statistics, its ports go back.
    Close,
}

/// How a call is treated where there is more to do than can be done (RFC 3261 section 20.26 has the words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Priority {
    /// Like all others.
    #[default]
    Normal,
    /// A call for help: nothing is spared on it, and it is never refused for want of room.
    Emergency,
}

/// Why a command was not taken. Nothing has happened then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// The worker's queue is full: it is overloaded. Or the leg is on its way to another worker and cannot turn round.
    #[error("the media worker is busy")]
    Busy,
    /// No such leg is open (any more).
    #[error("no such leg")]
    NoSuchLeg,
    /// A leg with this id is open already.
    #[error("the leg id is in use")]
    DuplicateLeg,
    /// The two legs stand on different workers, and a browser leg cannot move; open the second one `beside` the first.
    #[error("the legs stand on different workers")]
    OtherWorker,
    /// The workers have been shut down.
    #[error("media is shut down")]
    Stopped,
}
