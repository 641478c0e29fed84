//! TCP connections, opened by us or by peers.
//!
//! The stack can open its own, but from whatever local address the routing
//! table likes; a trunk that knows us by the listener's address would not
//! know those.

use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use rsipstack::sip::Transport;
use rsipstack::transaction::endpoint::EndpointInnerRef;
use rsipstack::transport::channel::ChannelConnection;
use rsipstack::transport::connection::TransportSender;
use rsipstack::transport::tcp::TcpConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::config::Timers;
use crate::dscp;
use crate::fence::{Admission, FencedStream};

/// Connections that peers opened, at a time; a trunk needs one.
const MAX_STREAMS: usize = 256;
/// When a silent peer is asked by the kernel whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// How often it is asked again.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);

/// What connections may take.
pub(crate) struct Limits {
    /// Connections that peers opened, at a time.
    places: usize,
    /// How long a write may go unacknowledged.
    patience: Duration,
    /// A connection that nothing came over for this long may be closed for
    /// another one's sake.
    idle: Duration,
}

impl Limits {
    pub(crate) fn of(timers: &Timers) -> Self {
        Self {
            places: MAX_STREAMS,
            patience: timers.give_up() / 4,
            // No transaction waits for an answer any more.
            idle: timers.give_up(),
        }
    }
}

/// All open connections, by the peer's address.
#[derive(Default)]
pub(crate) struct OpenStreams(DashMap<SocketAddr, Stream>);

struct Stream {
    connection: SipConnection,
    /// The same socket, to close it for good: the stack reads on from a
    /// connection that it has given up.
    socket: Socket,
    /// When the last message came.
    heard: Instant,
    /// Held by the connections that peers opened.
    place: Option<OwnedSemaphorePermit>,
}

impl Stream {
    fn is_open(&self) -> bool {
        let token = self.connection.cancel_token();
        token.is_some_and(|token| !token.is_cancelled())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The peer may have been first.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

impl OpenStreams {
    /// A message came over a connection.
    pub(crate) fn note_heard(&self, peer: SocketAddr) {
        if let Some(mut stream) = self.0.get_mut(&peer) {
            stream.heard = Instant::now();
        }
    }

    fn to(&self, peer: SocketAddr) -> Option<SipConnection> {
        let stream = self.0.get(&peer).filter(|stream| stream.is_open())?;
        Some(stream.connection.clone())
    }

    /// Closes the connection of an address that was idle longest, and gives
    /// its place to the next one; `None` while all are in use.
    fn make_room(&self, ip: IpAddr, idle: Duration) -> Option<OwnedSemaphorePermit> {
        let streams = self.0.iter();
        let idle_ones = streams.filter(|stream| {
            stream.key().ip() == ip && stream.place.is_some() && stream.heard.elapsed() >= idle
        });
        let (_, peer) = idle_ones
            .map(|stream| (stream.heard, *stream.key()))
            .min()?;
        let (_, mut stream) = self.0.remove(&peer)?;
        debug!(%peer, "idle connection closed for a new one");
        if let Some(token) = stream.connection.cancel_token() {
            token.cancel();
        }
        stream.place.take()
    }
}

/// Opens and accepts connections.
pub(crate) struct Streams {
    open: Arc<OpenStreams>,
    places: Arc<Semaphore>,
    /// Where the stack takes what we read.
    stack: TransportSender,
    admission: Arc<Admission>,
    limits: Limits,
    /// How what we send is marked.
    dscp: u8,
    /// Connections are refused, and that is known.
    full: AtomicBool,
    stop: CancellationToken,
}

impl Streams {
    pub(crate) async fn new(
        endpoint: &EndpointInnerRef,
        open: Arc<OpenStreams>,
        admission: Arc<Admission>,
        limits: Limits,
        dscp: u8,
        stop: CancellationToken,
    ) -> rsipstack::Result<Self> {
        let stack = mouth(endpoint, &stop).await?;
        Ok(Self {
            stack,
            open,
            places: Arc::new(Semaphore::new(limits.places)),
            admission,
            limits,
            dscp,
            full: AtomicBool::new(false),
            stop,
        })
    }

    /// The open connection to a peer, or a new one from the address `from`;
    /// `local` is what we call ourselves.
    pub(crate) async fn to(
        self: &Arc<Self>,
        peer: SocketAddr,
        from: IpAddr,
        local: SocketAddr,
    ) -> io::Result<SipConnection> {
        if let Some(open) = self.open.to(peer) {
            return Ok(open);
        }
        let socket = match peer {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Before it connects, for the SYN.
        dscp::mark(&socket, peer.ip(), self.dscp);
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
            let Some(place) = self.place_for(source.ip()) else {
                continue;
            };
            if let Err(error) = self.take(stream, local, Some(place)) {
                debug!(%source, %error, "connection not taken");
            }
        }
    }

    /// A place for a connection from `ip`; a peer that does not close what it
    /// does not use makes room from its own.
    fn place_for(&self, ip: IpAddr) -> Option<OwnedSemaphorePermit> {
        let free = self.places.clone().try_acquire_owned().ok();
        let place = free.or_else(|| self.open.make_room(ip, self.limits.idle));
        let was_full = self.full.swap(place.is_none(), Ordering::Relaxed);
        if place.is_none() && !was_full {
            warn!(%ip, limit = self.limits.places, "too many connections, new ones are refused");
        }
        place
    }

    /// Hands a connection to the stack and keeps it until that closes it.
    fn take(
        self: &Arc<Self>,
        stream: TcpStream,
        local: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
    ) -> io::Result<SipConnection> {
        let peer = stream.peer_addr()?;
        tune(&stream, self.limits.patience)?;
        dscp::mark(&stream, peer.ip(), self.dscp);
        let socket = SockRef::from(&stream).try_clone()?;
        let token = self.stop.child_token();
        let local = SipAddr::new(Transport::Tcp, local.into());
        let connection = TcpConnection::from_stream(stream, local, Some(token.clone()));
        let connection = connection.map_err(io::Error::other)?;
        let reader = connection.inner.read_half.try_lock();
        let reader = reader.ok().and_then(|mut reader| reader.take());
        let reader = reader.ok_or_else(|| io::Error::other("somebody reads it already"))?;
        let raw = Box::new(connection.clone());
        let connection = SipConnection::from(connection);
        let taken = Stream {
            connection: connection.clone(),
            socket,
            heard: Instant::now(),
            place,
        };
        self.open.0.insert(peer, taken);
        let fenced = FencedStream {
            connection: connection.clone(),
            raw,
            source: peer,
            transport: Transport::Tcp,
            stack: self.stack.clone(),
        };
        let (open, admission) = (Arc::downgrade(&self.open), self.admission.clone());
        tokio::spawn(async move {
            // The stack cancels the token when it gives the connection up.
            let read = fenced.read(reader, &admission);
            token.run_until_cancelled(read).await;
            token.cancel();
            if let Some(open) = open.upgrade() {
                open.0.remove_if(&peer, |_, stream| !stream.is_open());
            }
            // The stack forgets what waits for an answer over it.
            let _ = fenced
                .stack
                .send(TransportEvent::Closed(fenced.connection.clone()));
        });
        Ok(connection)
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
    let address = SipAddr::new(Transport::Tcp, nowhere.into());
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
mod tests {
    use std::net::Ipv4Addr;

    use rsipstack::transaction::EndpointBuilder;
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::config::TrunkConfig;
    use crate::legs::Legs;
    use crate::trunk::Trunk;

    const DEADLINE: Duration = Duration::from_secs(10);
    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const OTHER_PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

    /// Streams with two places that accept both peers, and where.
    async fn with_two_places(idle: Duration) -> (Arc<Streams>, SocketAddr) {
        let trunk = TrunkConfig {
            allow: vec![PEER, OTHER_PEER],
            ..TrunkConfig::new("pbx", (PEER, 5060).into())
        };
        let trunks = vec![Arc::new(Trunk::new(trunk))];
        let none = Arc::new(|_: &str| false);
        let admission = Admission::new(trunks, Arc::new(Legs::new(9)), 10, none);
        let limits = Limits {
            places: 2,
            patience: DEADLINE,
            idle,
        };
        let streams = Arc::new(
            Streams::new(
                &EndpointBuilder::new().build().inner,
                Arc::default(),
                Arc::new(admission),
                limits,
                24,
                CancellationToken::new(),
            )
            .await
            .expect("a stack"),
        );
        let listener = TcpListener::bind((PEER, 0)).await.expect("a port");
        let at = listener.local_addr().expect("an address");
        tokio::spawn(streams.clone().accept(listener, at));
        (streams, at)
    }

    async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address");
        socket.connect(to).await.expect("a connection")
    }

    /// The same, waiting until it is one of so many.
    async fn taken(streams: &Streams, at: SocketAddr, count: usize) -> TcpStream {
        let stream = connect(PEER, at).await;
        let start = Instant::now();
        while streams.open.0.len() < count {
            assert!(start.elapsed() < DEADLINE, "not taken");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stream
    }

    async fn assert_closed(mut stream: TcpStream) {
        let mut buf = [0; 1];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut buf)).await;
        assert!(matches!(read.expect("an end"), Ok(0) | Err(_)));
    }

    fn is_taken(streams: &Streams, stream: &TcpStream) -> bool {
        let own = stream.local_addr().expect("an address");
        streams.open.0.contains_key(&own)
    }

    #[tokio::test]
    async fn a_new_stream_takes_the_place_of_the_one_heard_longest_ago() {
        let (streams, at) = with_two_places(Duration::ZERO).await;
        let first = taken(&streams, at, 1).await;
        let second = taken(&streams, at, 2).await;
        streams
            .open
            .note_heard(first.local_addr().expect("an address"));
        let third = connect(PEER, at).await;
        assert_closed(second).await;
        let fourth = connect(PEER, at).await;
        assert_closed(first).await;
        let start = Instant::now();
        while !(is_taken(&streams, &third) && is_taken(&streams, &fourth)) {
            assert!(start.elapsed() < DEADLINE, "not taken");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn a_connection_is_marked_whoever_opened_it() {
        let (streams, at) = with_two_places(DEADLINE).await;
        let theirs = taken(&streams, at, 1).await;
        let peer = TcpListener::bind((PEER, 0)).await.expect("a port");
        let to = peer.local_addr().expect("an address");
        let opened = streams.to(to, PEER, at).await;
        opened.expect("a connection");
        for end in [theirs.local_addr().expect("an address"), to] {
            let stream = streams.open.0.get(&end).expect("it is open");
            assert_eq!(stream.socket.tos_v4().expect("an option"), 24 << 2);
        }
    }

    #[tokio::test]
    async fn a_stream_in_use_makes_no_room() {
        let (streams, at) = with_two_places(DEADLINE * 10).await;
        let first = taken(&streams, at, 1).await;
        let second = taken(&streams, at, 2).await;
        assert_closed(connect(PEER, at).await).await;
        assert!(is_taken(&streams, &first) && is_taken(&streams, &second));
    }

    #[tokio::test]
    async fn an_address_makes_no_room_for_another() {
        let (streams, at) = with_two_places(Duration::ZERO).await;
        let first = taken(&streams, at, 1).await;
        let second = taken(&streams, at, 2).await;
        assert_closed(connect(OTHER_PEER, at).await).await;
        assert!(is_taken(&streams, &first) && is_taken(&streams, &second));
    }

    #[tokio::test]
    async fn a_peer_that_went_without_a_word_is_found_out() {
        let listener = TcpListener::bind((PEER, 0)).await.expect("a port");
        let stream = connect(PEER, listener.local_addr().expect("an address")).await;
        tune(&stream, DEADLINE).expect("a socket that can be tuned");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("an option"));
        let after = socket.tcp_keepalive_time().expect("an option");
        let every = socket.tcp_keepalive_interval().expect("an option");
        assert_eq!((after, every), (KEEPALIVE_AFTER, KEEPALIVE_EVERY));
    }
}
