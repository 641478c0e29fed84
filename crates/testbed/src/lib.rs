//! Real peers for tests and the demo: Synapse, Asterisk, SIPp, a desk phone, browsers; and
//! the judges of what was heard.
//!
//! `cargo xtask setup` puts the peers in place; [`layout`] says where. Everything runs inside
//! a network namespace with loopback only ([`namespace`]), so ports are fixed and no test
//! traffic leaves the machine.

pub mod asterisk;
pub mod baresip;
pub mod browser;
pub mod certificates;
pub mod demo;
pub mod disturbance;
pub mod dns;
pub mod gateway;
pub mod homeserver;
pub mod judge;
pub mod link;
pub mod load;
pub mod namespace;
pub mod person;
pub mod process;
pub mod quality;
pub mod run;
pub mod simulated;
pub mod sipp;
pub mod synapse;
mod webrtc;

pub use xtask::layout::{self, root};
