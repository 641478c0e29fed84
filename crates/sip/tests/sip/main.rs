//! The user agent from outside: two of them against each other, and one
//! against peers written by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod calls;
mod challenges;
mod early;
mod failover;
mod fence;
mod keys;
mod names;
mod offerless;
mod orphan;
mod outage;
mod peer;
mod phone;
mod registrations;
mod reliable;
mod reoffers;
mod sessions;
mod slow;
mod subscriptions;
mod tls;
mod torture;
mod transfers;
mod ways;
mod wire_in;
mod wire_out;
mod wire_tcp;
