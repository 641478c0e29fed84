//! The user agent: the public face of the crate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::config::{SipConfig, SipLimits, Transport, TrunkConfig, TrunkName};
use crate::core::Core;
use crate::event::{Command, Event, LegId};
use crate::fence::{Admission, CounterValues};
use crate::legs::{Input, Legs};
use crate::listen;
use crate::names::Resolver;
use crate::outgoing::Order;
use crate::refused::{OrphanError, Refused, StartError};
use crate::registration::{Accounts, RegistrationState};
use crate::snapshot::DialogSnapshot;
use crate::subscription::{SubscriptionState, Subscriptions};
use crate::tls::TlsIdentity;
use crate::trunk::{Trunk, TrunkState};
use crate::trunks::{self, Trunks};
use crate::{accounts, inbound, orphan, outgoing};

/// How long a shutdown waits for BYEs and CANCELs to be answered.
const FAREWELL: Duration = Duration::from_secs(3);

/// A SIP user agent on its listeners, with its trunks. Clones are handles to
/// the same one; when the last is dropped without [`Self::shutdown`] all of
/// it stops at once and says nothing to the peers, as after a crash.
#[derive(Clone)]
pub struct UserAgent {
    pub(crate) core: Arc<Core>,
    _alive: Arc<DropGuard>,
}

impl UserAgent {
    /// Binds the listeners and starts to serve; what happens on legs goes to
    /// `events`, and waits there while the reader is behind.
    ///
    /// # Errors
    /// When a listener cannot be bound or a trunk cannot be served by one.
    pub async fn start(config: SipConfig, events: mpsc::Sender<Event>) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let alive = Arc::new(stop.clone().drop_guard());
        let mut sockets = Vec::new();
        for listener in &config.listeners {
            if listener.transport == Transport::Tls && config.tls.is_none() {
                return Err(StartError::NoCertificate(listener.bind));
            }
            sockets.push(listen::bind(listener, config.dscp).await?);
        }
        let is_served = |trunk: &TrunkConfig, address: SocketAddr| {
            let mut sockets = sockets.iter();
            sockets.any(|socket| socket.serves(trunk.transport, address))
        };
        let has_listener = |transport| sockets.iter().any(|socket| socket.transport == transport);
        trunks::check(&config.trunks, is_served, has_listener)?;
        let resolver = Resolver::of(&config.trunks, &config.nameservers)?;
        let (registrations, interests) = (&config.registrations, &config.subscriptions);
        accounts::check(&config.trunks, registrations, interests, &is_served)?;
        let all = config.trunks.iter().map(|trunk| {
            let proxies = accounts::proxies(&trunk.name, registrations);
            Arc::new(Trunk::behind(proxies, trunk.clone()))
        });
        let trunks = Arc::new(Trunks::new(all.collect()));
        let leaving = CancellationToken::new();
        let accounts = Accounts::new(registrations, &leaving);
        let subscriptions = Subscriptions::new(interests, &leaving);
        let legs = Arc::new(Legs::new(config.max_calls));
        let admission = Admission::new(
            trunks.clone(),
            legs.clone(),
            config.messages_per_second,
            config.is_emergency.clone(),
        );
        admission.ban(config.bans);
        let admission = Arc::new(admission);
        let open = listen::open(&config, sockets, &admission, &stop).await?;
        let core = Arc::new(Core {
            trunks,
            config,
            endpoint: open.endpoint,
            listeners: open.listeners,
            streams: open.streams,
            accounts,
            subscriptions,
            legs,
            admission,
            events,
            leaving,
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        tokio::spawn({
            let (core, stop) = (core.clone(), stop.clone());
            async move {
                stop.run_until_cancelled(inbound::serve(core, open.transactions))
                    .await
            }
        });
        for trunk in core.trunks.configured() {
            trunks::keep(&core, &trunk, resolver.as_ref());
        }
        for account in core.accounts.all() {
            accounts::keep(&core, account, None);
        }
        for interest in core.subscriptions.all() {
            accounts::keep_told(&core, interest);
        }
        Ok(Self {
            core,
            _alive: alive,
        })
    }

    /// Tells a leg what to do; [`Command::Invite`] makes an outgoing leg of
    /// that id. Never waits.
    ///
    /// # Errors
    /// When there is no such leg, or it cannot be made.
    pub fn send(&self, leg: LegId, command: Command) -> Result<(), Refused> {
        if let Command::Invite {
            trunk,
            to,
            from,
            account,
            sdp,
            replaces,
            referred_by,
            forwarded,
        } = command
        {
            let order = Order {
                trunk,
                to,
                from,
                account,
                sdp,
                replaces,
                referred_by,
                forwarded,
            };
            return outgoing::start(&self.core, leg, order);
        }
        let inbox = self.core.legs.inbox(leg).ok_or(Refused::NoSuchLeg(leg))?;
        match inbox.try_send(Box::new(Input::Command(command))) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Refused::Busy(leg)),
            Err(TrySendError::Closed(_)) => Err(Refused::NoSuchLeg(leg)),
        }
    }

    /// Which call an incoming leg belongs to, as the log has it: its lines name that from now on.
    pub fn name(&self, leg: LegId, call: &str) {
        self.core.legs.span(leg).record("call", call);
    }

    /// What would end the leg's dialog from another process, as far as it is
    /// known: for an incoming leg from [`crate::Happened::Incoming`] on, so
    /// that it can be stored before the 200 is sent. An outgoing leg has no
    /// remote tag before it rings, and nothing to end.
    pub fn dialog(&self, leg: LegId) -> Option<DialogSnapshot> {
        self.core.legs.dialog(leg)
    }

    /// Ends a dialog that an earlier process left behind, and returns the
    /// status of the peer's answer to the BYE: 200, or 481 when the peer has
    /// forgotten it too. A call of the peer that may still wait for an answer
    /// is refused first; where it did, the 481 follows.
    ///
    /// # Errors
    /// When the trunk is gone or does not answer within 64*T1.
    pub async fn end_orphan(&self, dialog: &DialogSnapshot) -> Result<u16, OrphanError> {
        orphan::end(&self.core, dialog).await
    }

    /// Whether a trunk takes calls: one of its targets answered its last
    /// OPTIONS, and has not asked by 503 to be left alone for a while. `true`
    /// while nothing is known, `false` for a trunk that is not configured.
    pub fn trunk_is_up(&self, trunk: &TrunkName) -> bool {
        let trunk = self.core.trunks.get(trunk);
        trunk.is_some_and(|trunk| trunk.takes_calls())
    }

    /// Whether one more outgoing call would be over a limit of its trunk (its
    /// calls, or its new calls per second); `true` for one that is not
    /// configured.
    pub fn trunk_is_full(&self, trunk: &TrunkName) -> bool {
        let trunk = self.core.trunks.get(trunk);
        trunk.is_none_or(|trunk| trunk.load.is_full_for_calls_out())
    }

    /// How each trunk stands, by name.
    pub fn trunks(&self) -> Vec<TrunkState> {
        let mut states: Vec<_> = self
            .core
            .trunks
            .configured()
            .iter()
            .map(|t| t.state())
            .collect();
        states.sort_by(|one, other| one.trunk.0.cmp(&other.trunk.0));
        states
    }

    /// How each account stands at its registrar, in the configured order.
    pub fn registrations(&self) -> Vec<RegistrationState> {
        self.core.accounts.states()
    }

    /// How each subscription stands and what it was told last, in the
    /// configured order.
    pub fn subscriptions(&self) -> Vec<SubscriptionState> {
        self.core.subscriptions.states()
    }

    /// Marked at each change of what [`UserAgent::subscriptions`] tells.
    pub fn subscription_changes(&self) -> watch::Receiver<()> {
        self.core.subscriptions.changes()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> CounterValues {
        self.core.admission.counters.values()
    }

    /// Addresses of no trunk that are banned now.
    pub fn banned(&self) -> usize {
        self.core.admission.banned()
    }

    /// These hold from now on; calls that there are go on.
    pub fn limit(&self, limits: &SipLimits) {
        self.core.legs.limit(limits.max_calls);
        self.core.admission.ban(limits.bans);
        let messages = limits.messages_per_second;
        self.core.admission.limit_messages(messages);
        for (name, limits) in &limits.trunks {
            if let Some(trunk) = self.core.trunks.get(name) {
                trunk.load.limit(*limits);
            }
        }
    }

    /// Who we are in TLS, from the next handshake on.
    pub fn become_known_as(&self, identity: TlsIdentity) {
        self.core.streams.tls().become_known_as(identity);
    }

    /// Whether it listens.
    pub fn is_serving(&self) -> bool {
        !self.core.stop.is_cancelled()
    }

    /// Legs alive, both directions.
    pub fn legs(&self) -> usize {
        self.core.legs.len()
    }

    /// The addresses peers reach the listeners at, in the configured order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.core
            .listeners
            .iter()
            .map(|listener| listener.local)
            .collect()
    }

    /// Takes no more calls, hangs up all there are, takes the registrations
    /// back and ends the subscriptions, waits at most 3 s for the peers to hear it, and stops.
    pub async fn shutdown(self) {
        self.core.admission.close();
        self.core.leaving.cancel();
        for inbox in self.core.legs.inboxes() {
            let hang_up = Input::Command(Command::HangUp { reason: None });
            if inbox.try_send(Box::new(hang_up)).is_err() {
                debug!("a leg that is behind is not hung up");
            }
        }
        self.core.tasks.close();
        if tokio::time::timeout(FAREWELL, self.core.tasks.wait())
            .await
            .is_err()
        {
            warn!(
                legs = self.core.legs.len(),
                "peers did not answer every farewell"
            );
        }
        self.core.stop.cancel();
    }
}
