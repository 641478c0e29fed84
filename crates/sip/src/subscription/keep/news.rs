//! What a person reads of a subscription.

use tracing::{debug, info, warn};

use super::super::Package;
use super::super::words::News;
use super::Keeper;

/// Where a person finds the line that is meant.
const WHICH: &str = "`mxtrunk trace` shows the SUBSCRIBE, and a level of debug the line";

impl Keeper {
    /// One line for each change that a person may have to do something about,
    /// without the line: it is an extension, and numbers stand at DEBUG.
    pub(super) fn tell(&self, news: Option<News>) {
        let config = &self.interest.config;
        let (trunk, event) = (&config.trunk, config.package);
        let Some(news) = news else {
            return;
        };
        match news {
            News::Active { again: true } => {
                info!(%trunk, %event, "the PBX tells of a line again");
            }
            News::Active { again: false } => {}
            news if news.is_of_the_outage(self.trunk.is_up()) => {}
            News::Refused { status, again_in } => warn!(
                %trunk,
                %event,
                status,
                again_in_seconds = again_in.as_secs(),
                "the PBX refuses to tell of a line ({WHICH}): {}",
                advice(status, event)
            ),
            News::Ended { reason, again_in } => warn!(
                %trunk,
                %event,
                ?reason,
                again_in_seconds = again_in.as_secs(),
                "the PBX has ceased to tell of a line ({WHICH}): {}",
                advice(404, event)
            ),
            News::Failed { status, again_in } => warn!(
                %trunk,
                %event,
                status,
                again_in_seconds = again_in.as_secs(),
                "could not subscribe to a line, and tries again ({WHICH}): see that the PBX answers at the trunk's target"
            ),
            News::Untold { again_in } => warn!(
                %trunk,
                %event,
                again_in_seconds = again_in.as_secs(),
                "the PBX accepted a subscription and sent no NOTIFY ({WHICH}): see that its requests reach the address in `sip.listen` or `sip.advertise`"
            ),
        }
        debug!(%trunk, line = %config.line, %event, ?news, "which line it is");
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
