//! TCP and TLS connections, opened by us or by peers.
//!
//! The stack can open its own, but from whatever local address the routing
//! table likes; a trunk that knows us by the listener's address would not
//! know those.

mod open;
mod secure;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::connection::TransportSender;
use rsipstack::transport::tcp::TcpConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::{Timers, Transport, TrunkName};
use crate::dscp;
use crate::fence::{Admission, FencedStream, RawWriter};
use crate::target::Hop;
use crate::tls::{Failed, Judge, Tls};

use open::{Found, Stream, Whose};
pub(crate) use open::{OpenStreams, Turn};

/// Connections that peers opened from one address, at a time; a trunk needs one.
const MAX_STREAMS: usize = 256;
/// Messages of one connection that wait for the stack, or whose answers wait to be
/// written. A peer that sends faster than they are dealt with, or does not read, is
/// slowed down by TCP.
const WAITING: usize = 64;
/// Answers and ACKs that wait to be written to one connection. One whose peer reads has none for long; beyond them
/// they are dropped, as datagrams would be.
const ANSWERS: usize = 256;
/// When a silent peer is asked by the kernel whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// How often it is asked again.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// When we say something over a silent connection that we opened, so that what
/// stands between does not forget it (RFC 5626 §4.4.1: 95 to 120 s).
const PING_AFTER: Duration = Duration::from_secs(95);

/// What connections may take.
pub(crate) struct Limits {
    /// Connections that peers opened from one address, at a time.
    places: usize,
    /// How long a write may go unacknowledged.
    patience: Duration,
    /// A connection that nothing came over for this long may be closed for
    /// another one's sake.
    idle: Duration,
    /// When a silent connection that we opened is pinged.
    ping: Duration,
}

impl Limits {
    pub(crate) fn of(timers: &Timers) -> Self {
        Self {
            places: MAX_STREAMS,
            patience: timers.give_up() / 4,
            // No transaction waits for an answer any more.
            idle: timers.give_up(),
            ping: PING_AFTER,
        }
    }
}

/// Who is called, from where, and who that has to be.
pub(crate) struct Way<'a> {
    pub(crate) hop: Hop,
    /// The address that it is called from.
    pub(crate) from: IpAddr,
    /// What we call ourselves.
    pub(crate) local: SocketAddr,
    /// Over TLS: whom the peer has to be.
    pub(crate) judge: Option<Judge>,
    /// Whose it is.
    pub(crate) trunk: &'a TrunkName,
    /// How long it may take.
    pub(crate) within: Duration,
}

/// A connection that is open, and what is not known by itself.
struct Opened {
    socket: Socket,
    peer: Hop,
    local: SocketAddr,
    place: Option<OwnedSemaphorePermit>,
    whose: Whose,
}

/// Opens and accepts connections.
pub(crate) struct Streams {
    open: Arc<OpenStreams>,
    /// Of each known address.
    places: DashMap<IpAddr, Arc<Semaphore>>,
    /// Where the stack takes what we read.
    stack: TransportSender,
    admission: Arc<Admission>,
    limits: Limits,
    tls: Tls,
    /// Held by who opens a connection to a peer, so that it is one for all.
    opening: DashMap<Hop, Arc<Mutex<()>>>,
    /// What was said last of handshakes that failed: with targets, and with
    /// those who called (whose port is 0). Both are known addresses.
    failed: DashMap<(TrunkName, SocketAddr), Failed>,
    /// How what we send is marked.
    dscp: u8,
    /// Connections are refused, and that is known.
    full: AtomicBool,
    stop: CancellationToken,
}

impl Streams {
    pub(crate) async fn new(
        endpoint: &EndpointInnerRef,
        admission: Arc<Admission>,
        limits: Limits,
        tls: Tls,
        dscp: u8,
        stop: CancellationToken,
    ) -> rsipstack::Result<Self> {
        let stack = mouth(endpoint, &stop).await?;
        Ok(Self {
            stack,
            open: admission.streams.clone(),
            places: DashMap::new(),
            admission,
            limits,
            tls,
            opening: DashMap::new(),
            failed: DashMap::new(),
            dscp,
            full: AtomicBool::new(false),
            stop,
        })
    }

    /// Who we are in handshakes.
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// The connection that a dialog of this trunk came over, while it is open.
    pub(crate) fn of_dialog(&self, peer: Hop, trunk: &TrunkName) -> Option<SipConnection> {
        self.open.of_dialog(peer, trunk)
    }

    /// The open connection to a peer, or a new one.
    pub(crate) async fn to(self: &Arc<Self>, way: Way<'_>) -> io::Result<SipConnection> {
        let hop = way.hop;
        let turn = self.opening.entry(hop).or_default().clone();
        let opened = tokio::time::timeout(way.within, async {
            let _turn = turn.lock().await;
            match self.open.to(hop, way.judge.as_ref()) {
                Found::Open(open) => Ok(open),
                Found::OfOthers(trunk) => Err(io::Error::other(format!(
                    "trunk {trunk} has a connection there, with other tls_* settings: give both the same"
                ))),
                Found::None => self.connect(way).await,
            }
        });
        let opened = opened.await;
        drop(turn);
        // The map's own is the last one.
        let is_left = |_: &Hop, turn: &mut Arc<Mutex<()>>| Arc::strong_count(turn) == 1;
        self.opening.remove_if_mut(&hop, is_left);
        opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn connect(self: &Arc<Self>, way: Way<'_>) -> io::Result<SipConnection> {
        let peer = way.hop.address;
        let socket = match peer {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Before it connects, for the SYN.
        dscp::mark(&socket, peer.ip(), self.dscp);
        if !way.from.is_unspecified() {
            socket.bind(SocketAddr::new(way.from, 0))?;
        }
        let stream = socket.connect(peer).await?;
        let mut opened = self.opened(&stream, way.hop.transport, way.local, None)?;
        let Some(judge) = way.judge else {
            return self.take_tcp(opened, stream);
        };
        opened.whose = Whose::Judged(Box::new(judge.clone()), way.trunk.clone());
        // The caller's patience ends a little later, and would say nothing.
        let shaken = tokio::time::timeout(way.within * 3 / 4, self.tls.connect(stream, judge));
        let shaken = shaken.await.unwrap_or(Err(Failed::Silent));
        match shaken {
            Ok(secured) => self.take_tls(opened, secured).await,
            Err(failed) => {
                self.tell_failed(way.trunk, peer, &failed);
                Err(io::Error::other(failed))
            }
        }
    }

    /// Accepts connections of known peers until the user agent stops.
    pub(crate) async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        transport: Transport,
        local: SocketAddr,
    ) {
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
            if !self.admission.lets_connect(source.ip(), transport) {
                continue;
            }
            let Some(place) = self.place_for(source.ip()) else {
                continue;
            };
            let opened = match self.opened(&stream, transport, local, Some(place)) {
                Ok(opened) => opened,
                Err(error) => {
                    debug!(%source, %error, "connection not taken");
                    continue;
                }
            };
            match transport {
                Transport::Tls => {
                    let shaken = self.clone().shake(opened, stream);
                    tokio::spawn(self.stop.clone().run_until_cancelled_owned(shaken));
                }
                Transport::Udp | Transport::Tcp => {
                    if let Err(error) = self.take_tcp(opened, stream) {
                        debug!(%source, %error, "connection not taken");
                    }
                }
            }
        }
    }

    /// A place for a connection from `ip`; a peer that does not close what it
    /// does not use makes room from its own.
    fn place_for(&self, ip: IpAddr) -> Option<OwnedSemaphorePermit> {
        let places = self.places.entry(ip);
        let new = || Arc::new(Semaphore::new(self.limits.places));
        let places = places.or_insert_with(new).clone();
        let free = places.try_acquire_owned().ok();
        let place = free.or_else(|| self.open.make_room(ip, self.limits.idle));
        let was_full = self.full.swap(place.is_none(), Ordering::Relaxed);
        if place.is_none() && !was_full {
            warn!(%ip, limit = self.limits.places, "too many connections, new ones are refused");
        }
        place
    }

    /// Tunes a connection.
    fn opened(
        &self,
        stream: &TcpStream,
        transport: Transport,
        local: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
    ) -> io::Result<Opened> {
        let address = stream.peer_addr()?;
        tune(stream, self.limits.patience)?;
        dscp::mark(stream, address.ip(), self.dscp);
        Ok(Opened {
            socket: SockRef::from(stream).try_clone()?,
            peer: Hop { transport, address },
            local,
            place,
            whose: Whose::OfItsAddress,
        })
    }

    fn take_tcp(self: &Arc<Self>, opened: Opened, stream: TcpStream) -> io::Result<SipConnection> {
        let token = self.stop.child_token();
        let local = SipAddr::new(opened.peer.transport.into(), opened.local.into());
        let connection = TcpConnection::from_stream(stream, local, Some(token));
        let connection = connection.map_err(io::Error::other)?;
        let reader = connection.inner.read_half.try_lock();
        let reader = reader.ok().and_then(|mut reader| reader.take());
        let reader = reader.ok_or_else(|| io::Error::other("somebody reads it already"))?;
        let raw = RawWriter::Tcp(connection.clone());
        Ok(self.keep(opened, connection.into(), raw, reader))
    }

    /// Hands a connection to the stack and keeps it until that closes it.
    fn keep(
        self: &Arc<Self>,
        opened: Opened,
        connection: SipConnection,
        raw: RawWriter,
        reader: impl AsyncRead + Unpin + Send + 'static,
    ) -> SipConnection {
        let peer = opened.peer;
        let is_ours = opened.place.is_none();
        let whose = opened.whose.clone();
        let turns = Arc::new(Semaphore::new(WAITING));
        let taken = Stream {
            connection: connection.clone(),
            socket: opened.socket,
            heard: Instant::now(),
            place: opened.place,
            whose: opened.whose,
            turns: turns.clone(),
            answers: Arc::new(Semaphore::new(ANSWERS)),
        };
        self.open.keep(peer, taken);
        let fenced = FencedStream {
            connection: connection.clone(),
            raw,
            source: peer.address,
            transport: peer.transport.into(),
            stack: self.stack.clone(),
            turns,
            ping: is_ours.then_some(self.limits.ping),
        };
        let token = connection.cancel_token().unwrap_or_default();
        let own = Arc::downgrade(self);
        let admission = self.admission.clone();
        tokio::spawn(async move {
            // The stack cancels the token when it gives the connection up.
            let read = token
                .run_until_cancelled(fenced.read(reader, &admission))
                .await;
            token.cancel();
            if let Some(own) = own.upgrade() {
                own.open.sweep(peer);
                if let Whose::Judged(_, trunk) = whose {
                    let error = read.and_then(Result::err);
                    own.note_end(&trunk, peer.address, is_ours, error);
                }
            }
            // The stack forgets what waits for an answer over it.
            let _ = fenced
                .stack
                .send(TransportEvent::Closed(fenced.connection.clone()));
        });
        connection
    }
}

/// A way to hand the stack what was read by somebody else: it takes whatever
/// comes over a connection in memory as it comes.
async fn mouth(
    endpoint: &EndpointInnerRef,
    stop: &CancellationToken,
) -> rsipstack::Result<TransportSender> {
    let (stack, taken) = tokio::sync::mpsc::unbounded_channel();
    // Nothing is ever sent over it.
    let (unused, _) = tokio::sync::mpsc::unbounded_channel();
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let address = SipAddr::new(rsipstack::sip::Transport::Tcp, nowhere.into());
    let token = Some(stop.child_token());
    let memory = ChannelConnection::create_connection(taken, unused, address, token).await?;
    endpoint
        .transport_layer
        .add_connection(SipConnection::Channel(memory));
    Ok(stack)
}

/// Sets what every connection needs.
fn tune(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    // A peer that takes nothing in for this long is gone, or as good as:
    // whoever waits to write to it is let go.
    socket.set_tcp_user_timeout(Some(patience))?;
    // One that went without a word is found out even if nobody writes.
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive)?;
    // Requests and answers are small and somebody waits for each.
    stream.set_nodelay(true)
}

#[cfg(test)]
mod tests;
