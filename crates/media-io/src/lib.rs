//! The shell around [`mxtrunk_media`]: worker threads, sockets, ports. Commands in, events out, both plain data.
//!
//! Each worker is one thread (`mx-media-N`) that blocks on its sockets: one UDP port for all its browsers on each
//! address that they know, with a TCP port beside it, an even (RTP) and an odd (RTCP) port for each of its phone legs. A leg stays on the worker that opened it, and bridged
//! legs stand on the same one, so no lock and no channel lies on a packet's way.

/// The `tracing` filter directive that a binary must add to its own: the WebRTC engine warns of oddities in
/// datagrams of strangers before it knows that they are strangers, so anybody could fill the log.
pub const LOG_DIRECTIVE: &str = "str0m=error,is=error";

mod command;
mod config;
mod counters;
mod dscp;
mod handle;
mod headroom;
mod meter;
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
    AudioVerdict, Codec, CodecPolicy, Drops, Event, Happened, IceMode, JitterSettings, LegId,
    LegStats, MediaError, OpusSettings, PhoneProfile, Received, Sent, SrtpPolicy,
};
pub use pressure::{LoadLimits, Pressure};
