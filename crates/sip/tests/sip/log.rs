//! What everybody reads of a line in the log, and what stands at DEBUG alone.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mxtrunk_sip::{Package, SipConfig, SubscriptionConfig, TrunkName};
use tracing::Level;
use tracing::subscriber::DefaultGuard;

use crate::peer::until;
use crate::phone::{Message, Phone};
use crate::registrations::{accept, account};

/// Longer than a port, so that none is taken for it.
const EXTENSION: &str = "7654321";

/// The log of this test's thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// From now on, for as long as the guard lives.
    fn begin() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Once this has been said, and at DEBUG of which line: nobody is named above that.
    async fn says(&self, what: &str) {
        let said = || self.text().contains(what);
        until(said, "it is not said").await;
        let text = self.text();
        let of_us = |line: &&str| line.contains(" mxtrunk_sip::");
        for line in text.lines().filter(of_us) {
            let is_for_all = !line.trim_start().starts_with("DEBUG");
            let names = line.contains(EXTENSION) || line.contains("alice");
            assert!(!(is_for_all && names), "{line}");
        }
        let which = text.lines().find(|line| line.contains("which line it is"));
        assert!(which.is_some_and(|line| line.contains(EXTENSION)), "{text}");
    }
}

fn alice(config: &mut SipConfig) {
    config.registrations = vec![account("alice", EXTENSION)];
}

fn mailbox(config: &mut SipConfig) {
    config.subscriptions = vec![SubscriptionConfig {
        trunk: TrunkName("peer".into()),
        line: EXTENSION.into(),
        account: None,
        user: EXTENSION.into(),
        package: Package::MessageSummary,
        expires: Duration::from_secs(600),
    }];
}

async fn end(phone: &Phone, subscribe: &Message) {
    phone
        .reply(subscribe, "200 OK", "p", "Expires: 600\r\n", "")
        .await;
    let headers = "Event: message-summary\r\nSubscription-State: terminated;reason=rejected\r\n";
    let notify = phone.in_dialog_of("NOTIFY", 1, subscribe, "p", headers, "");
    phone.say(&notify).await;
}

/// Its extension stood there at INFO and WARN.
#[tokio::test]
async fn that_a_line_is_registered_or_not_is_told_to_all_and_which_one_at_debug() {
    let (log, _guard) = Log::begin();
    let (phone, _agent) = Phone::with(alice).await;
    let register = phone.hear_some("REGISTER ").await;
    accept(&phone, &register).await;
    log.says("a line is registered trunk=peer registered=1 lines=1")
        .await;
    for (answer, told) in [
        ("403 Forbidden", "a line is not registered, the PBX refuses"),
        ("500 Server Error", "a line could not be registered"),
    ] {
        let (log, _guard) = Log::begin();
        let (phone, _agent) = Phone::with(alice).await;
        let register = phone.hear_some("REGISTER ").await;
        phone.reply(&register, answer, "r", "", "").await;
        log.says(told).await;
        assert!(log.text().contains("registered=0 lines=1"));
    }
}

/// Its extension stood there at INFO and WARN.
#[tokio::test]
async fn that_the_pbx_does_not_tell_of_a_line_is_told_to_all_and_of_which_one_at_debug() {
    for (answer, told) in [
        ("403 Forbidden", "the PBX refuses to tell of a line"),
        ("500 Server Error", "could not subscribe to a line"),
    ] {
        let (log, _guard) = Log::begin();
        let (phone, _agent) = Phone::with(mailbox).await;
        let subscribe = phone.hear_some("SUBSCRIBE ").await;
        phone.reply(&subscribe, answer, "p", "", "").await;
        log.says(told).await;
    }
    let (log, _guard) = Log::begin();
    let (phone, _agent) = Phone::with(mailbox).await;
    let subscribe = phone.hear_some("SUBSCRIBE ").await;
    end(&phone, &subscribe).await;
    log.says("the PBX has ceased to tell of a line").await;
}
