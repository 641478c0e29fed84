//! Telephones as Matrix presence: what the PBX tells of an extension (`dialog`) is shown of its virtual user, behind the
//! calls and at a pace that the homeserver does not notice. [`board`] is pure: what is due; here it is gathered and
//! carried out.

mod board;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mxtrunk_matrix::catalogue::Language;
use mxtrunk_matrix::{HomeserverError, Presence, Shows};
use mxtrunk_sip::{Activity, Known, Package, SubscriptionStanding, SubscriptionState, TrunkName};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::Peers;
use crate::directory::Directory;
use board::{Board, Next, Shown};

/// Between two requests: at most 20 a second, while calls send theirs to the same homeserver.
const PACE: Duration = Duration::from_millis(50);

/// How often it is looked whether the PBX is still there: until a subscription is refreshed it does not notice.
const LOOK: Duration = Duration::from_secs(2);

/// After trouble; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How soon a number is tried again of which the homeserver will not have it.
const AFTER_REFUSAL: Duration = Duration::from_secs(300);

/// How long a stop waits until telephones in a call are not shown so any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// How telephones are shown.
#[derive(Debug, Clone, Copy)]
pub struct PresenceSettings {
    /// The words for an extension that is no line's.
    pub language: Language,
    /// What is shown is shown again after so long.
    pub again_every: Duration,
}

/// Shows telephones until `stop`; a homeserver that has no presence is told of once, and left alone.
pub async fn show_presence(peers: Peers, settings: PresenceSettings, stop: CancellationToken) {
    let mut painter = Painter {
        board: Board::new(settings.again_every),
        peers,
        settings,
        is_seen: false,
        was_late: false,
        pause: FIRST_PAUSE,
    };
    let is_stopped = tokio::select! {
        () = painter.work() => false,
        () = stop.cancelled() => true,
    };
    if is_stopped {
        let _ = timeout(FAREWELL, painter.leave()).await;
    }
}

struct Painter {
    peers: Peers,
    settings: PresenceSettings,
    board: Board,
    /// The homeserver is known to show what is set.
    is_seen: bool,
    was_late: bool,
    pause: Duration,
}

/// The homeserver has no presence.
struct NoPresence;

impl Painter {
    async fn work(&mut self) {
        let mut changes = self.peers.phones.subscription_changes();
        loop {
            changes.mark_unchanged();
            let phones = &self.peers.phones;
            let wanted = wanted(
                &phones.subscriptions(),
                &self.peers.directory.now(),
                |trunk| phones.trunk_is_up(trunk),
            );
            let now = Instant::now();
            self.board.want(&wanted, now);
            let until = match self.next(now).await {
                Next::Show {
                    number,
                    shown,
                    is_late,
                } => {
                    if is_late && !std::mem::replace(&mut self.was_late, true) {
                        warn!(
                            numbers = wanted.len(),
                            "more telephones are shown than can be shown in time, and some look as if they were offline: \
                             raise sync_online_timeout in the homeserver's presence section, and [presence] again_seconds"
                        );
                    }
                    if let Err(NoPresence) = self.show(&number, shown).await {
                        warn!(
                            "the homeserver shows no presence, so telephones are not shown as free or in a call until the next \
                             start: set presence: enabled: true in its homeserver.yaml, or [presence] enabled = false here"
                        );
                        return;
                    }
                    sleep(PACE).await;
                    continue;
                }
                Next::Wait(until) => until.min(now + LOOK),
                Next::Rest => now + LOOK,
            };
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(until.into()) => {}
            }
        }
    }

    /// What is due next. Numbers that nobody has are passed over: that is known here, and asks nothing of the homeserver.
    async fn next(&mut self, now: Instant) -> Next {
        loop {
            let next = self.board.next(now);
            match &next {
                Next::Show { number, .. } if !self.peers.app.has_virtual_user(number).await => {
                    self.board.has_nobody(number, now);
                }
                Next::Show { .. } | Next::Wait(_) | Next::Rest => return next,
            }
        }
    }

    async fn show(&mut self, number: &str, shown: Shown) -> Result<(), NoPresence> {
        let app = &self.peers.app;
        let (presence, status) = self.words(number, shown);
        let mut set = app.show_presence(number, presence, status).await;
        if set.is_ok() && !self.is_seen && presence != Presence::Offline {
            set = match app.shows_presence(number).await {
                Ok(Shows::Presence) => {
                    self.is_seen = true;
                    info!("telephones are shown as free or in a call");
                    Ok(())
                }
                Ok(Shows::Nothing) => return Err(NoPresence),
                Err(error) => Err(error),
            };
        }
        let now = Instant::now();
        match set {
            Ok(()) => {
                debug!(number, ?shown, "a telephone is shown");
                self.pause = FIRST_PAUSE;
                self.board.is_shown(number, shown, now);
            }
            Err(error) if error.is_transient() => {
                self.board.had_trouble(number, now);
                self.wait_after(&error).await;
            }
            // It knows no such request: it never will.
            Err(HomeserverError::Refused { status: 404, .. }) if !self.is_seen => {
                return Err(NoPresence);
            }
            Err(error) => {
                debug!(%error, number, "the homeserver will not show a telephone");
                self.board.postpone(number, now + AFTER_REFUSAL);
            }
        }
        Ok(())
    }

    /// Everybody waits: the homeserver is in trouble, or wants less.
    async fn wait_after(&mut self, error: &HomeserverError) {
        let wait = error.retry_after().unwrap_or_default().max(self.pause);
        let wait = wait.min(LONGEST_PAUSE);
        if self.pause == FIRST_PAUSE {
            warn!(%error, retry_s = wait.as_secs(), "telephones cannot be shown just now");
        }
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        sleep(wait).await;
    }

    fn words(&self, number: &str, shown: Shown) -> (Presence, Option<&'static str>) {
        let directory = self.peers.directory.now();
        let phrases = match directory.line_called(number) {
            Some(line) => self.peers.app.language_of(&line.user).phrases(),
            None => self.settings.language.phrases(),
        };
        match shown {
            Shown::Gone => (Presence::Offline, None),
            Shown::Free => (Presence::Online, None),
            Shown::Rings => (Presence::Unavailable, Some(phrases.phone_rings)),
            Shown::Busy => (Presence::Unavailable, Some(phrases.phone_is_busy)),
        }
    }

    /// Synapse would show them as offline before long, and still in a call.
    async fn leave(&self) {
        let app = &self.peers.app;
        let taken = self.board.taken();
        let all = taken.iter().map(|number| {
            let (app, number) = (app.clone(), number.clone());
            tokio::spawn(async move { app.show_presence(&number, Presence::Offline, None).await })
        });
        for one in all.collect::<Vec<_>>() {
            let _ = one.await;
        }
    }
}

/// What is to be shown: of the lines that want it, and of the extensions that are no line's.
fn wanted(
    states: &[SubscriptionState],
    directory: &Directory,
    is_up: impl Fn(&TrunkName) -> bool,
) -> BTreeMap<String, Shown> {
    let mut wanted = BTreeMap::new();
    for state in states {
        let Some(told) = shown(state) else {
            continue;
        };
        let shown = match is_up(&state.trunk) {
            true => told,
            false => Shown::Gone,
        };
        let line = directory.line_called(&state.line);
        if line.is_none_or(|line| line.presence) {
            let before = wanted.entry(state.line.clone()).or_insert(shown);
            *before = (*before).max(shown);
        }
    }
    wanted
}

/// What a subscription to the calls of an extension means.
fn shown(state: &SubscriptionState) -> Option<Shown> {
    if state.package != Package::Dialog {
        return None;
    }
    // What was told before it ended may be out of date.
    let is_fresh = state.standing == SubscriptionStanding::Active;
    Some(match state.known.filter(|_| is_fresh) {
        Some(Known::Activity(Activity::Idle)) => Shown::Free,
        Some(Known::Activity(Activity::Ringing)) => Shown::Rings,
        Some(Known::Activity(Activity::Busy)) => Shown::Busy,
        Some(Known::Messages(_)) | None => Shown::Gone,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Line;
    use crate::numbers::NumberPlan;
    use ruma::UserId;

    fn told(line: &str, standing: SubscriptionStanding, activity: Activity) -> SubscriptionState {
        SubscriptionState {
            trunk: TrunkName("pbx".into()),
            line: line.into(),
            package: Package::Dialog,
            standing,
            known: Some(Known::Activity(activity)),
        }
    }

    #[test]
    fn what_the_pbx_tells_is_shown_while_it_tells_and_of_the_lines_that_want_it() {
        let line = |user: &str, extension: &str, presence| Line {
            presence,
            ..Line::new(
                UserId::parse(user).expect("a test user"),
                NumberPlan::french()
                    .normalise(extension)
                    .expect("a test number"),
            )
        };
        let lines = vec![
            line("@alice:x", "2001", true),
            line("@bob:x", "2002", false),
        ];
        let directory = Directory::new(NumberPlan::french(), lines).expect("a directory");
        let (active, trying) = (SubscriptionStanding::Active, SubscriptionStanding::Trying);
        let states = [
            told("2001", active, Activity::Busy),
            told("2002", active, Activity::Busy),
            told("1001", active, Activity::Idle),
            told("1002", trying, Activity::Ringing),
        ];
        let shown: Vec<_> = wanted(&states, &directory, |_| true).into_iter().collect();
        let expected = [
            ("1001".to_owned(), Shown::Free),
            ("1002".to_owned(), Shown::Gone),
            ("2001".to_owned(), Shown::Busy),
        ];
        assert_eq!(shown, expected);
        let away = wanted(&states, &directory, |_| false);
        assert!(away.values().all(|shown| *shown == Shown::Gone), "{away:?}");
    }
}
