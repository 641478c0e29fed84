//! Which call does this event belong to, and may a new one begin?

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use mxtrunk_call::{LegId, Reason};
use mxtrunk_matrix::call_events::{CallEventIn, Invite};
use mxtrunk_matrix::{IncomingCallEvent, RoomEvent};
use mxtrunk_media_io as media;
use mxtrunk_sip as sip;
use mxtrunk_store::UnixMillis;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, warn};

use crate::call_task::{CallInbox, Told};
use crate::{LegIds, Peers, Settings, incoming, outgoing};

/// How long a live call's lease runs beyond its last renewal. After a crash, recovery waits for no
/// lease of its own host; another instance waits this long.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// How many ended calls are remembered, so that an invite which comes after its hang-up does not ring.
const ENDED_CALLS: usize = 512;

/// How long calls have to say goodbye when the gateway stops.
const GOODBYE: Duration = Duration::from_secs(8);

/// What the other sides of the house have to say, in their order.
pub struct Inbox {
    /// From Matrix.
    pub matrix: mpsc::Receiver<RoomEvent>,
    /// From telephones.
    pub sip: mpsc::Receiver<sip::Event>,
    /// From the media plane.
    pub media: mpsc::Receiver<media::Event>,
}

/// A Matrix call: room and `call_id`.
pub(crate) type MatrixCall = (String, String);

/// A person and a number: one call at a time, since Element takes one call for each room.
pub(crate) type Pair = (String, String);

/// Routes events to calls, and begins calls.
#[derive(Clone)]
pub struct Router {
    pub(crate) peers: Peers,
    pub(crate) settings: Arc<Settings>,
    pub(crate) leg_ids: LegIds,
    pub(crate) calls: Arc<Calls>,
    tasks: TaskTracker,
}

/// The calls there are.
#[derive(Default)]
pub(crate) struct Calls {
    by_leg: DashMap<LegId, CallInbox>,
    by_matrix: DashMap<MatrixCall, CallInbox>,
    busy: DashMap<Pair, ()>,
    ended: Mutex<VecDeque<MatrixCall>>,
}

/// A call's entries in the tables; dropping it takes them out, whatever ended the call.
pub(crate) struct Registration {
    calls: Arc<Calls>,
    legs: Vec<LegId>,
    matrix: Option<MatrixCall>,
    pair: Pair,
}

impl Router {
    /// A router without calls. `leg_ids` is the one that the SIP user agent names incoming legs from.
    #[must_use]
    pub fn new(peers: Peers, settings: Settings, leg_ids: LegIds) -> Self {
        Router {
            peers,
            settings: Arc::new(settings),
            leg_ids,
            calls: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    /// Routes until `stop`, then ends every call on both sides.
    pub async fn run(self, mut inbox: Inbox, stop: CancellationToken) {
        let mut renewal = tokio::time::interval(LEASE / 3);
        let mut stopping = false;
        let mut goodbye = None;
        loop {
            tokio::select! {
                Some(event) = inbox.matrix.recv() => self.on_matrix(event, stopping),
                Some(event) = inbox.sip.recv() => self.on_sip(event, stopping),
                Some(event) = inbox.media.recv() => self.on_media(event),
                _ = renewal.tick() => self.renew_leases(),
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
            RoomEvent::Encrypted { room, .. } => {
                warn!("a call room was encrypted: its calls cannot be read");
                debug!(%room, "which room");
            }
            RoomEvent::Joined { .. } | RoomEvent::Left { .. } => {}
        }
    }

    fn on_call_event(&self, event: IncomingCallEvent, stopping: bool) {
        let key = (event.room.to_string(), event.event.call_id().to_owned());
        if let Some(call) = self.calls.by_matrix.get(&key).map(|call| call.clone()) {
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
        if let Some(call) = self.calls.by_leg.get(&leg).map(|call| call.clone()) {
            call.tell(Told::Sip(event.what));
            return;
        }
        match event.what {
            sip::Happened::Incoming { .. } if stopping => {
                incoming::refuse(self, leg, Reason::ShuttingDown);
            }
            sip::Happened::Incoming {
                trunk,
                from,
                to,
                sdp,
                ..
            } => {
                incoming::begin(
                    self,
                    leg,
                    incoming::Invite {
                        trunk,
                        from,
                        to,
                        sdp,
                    },
                );
            }
            other => debug!(%leg, ?other, "a SIP event of no call that is known here: ignored"),
        }
    }

    fn on_media(&self, event: media::Event) {
        let leg = LegId(event.leg.0);
        match self.calls.by_leg.get(&leg).map(|call| call.clone()) {
            Some(call) => call.tell(Told::Media(leg, event.what)),
            None => debug!(%leg, "a media event of no call that is known here: ignored"),
        }
    }

    fn renew_leases(&self) {
        if self.calls.busy.is_empty() {
            return;
        }
        let store = self.peers.store.clone();
        let owner = self.settings.instance.clone();
        tokio::spawn(async move {
            if let Err(error) = store.renew_leases(&owner, lease_from_now()).await {
                warn!(%error, "the leases of live calls could not be renewed");
            }
        });
    }

    /// Runs something that belongs to a call, and that a stop waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Runs a call. A panic inside it ends that call, on both sides, and no other.
    pub(crate) fn spawn_call(
        &self,
        registration: Registration,
        call: impl Future<Output = ()> + Send + 'static,
        clean_up: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            if let Err(fault) = tokio::spawn(call).await {
                error!(%fault, "a call ended by a fault of ours: please report it with the lines above");
                clean_up.await;
            }
            drop(registration);
        });
    }
}

impl Calls {
    /// Enters a call. `None`: these two are already in a call with each other.
    pub(crate) fn register(
        self: &Arc<Self>,
        pair: Pair,
        legs: [LegId; 2],
        inbox: &CallInbox,
    ) -> Option<Registration> {
        if self.busy.insert(pair.clone(), ()).is_some() {
            return None;
        }
        for leg in legs {
            self.by_leg.insert(leg, inbox.clone());
        }
        Some(Registration {
            calls: self.clone(),
            legs: legs.to_vec(),
            matrix: None,
            pair,
        })
    }

    /// Routes the events of a Matrix call to `inbox`; the matching [`Registration`] ends that.
    pub(crate) fn route_matrix(&self, key: MatrixCall, inbox: &CallInbox) {
        self.by_matrix.insert(key, inbox.clone());
    }

    fn unroute_matrix(&self, key: MatrixCall) {
        self.by_matrix.remove(&key);
        self.remember_ended(key);
    }

    fn finish_all(&self, reason: Reason) {
        // Two legs lead to each call: the second time it is told, it has ended.
        for call in &self.by_leg {
            call.tell(Told::Finish(reason));
        }
    }

    fn remember_ended(&self, key: MatrixCall) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() == ENDED_CALLS {
            ended.pop_front();
        }
        ended.push_back(key);
    }

    fn has_ended(&self, key: &MatrixCall) -> bool {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(key)
    }
}

impl Registration {
    /// Routes the events of a Matrix call to this call as long as it lives.
    pub(crate) fn with_matrix(mut self, key: MatrixCall, inbox: &CallInbox) -> Self {
        self.calls.route_matrix(key.clone(), inbox);
        self.matrix = Some(key);
        self
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for leg in &self.legs {
            self.calls.by_leg.remove(leg);
        }
        if let Some(key) = self.matrix.take() {
            self.calls.unroute_matrix(key);
        }
        self.calls.busy.remove(&self.pair);
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
