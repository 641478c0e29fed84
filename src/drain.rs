//! The quiet way to stop: no new calls, those that there are may end, and then the process does.

use std::sync::Arc;
use std::time::Duration;

use mxtrunk_signaling::{Admission, Ongoing};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How often it is looked whether the last call has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Stops the gateway once its calls have ended.
#[derive(Debug, Clone)]
pub(crate) struct Drain {
    admission: Arc<Admission>,
    ongoing: Arc<Ongoing>,
    stop: CancellationToken,
    /// Until when calls may go on; `None` while nobody has asked for it.
    until: watch::Sender<Option<Instant>>,
}

impl Drain {
    pub(crate) fn new(
        admission: Arc<Admission>,
        ongoing: Arc<Ongoing>,
        stop: CancellationToken,
    ) -> Self {
        Drain {
            admission,
            ongoing,
            stop,
            until: watch::Sender::new(None),
        }
    }

    /// New calls are refused from now on, and the gateway stops with its last call, or after `limit`. Asked again, the
    /// earlier limit counts. Returns how many calls there are.
    pub(crate) fn begin(&self, limit: Duration) -> usize {
        self.admission.drain();
        let calls = self.ongoing.all().len();
        let asked = Instant::now() + limit;
        let before = self
            .until
            .send_replace(Some(self.until().map_or(asked, |until| until.min(asked))));
        if before.is_none() {
            info!(
                calls,
                limit_seconds = limit.as_secs(),
                "draining: no new calls but those for help, and the gateway stops with the last one"
            );
            tokio::spawn(self.clone().wait());
        }
        calls
    }

    /// Until when the calls that there are may go on; `None` while new ones are taken.
    pub(crate) fn until(&self) -> Option<Instant> {
        *self.until.borrow()
    }

    async fn wait(self) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let calls = self.ongoing.all();
            let is_late = self.until().is_some_and(|until| until <= Instant::now());
            // A call for help goes on for as long as it takes.
            if calls.iter().any(|call| !is_late || call.is_for_help) {
                continue;
            }
            let calls = calls.len();
            info!(calls, "drained: ending the calls that are left");
            self.stop.cancel();
            return;
        }
    }
}
