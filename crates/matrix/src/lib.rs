//! The Matrix side of the gateway: an application service (transactions, look-ups, virtual users and
//! rooms) and, in [`voip_v1`], the machine of one Matrix leg of a call.
//!
//! [`AppService`] is the shell: it talks to the homeserver in both directions, and gives every call
//! event on as a [`RoomEvent`]. What such an event means for a call is decided by a [`voip_v1::Leg`],
//! which is pure; what goes back into the room comes out of it as a [`CallEventOut`].
//!
//! [`CallEventOut`]: call_events::CallEventOut

mod appservice;
pub mod call_events;
pub mod catalogue;
mod commands;
mod config;
mod counters;
mod departed;
pub mod door;
mod furnish;
mod history;
mod homes;
mod homeserver;
mod invites;
mod namespace;
mod numbering;
mod occupied;
mod openid;
mod pictures;
mod presence;
mod rate;
mod registration;
mod resting;
mod room_events;
mod rooms;
mod service;
pub mod voip_v1;

pub use appservice::{AccountError, AppService, StartError};
pub use config::{MatrixConfig, Secret};
pub use counters::Counts;
pub use homes::Resident;
pub use homeserver::HomeserverError;
pub use numbering::Numbering;
pub use occupied::{CallRoom, OccupiedRooms};
pub use presence::{Presence, Shows};
pub use registration::{APPSERVICE_ID, PROTOCOLS, registration_yaml};
pub use resting::Resting;
pub use room_events::{IncomingCallEvent, RoomEvent};
pub use rooms::RoomError;

#[cfg(test)]
mod fake_homeserver;
#[cfg(test)]
mod tests;
