//! The user agent: the public face of the crate.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::config::{SipConfig, Target, Transport, TrunkConfig, TrunkName};
use crate::core::Core;
use crate::event::{Command, Event, LegId};
use crate::fence::{Admission, CounterValues};
use crate::legs::{Input, Legs};
use crate::listen::{self, Socket};
use crate::names::{self, Resolver};
use crate::outgoing::Order;
use crate::refused::{OrphanError, Refused, StartError};
use crate::registration::{self, Accounts, RegistrationConfig, RegistrationState};
use crate::snapshot::DialogSnapshot;
use crate::subscription::{self, SubscriptionState, Subscriptions};
use crate::tls::TlsIdentity;
use crate::transact::Outcome;
use crate::trunk::Trunk;
use crate::{inbound, options, outgoing, transact};

/// How long a shutdown waits for BYEs and CANCELs to be answered.
const FAREWELL: Duration = Duration::from_secs(3);

/// A SIP user agent on its listeners, with its trunks. Clones are handles to
/// the same one; when the last is dropped without [`Self::shutdown`] all of
/// it stops at once and says nothing to the peers, as after a crash.
#[derive(Clone)]
pub struct UserAgent {
    core: Arc<Core>,
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
        let trunks = trunks(&config, &sockets)?;
        // A site without names needs no DNS, and may have none.
        let has_names = trunks.iter().any(|trunk| !trunk.config.names.is_empty());
        let resolver = has_names.then(|| Resolver::new(&config.nameservers));
        let resolver = resolver.transpose()?;
        let accounts = accounts(&config, &sockets)?;
        let subscriptions = subscriptions(&config, &accounts)?;
        let legs = Arc::new(Legs::new(config.max_calls));
        let admission = Admission::new(
            trunks.clone(),
            legs.clone(),
            config.messages_per_second,
            config.is_emergency.clone(),
        );
        let admission = Arc::new(admission);
        let open = listen::open(&config, sockets, &admission, &stop).await?;
        let by_name = trunks
            .iter()
            .map(|trunk| (trunk.config.name.clone(), trunk.clone()));
        let core = Arc::new(Core {
            trunks: by_name.collect(),
            config,
            endpoint: open.endpoint,
            listeners: open.listeners,
            streams: open.streams,
            accounts,
            subscriptions,
            legs,
            admission,
            events,
            leaving: CancellationToken::new(),
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
        for trunk in trunks {
            for target in trunk.targets.all().iter().cloned() {
                core.spawn(options::watch(core.clone(), trunk.clone(), target));
            }
            if let Some(resolver) = &resolver {
                core.spawn(names::keep(core.clone(), trunk.clone(), resolver.clone()));
            }
        }
        for account in core.accounts.all() {
            if let Some(trunk) = core.trunks.get(&account.config.trunk) {
                let kept = registration::keep(core.clone(), trunk.clone(), account.clone());
                core.spawn_waited(kept);
            }
        }
        for interest in core.subscriptions.all() {
            if let Some(trunk) = core.trunks.get(&interest.config.trunk) {
                let kept = subscription::keep(core.clone(), trunk.clone(), interest.clone());
                core.spawn_waited(kept);
            }
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
            };
            return outgoing::start(&self.core, leg, order);
        }
        let inbox = self.core.legs.inbox(leg).ok_or(Refused::NoSuchLeg(leg))?;
        match inbox.try_send(Input::Command(command)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(Refused::Busy(leg)),
            Err(TrySendError::Closed(_)) => Err(Refused::NoSuchLeg(leg)),
        }
    }

    /// What would end the leg's dialog from another process, as far as it is
    /// known: for an incoming leg from [`crate::Happened::Incoming`] on, so
    /// that it can be stored before the 200 is sent. An outgoing leg has no
    /// remote tag before it is answered, and nothing to end.
    pub fn dialog(&self, leg: LegId) -> Option<DialogSnapshot> {
        self.core.legs.dialog(leg)
    }

    /// Ends a dialog that an earlier process left behind, and returns the
    /// status of the peer's answer to the BYE: 200, or 481 when the peer has
    /// forgotten it too.
    ///
    /// # Errors
    /// When the trunk is gone or does not answer within 64*T1.
    pub async fn end_orphan(&self, dialog: &DialogSnapshot) -> Result<u16, OrphanError> {
        let trunk = self.core.trunks.get(&dialog.trunk);
        let trunk = trunk.ok_or_else(|| OrphanError::UnknownTrunk(dialog.trunk.clone()))?;
        match transact::bye(&self.core, trunk, dialog, None).await {
            Outcome::Final(response) => Ok(response.status_code.code()),
            Outcome::Silence => Err(OrphanError::NoAnswer),
            Outcome::Unreachable => Err(OrphanError::Unreachable),
        }
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
        trunk.is_none_or(|trunk| trunk.is_full_for_calls_out())
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

    /// What was counted since the start.
    pub fn counters(&self) -> CounterValues {
        self.core.admission.counters.values()
    }

    /// Who we are in TLS, from the next handshake on.
    pub fn become_known_as(&self, identity: TlsIdentity) {
        self.core.streams.tls().become_known_as(identity);
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
            if inbox.try_send(hang_up).is_err() {
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

/// Sees to it that each trunk has its listeners.
fn trunks(config: &SipConfig, sockets: &[Socket]) -> Result<Vec<Arc<Trunk>>, StartError> {
    let mut trunks: HashMap<TrunkName, ()> = HashMap::new();
    let mut made = Vec::new();
    for trunk in &config.trunks {
        if trunks.insert(trunk.name.clone(), ()).is_some() {
            return Err(StartError::DuplicateTrunk(trunk.name.clone()));
        }
        let is_served = |target| sockets.iter().any(|socket| serves(socket, trunk, target));
        let has_targets = !trunk.targets.is_empty() || !trunk.names.is_empty();
        let names_are_served = trunk.names.is_empty()
            || sockets
                .iter()
                .any(|socket| socket.transport == trunk.transport);
        if !has_targets || !names_are_served || !trunk.targets.iter().all(is_served) {
            return Err(StartError::NoListener(trunk.name.clone()));
        }
        let mut trunk = trunk.clone();
        allow_proxies(&mut trunk, &config.registrations);
        made.push(Arc::new(Trunk::new(trunk)));
    }
    Ok(made)
}

/// What comes by way of an outbound proxy is the trunk's, too: the answers to
/// REGISTER, and the calls to what it has registered.
fn allow_proxies(trunk: &mut TrunkConfig, registrations: &[RegistrationConfig]) {
    let own = registrations.iter().filter(|own| own.trunk == trunk.name);
    let proxies: Vec<_> = own.filter_map(|own| own.proxy).collect();
    if !proxies.is_empty() && trunk.allow.is_empty() {
        let targets = trunk.targets.iter();
        trunk.allow = targets.map(|target| target.address.ip()).collect();
    }
    trunk.allow.extend(proxies.iter().map(SocketAddr::ip));
}

/// Sees to it that each account has its trunk, a way there, and names that no
/// other has.
fn accounts(config: &SipConfig, sockets: &[Socket]) -> Result<Accounts, StartError> {
    let mut users = HashSet::new();
    for account in &config.registrations {
        let mut trunks = config.trunks.iter();
        let trunk = trunks.find(|trunk| trunk.name == account.trunk);
        let trunk = trunk.ok_or_else(|| StartError::NoRegistrar {
            account: account.contact.clone(),
            trunk: account.trunk.clone(),
        })?;
        let proxy = account.proxy.map(Target::from);
        let is_served = |proxy| sockets.iter().any(|socket| serves(socket, trunk, proxy));
        if !proxy.as_ref().is_none_or(is_served) {
            return Err(StartError::NoListener(account.trunk.clone()));
        }
        let names = HashSet::from([&account.contact.0, &account.user]);
        for user in names {
            if !users.insert((&account.trunk, user)) {
                return Err(StartError::DuplicateAccount {
                    user: user.clone(),
                    trunk: account.trunk.clone(),
                });
            }
        }
    }
    Ok(Accounts::new(&config.registrations))
}

/// Sees to it that each subscription has somebody to ask, and who asks.
fn subscriptions(config: &SipConfig, accounts: &Accounts) -> Result<Subscriptions, StartError> {
    for wanted in &config.subscriptions {
        let has_trunk = config.trunks.iter().any(|t| t.name == wanted.trunk);
        let account = wanted.account.as_ref();
        let has_account = account.is_none_or(|name| accounts.of(&wanted.trunk, name).is_some());
        if !has_trunk || !has_account {
            return Err(StartError::NoNotifier {
                line: wanted.line.clone(),
                trunk: wanted.trunk.clone(),
            });
        }
    }
    Ok(Subscriptions::new(&config.subscriptions))
}

fn serves(socket: &Socket, trunk: &TrunkConfig, target: &Target) -> bool {
    socket.transport == trunk.transport && socket.local.is_ipv4() == target.address.is_ipv4()
}
