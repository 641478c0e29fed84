//! Calls through the real gateway between real peers: Synapse, Asterisk, a desk phone, Chromium, Firefox. Each test
//! has a network namespace of its own, with loopback only.

mod asterisk;
mod calls;
mod client;
mod early;
mod firefox;
mod hold;
mod limits;
mod lines;
mod outages;
mod pbx_restart;
mod pressure;
mod restart;
mod secure;
mod sip;
mod site;
mod subscriptions;
mod trace;
