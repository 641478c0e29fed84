//! Media legs and bridges of mxtrunk, pure: datagrams in, datagrams out.
//!
//! A **browser leg** speaks ICE, DTLS-SRTP, Opus and RFC 4733; a **phone leg** speaks RTP with G.711 and RFC 4733.
//! Any two legs can be bridged. [`Legs`] holds those of one worker; it is driven by whoever owns sockets and a clock
//! (`mxtrunk-media-io`, or a test in virtual time).
//!
//! One packet's way from browser to phone: [`Legs::handle`] → `demux` (whose is it?) → `browser` (str0m opens ICE,
//! DTLS, SRTP) → `receiver` (counts it, keeps it in the `jitter` buffer) … 20 ms of the phone's clock … → `phone`
//! pulls a frame (Opus decoded at 8 kHz, concealed if it is missing), encodes G.711 with the header in front →
//! `outbox` → [`Legs::poll_transmit`]. From phone to browser: `phone` → `receiver` decodes on arrival → `voice`
//! encodes Opus → str0m seals it.

mod browser;
mod browser_sdp;
mod codec;
mod codec_choice;
mod demux;
mod direction;
mod dtmf;
mod error;
mod fec;
mod formats;
#[doc(hidden)]
pub mod fuzzing;
mod g722;
mod jitter;
mod latch;
mod leg;
mod legs;
mod outbox;
mod phone;
mod phone_sdp;
mod profile;
mod quality;
mod receiver;
mod relay;
mod reports;
mod ringback;
mod rtcp;
pub mod rtp;
mod seam;
mod seed;
pub mod silence;
mod srtp;
mod stats;
#[cfg(test)]
mod virtual_time;
mod voice;
mod watch;

pub use codec::{Codec, FRAME, Frame, Law, OpusSettings};
pub use dtmf::{Key, TelephoneEvent};
pub use error::MediaError;
pub use fec::Fec;
pub use jitter::JitterSettings;
pub use leg::{Event, Happened, HostCandidate, IceMode, LegId, Settings, Why};
pub use legs::{Effort, Legs, MovingLeg};
pub use outbox::{Socket, Transmit};
pub use phone::Epoch;
pub use profile::{CodecPolicy, PhoneProfile, SrtpPolicy};
pub use quality::Quality;
pub use ringback::Ringback;
pub use srtp::SrtpSecret;
pub use stats::{AudioVerdict, Drops, LegStats, Received, Reported, Sent};
pub use watch::{MediaTimeouts, TimedOut};
