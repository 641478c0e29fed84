//! What a call waits for, and for how long.

use std::time::Duration;

/// How long a call waits for what. Every wait of a call is here, so that none is endless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// For the media plane to come up with our descriptions.
    pub describe: Duration,
    /// For a person to pick up, from the moment the callee was offered the call.
    pub answer: Duration,
    /// For WebRTC to connect after the callee picked up, before the caller is told "answered" all
    /// the same: a caller who hears nothing for longer than this believes that nobody answered.
    pub connect: Duration,
    /// For WebRTC to connect at all, once both sides have answered.
    pub media: Duration,
    /// For a connection that was lost to come back (an ICE restart, a network change), before the
    /// call is given up. A browser that closes says so on the media path first, and its hang-up
    /// follows through the homeserver: that hang-up, not the loss, is how such a call ended.
    pub lost: Duration,
    /// For the last words of a callee that has left without picking up to be heard: up to 3 s of them
    /// (`media/src/phone/held.rs`) may wait for a browser that is still connecting.
    pub last_words: Duration,
    /// For the media plane to give back what the call held, once it is over.
    pub close: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Timings {
            describe: Duration::from_secs(5),
            answer: Duration::from_secs(120),
            connect: Duration::from_secs(1),
            media: Duration::from_secs(15),
            lost: Duration::from_secs(30),
            last_words: Duration::from_secs(8),
            close: Duration::from_secs(2),
        }
    }
}

/// Why a call wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// The media plane owes us a description.
    Describe,
    /// Nobody picked up.
    Answer,
    /// The callee's sound should be up by now: tell the caller.
    Connect,
    /// The sound connection was never made.
    Media,
    /// The sound connection was lost, and did not come back.
    Lost,
    /// The party that a call is to be transferred to does not come.
    Transfer,
    /// The last words of a callee that has left are not heard by now.
    LastWords,
    /// The media plane did not close.
    Close,
}
