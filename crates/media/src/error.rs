//! Why a leg could not be opened, or ended by itself.

use thiserror::Error;

/// The reason a media leg failed. The texts are for an operator's log; none holds an address or a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MediaError {
    /// The text is no session description, or one that lacks what the leg needs.
    #[error("the session description cannot be used: {0}")]
    BadDescription(String),
    /// The peer and we share no audio codec.
    #[error("no common audio codec")]
    NoCommonCodec,
    /// The media line wants a transport that this leg does not speak (for instance `RTP/SAVP` towards a phone).
    #[error("the media transport {0} is not supported")]
    UnsupportedTransport(String),
    /// Audio has to be encrypted, by the trunk's setting or the peer's wish, and the description holds no key that we
    /// can use.
    #[error("audio has to be encrypted, and the session description holds no usable key")]
    NoUsableKey,
    /// Keys for SRTP cannot be made: no secret was given to grow them from.
    #[error("there is no secret to make SRTP keys from")]
    NoSecret,
    /// An answer came though no offer of ours is open.
    #[error("an answer came without an offer")]
    UnexpectedAnswer,
    /// No media port is left in the configured range.
    #[error("no media port is left")]
    NoPort,
    /// The system refuses a socket: no file descriptor is left, or no memory.
    #[error("the system has no socket left")]
    NoSocket,
    /// The codec library refused to work.
    #[error("the codec failed: {0}")]
    Codec(String),
    /// The WebRTC engine ended the connection: DTLS failed, the fingerprint is wrong, the peer misbehaved.
    #[error("the WebRTC engine gave up: {0}")]
    Engine(String),
    /// A leg with this id is open already.
    #[error("the leg id is in use")]
    DuplicateLeg,
    /// The other leg of a bridge does not exist on this worker.
    #[error("the leg to bridge with does not exist here")]
    NoSuchPeer,
    /// A fault of ours while working on this leg. It ended this leg only.
    #[error("an internal fault ended the leg")]
    Fault,
}

impl From<opus::Error> for MediaError {
    fn from(error: opus::Error) -> Self {
        MediaError::Codec(error.description().to_owned())
    }
}
