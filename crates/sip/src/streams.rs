//! TCP connections, opened by us or by peers.
//!
//! The stack can open its own, but from whatever local address the routing
//! table likes; a trunk that knows us by the listener's address would not
//! know those.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use rsipstack::sip::Transport;
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::tcp::TcpConnection;
use rsipstack::transport::{SipAddr, SipConnection};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::fence::Admission;

/// Connections that peers opened, at a time; a trunk needs one.
const MAX_STREAMS: usize = 256;

/// All open connections, by the peer's address.
pub(crate) struct Streams {
    open: DashMap<SocketAddr, SipConnection>,
    places: Arc<Semaphore>,
    endpoint: EndpointInnerRef,
    admission: Arc<Admission>,
    /// How long a write may go unacknowledged.
    patience: Duration,
    stop: CancellationToken,
}

impl Streams {
    pub(crate) fn new(
        endpoint: EndpointInnerRef,
        admission: Arc<Admission>,
        patience: Duration,
        stop: CancellationToken,
    ) -> Self {
        Self {
            open: DashMap::new(),
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            endpoint,
            admission,
            patience,
            stop,
        }
    }

    /// The open connection to a peer, or a new one from the address `from`;
    /// `local` is what we call ourselves.
    pub(crate) async fn to(
        self: &Arc<Self>,
        peer: SocketAddr,
        from: IpAddr,
        local: SocketAddr,
    ) -> io::Result<SipConnection> {
        if let Some(open) = self.open.get(&peer).filter(|open| is_open(open)) {
            return Ok(open.clone());
        }
        let socket = match peer {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if !from.is_unspecified() {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = socket.connect(peer).await?;
        self.take(stream, local, None)
    }

    /// Accepts connections of known peers until the user agent stops.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener, local: SocketAddr) {
        loop {
            let accepted = self.stop.run_until_cancelled(listener.accept()).await;
            let (stream, source) = match accepted {
                None => return,
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => {
                    // Out of descriptors, mostly: others will close theirs.
                    debug!(%error, "connection not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if !self.admission.lets_connect(source.ip()) {
                continue;
            }
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                debug!(%source, "too many connections");
                continue;
            };
            if let Err(error) = self.take(stream, local, Some(place)) {
                debug!(%source, %error, "connection not taken");
            }
        }
    }

    /// Hands a connection to the stack and keeps it until that closes it.
    fn take(
        self: &Arc<Self>,
        stream: TcpStream,
        local: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
    ) -> io::Result<SipConnection> {
        let peer = stream.peer_addr()?;
        // A peer that takes nothing in for this long is gone, or as good as:
        // whoever waits to write to it is let go.
        SockRef::from(&stream).set_tcp_user_timeout(Some(self.patience))?;
        // Requests and answers are small and somebody waits for each.
        stream.set_nodelay(true)?;
        let token = self.stop.child_token();
        let local = SipAddr::new(Transport::Tcp, local.into());
        let connection = TcpConnection::from_stream(stream, local, Some(token.clone()));
        let connection = SipConnection::from(connection.map_err(io::Error::other)?);
        self.open.insert(peer, connection.clone());
        self.endpoint
            .transport_layer
            .add_connection(connection.clone());
        let streams = Arc::downgrade(self);
        tokio::spawn(async move {
            // The stack cancels the token when it closes the connection.
            token.cancelled().await;
            if let Some(streams) = streams.upgrade() {
                streams.open.remove_if(&peer, |_, open| !is_open(open));
            }
            drop(place);
        });
        Ok(connection)
    }
}

fn is_open(connection: &SipConnection) -> bool {
    connection
        .cancel_token()
        .is_some_and(|token| !token.is_cancelled())
}
