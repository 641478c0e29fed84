//! The user agent from outside: two of them against each other, and one
//! against peers written by hand.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod account_calls;
mod accounts;
mod bans;
mod calls;
mod challenges;
mod corpora;
mod deaf;
mod early;
mod early_keys;
mod failover;
mod fence;
mod forgotten;
mod identified;
mod keys;
mod log;
mod multipart;
mod names;
mod offerless;
mod offers_in;
mod orphan;
mod outage;
mod oversized;
mod peer;
mod phone;
mod referrals;
mod registrations;
mod reliable;
mod reoffers;
mod replaced;
mod sessions;
mod slow;
mod subscriptions;
mod tls;
mod torture;
mod transfers;
mod trunks;
mod ways;
mod wire_in;
mod wire_out;
mod wire_tcp;
