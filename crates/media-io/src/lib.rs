//! The shell around [`mxtrunk_media`]: worker threads, sockets, ports. Commands in, events out, both plain data.
//!
//! Each worker is one thread (`mx-media-N`) that blocks on its sockets: one UDP port for all its browsers on each
//! address that they know, with a TCP port beside it, and an even (RTP) and an odd (RTCP) port for each of its phone
//! legs. Bridged legs stand on the same worker (a phone leg moves where it has to, with its sockets), so no lock and no
//! channel lies on a packet's way.

/// The `tracing` filter directive that a binary must add to its own: the WebRTC engine warns of oddities in
/// datagrams of strangers before it knows that they are strangers, so anybody could fill the log.
pub const LOG_DIRECTIVE: &str = "str0m=error,is=error";

mod command;
mod config;
mod counters;
mod directory;
mod dscp;
mod handle;
mod headroom;
mod meter;
mod moving;
mod ports;
mod pressure;
mod priority;
mod sockets;
mod streams;
mod weigh;
mod worker;

pub use command::{Command, Priority, Refused};
pub use config::{MediaIoConfig, StartError};
pub use counters::CounterValues;
pub use handle::MediaIo;
pub use headroom::{Headroom, WorkerLoad};
pub use mxtrunk_media::{
    AudioVerdict, Codec, CodecPolicy, Drops, Event, Fec, Happened, IceMode, JitterSettings, Key,
    LegId, LegStats, MediaError, MediaTimeouts, OpusSettings, PhoneProfile, Quality, Received,
    Reported, Ringback, Sent, SrtpPolicy, TimedOut,
};
pub use pressure::{LoadLimits, Pressure};
