//! The other browser family: Firefox has its own WebRTC, and offers and answers in its own way.

use mxtrunk_testbed::browser::Family;
use mxtrunk_testbed::demo::{Check, Scenario};
use mxtrunk_testbed::namespace;
use mxtrunk_testbed::run::Run;

use super::site::{everything, sounds_right};

#[test]
fn firefox_calls_a_desk_phone_and_both_hear_each_other() {
    namespace::test(async |run| firefox_plays(&run, Scenario::BrowserCallsPhone).await);
}

#[test]
fn a_desk_phone_calls_firefox_and_both_hear_each_other() {
    namespace::test(async |run| firefox_plays(&run, Scenario::PhoneCallsBrowser).await);
}

async fn firefox_plays(run: &Run, scenario: Scenario) -> anyhow::Result<()> {
    let check = Check {
        browser: Family::Firefox,
        scenarios: vec![scenario],
        ..everything()?
    };
    sounds_right(run, &check).await
}
