//! Calls through the real gateway between real peers: Synapse, Asterisk, a desk phone, Chromium, Firefox. Each test
//! has a network namespace of its own, with loopback only.

mod admin;
mod asterisk;
mod at_pbx;
mod bad_days;
mod calls;
mod client;
mod database;
mod devices;
mod doctor;
mod early;
mod firefox;
mod forwards;
mod glare;
mod hold;
mod late;
mod limits;
mod line_settings;
mod line_sources;
mod lines;
mod outages;
mod pbx_restart;
mod presence;
mod pressure;
mod restart;
mod rooms;
mod secure;
mod sip;
mod site;
mod subscriptions;
mod trace;
mod transfer;
mod vanished;
mod widget;
