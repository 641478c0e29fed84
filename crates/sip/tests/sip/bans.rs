//! Strangers that keep sending, scanners, and whoever writes the PBX's address on what they send.

use std::time::Duration;

use mxtrunk_sip::Bans;

use crate::peer::{address, until};
use crate::phone::Phone;

fn after(messages: u32) -> Bans {
    Bans {
        after: messages,
        lasting: Duration::from_secs(600),
    }
}

fn scans(phone: &Phone) -> String {
    let options = phone.request("OPTIONS", "User-Agent: friendly-scanner\r\n");
    assert!(options.contains("friendly-scanner"), "{options}");
    options
}

#[tokio::test]
async fn a_stranger_that_keeps_sending_is_banned_and_the_trunk_is_not() {
    let (phone, agent) = Phone::with(|config| config.bans = after(5)).await;
    let stranger = Phone::at(address(), phone.target).await;
    let scanner = Phone::at(address(), phone.target).await;
    for _ in 0..8 {
        stranger.say(&stranger.request("REGISTER", "")).await;
    }
    let counters = || agent.agent.counters();
    until(|| counters().banned == 3, "the stranger is not banned").await;
    assert_eq!(counters().unknown_source, 5);
    scanner.say(&scans(&scanner)).await;
    scanner.say(&scanner.request("OPTIONS", "")).await;
    until(|| counters().banned == 4, "the scanner is not banned").await;
    assert_eq!(agent.agent.banned(), 2);
    for other in [&stranger, &scanner] {
        other.assert_silence_but_for(&phone).await;
    }
    phone.say(&phone.request("OPTIONS", "")).await;
    phone.hear_some("SIP/2.0 200").await;
}

/// Over UDP a source can be forged: what says that it is a scanner hears nothing, and the trunk is heard all the same.
#[tokio::test]
async fn a_scanner_under_the_trunks_address_hears_nothing_and_shuts_nobody_out() {
    let (phone, mut agent) = Phone::with(|config| config.bans = after(5)).await;
    for _ in 0..50 {
        phone.say(&scans(&phone)).await;
    }
    let counters = || agent.agent.counters();
    until(|| counters().scanners == 50, "a scanner is not told").await;
    assert_eq!(agent.agent.banned(), 0);
    phone.assert_silence_but_for(&phone).await;
    phone.say(&phone.invite("")).await;
    agent.incoming().await;
}
