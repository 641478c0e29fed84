//! TCP connections of browsers whose network lets no UDP through: passive ICE-TCP (RFC 6544), each datagram in a frame
//! of RFC 4571.
//!
//! Anybody can connect. Until a connection has brought a check with good integrity as its first frame, it has seconds
//! to live and is one of few; when those are too many, the oldest goes.

mod stream;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use mxtrunk_media::Socket;
use socket2::{Domain, Protocol, SockRef, Type};

use crate::dscp;
use stream::{Frame, Stream};

/// Connections of one worker: each is about one call.
const OPEN: usize = 1024;
/// Connections that have not shown yet whose they are, and how many of them one address may have.
const UNPROVEN: usize = 128;
const UNPROVEN_OF_ONE: usize = 16;
/// How long they may take. Browsers check at once.
const PROOF: Duration = Duration::from_secs(4);
/// A browser that is there checks every few seconds.
const IDLE: Duration = Duration::from_secs(30);
/// How often both are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Connections accepted before others have their turn.
const ACCEPTED_AT_ONCE: usize = 32;
/// Connections that the kernel keeps until we accept them.
const BACKLOG: i32 = 128;
/// What is written and not yet on its way is old by the time it arrives: bytes, some 20 packets.
const UNSENT: u32 = 2048;

/// The connections to one worker, by the token of the event queue.
#[derive(Debug)]
pub(crate) struct Streams {
    listeners: Vec<TcpListener>,
    open: HashMap<Token, Stream>,
    tokens: HashMap<(Socket, SocketAddr), Token>,
    /// The oldest first.
    unproven: VecDeque<Token>,
    /// Of those that were proven.
    closed: Vec<(Socket, SocketAddr)>,
    /// Listeners that could take nothing for want of descriptors. The event queue speaks of new connections only, so
    /// nobody would look after those that wait there.
    unheard: Vec<usize>,
    sweep: Option<Instant>,
}

impl Streams {
    pub(crate) fn new(listeners: Vec<TcpListener>) -> Self {
        Streams {
            listeners,
            open: HashMap::new(),
            tokens: HashMap::new(),
            unproven: VecDeque::new(),
            closed: Vec::new(),
            unheard: Vec::new(),
            sweep: None,
        }
    }

    /// Takes new connections of a listener, each with the token of its name that `token` gives; true if there may be
    /// more.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        number: usize,
        registry: &Registry,
        mut token: impl FnMut() -> Token,
    ) -> bool {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(listener) = self.listeners.get(number) else {
                return false;
            };
            let (socket, remote) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    tracing::debug!(%error, "a connection of a browser cannot be accepted");
                    // Of a connection that is gone already others may be behind; without descriptors none can be had.
                    let is_more = error.kind() == io::ErrorKind::ConnectionAborted;
                    if !is_more {
                        self.unheard.push(number);
                        self.sweep.get_or_insert(now + SWEEP);
                    }
                    return is_more;
                }
            };
            if self.open.len() == OPEN {
                tracing::debug!("too many connections of browsers: one is closed");
                continue;
            }
            let stream = Stream::new(now, socket, Socket::Streams(number), remote);
            self.make_room(registry, remote);
            self.take(registry, token(), stream);
            self.sweep.get_or_insert(now + SWEEP);
        }
        true
    }

    fn take(&mut self, registry: &Registry, token: Token, mut stream: Stream) {
        let options = SockRef::from(&stream.socket);
        // Where one is not granted sound is only later.
        let _ = options.set_tcp_nodelay(true);
        let _ = options.set_tcp_notsent_lowat(UNSENT);
        let _ = options.set_tcp_user_timeout(Some(IDLE));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut stream.socket, token, interest) {
            tracing::debug!(%error, "a connection of a browser cannot be watched");
            return;
        }
        self.tokens.insert(stream.path(), token);
        self.unproven.push_back(token);
        self.open.insert(token, stream);
    }

    fn make_room(&mut self, registry: &Registry, newcomer: SocketAddr) {
        let is_neighbour = |token: &&Token| {
            let stream = self.open.get(*token);
            stream.is_some_and(|stream| stream.remote.ip() == newcomer.ip())
        };
        let neighbours = self.unproven.iter().filter(is_neighbour);
        let goes = match neighbours.clone().count() {
            UNPROVEN_OF_ONE.. => neighbours.copied().next(),
            _ if self.unproven.len() >= UNPROVEN => self.unproven.front().copied(),
            _ => None,
        };
        if let Some(token) = goes {
            self.close(registry, token);
        }
    }

    /// The next frame of a connection; `None` when it has no more, or is closed.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        token: Token,
        registry: &Registry,
        buffer: &mut [u8],
    ) -> Option<(usize, Socket, SocketAddr)> {
        let stream = self.open.get_mut(&token)?;
        match stream.next_frame(now, buffer) {
            Frame::Whole(len) => Some((len, stream.listener, stream.remote)),
            Frame::Later => None,
            Frame::Never => {
                self.close(registry, token);
                None
            }
        }
    }

    /// After a frame: a connection whose first one did not show that it belongs to a leg, as `knows` tells, is closed.
    pub(crate) fn judge(
        &mut self,
        token: Token,
        registry: &Registry,
        knows: impl Fn(Socket, SocketAddr) -> bool,
    ) {
        let Some(stream) = self.open.get_mut(&token) else {
            return;
        };
        if stream.proven {
            return;
        }
        if knows(stream.listener, stream.remote) {
            stream.proven = true;
            self.unproven.retain(|unproven| *unproven != token);
        } else {
            self.close(registry, token);
        }
    }

    /// Sends a frame, or drops it; false if it was dropped.
    pub(crate) fn send(
        &mut self,
        registry: &Registry,
        socket: Socket,
        remote: SocketAddr,
        payload: &[u8],
    ) -> bool {
        let Some(token) = self.tokens.get(&(socket, remote)).copied() else {
            return false;
        };
        let pushed = self.open.get_mut(&token).map(|stream| stream.push(payload));
        match pushed {
            Some(Ok(sent)) => sent,
            Some(Err(_)) => {
                self.close(registry, token);
                false
            }
            None => false,
        }
    }

    /// There is room again for what a connection could not take.
    pub(crate) fn flush(&mut self, registry: &Registry, token: Token) {
        if let Some(stream) = self.open.get_mut(&token)
            && stream.flush().is_err()
        {
            self.close(registry, token);
        }
    }

    /// When [`Self::sweep`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.sweep
    }

    /// Closes what is idle, took too long to show whose it is, or belongs to a leg that is gone.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        registry: &Registry,
        knows: impl Fn(Socket, SocketAddr) -> bool,
    ) {
        if self.sweep.is_none_or(|due| due > now) {
            return;
        }
        let is_over = |stream: &Stream| match stream.proven {
            false => stream.opened + PROOF <= now,
            true => stream.heard + IDLE <= now || !knows(stream.listener, stream.remote),
        };
        let over = self.open.iter().filter(|(_, stream)| is_over(stream));
        let over: Vec<Token> = over.map(|(token, _)| *token).collect();
        for token in over {
            self.close(registry, token);
        }
        self.sweep = (!self.open.is_empty()).then(|| now + SWEEP);
    }

    /// The next listener to ask again, from the time on that [`Self::poll_timeout`] named.
    pub(crate) fn poll_unheard(&mut self, now: Instant) -> Option<usize> {
        match self.sweep {
            Some(due) if due > now => None,
            _ => self.unheard.pop(),
        }
    }

    /// The next connection of a leg that was closed.
    pub(crate) fn poll_closed(&mut self) -> Option<(Socket, SocketAddr)> {
        self.closed.pop()
    }

    fn close(&mut self, registry: &Registry, token: Token) {
        let Some(mut stream) = self.open.remove(&token) else {
            return;
        };
        if let Err(error) = registry.deregister(&mut stream.socket) {
            tracing::debug!(%error, "a connection of a browser was not watched");
        }
        let path = stream.path();
        // A new one from the same address may stand there.
        if self.tokens.get(&path) == Some(&token) {
            self.tokens.remove(&path);
        }
        match stream.proven {
            true => self.closed.push(path),
            false => self.unproven.retain(|unproven| *unproven != token),
        }
    }
}

/// Binds a worker's port for browsers that come by TCP.
pub(crate) fn bind_listener(address: SocketAddr, dscp: u8) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // A port of connections that ended a moment ago is free for the next run.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // Accepted connections inherit the mark.
    dscp::mark(&socket, address.ip(), dscp);
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Site {
        poll: mio::Poll,
        streams: Streams,
        address: SocketAddr,
        peers: Vec<std::net::TcpStream>,
        now: Instant,
    }

    impl Site {
        fn new() -> Self {
            let listener = bind_listener(([127, 0, 0, 1], 0).into(), 0).unwrap();
            Site {
                poll: mio::Poll::new().unwrap(),
                address: listener.local_addr().unwrap(),
                streams: Streams::new(vec![listener]),
                peers: Vec::new(),
                now: Instant::now(),
            }
        }

        /// A connection that is accepted, and its address.
        fn connects(&mut self) -> (Token, SocketAddr) {
            let token = Token(self.peers.len());
            let peer = std::net::TcpStream::connect(self.address).unwrap();
            let remote = peer.local_addr().unwrap();
            self.peers.push(peer);
            while !self.streams.open.contains_key(&token) {
                let registry = self.poll.registry();
                self.streams.accept(self.now, 0, registry, || token);
            }
            (token, remote)
        }

        fn judged(&mut self, token: Token, knows: bool) {
            self.streams
                .judge(token, self.poll.registry(), |_, _| knows);
        }

        /// So many are open when it has been swept then.
        fn open_after(&mut self, passed: Duration, knows: bool) -> usize {
            let registry = self.poll.registry();
            self.streams
                .sweep(self.now + passed, registry, |_, _| knows);
            self.streams.open.len()
        }
    }

    #[test]
    fn a_browser_that_is_silent_for_30_s_is_closed_and_forgotten() {
        let mut site = Site::new();
        let (token, remote) = site.connects();
        site.judged(token, true);
        assert_eq!(site.open_after(IDLE - SWEEP, true), 1);
        assert_eq!(site.streams.poll_closed(), None);
        assert_eq!(site.open_after(IDLE, true), 0);
        let closed = site.streams.poll_closed();
        assert_eq!(closed, Some((Socket::Streams(0), remote)));
    }

    #[test]
    fn the_connection_of_a_leg_that_is_gone_is_closed_within_a_second() {
        let mut site = Site::new();
        let (token, _) = site.connects();
        site.judged(token, true);
        assert_eq!(site.open_after(SWEEP, false), 0);
    }

    #[test]
    fn one_address_has_16_connections_that_show_nothing_and_the_oldest_goes() {
        let mut site = Site::new();
        let (proven, _) = site.connects();
        site.judged(proven, true);
        for _ in 0..UNPROVEN_OF_ONE + 4 {
            site.connects();
        }
        let open = &site.streams.open;
        assert_eq!(open.len(), 1 + UNPROVEN_OF_ONE);
        assert!(open.contains_key(&proven) && !open.contains_key(&Token(1)));
    }

    #[test]
    fn a_connection_that_is_closed_leaves_a_newer_one_of_its_address_alone() {
        let mut site = Site::new();
        let (old, remote) = site.connects();
        let path = (Socket::Streams(0), remote);
        site.streams.tokens.insert(path, Token(99));
        site.streams.close(site.poll.registry(), old);
        assert_eq!(site.streams.tokens.get(&path), Some(&Token(99)));
    }
}
