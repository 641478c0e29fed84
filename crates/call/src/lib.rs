//! What a call is, whichever networks its legs are on.
//!
//! This crate is pure: it knows no socket, no runtime, no clock and no randomness. A [`Call`] is
//! driven by one contract, the same that str0m keeps for media:
//!
//! 1. change it once, with [`Call::handle`] or [`Call::handle_timeout`];
//! 2. drain [`Call::poll_action`] until it returns `None`;
//! 3. ask [`Call::poll_timeout`] when to come back, and why.
//!
//! The words are neutral on purpose (offered, ringing, answered by a device, ended for a reason), so
//! that a Matrix leg, a SIP leg and later a MatrixRTC leg look alike from here. What is particular to
//! one network stays in that network's crate; [`reason`] is the one table where their words meet.
//!
//! A call here joins the *caller*'s leg, which was offered to us, to the *callee*'s leg, which we offer.

mod leg;
mod machine;
pub mod reason;
mod story;

pub use leg::{
    Action, Device, Input, Leg, LegAction, LegEvent, LegId, LegKind, MediaAction, MediaEvent,
    MediaFault, Referral, Sdp, TransferProgress,
};
pub use machine::{Call, Deadline, EarlyMedia, Timings};
pub use reason::{Cause, Reason};
pub use story::{Ended, Side, Story, Transferred};
