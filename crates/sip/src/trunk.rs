//! A trunk at work: its configuration, health and load.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::watch;

use crate::config::TrunkConfig;
use crate::fence::Bucket;
use crate::legs::Priority;

/// One configured peer.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) config: TrunkConfig,
    /// Index of the listener its messages leave from.
    pub(crate) listener: usize,
    up: AtomicBool,
    calls: AtomicUsize,
    /// Dialogs, early ones included; each new one is announced, for the peer
    /// must be alive to begin one.
    dialogs: watch::Sender<usize>,
    new_calls: Mutex<Bucket>,
    /// Those to emergency numbers: a flood of other calls does not use them up.
    new_emergencies: Mutex<Bucket>,
    refusals: Mutex<Bucket>,
}

impl Trunk {
    pub(crate) fn new(config: TrunkConfig, listener: usize, new_calls_per_second: u32) -> Self {
        let now = Instant::now();
        Self {
            config,
            listener,
            // Unknown counts as up: the first OPTIONS must not hold up calls.
            up: AtomicBool::new(true),
            calls: AtomicUsize::new(0),
            dialogs: watch::Sender::new(0),
            new_calls: Mutex::new(Bucket::new(new_calls_per_second, now)),
            new_emergencies: Mutex::new(Bucket::new(new_calls_per_second, now)),
            refusals: Mutex::new(Bucket::new(new_calls_per_second, now)),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Notes the trunk's health and returns whether that changed it.
    pub(crate) fn set_up(&self, up: bool) -> bool {
        self.up.swap(up, Ordering::Relaxed) != up
    }

    /// Takes a call's place, `false` when all are taken.
    pub(crate) fn enter(&self, priority: Priority) -> bool {
        self.calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |calls| {
                priority
                    .fits(calls, self.config.max_calls)
                    .then_some(calls + 1)
            })
            .is_ok()
    }

    /// Gives a call's place back.
    pub(crate) fn leave(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.calls.load(Ordering::Relaxed) >= self.config.max_calls
    }

    /// Counts a dialog, early or established, for as long as the result lives.
    pub(crate) fn begin_dialog(self: &Arc<Self>) -> InDialog {
        self.dialogs.send_modify(|dialogs| *dialogs += 1);
        InDialog(self.clone())
    }

    /// The number of dialogs; it changes when one begins.
    pub(crate) fn dialogs(&self) -> watch::Receiver<usize> {
        self.dialogs.subscribe()
    }

    /// Whether one more incoming call fits into the trunk's rate.
    pub(crate) fn may_call(&self, priority: Priority) -> bool {
        match priority {
            Priority::Normal => take(&self.new_calls),
            Priority::Emergency => take(&self.new_emergencies),
        }
    }

    /// Whether one more refusal may be sent: its source could be forged, and
    /// 503s for a flood would make us the flood.
    pub(crate) fn may_refuse(&self) -> bool {
        take(&self.refusals)
    }
}

/// A dialog of a trunk.
#[derive(Debug)]
pub(crate) struct InDialog(Arc<Trunk>);

impl Drop for InDialog {
    fn drop(&mut self) {
        self.0.dialogs.send_if_modified(|dialogs| {
            *dialogs -= 1;
            // Its end may be our own doing, and shows nothing.
            false
        });
    }
}

fn take(bucket: &Mutex<Bucket>) -> bool {
    let mut bucket = bucket
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    bucket.take(Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trunk_takes_no_more_calls_than_configured() {
        let mut config = TrunkConfig::new("pbx", ([127, 0, 0, 1], 5060).into());
        config.max_calls = 1;
        let trunk = Trunk::new(config, 0, 10);
        assert!(trunk.enter(Priority::Normal));
        assert!(trunk.is_full());
        assert!(!trunk.enter(Priority::Normal));
        trunk.leave();
        assert!(trunk.enter(Priority::Normal));
    }

    #[test]
    fn a_dialog_that_begins_is_news_and_one_that_ends_is_not() {
        let config = TrunkConfig::new("pbx", ([127, 0, 0, 1], 5060).into());
        let trunk = Arc::new(Trunk::new(config, 0, 10));
        let mut dialogs = trunk.dialogs();
        let dialog = trunk.begin_dialog();
        assert!(dialogs.has_changed().expect("the trunk lives"));
        assert_eq!(*dialogs.borrow_and_update(), 1);
        drop(dialog);
        assert!(!dialogs.has_changed().expect("the trunk lives"));
        assert_eq!(*dialogs.borrow(), 0);
    }

    #[test]
    fn only_a_change_of_health_is_news() {
        let trunk = Trunk::new(
            TrunkConfig::new("pbx", ([127, 0, 0, 1], 5060).into()),
            0,
            10,
        );
        assert!(trunk.is_up());
        assert!(!trunk.set_up(true));
        assert!(trunk.set_up(false));
        assert!(!trunk.is_up());
    }
}
