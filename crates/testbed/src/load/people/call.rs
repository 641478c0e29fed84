//! A call as one person has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{interval, timeout};

use crate::person::browser::Browser;

/// What a browser says at once.
const FRAME: Duration = Duration::from_millis(20);
/// How often it is looked whether there is sound.
const LOOK: Duration = Duration::from_millis(50);

/// Its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: String,
    room: String,
    browser: Browser,
    standing: watch::Sender<Standing>,
    is_answered_to: AtomicBool,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has picked up yet.
    Dialled,
    /// It rings here.
    Rings,
    /// It was answered then.
    Talks(Instant),
    /// It is over.
    Over {
        /// Who has ended it.
        by: End,
        /// When.
        at: Instant,
        /// How long after the answer; `None`: it was not answered.
        talked: Option<Duration>,
    },
}

/// Who has ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The person.
    Us,
    /// The gateway said so.
    Them,
}

impl Standing {
    /// Whether the person takes it for a call that is on.
    pub(crate) fn is_on(self) -> bool {
        !matches!(self, Self::Over { .. })
    }
}

impl Call {
    pub(super) fn new(id: String, room: String, browser: Browser, standing: Standing) -> Self {
        Self(Arc::new(Inner {
            id,
            room,
            browser,
            standing: watch::Sender::new(standing),
            is_answered_to: AtomicBool::new(false),
        }))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.id
    }

    pub(super) fn room(&self) -> &str {
        &self.0.room
    }

    pub(super) fn browser(&self) -> &Browser {
        &self.0.browser
    }

    /// The gateway has said something in it. True the first time.
    pub(super) fn is_answered_to(&self) -> bool {
        !self.0.is_answered_to.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.0.standing.borrow()
    }

    /// The longest stretch without sound since this was asked for last.
    pub(crate) fn longest_silence(&self) -> Duration {
        self.0.browser.longest_silence()
    }

    /// How long it has been silent up to now.
    pub(crate) fn silent_for(&self) -> Duration {
        self.0.browser.silent_for()
    }

    /// When something was heard for the first time: now, where it has not been yet.
    pub(crate) fn heard_at(&self) -> Instant {
        self.0.browser.heard_at().unwrap_or_else(Instant::now)
    }

    /// Whether the person hears something.
    pub(crate) fn sounds(&self) -> bool {
        matches!(self.standing(), Standing::Talks(_)) && self.0.browser.sounds()
    }

    /// Is answered, and what was said has come back, in this time.
    pub(crate) async fn is_heard(&self, within: Duration) -> bool {
        let heard = async {
            let mut due = interval(LOOK);
            while self.standing().is_on() && !self.sounds() {
                due.tick().await;
            }
        };
        // What came of it is looked at, not how it came.
        let _ = timeout(within, heard).await;
        self.sounds()
    }

    /// Is over within this time.
    pub(crate) async fn is_over(&self, within: Duration) -> bool {
        let mut standing = self.0.standing.subscribe();
        let over = standing.wait_for(|standing| !standing.is_on());
        timeout(within, over).await.is_ok()
    }

    /// It is answered: the person says this frame again and again, until it is over.
    pub(super) fn talks(&self, frame: &Arc<[u8]>) {
        let answered = self.0.standing.send_if_modified(|standing| {
            let waits = matches!(standing, Standing::Dialled | Standing::Rings);
            if waits {
                *standing = Standing::Talks(Instant::now());
            }
            waits
        });
        if !answered {
            return;
        }
        let (call, frame) = (self.clone(), Arc::clone(frame));
        tokio::spawn(async move {
            let mut due = interval(FRAME);
            while call.standing().is_on() {
                due.tick().await;
                call.0.browser.say(&frame);
            }
        });
    }

    /// Is over now. False: it was before.
    pub(super) fn ends(&self, by: End) -> bool {
        self.0.standing.send_if_modified(|standing| {
            let talked = match *standing {
                Standing::Talks(since) => Some(since.elapsed()),
                Standing::Dialled | Standing::Rings => None,
                Standing::Over { .. } => return false,
            };
            let at = Instant::now();
            *standing = Standing::Over { by, at, talked };
            true
        })
    }
}
