//! What a person reads of a subscription.

use tracing::{debug, info, warn};

use super::super::Package;
use super::super::words::News;
use super::Keeper;

impl Keeper {
    /// One line for each change that a person may have to do something about.
    pub(super) fn tell(&self, news: Option<News>) {
        let config = &self.interest.config;
        let (trunk, line, event) = (&config.trunk, &config.line, config.package);
        let Some(news) = news else {
            return;
        };
        match news {
            News::Active { again: true } => {
                info!(%trunk, %line, %event, "the PBX tells of the line again");
            }
            News::Active { again: false } => {
                debug!(%trunk, %line, %event, "the PBX tells of the line");
            }
            news if news.is_of_the_outage(self.trunk.is_up()) => {
                debug!(%trunk, %line, %event, "could not subscribe");
            }
            News::Refused { status, again_in } => warn!(
                %trunk,
                %line,
                %event,
                status,
                again_in_seconds = again_in.as_secs(),
                "the PBX refuses to tell of the line: {}",
                advice(status, event)
            ),
            News::Ended { reason, again_in } => warn!(
                %trunk,
                %line,
                %event,
                ?reason,
                again_in_seconds = again_in.as_secs(),
                "the PBX has ceased to tell of the line: {}",
                advice(404, event)
            ),
            News::Failed { status, again_in } => warn!(
                %trunk,
                %line,
                %event,
                status,
                again_in_seconds = again_in.as_secs(),
                "could not subscribe, and tries again: see that the PBX answers at the trunk's target"
            ),
            News::Untold { again_in } => warn!(
                %trunk,
                %line,
                %event,
                again_in_seconds = again_in.as_secs(),
                "the PBX accepted a subscription and sent no NOTIFY: see that its requests reach the address in `sip.listen` or `sip.advertise`"
            ),
        }
    }
}

/// What a person can do about a refusal.
fn advice(status: u16, event: Package) -> &'static str {
    match (status, event) {
        (401 | 403 | 407, _) => {
            "see that it lets this account, or this trunk, subscribe (Asterisk: allow_subscribe), and compare the password"
        }
        (405 | 489 | 501, _) => {
            "it does not offer these events; take them out of `subscribe`, or have it load what they need"
        }
        (_, Package::MessageSummary) => {
            "give the line a mailbox there (Asterisk: mailboxes of its aor), or take message-summary out of `subscribe`"
        }
        (_, Package::Dialog) => {
            "give the extension a hint there, or take dialog out of `subscribe`"
        }
    }
}
