//! A client of the Asterisk Manager Interface: an account at a PBX that asks and sets what SIP has no words for.
//!
//! [`wire`] (bytes and messages, fenced) and [`session`] (who says what when) are pure; [`client`] has the socket, comes
//! back after an outage, and is what others use.

pub mod client;
pub mod session;
pub mod wire;

pub use client::{Ami, AmiConfig, AmiTls, Standing};
pub use session::{AskError, Secret};
pub use wire::Message;
