//! One side is gone: the other hears about it in time.

use std::time::Instant;

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::namespace;

use super::site::{PATIENCE, SOON, Site};

#[test]
fn element_hears_within_ten_seconds_that_the_pbx_is_down() {
    namespace::test(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.peers.asterisk.peer().kill().await?;
        let dialled = Instant::now();
        site.alice.dial(extension::ECHO).await?;
        site.ended_by_them(PATIENCE).await?;
        ensure!(dialled.elapsed() < SOON, "it took {:?}", dialled.elapsed());
        site.reads("cannot be reached").await
    });
}

#[test]
fn element_hears_within_ten_seconds_that_the_pbx_died_in_mid_call() {
    namespace::test(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.connect(extension::ECHO).await?;
        let died = Instant::now();
        site.peers.asterisk.peer().kill().await?;
        site.ended_by_them(PATIENCE).await?;
        ensure!(died.elapsed() < SOON, "it took {:?}", died.elapsed());
        site.reads("stopped answering").await
    });
}

#[test]
fn the_phone_hears_within_ten_seconds_that_the_homeserver_is_down() {
    namespace::test(async |run| {
        let mut site = Site::start(&run, "").await?;
        site.peers.synapse.peer().kill().await?;
        site.peers.phone.dial("2001").await?;
        site.peers.phone.closed(SOON).await?;
        site.pbx_is_quiet(SOON).await
    });
}
