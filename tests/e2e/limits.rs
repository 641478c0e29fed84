//! When there are as many calls as may be.

use anyhow::ensure;
use mxtrunk_testbed::asterisk::extension;
use mxtrunk_testbed::demo::site::PASSWORD;
use mxtrunk_testbed::namespace;

use super::client::Client;
use super::site::{PATIENCE, Site};

/// One call may be on. Alice has it; the desk phone and Bob are told, and Bob's call for help goes out all the same.
#[test]
fn one_call_too_many_is_refused_on_both_sides_and_an_emergency_call_is_placed() {
    namespace::test_beside_others(async |run| {
        let changes = format!(
            "[media]\nmax_calls = 1\n[numbers]\nemergency = [\"{}\"]\n",
            extension::HANGS_UP
        );
        let mut site = Site::start(&run, &changes).await?;
        site.connect(extension::ECHO).await?;

        site.peers.phone.dial("2002").await?;
        let told = site.peers.phone.closed(PATIENCE).await?;
        ensure!(told.contains("503"), "the desk phone was told: {told}");

        let bob = Client::sign_in("bob", PASSWORD).await?;
        let number = "@tel_602:localtest";
        let room = bob.room_with(number).await?;
        bob.invite(&room).await?;
        bob.event_of(&room, number, "m.call.reject").await?;
        let notice = bob.event_of(&room, number, "m.room.message").await?;
        let sentence = notice["body"].as_str().unwrap_or_default();
        ensure!(
            sentence.contains("All lines to the telephone system are in use"),
            "{notice}"
        );

        let help = format!("@tel_{}:localtest", extension::HANGS_UP);
        let room = bob.room_with(&help).await?;
        bob.invite(&room).await?;
        bob.event_of(&room, &help, "m.call.answer").await?;
        Ok(())
    });
}
