//! The sockets of one worker and which leg each belongs to.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use mio::event::Event;
use mio::net::{TcpListener, UdpSocket};
use mio::{Interest, Registry, Token};
use mxtrunk_media::{LegId, Legs, MediaError, Socket, Transmit};
use socket2::{Domain, Protocol, Type};

use crate::counters::{Counters, count};
use crate::dscp;
use crate::ports::PortPool;
use crate::streams::Streams;

/// Events of this token are commands.
pub(crate) const WAKER: Token = Token(0);
const FIRST: usize = 1;
/// The shared port takes the bursts of all browsers at once; the kernel grants what its limit allows.
const BROWSER_BUFFER: usize = 4 << 20;

/// What an event of the queue is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Datagrams.
    Datagrams(Socket),
    /// New connections to the browsers' address with this number.
    Listener(usize),
    /// A connection of a browser.
    Stream(Token),
}

/// What a worker has bound for browsers, in the order of its addresses.
#[derive(Debug, Default)]
pub(crate) struct BrowserSockets {
    pub(crate) datagrams: Vec<UdpSocket>,
    pub(crate) listeners: Vec<TcpListener>,
}

#[derive(Debug)]
pub(crate) struct Sockets {
    registry: Registry,
    browsers: Vec<UdpSocket>,
    streams: Streams,
    phones: HashMap<LegId, PhoneSockets>,
    tokens: HashMap<Token, Source>,
    next_token: usize,
    phone_side: PhoneSide,
    counters: Arc<Counters>,
}

/// What the sockets towards phones are made of.
#[derive(Debug)]
pub(crate) struct PhoneSide {
    pub(crate) bind: IpAddr,
    /// How their datagrams are marked.
    pub(crate) dscp: u8,
    pub(crate) ports: Arc<PortPool>,
}

/// The two sockets of a phone leg, and their even port.
#[derive(Debug)]
pub(crate) struct PhoneSockets {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    port: u16,
    tokens: [Token; 2],
}

impl Sockets {
    pub(crate) fn new(
        registry: Registry,
        mut browsers: BrowserSockets,
        phone_side: PhoneSide,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let mut tokens = HashMap::new();
        for (number, socket) in browsers.datagrams.iter_mut().enumerate() {
            let token = Token(FIRST + tokens.len());
            registry.register(socket, token, Interest::READABLE)?;
            tokens.insert(token, Source::Datagrams(Socket::Browsers(number)));
        }
        for (number, listener) in browsers.listeners.iter_mut().enumerate() {
            let token = Token(FIRST + tokens.len());
            registry.register(listener, token, Interest::READABLE)?;
            tokens.insert(token, Source::Listener(number));
        }
        Ok(Sockets {
            registry,
            browsers: browsers.datagrams,
            streams: Streams::new(browsers.listeners),
            phones: HashMap::new(),
            next_token: FIRST + tokens.len(),
            tokens,
            phone_side,
            counters,
        })
    }

    /// Binds a pair of ports for a phone leg. Ports that other programs hold are passed over; anything else that the
    /// system objects to (no descriptor left) would be so for the next port too.
    pub(crate) fn open_phone(&mut self, leg: LegId) -> Result<u16, MediaError> {
        for _ in 0..self.phone_side.ports.len() {
            let port = self
                .phone_side
                .ports
                .take(Instant::now())
                .ok_or(MediaError::NoPort)?;
            let error = match self.bind_pair(leg, port) {
                Ok(()) => return Ok(port),
                Err(error) => error,
            };
            self.phone_side.ports.give_back(port);
            if error.kind() != io::ErrorKind::AddrInUse {
                tracing::warn!(port, %error, "the system refuses a socket for a call");
                return Err(MediaError::NoSocket);
            }
            tracing::debug!(port, "a media port is held by another program");
        }
        Err(MediaError::NoPort)
    }

    fn bind_pair(&mut self, leg: LegId, port: u16) -> io::Result<()> {
        let PhoneSide { bind, dscp, .. } = self.phone_side;
        let sockets = PhoneSockets {
            rtp: UdpSocket::bind(SocketAddr::new(bind, port))?,
            rtcp: UdpSocket::bind(SocketAddr::new(bind, port + 1))?,
            port,
            tokens: [WAKER; 2],
        };
        dscp::mark(&sockets.rtp, bind, dscp);
        dscp::mark(&sockets.rtcp, bind, dscp);
        // Only what was never used may go back to the pool without a rest.
        self.admit(leg, sockets).map_err(|(error, _)| error)
    }

    /// From now on these sockets are read here.
    pub(crate) fn admit(
        &mut self,
        leg: LegId,
        mut phone: PhoneSockets,
    ) -> Result<(), (io::Error, PhoneSockets)> {
        // Tokens are never used twice, so that an event of a closed socket reaches no other leg.
        phone.tokens = [Token(self.next_token), Token(self.next_token + 1)];
        self.next_token += 2;
        let registry = &self.registry;
        let registered = registry
            .register(&mut phone.rtp, phone.tokens[0], Interest::READABLE)
            .and_then(|()| registry.register(&mut phone.rtcp, phone.tokens[1], Interest::READABLE));
        if let Err(error) = registered {
            return Err((error, phone));
        }
        let sources = [Socket::Rtp(leg), Socket::Rtcp(leg)].map(Source::Datagrams);
        self.tokens.extend(phone.tokens.into_iter().zip(sources));
        self.phones.insert(leg, phone);
        Ok(())
    }

    /// Takes the sockets of a leg, if it has any: they stay open, but are not read here any more.
    pub(crate) fn release(&mut self, leg: LegId) -> Option<PhoneSockets> {
        let mut phone = self.phones.remove(&leg)?;
        for (socket, token) in [&mut phone.rtp, &mut phone.rtcp]
            .into_iter()
            .zip(phone.tokens)
        {
            self.tokens.remove(&token);
            if let Err(error) = self.registry.deregister(socket) {
                tracing::debug!(%error, "a media socket was not registered");
            }
        }
        Some(phone)
    }

    /// Closes the sockets of a leg, if it has any; its ports have their rest.
    pub(crate) fn close_phone(&mut self, leg: LegId) {
        if let Some(phone) = self.release(leg) {
            self.discard(phone);
        }
    }

    /// Closes sockets that nobody reads.
    pub(crate) fn discard(&self, phone: PhoneSockets) {
        let port = phone.port;
        // The sockets must be closed before another worker may bind their ports.
        drop(phone);
        self.phone_side.ports.rest(Instant::now(), port);
    }

    /// What an event is about; on the way what a connection had no room for is sent.
    pub(crate) fn by_event(&mut self, event: &Event) -> Option<Source> {
        let token = event.token();
        if let Some(source) = self.tokens.get(&token) {
            return Some(*source);
        }
        if event.is_writable() {
            self.streams.flush(&self.registry, token);
        }
        event.is_readable().then_some(Source::Stream(token))
    }

    /// Takes new connections; true if there may be more.
    pub(crate) fn accept(&mut self, now: Instant, listener: usize) -> bool {
        let next = &mut self.next_token;
        let token = || {
            *next += 1;
            Token(*next - 1)
        };
        self.streams.accept(now, listener, &self.registry, token)
    }

    /// The next datagram, with the socket that it came through and from where; `None` when there is no more.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        source: Source,
        buffer: &mut [u8],
    ) -> Option<(usize, Socket, SocketAddr)> {
        let socket = match source {
            Source::Datagrams(socket) => socket,
            Source::Listener(_) => return None,
            Source::Stream(token) => {
                return self.streams.receive(now, token, &self.registry, buffer);
            }
        };
        match self.socket(socket)?.recv_from(buffer) {
            Ok((len, remote)) => Some((len, socket, remote)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                tracing::debug!(%error, "a media socket cannot be read");
                None
            }
        }
    }

    /// After a datagram: closes a connection that has not shown whose it is.
    pub(crate) fn judge(&mut self, source: Source, legs: &Legs) {
        if let Source::Stream(token) = source {
            let knows = |socket, remote| legs.knows(socket, remote);
            self.streams.judge(token, &self.registry, knows);
        }
    }

    /// When [`Self::sweep`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.streams.poll_timeout()
    }

    /// The next listener that could take no connection a while ago.
    pub(crate) fn poll_unheard(&mut self, now: Instant) -> Option<Source> {
        self.streams.poll_unheard(now).map(Source::Listener)
    }

    /// Closes connections that are of no use, and has the legs forget those that are closed.
    pub(crate) fn sweep(&mut self, now: Instant, legs: &mut Legs) {
        let knows = |socket, remote| legs.knows(socket, remote);
        self.streams.sweep(now, &self.registry, knows);
        while let Some((socket, remote)) = self.streams.poll_closed() {
            legs.forget(socket, remote);
        }
    }

    /// Sends, or drops: media that cannot go now is worth nothing later.
    pub(crate) fn send(&mut self, transmit: &Transmit<'_>) {
        let (socket, remote) = (transmit.socket, transmit.destination);
        let sent = match self.socket(socket) {
            Some(socket) => socket.send_to(transmit.payload, remote).is_ok(),
            None => self
                .streams
                .send(&self.registry, socket, remote, transmit.payload),
        };
        if !sent {
            count(&self.counters.unsent);
            tracing::trace!("a datagram was not sent");
        }
    }

    /// `None` for connections, and for legs that are gone.
    fn socket(&self, socket: Socket) -> Option<&UdpSocket> {
        match socket {
            Socket::Browsers(number) => self.browsers.get(number),
            Socket::Streams(_) => None,
            Socket::Rtp(leg) => self.phones.get(&leg).map(|phone| &phone.rtp),
            Socket::Rtcp(leg) => self.phones.get(&leg).map(|phone| &phone.rtcp),
        }
    }
}

/// Binds a worker's port for browsers.
pub(crate) fn bind_browsers(address: SocketAddr, dscp: u8) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // The same port may be bound on an IPv4 address too.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    // Less than asked for is fine.
    let _ = socket.set_recv_buffer_size(BROWSER_BUFFER);
    let _ = socket.set_send_buffer_size(BROWSER_BUFFER);
    dscp::mark(&socket, address.ip(), dscp);
    socket.bind(&address.into())?;
    Ok(UdpSocket::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::SockRef;

    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn sockets(browsers: Vec<UdpSocket>, ports: std::ops::RangeInclusive<u16>) -> Sockets {
        let poll = mio::Poll::new().unwrap();
        let phone_side = PhoneSide {
            bind: LOCAL,
            dscp: 34,
            ports: Arc::new(PortPool::new(&ports, std::time::Duration::ZERO)),
        };
        let browsers = BrowserSockets {
            datagrams: browsers,
            listeners: Vec::new(),
        };
        let registry = poll.registry().try_clone().unwrap();
        Sockets::new(registry, browsers, phone_side, Arc::default()).unwrap()
    }

    #[test]
    fn a_port_that_another_program_held_for_a_while_is_not_lost() {
        let mut sockets = sockets(Vec::new(), 21_920..=21_923);
        let held = UdpSocket::bind((LOCAL, 21_921).into()).unwrap();
        assert_eq!(sockets.open_phone(LegId(1)), Ok(21_922));
        assert_eq!(sockets.open_phone(LegId(2)), Err(MediaError::NoPort));
        drop(held);
        assert_eq!(sockets.open_phone(LegId(2)), Ok(21_920));
    }

    #[test]
    fn each_side_is_marked_as_set() {
        let browsers = bind_browsers((LOCAL, 0).into(), 46).unwrap();
        let mut sockets = sockets(vec![browsers], 21_900..=21_919);
        let leg = LegId(1);
        sockets.open_phone(leg).unwrap();
        for (socket, dscp) in [
            (Socket::Browsers(0), 46),
            (Socket::Rtp(leg), 34),
            (Socket::Rtcp(leg), 34),
        ] {
            let octet = SockRef::from(sockets.socket(socket).unwrap()).tos_v4();
            assert_eq!(octet.unwrap(), dscp << 2, "{socket:?}");
        }
    }
}
