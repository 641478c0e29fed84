//! Which call does this event belong to, and may a new one begin?

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashSet;
use mxtrunk_call::{LegId, Reason};
use mxtrunk_matrix::call_events::{CallEventIn, Invite, Replacement};
use mxtrunk_matrix::{IncomingCallEvent, RoomEvent};
use mxtrunk_media_io as media;
use mxtrunk_sip as sip;
use mxtrunk_store::{CallRecord, UnixMillis};
use ruma::{OwnedRoomId, OwnedUserId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, debug, error, warn};

use crate::admission::{Admission, Standing};
use crate::calls::{Calls, Registration};
use crate::commands::desk::Desk;
use crate::inbox::{Replacing, Told};
use crate::routes::TrunkStanding;
use crate::{LegIds, Peers, Settings, incoming, outgoing};

/// How long a live call's lease runs beyond its last renewal. After a crash, recovery waits for no
/// lease of its own host; another instance waits this long.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// How long calls have to say goodbye when the gateway stops.
const GOODBYE: Duration = Duration::from_secs(5);

/// What the other sides of the house have to say, in their order.
pub struct Inbox {
    /// From Matrix.
    pub matrix: mpsc::Receiver<RoomEvent>,
    /// From telephones.
    pub sip: mpsc::Receiver<sip::Event>,
    /// From the media plane.
    pub media: mpsc::Receiver<media::Event>,
}

/// Who is in a call, for as long as the router has calls.
#[derive(Clone)]
pub struct Occupancy(pub(crate) Arc<Calls>);

/// The sign of a router that routes: a beat every 10 s.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<Mutex<Instant>>);

impl Default for Heartbeat {
    fn default() -> Self {
        Heartbeat(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Heartbeat {
    /// How long ago the last beat was.
    #[must_use]
    pub fn last_beat(&self) -> Duration {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }

    fn beat(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// Routes events to calls, and begins calls.
#[derive(Clone)]
pub struct Router {
    pub(crate) peers: Peers,
    pub(crate) settings: Arc<Settings>,
    pub(crate) leg_ids: LegIds,
    pub(crate) calls: Arc<Calls>,
    pub(crate) admission: Arc<Admission>,
    desk: Desk,
    told_encrypted: Arc<DashSet<OwnedRoomId>>,
    heartbeat: Heartbeat,
    tasks: TaskTracker,
}

impl Router {
    /// A router without calls. `leg_ids` is the one that the SIP user agent names incoming legs from.
    #[must_use]
    pub fn new(peers: Peers, settings: Settings, leg_ids: LegIds) -> Self {
        Router {
            desk: Desk::start(peers.clone()),
            peers,
            admission: Arc::new(Admission::new(settings.max_calls)),
            settings: Arc::new(settings),
            leg_ids,
            calls: Arc::default(),
            told_encrypted: Arc::default(),
            heartbeat: Heartbeat::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// What admits calls, and counts those that it does not.
    #[must_use]
    pub fn admission(&self) -> Arc<Admission> {
        self.admission.clone()
    }

    /// Who is in a call.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy(self.calls.clone())
    }

    /// What shows that events are routed.
    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// What the house can take now.
    pub(crate) fn standing(&self, trunk: TrunkStanding) -> Standing {
        Standing {
            trunk_is_up: trunk.is_up,
            trunk_is_full: trunk.is_full,
            calls: self.calls.len(),
            headroom: self.peers.media.headroom(),
        }
    }

    /// Routes until `stop`, then ends every call on both sides.
    pub async fn run(self, mut inbox: Inbox, stop: CancellationToken) {
        let mut renewal = tokio::time::interval(LEASE / 3);
        let mut stopping = false;
        let mut goodbye = None;
        loop {
            tokio::select! {
                Some(event) = inbox.matrix.recv() => {
                    guarded(|| self.on_matrix(event, stopping));
                }
                Some(event) = inbox.sip.recv() => {
                    let leg = LegId(event.leg.0);
                    if !guarded(|| self.on_sip(event, stopping)) {
                        incoming::refuse(&self, leg, Reason::Failed);
                    }
                }
                Some(event) = inbox.media.recv() => {
                    guarded(|| self.on_media(event));
                }
                _ = renewal.tick() => {
                    self.heartbeat.beat();
                    self.admission.look_back(Instant::now());
                    self.renew_leases();
                }
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    self.tasks.close();
                    self.calls.finish_all(Reason::ShuttingDown);
                    goodbye = Some(tokio::time::Instant::now() + GOODBYE);
                }
                () = self.tasks.wait(), if stopping => return,
                () = until(goodbye), if stopping => {
                    warn!(calls = self.tasks.len(), "calls did not end in time: stopping all the same");
                    return;
                }
                else => return,
            }
        }
    }

    fn on_matrix(&self, event: RoomEvent, stopping: bool) {
        match event {
            RoomEvent::Call(event) => self.on_call_event(event, stopping),
            RoomEvent::Encrypted {
                room,
                virtual_user,
                sender,
                unreadable,
                ..
            } => {
                if unreadable {
                    self.calls.tell_unreadable(room.as_str(), &sender);
                }
                self.on_encrypted(room, virtual_user, sender);
            }
            RoomEvent::Left { room, user, .. } => {
                for call in self.calls.of_room(room.as_str()) {
                    call.tell(Told::Left(user.clone()));
                }
            }
            RoomEvent::Joined { .. } => {}
            event @ (RoomEvent::ServiceInvited { .. }
            | RoomEvent::Command { .. }
            | RoomEvent::Unreadable { .. }) => self.desk.hear(event),
        }
    }

    /// A call in an encrypted room would ring nowhere, and the person would not know why: they are told,
    /// once for each room, whatever restarts of ours come in between.
    fn on_encrypted(&self, room: OwnedRoomId, virtual_user: OwnedUserId, person: OwnedUserId) {
        if !self.told_encrypted.insert(room.clone()) {
            return;
        }
        warn!("a call room is encrypted: calls in it cannot be read");
        debug!(%room, "which room");
        let (app, store) = (self.peers.app.clone(), self.peers.store.clone());
        self.spawn(async move {
            let first = store.mark_told_encrypted(room.as_str()).await;
            if matches!(first, Ok(false)) {
                return;
            }
            let text = app.language_of(&person).phrases().encrypted;
            if let Err(error) = app.send_notice(&room, &virtual_user, text).await {
                debug!(%error, "a sentence did not reach the room");
            }
        });
    }

    fn on_call_event(&self, event: IncomingCallEvent, stopping: bool) {
        let key = (event.room.to_string(), event.event.call_id().to_owned());
        if let Some(call) = self.calls.of_matrix(&key) {
            // Before its task hears it: the event that it waits for goes to another one.
            if let CallEventIn::Replaces {
                replacement: Replacement::Await { call: awaited },
                ..
            } = &event.event
            {
                let awaited = (event.sender.clone(), awaited.clone());
                self.calls.remember_awaiting(awaited, &call);
            }
            call.tell(Told::Matrix(event));
            return;
        }
        match event.event {
            CallEventIn::Invite(_) if self.calls.has_ended(&key) => {
                debug!("an invite came after its call had ended: ignored");
            }
            CallEventIn::Invite(ref invite) => self.on_invite(invite.clone(), event, stopping),
            CallEventIn::Hangup { .. } | CallEventIn::Reject { .. } => {
                self.calls.remember_ended(key)
            }
            _ => debug!("a call event of no call that is known here: ignored"),
        }
    }

    fn on_invite(&self, invite: Invite, event: IncomingCallEvent, stopping: bool) {
        let invite = outgoing::Invited { invite, event };
        if stopping {
            outgoing::refuse(self, invite, Reason::ShuttingDown);
        } else {
            outgoing::begin(self, invite);
        }
    }

    fn on_sip(&self, event: sip::Event, stopping: bool) {
        let leg = LegId(event.leg.0);
        if let Some(call) = self.calls.of_leg(leg) {
            call.tell(Told::Sip(leg, event.what));
            return;
        }
        match event.what {
            sip::Happened::Incoming { .. } if stopping => {
                incoming::refuse(self, leg, Reason::ShuttingDown);
            }
            sip::Happened::Incoming {
                trunk,
                from,
                forwarded,
                to,
                account,
                sdp,
                call_id,
                replaces,
                hops,
            } => {
                let invite = incoming::Invite {
                    trunk,
                    from,
                    forwarded,
                    to,
                    account,
                    sdp,
                    call_id,
                    hops,
                };
                match replaces {
                    Some(replaced) => self.on_replacing(leg, LegId(replaced.0), invite),
                    None => incoming::begin(self, leg, invite),
                }
            }
            other => debug!(%leg, ?other, "a SIP event of no call that is known here: ignored"),
        }
    }

    /// A telephone calls to take the place of one that is in a call.
    fn on_replacing(&self, leg: LegId, replaced: LegId, invite: incoming::Invite) {
        // It has just ended.
        let Some(call) = self.calls.of_leg(replaced) else {
            return incoming::refuse(self, leg, Reason::Declined);
        };
        let entry = self.calls.add(leg, &call);
        let asked = call.ask(Told::Replaced(Box::new(Replacing {
            replaced,
            entry,
            invite,
        })));
        if !asked {
            incoming::refuse(self, leg, Reason::Declined);
        }
    }

    fn on_media(&self, event: media::Event) {
        let leg = LegId(event.leg.0);
        match self.calls.of_leg(leg) {
            Some(call) => call.tell(Told::Media(leg, event.what)),
            None => debug!(%leg, "a media event of no call that is known here: ignored"),
        }
    }

    fn renew_leases(&self) {
        // Those that there are, and not whatever the database has of ours: a row whose end is still to be written would
        // be taken for a call that goes on.
        let held = self.peers.ongoing.ids();
        if held.is_empty() {
            return;
        }
        let store = self.peers.store.clone();
        let owner = self.settings.instance.clone();
        tokio::spawn(async move {
            if let Err(error) = store.renew_leases(&owner, &held, lease_from_now()).await {
                warn!(%error, "the leases of live calls could not be renewed");
            }
        });
    }

    /// What a stop waits for.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Runs something that belongs to a call, and that a stop waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Has a record written that is complete; a stop waits for it, and nothing else does.
    pub(crate) fn keep_end(&self, record: CallRecord) {
        let store = self.peers.store.clone();
        let kept = async move { store.finish_surely(record).await };
        self.spawn(kept.in_current_span());
    }

    /// Runs a call. A panic inside it ends that call, on both sides, and no other.
    pub(crate) fn spawn_call(
        &self,
        registration: Registration,
        call: impl Future<Output = ()> + Send + 'static,
        clean_up: impl Future<Output = ()> + Send + 'static,
    ) {
        let contained = contain(call.in_current_span(), clean_up);
        let run = async move {
            contained.await;
            drop(registration);
        };
        self.tasks.spawn(run.in_current_span());
    }
}

/// Routes one event. A panic in that costs this event, not the router and every call with it.
fn guarded(route: impl FnOnce()) -> bool {
    let routed = catch_unwind(AssertUnwindSafe(route)).is_ok();
    if !routed {
        error!(
            "an event could not be routed by a fault of ours: please report it with the lines above"
        );
    }
    routed
}

/// Runs `call`, which begins at once; if it panics, runs `clean_up`, and the panic goes no further.
///
/// No `async fn`: what waits here would keep a call's worth of memory (38 kB) for what has long been moved out of it.
pub(crate) fn contain(
    call: impl Future<Output = ()> + Send + 'static,
    clean_up: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    let running = tokio::spawn(call);
    let clean_up = Box::pin(clean_up);
    async move {
        if let Err(fault) = running.await {
            error!(%fault, "a call ended by a fault of ours: please report it with the lines above");
            clean_up.await;
        }
    }
}

/// Until when a lease taken now runs.
pub(crate) fn lease_from_now() -> UnixMillis {
    let lease = i64::try_from(LEASE.as_millis()).expect("a lease is 30 s");
    UnixMillis(UnixMillis::now().0 + lease)
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    async fn cleaned_up_after(call: impl Future<Output = ()> + Send + 'static) -> bool {
        let cleaned = Arc::new(AtomicBool::new(false));
        let told = cleaned.clone();
        contain(call, async move { told.store(true, Ordering::Relaxed) }).await;
        cleaned.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_panic_in_one_call_ends_that_call_and_is_cleaned_up_after() {
        assert!(cleaned_up_after(async { panic!("a fault of ours") }).await);
    }

    #[test]
    fn a_panic_while_routing_costs_one_event() {
        assert!(!guarded(|| panic!("a fault of ours")));
        assert!(guarded(|| {}));
    }

    #[tokio::test]
    async fn a_call_that_ends_by_itself_needs_no_cleaning_up() {
        assert!(!cleaned_up_after(async {}).await);
    }
}
