//! What every leg shares: the endpoint, the trunks, the register of legs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rsipstack::sip::{Header, Request, SipMessage};
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::{SipAddr, SipConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;
use tracing::debug;

use crate::config::{Credentials, SipConfig, Transport};
use crate::event::Event;
use crate::fence::Admission;
use crate::legs::Legs;
use crate::message::Sender;
use crate::registration::Accounts;
use crate::snapshot::DialogSnapshot;
use crate::streams::{Streams, Way};
use crate::subscription::Subscriptions;
use crate::tap;
use crate::target::Hop;
use crate::trunk::Trunk;
use crate::trunks::Trunks;

/// A listener that is bound.
pub(crate) struct Bound {
    pub(crate) transport: Transport,
    /// The address peers reach it at.
    pub(crate) local: SocketAddr,
    /// The local address it is bound to.
    pub(crate) from: IpAddr,
    /// The UDP socket; a stream is opened per peer instead.
    pub(crate) udp: Option<SipConnection>,
}

impl Bound {
    /// Whether messages over this hop can leave from here.
    pub(crate) fn serves(&self, hop: Hop) -> bool {
        self.transport == hop.transport && self.local.is_ipv4() == hop.address.is_ipv4()
    }
}

/// A way to a peer that is open.
#[derive(Clone)]
pub(crate) struct Path {
    pub(crate) connection: SipConnection,
    pub(crate) destination: SipAddr,
}

/// No connection to the peer could be opened.
#[derive(Debug)]
pub(crate) struct Unreachable;

pub(crate) struct Core {
    pub(crate) config: SipConfig,
    pub(crate) endpoint: EndpointInnerRef,
    pub(crate) listeners: Vec<Bound>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) trunks: Arc<Trunks>,
    pub(crate) accounts: Accounts,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) legs: Arc<Legs>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Takes the registrations back and ends the subscriptions.
    pub(crate) leaving: CancellationToken,
    /// Stops everything at once, saying nothing to anybody.
    pub(crate) stop: CancellationToken,
    /// Legs and farewells, which a shutdown waits for.
    pub(crate) tasks: TaskTracker,
}

impl Core {
    /// Runs a task that nobody waits for, until it ends or all stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        let task = task.in_current_span();
        tokio::spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Runs a task that a shutdown waits for.
    pub(crate) fn spawn_waited(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        // A box: what waits keeps room for what it was given, and for where that is moved to.
        let task = Box::pin(task.in_current_span());
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// What a challenge in a dialog is answered with: the account's whose call
    /// it is, else the trunk's. At a trunk that is configured no more, what
    /// held until then: a new one of its name may be somebody else.
    pub(crate) fn credentials(
        &self,
        trunk: &Trunk,
        dialog: &DialogSnapshot,
    ) -> Option<Credentials> {
        let account = dialog.account.as_ref();
        let own = account.and_then(|name| match trunk.is_retired() {
            true => trunk.credentials_then(name),
            false => self.accounts.credentials(&trunk.config.name, name),
        });
        own.or_else(|| trunk.now().auth.clone())
    }

    /// The listener that messages over this hop leave from.
    fn listener(&self, hop: Hop) -> Option<&Bound> {
        let mut listeners = self.listeners.iter();
        listeners.find(|listener| listener.serves(hop))
    }

    /// Who we are at the other end of a hop.
    pub(crate) fn sender(&self, hop: Hop) -> Sender<'_> {
        let listener = self.listener(hop).unwrap_or_else(|| {
            // A dialog of an earlier process may be of a transport that is
            // not configured any more; there will be no path for it either.
            self.listeners
                .first()
                .expect("no trunk is served without a listener")
        });
        Sender {
            transport: listener.transport,
            local: listener.local,
            user_agent: &self.config.user_agent,
        }
    }

    /// A way to a trunk over a hop, opened in time.
    pub(crate) async fn path(
        &self,
        trunk: &Trunk,
        hop: Hop,
        within: Duration,
    ) -> Result<Path, Unreachable> {
        let to = hop.address;
        let destination = SipAddr::new(hop.transport.into(), to.into());
        let listener = self.listener(hop).ok_or(Unreachable)?;
        if let Some(udp) = &listener.udp {
            return Ok(Path {
                connection: udp.clone(),
                destination,
            });
        }
        let opened = self.streams.to(Way {
            hop,
            from: listener.from,
            local: listener.local,
            judge: (hop.transport == Transport::Tls).then(|| trunk.judge_at(to)),
            trunk: &trunk.config.name,
            within,
        });
        match opened.await {
            Ok(connection) => Ok(Path {
                connection,
                destination,
            }),
            Err(error) => {
                debug!(%to, %error, "no connection");
                Err(Unreachable)
            }
        }
    }

    /// The way for the next request of a dialog. Over TCP the peer's Contact
    /// may not be open to us; then the connection the dialog came over is. Over
    /// TLS that one is taken first: the peer has shown there who it is (RFC
    /// 5923), and need not listen anywhere.
    pub(crate) async fn path_in_dialog(
        &self,
        trunk: &Trunk,
        dialog: &DialogSnapshot,
    ) -> Result<Path, Unreachable> {
        let within = trunk.now().answer_within;
        let hop = dialog.next_hop(|ip| trunk.allows(ip));
        let own = dialog.hop();
        let is_same_host = hop.address.ip() == own.address.ip();
        if hop.transport == Transport::Tls && is_same_host {
            let name = &trunk.config.name;
            if let Some(connection) = self.streams.of_dialog(own, name) {
                let destination = SipAddr::new(own.transport.into(), own.address.into());
                return Ok(Path {
                    connection,
                    destination,
                });
            }
        }
        match self.path(trunk, hop, within).await {
            Err(_) if hop != own => self.path(trunk, own, within).await,
            found => found,
        }
    }

    /// Sends an ACK in a task of its own.
    pub(crate) fn send_ack(
        self: &Arc<Self>,
        trunk: &Arc<Trunk>,
        dialog: &DialogSnapshot,
        ack: Request,
    ) {
        let (core, trunk, dialog) = (self.clone(), trunk.clone(), dialog.clone());
        self.spawn_waited(async move { core.acknowledge(&trunk, &dialog, ack).await });
    }

    /// Sends an ACK, which has no transaction and no answer (§17).
    pub(crate) async fn acknowledge(
        &self,
        trunk: &Trunk,
        dialog: &DialogSnapshot,
        mut ack: Request,
    ) {
        // A transaction adds it to every other request; over a stream it is
        // what ends the message (§20.14).
        ack.headers.unique_push(Header::ContentLength(0.into()));
        let ack = SipMessage::from(ack);
        let Ok(path) = self.path_in_dialog(trunk, dialog).await else {
            return;
        };
        let streams = &self.admission.streams;
        let Ok(_place) = streams.place_to_answer(Some(&path.connection)) else {
            return debug!("ACK dropped: too much waits already for a peer that does not read");
        };
        if let Some(tap) = &self.config.tap {
            tap::show(tap, &ack, false, Some(&path.destination));
        }
        let sent = path.connection.send(ack, Some(&path.destination));
        match tokio::time::timeout(trunk.now().answer_within, sent).await {
            Ok(Ok(())) => {}
            // The peer repeats its 200, and we the ACK.
            Ok(Err(error)) => debug!(%error, "ACK not sent"),
            Err(_) => debug!("ACK not sent in time"),
        }
    }
}

impl From<Transport> for rsipstack::sip::Transport {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Udp => Self::Udp,
            Transport::Tcp => Self::Tcp,
            Transport::Tls => Self::Tls,
        }
    }
}
