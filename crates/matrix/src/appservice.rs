//! The application service as a whole: started, asked, stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mxtrunk_store::{Store, StoreError};
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call_events::CallEventOut;
use crate::counters::Counters;
use crate::door::{Door, Terms};
use crate::homes::Homes;
use crate::homeserver::Homeserver;
use crate::namespace::Namespace;
use crate::occupied::{CallRoom, OccupiedRooms};
use crate::pictures::{self, Pictures};
use crate::rate::Rate;
use crate::rooms::PairLocks;
use crate::{
    Counts, HomeserverError, MatrixConfig, Numbering, RoomEvent, Secret, furnish, homes, service,
};

/// The longest pause between two attempts to get in touch with the homeserver at start.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How often the homeserver is asked whether it reaches us, and how often while it does not; how long that may take.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(4);

/// The homeserver needs a few connections, which it gives up itself after 2 minutes without a request; whoever else reaches
/// the listener leaves room for it, and for the gateway's other descriptors.
const TERMS: Terms = Terms {
    most: 4_096,
    first: Duration::from_secs(60),
    next: Duration::from_secs(180),
};

/// How many invites are accepted at the same time.
const MAX_JOINING: usize = 64;

/// How many invites of people without a line are accepted a second: enough to be told, in the room, that they may not call.
const STRANGERS_PER_SECOND: u32 = 1;

/// How long the database may take with what a call waits for.
pub(crate) const DATABASE: Duration = Duration::from_millis(250);

/// How long [`AppService::shutdown`] waits for requests that are being answered.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(3);

/// The running application service. Clones are the same one.
#[derive(Debug, Clone)]
pub struct AppService {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) namespace: Namespace,
    pub(crate) homeserver: Homeserver,
    pub(crate) store: Store,
    pub(crate) numbering: Arc<dyn Numbering>,
    pub(crate) counters: Counters,
    /// Who joined where, for those who wait for it.
    pub(crate) joins: broadcast::Sender<(OwnedRoomId, OwnedUserId)>,
    pub(crate) pairs: PairLocks,
    pub(crate) occupied: OccupiedRooms,
    pub(crate) homes: Homes,
    /// Whether people have homes at all.
    pub(crate) keeps_homes: bool,
    /// Whether they may write in call rooms.
    pub(crate) lets_people_write: bool,
    pub(crate) pictures: Pictures,
    /// Where the widget of every history leads; `None`: there is none.
    pub(crate) widget: Option<String>,
    /// Makes the aliases of our own rooms unguessable.
    pub(crate) alias_key: Secret,
    /// How many invites of people without a line are accepted.
    pub(crate) strangers: Rate,
    /// One permit for each invite that is being accepted.
    pub(crate) joining: Arc<Semaphore>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    local_addr: SocketAddr,
}

/// Why the application service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The server name is none, or is too long for virtual users.
    #[error("{0:?} is no server name that virtual users can live on")]
    ServerName(String),
    /// The prefix of the virtual users or the local part of the service account is none.
    #[error("{0:?} cannot be part of a Matrix user id: use up to 32 of a-z 0-9 . _ - / +")]
    Localpart(String),
    /// The address for the homeserver's requests is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The HTTP client cannot be made (TLS roots, token with forbidden characters).
    #[error("cannot make requests to the homeserver: {0}")]
    HttpClient(String),
}

/// Why a virtual user is not there.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The homeserver did not make it.
    #[error(transparent)]
    Homeserver(#[from] HomeserverError),
    /// The store did not tell or keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppService {
    /// Starts to listen for the homeserver. In the background it makes the service account and asks
    /// the homeserver to ping us, until that works: a homeserver that is down does not keep us from
    /// starting.
    ///
    /// What happens in rooms goes to `events`. The queue is bounded by its maker; while it is full the
    /// homeserver waits.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: MatrixConfig,
        store: Store,
        numbering: Arc<dyn Numbering>,
        events: mpsc::Sender<RoomEvent>,
    ) -> Result<AppService, StartError> {
        let namespace = Namespace::checked(&config)?;
        let homeserver = Homeserver::new(&config).await?;
        let cannot_listen = |source| StartError::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(cannot_listen)?;
        let inner = Arc::new(Inner {
            namespace,
            homeserver,
            store,
            numbering,
            counters: Counters::default(),
            joins: broadcast::channel(256).0,
            pairs: PairLocks::default(),
            occupied: OccupiedRooms::default(),
            homes: Homes::default(),
            keeps_homes: config.telephony_rooms,
            lets_people_write: config.messages_in_call_rooms,
            pictures: Pictures::default(),
            widget: config.widget.clone(),
            alias_key: config.as_token.clone(),
            strangers: Rate::new(STRANGERS_PER_SECOND),
            joining: Arc::new(Semaphore::new(MAX_JOINING)),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            local_addr: listener.local_addr().map_err(cannot_listen)?,
        });
        tracing::info!(address = %inner.local_addr, "listening for the homeserver");

        let router = service::router(
            Arc::clone(&inner),
            config.hs_token,
            config.lookups_per_second,
            events,
        );
        let stop = inner.stop.clone().cancelled_owned();
        inner.tasks.spawn(async move {
            let served = axum::serve(Door::new(listener, TERMS), router)
                .with_graceful_shutdown(stop)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "no longer listening for the homeserver");
            }
        });
        inner.tasks.spawn(introduce(Arc::clone(&inner)));
        if config.telephony_rooms {
            inner.tasks.spawn(homes::keep(Arc::clone(&inner)));
            inner.tasks.spawn(furnish::keep(Arc::clone(&inner)));
        }
        if config.pictures {
            inner.tasks.spawn(pictures::keep(Arc::clone(&inner)));
        }
        Ok(AppService { inner })
    }

    /// Where the homeserver reaches us.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr
    }

    /// Asks the homeserver to reach us, and gives the time that took.
    ///
    /// # Errors
    /// [`HomeserverError`]: it cannot be reached, or cannot reach us.
    pub async fn ping(&self) -> Result<Duration, HomeserverError> {
        self.inner.homeserver.ping().await
    }

    /// Whether one more person without a line may be told, in their room, that they may not call: so many are a second.
    #[must_use]
    pub fn may_tell_stranger(&self) -> bool {
        self.inner.strangers.admits(Instant::now())
    }

    /// What went wrong so far without anybody being told.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.counters.counts()
    }

    /// The Mxid of the virtual user of a number, whether or not it exists.
    #[must_use]
    pub fn virtual_user_of(&self, number: &str) -> OwnedUserId {
        self.inner.namespace.virtual_user_of(number)
    }

    /// The number that a virtual user stands for; `None` when the user is not one of ours.
    #[must_use]
    pub fn number_of(&self, user: &UserId) -> Option<String> {
        self.inner.namespace.number_of(user)
    }

    /// The room for one call, until what is given is dropped; `None`: another call is in it.
    #[must_use]
    pub fn occupy(&self, room: &RoomId) -> Option<CallRoom> {
        self.inner.occupied.occupy(room)
    }

    /// Makes sure that the virtual user of a number exists and is shown as `display_name`.
    ///
    /// # Errors
    /// [`AccountError`].
    pub async fn ensure_virtual_user(
        &self,
        number: &str,
        display_name: &str,
    ) -> Result<OwnedUserId, AccountError> {
        let user = self.virtual_user_of(number);
        self.inner
            .ensure_account(&user, number, display_name)
            .await?;
        Ok(user)
    }

    /// Sends a call event as a virtual user. The caller chooses `txn_id`, unique for the event: sent
    /// again with the same one the event does not stand in the room twice. Takes at most 8 s.
    ///
    /// # Errors
    /// [`HomeserverError`], after the attempts that fit into that time.
    pub async fn send_call_event(
        &self,
        room: &RoomId,
        as_user: &UserId,
        txn_id: &str,
        event: &CallEventOut,
    ) -> Result<OwnedEventId, HomeserverError> {
        self.inner.homes.hear_of_call();
        let event_type = event.kind().event_type();
        let content = event.content();
        let homeserver = &self.inner.homeserver;
        homeserver
            .send(room, as_user, event_type, txn_id, &content)
            .await
    }

    /// Writes a message that raises an unread mark.
    ///
    /// # Errors
    /// As [`AppService::send_call_event`].
    pub async fn send_text(
        &self,
        room: &RoomId,
        as_user: &UserId,
        text: &str,
    ) -> Result<OwnedEventId, HomeserverError> {
        self.send_message(room, as_user, "m.text", text).await
    }

    /// Writes a message that raises no unread mark.
    ///
    /// # Errors
    /// As [`AppService::send_call_event`].
    pub async fn send_notice(
        &self,
        room: &RoomId,
        as_user: &UserId,
        text: &str,
    ) -> Result<OwnedEventId, HomeserverError> {
        self.send_message(room, as_user, "m.notice", text).await
    }

    /// Stops listening and waits for what is under way, for a few seconds at most.
    pub async fn shutdown(self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        let finished = tokio::time::timeout(SHUTDOWN_PATIENCE, self.inner.tasks.wait()).await;
        if finished.is_err() {
            tracing::warn!("gave up waiting for the homeserver's last requests");
        }
    }

    async fn send_message(
        &self,
        room: &RoomId,
        as_user: &UserId,
        msgtype: &str,
        text: &str,
    ) -> Result<OwnedEventId, HomeserverError> {
        let txn_id = format!("mxtrunk-{:032x}", rand::random::<u128>());
        let content = json!({ "msgtype": msgtype, "body": text });
        let homeserver = &self.inner.homeserver;
        homeserver
            .send(room, as_user, "m.room.message", &txn_id, &content)
            .await
    }
}

impl Inner {
    /// Makes sure that a virtual user exists and has this display name. Asks the homeserver only
    /// when the store does not know better.
    pub(crate) async fn ensure_account(
        &self,
        user: &UserId,
        number: &str,
        display_name: &str,
    ) -> Result<(), AccountError> {
        let known = self.store.virtual_user(user.as_str()).await?;
        if known
            .as_ref()
            .is_some_and(|known| known.display_name == display_name)
        {
            return Ok(());
        }
        if known.is_none() {
            self.homeserver.register(user.localpart()).await?;
        }
        self.homeserver.set_display_name(user, display_name).await?;
        let virtual_user = mxtrunk_store::VirtualUser {
            user_id: user.to_string(),
            number: number.to_owned(),
            display_name: display_name.to_owned(),
        };
        let kept = self.store.put_virtual_user(&virtual_user);
        // Else it is made once more, which does no harm.
        in_time("a virtual user was not kept", kept).await;
        if known.is_none() {
            self.give_first_picture(user).await;
        }
        tracing::debug!(%user, number, "virtual user is there");
        Ok(())
    }
}

impl Inner {
    /// Makes sure that a virtual user exists, under its number alone unless it has a name already: whoever goes through
    /// all extensions must not get a list of names for it. The name comes with the first call.
    pub(crate) async fn ensure_nameless(
        &self,
        user: &UserId,
        number: &str,
    ) -> Result<(), AccountError> {
        if let Ok(Some(_)) = self.store.virtual_user(user.as_str()).await {
            return Ok(());
        }
        self.ensure_account(user, number, number).await
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppService")
            .field("local_addr", &self.local_addr)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Waits for the database, but not for long: what it does not take in time is looked up anew when it is needed, and holds
/// up no call. `what` is what the log says then.
pub(crate) async fn in_time(what: &str, kept: impl Future<Output = Result<(), StoreError>>) {
    match timeout(DATABASE, kept).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "{what}: see that the database can be written to"),
        Err(_) => tracing::warn!("{what}: the database is slow"),
    }
}

/// Gets in touch with the homeserver, however long that takes.
async fn introduce(inner: Arc<Inner>) {
    let mut pause = Duration::from_secs(1);
    loop {
        let attempt = async {
            let account = inner.namespace.service_account();
            inner.homeserver.register(account.localpart()).await?;
            inner.homeserver.ping().await
        };
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            () = inner.stop.cancelled() => return,
        };
        match outcome {
            Ok(round_trip) => {
                tracing::info!(
                    round_trip_ms = round_trip.as_millis(),
                    "the homeserver reaches us"
                );
                return stay_in_touch(inner, [LOOK, LOOK_AGAIN]).await;
            }
            Err(error) => {
                tracing::warn!(%error, retry_s = pause.as_secs(), "not in touch with the homeserver yet");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = inner.stop.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks the homeserver again and again whether it reaches us: so often, and so often while it does not. It pauses for
/// longer and longer (Synapse for minutes) when it does not, and what people do meanwhile waits there; a ping that
/// comes through ends the pause.
pub(crate) async fn stay_in_touch(inner: Arc<Inner>, [usually, again]: [Duration; 2]) {
    let mut reaches = true;
    loop {
        let pause = if reaches { usually } else { again };
        let attempt = async {
            tokio::time::sleep(pause).await;
            let ping = timeout(PING, inner.homeserver.ping()).await;
            ping.unwrap_or(Err(HomeserverError::Timeout))
        };
        let outcome = tokio::select! {
            outcome = attempt => outcome,
            () = inner.stop.cancelled() => return,
        };
        match &outcome {
            Ok(_) if reaches => {}
            Ok(_) => tracing::info!("the homeserver reaches us again"),
            Err(error) if reaches => tracing::warn!(
                %error,
                "the homeserver does not reach us any more: see that it runs, and that nothing on the way to it is shut"
            ),
            Err(_) => {}
        }
        reaches = outcome.is_ok();
    }
}
