//! The sockets of one worker and which leg each belongs to.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use mxtrunk_media::{LegId, MediaError, Socket, Transmit};
use socket2::{Domain, Protocol, Type};

use crate::counters::{Counters, count};
use crate::dscp;
use crate::ports::PortPool;

/// Events of this token are commands.
pub(crate) const WAKER: Token = Token(0);
const BROWSERS: Token = Token(1);
const FIRST_PHONE: usize = 2;
/// The shared port takes the bursts of all browsers at once; the kernel grants what its limit allows.
const BROWSER_BUFFER: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct Sockets {
    browsers: UdpSocket,
    phones: HashMap<LegId, PhoneSockets>,
    tokens: HashMap<Token, Socket>,
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
        registry: &Registry,
        mut browsers: UdpSocket,
        phone_side: PhoneSide,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        registry.register(&mut browsers, BROWSERS, Interest::READABLE)?;
        Ok(Sockets {
            browsers,
            phones: HashMap::new(),
            tokens: HashMap::from([(BROWSERS, Socket::Browsers)]),
            next_token: FIRST_PHONE,
            phone_side,
            counters,
        })
    }

    /// Binds a pair of ports for a phone leg. Ports that other programs hold are passed over; anything else that the
    /// system objects to (no descriptor left) would be so for the next port too.
    pub(crate) fn open_phone(
        &mut self,
        registry: &Registry,
        leg: LegId,
    ) -> Result<u16, MediaError> {
        for _ in 0..self.phone_side.ports.len() {
            let port = self.phone_side.ports.take(Instant::now());
            let port = port.ok_or(MediaError::NoPort)?;
            let error = match self.bind_pair(registry, leg, port) {
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

    fn bind_pair(&mut self, registry: &Registry, leg: LegId, port: u16) -> io::Result<()> {
        let PhoneSide { bind, dscp, .. } = self.phone_side;
        let sockets = PhoneSockets {
            rtp: UdpSocket::bind(SocketAddr::new(bind, port))?,
            rtcp: UdpSocket::bind(SocketAddr::new(bind, port + 1))?,
            port,
            tokens: [BROWSERS; 2],
        };
        dscp::mark(&sockets.rtp, bind, dscp);
        dscp::mark(&sockets.rtcp, bind, dscp);
        // Only what was never used may go back to the pool without a rest.
        self.admit(registry, leg, sockets)
            .map_err(|(error, _)| error)
    }

    /// From now on these sockets are read here.
    pub(crate) fn admit(
        &mut self,
        registry: &Registry,
        leg: LegId,
        mut phone: PhoneSockets,
    ) -> Result<(), (io::Error, PhoneSockets)> {
        // Tokens are never used twice, so that an event of a closed socket reaches no other leg.
        phone.tokens = [Token(self.next_token), Token(self.next_token + 1)];
        self.next_token += 2;
        let registered = registry
            .register(&mut phone.rtp, phone.tokens[0], Interest::READABLE)
            .and_then(|()| registry.register(&mut phone.rtcp, phone.tokens[1], Interest::READABLE));
        if let Err(error) = registered {
            return Err((error, phone));
        }
        self.tokens.insert(phone.tokens[0], Socket::Rtp(leg));
        self.tokens.insert(phone.tokens[1], Socket::Rtcp(leg));
        self.phones.insert(leg, phone);
        Ok(())
    }

    /// Takes the sockets of a leg, if it has any: they stay open, but are not read here any more.
    pub(crate) fn release(&mut self, registry: &Registry, leg: LegId) -> Option<PhoneSockets> {
        let mut phone = self.phones.remove(&leg)?;
        for (socket, token) in [&mut phone.rtp, &mut phone.rtcp]
            .into_iter()
            .zip(phone.tokens)
        {
            self.tokens.remove(&token);
            if let Err(error) = registry.deregister(socket) {
                tracing::debug!(%error, "a media socket was not registered");
            }
        }
        Some(phone)
    }

    /// Closes the sockets of a leg, if it has any; its ports have their rest.
    pub(crate) fn close_phone(&mut self, registry: &Registry, leg: LegId) {
        if let Some(phone) = self.release(registry, leg) {
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

    pub(crate) fn by_token(&self, token: Token) -> Option<Socket> {
        self.tokens.get(&token).copied()
    }

    /// The next datagram of a socket; `None` when it has no more.
    pub(crate) fn receive(&self, socket: Socket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let socket = self.socket(socket)?;
        match socket.recv_from(buffer) {
            Ok((len, source)) => Some((len, source)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => {
                tracing::debug!(%error, "a media socket cannot be read");
                None
            }
        }
    }

    /// Sends, or drops: media that cannot go now is worth nothing later.
    pub(crate) fn send(&mut self, transmit: &Transmit<'_>) {
        let Some(socket) = self.socket(transmit.socket) else {
            return;
        };
        if let Err(error) = socket.send_to(transmit.payload, transmit.destination) {
            count(&self.counters.unsent);
            tracing::trace!(%error, "a datagram was not sent");
        }
    }

    fn socket(&self, socket: Socket) -> Option<&UdpSocket> {
        match socket {
            Socket::Browsers => Some(&self.browsers),
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

    #[test]
    fn each_side_is_marked_as_set() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let poll = mio::Poll::new().unwrap();
        let browsers = bind_browsers((local, 0).into(), 46).unwrap();
        let phone_side = PhoneSide {
            bind: local,
            dscp: 34,
            ports: Arc::new(PortPool::new(&(21_900..=21_919))),
        };
        let mut sockets =
            Sockets::new(poll.registry(), browsers, phone_side, Arc::default()).unwrap();
        let leg = LegId(1);
        sockets.open_phone(poll.registry(), leg).unwrap();
        for (socket, dscp) in [
            (Socket::Browsers, 46),
            (Socket::Rtp(leg), 34),
            (Socket::Rtcp(leg), 34),
        ] {
            let octet = SockRef::from(sockets.socket(socket).unwrap()).tos_v4();
            assert_eq!(octet.unwrap(), dscp << 2, "{socket:?}");
        }
    }
}
