//! What every leg shares: the endpoint, the trunks, the register of legs.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rsipstack::sip::{Header, Request, SipMessage};
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::{SipAddr, SipConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::config::{SipConfig, Transport, TrunkName};
use crate::event::Event;
use crate::fence::Admission;
use crate::legs::Legs;
use crate::message::Sender;
use crate::snapshot::DialogSnapshot;
use crate::streams::Streams;
use crate::tap;
use crate::trunk::Trunk;

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
    pub(crate) trunks: HashMap<TrunkName, Arc<Trunk>>,
    pub(crate) legs: Arc<Legs>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Stops everything at once, saying nothing to anybody.
    pub(crate) stop: CancellationToken,
    /// Legs and farewells, which a shutdown waits for.
    pub(crate) tasks: TaskTracker,
}

impl Core {
    /// Runs a task that nobody waits for, until it ends or all stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Runs a task that a shutdown waits for.
    pub(crate) fn spawn_waited(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Who we are towards a trunk.
    pub(crate) fn sender(&self, trunk: &Trunk) -> Sender<'_> {
        let listener = &self.listeners[trunk.listener];
        Sender {
            transport: listener.transport,
            local: listener.local,
            user_agent: &self.config.user_agent,
        }
    }

    /// A way to an address of a trunk, opened within the trunk's
    /// `answer_within`.
    pub(crate) async fn path(&self, trunk: &Trunk, to: SocketAddr) -> Result<Path, Unreachable> {
        let transport = trunk.config.transport.into();
        let destination = SipAddr::new(transport, to.into());
        let listener = &self.listeners[trunk.listener];
        if let Some(udp) = &listener.udp {
            return Ok(Path {
                connection: udp.clone(),
                destination,
            });
        }
        let opened = self.streams.to(to, listener.from, listener.local);
        match tokio::time::timeout(trunk.config.answer_within, opened).await {
            Ok(Ok(connection)) => Ok(Path {
                connection,
                destination,
            }),
            Ok(Err(error)) => {
                debug!(%to, %error, "no connection");
                Err(Unreachable)
            }
            Err(_) => {
                debug!(%to, "no connection in time");
                Err(Unreachable)
            }
        }
    }

    /// The way for the next request of a dialog. Over TCP the peer's Contact
    /// may not be open to us; then the connection the dialog came over is.
    pub(crate) async fn path_in_dialog(
        &self,
        trunk: &Trunk,
        dialog: &DialogSnapshot,
    ) -> Result<Path, Unreachable> {
        let hop = dialog.next_hop(|ip| trunk.config.allows(ip));
        match self.path(trunk, hop).await {
            Err(_) if hop != dialog.peer => self.path(trunk, dialog.peer).await,
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
        if let Some(tap) = &self.config.tap {
            tap::show(tap, &ack, false, Some(&path.destination));
        }
        let sent = path.connection.send(ack, Some(&path.destination));
        match tokio::time::timeout(trunk.config.answer_within, sent).await {
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
        }
    }
}
