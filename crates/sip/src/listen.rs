//! Binding the listeners and building the stack on them.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rsipstack::sip::HostWithPort;
use rsipstack::transaction::endpoint::{EndpointInnerRef, EndpointOption};
use rsipstack::transaction::{EndpointBuilder, TransactionReceiver};
use rsipstack::transport::transport_layer::DomainResolver;
use rsipstack::transport::udp::UdpConnection;
use rsipstack::transport::{SipAddr, SipConnection, TransportLayer};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::config::{Listener, SipConfig, Timers, Transport};
use crate::core::Bound;
use crate::dscp;
use crate::fence::{Admission, FencedUdp, Gate};
use crate::refused::StartError;
use crate::streams::{Limits, Streams};
use crate::tls::Tls;
use crate::transact::Marker;

/// Bytes of datagrams that may wait to be read.
const RECEIVE_BUFFER: usize = 2 << 20;
/// A phone may ring this long before the stack calls it a timeout (timer C);
/// the call machine's own limit is far below.
const RING_LIMIT: Duration = Duration::from_secs(3_600);

/// A bound listener whose socket is not read yet.
pub(crate) struct Socket {
    pub(crate) transport: Transport,
    pub(crate) local: SocketAddr,
    from: IpAddr,
    bound: BoundSocket,
}

impl Socket {
    /// Whether messages to there can leave from here.
    pub(crate) fn serves(&self, transport: Transport, address: SocketAddr) -> bool {
        self.transport == transport && self.local.is_ipv4() == address.is_ipv4()
    }
}

enum BoundSocket {
    Udp(UdpSocket),
    Tcp(TcpListener),
}

/// Binds a listener that marks what it sends.
pub(crate) async fn bind(listener: &Listener, dscp: u8) -> Result<Socket, StartError> {
    let failed = |source| StartError::Bind {
        transport: listener.transport,
        bind: listener.bind,
        source,
    };
    let (bound, local) = match listener.transport {
        Transport::Udp => {
            let socket = UdpSocket::bind(listener.bind).await.map_err(failed)?;
            // Room for a burst; the system may grant less.
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
            dscp::mark(&socket, listener.bind.ip(), dscp);
            let local = socket.local_addr().map_err(failed)?;
            (BoundSocket::Udp(socket), local)
        }
        Transport::Tcp | Transport::Tls => {
            let socket = TcpListener::bind(listener.bind).await.map_err(failed)?;
            // Also its SYN-ACKs; connections are marked again by themselves.
            dscp::mark(&socket, listener.bind.ip(), dscp);
            let local = socket.local_addr().map_err(failed)?;
            (BoundSocket::Tcp(socket), local)
        }
    };
    let local = listener.advertise.unwrap_or(local);
    if local.ip().is_unspecified() {
        return Err(StartError::NothingToAdvertise(local));
    }
    Ok(Socket {
        transport: listener.transport,
        local,
        from: listener.bind.ip(),
        bound,
    })
}

/// The stack at work.
pub(crate) struct Open {
    pub(crate) endpoint: EndpointInnerRef,
    pub(crate) listeners: Vec<Bound>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) transactions: TransactionReceiver,
}

/// Builds the stack over the sockets and starts reading them.
pub(crate) async fn open(
    config: &SipConfig,
    sockets: Vec<Socket>,
    admission: &Arc<Admission>,
    stop: &CancellationToken,
) -> Result<Open, StartError> {
    let stack = |error: rsipstack::Error| StartError::Stack(error.to_string());
    let transports =
        TransportLayer::new_with_domain_resolver(stop.child_token(), Box::new(NoNames));
    let own_endpoint = Arc::new(OnceLock::new());
    let gate = Gate::new(admission.clone(), own_endpoint.clone());
    let endpoint = EndpointBuilder::new()
        .with_transport_layer(transports)
        .with_cancel_token(stop.child_token())
        .with_user_agent(&config.user_agent)
        .with_option(options(&config.timers))
        .with_transport_inspector(Box::new(gate))
        .with_inspector(Box::new(Marker(config.tap.clone())))
        .build();
    // The cell is ours and empty.
    let _ = own_endpoint.set(Arc::downgrade(&endpoint.inner));
    let transactions = endpoint.incoming_transactions().map_err(stack)?;
    let streams = Streams::new(
        &endpoint.inner,
        admission.clone(),
        Limits::of(&config.timers),
        Tls::new(config.tls.clone()),
        config.dscp,
        stop.clone(),
    );
    let streams = Arc::new(streams.await.map_err(stack)?);
    let mut listeners = Vec::new();
    for socket in sockets {
        let udp = match socket.bound {
            BoundSocket::Udp(udp) => {
                let fenced = Arc::new(FencedUdp::new(udp, admission.clone()));
                let token = Some(stop.child_token());
                let udp = UdpConnection::from_socket(fenced, Some(socket.local), token);
                let udp = SipConnection::from(udp.await.map_err(stack)?);
                endpoint.inner.transport_layer.add_transport(udp.clone());
                Some(udp)
            }
            BoundSocket::Tcp(tcp) => {
                tokio::spawn(streams.clone().accept(tcp, socket.transport, socket.local));
                None
            }
        };
        listeners.push(Bound {
            transport: socket.transport,
            local: socket.local,
            from: socket.from,
            udp,
        });
    }
    let inner = endpoint.inner.clone();
    tokio::spawn(async move {
        if let Err(error) = inner.serve().await {
            tracing::error!(%error, "the SIP stack stopped");
        }
    });
    Ok(Open {
        endpoint: endpoint.inner.clone(),
        listeners,
        streams,
        transactions,
    })
}

fn options(timers: &Timers) -> EndpointOption {
    EndpointOption {
        t1: timers.t1,
        t2: timers.t2,
        t4: timers.t4,
        t1x64: timers.give_up(),
        timerc: RING_LIMIT,
        // The ACK of a 200 is the dialog's (§13.2.2.4): the stack would send
        // it from its first socket, and to any Contact it is given.
        auto_ack_2xx: false,
        ..EndpointOption::default()
    }
}

/// Trunks are addresses here; a name in a Via or Contact is never looked up,
/// so that nobody can make us ask for it.
struct NoNames;

#[async_trait::async_trait]
impl DomainResolver for NoNames {
    async fn resolve(&self, target: &SipAddr) -> rsipstack::Result<SipAddr> {
        let name: &HostWithPort = &target.addr;
        Err(rsipstack::Error::DnsResolutionError(format!(
            "{name} is a name"
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use socket2::SockRef;

    use super::*;

    /// The octet that a listener's packets are marked with; `None` where its
    /// address cannot be bound.
    async fn octet(transport: Transport, ip: IpAddr) -> Option<u32> {
        let listener = Listener {
            transport,
            bind: (ip, 0).into(),
            advertise: None,
        };
        let socket = bind(&listener, 24).await.ok()?;
        let socket = match &socket.bound {
            BoundSocket::Udp(udp) => SockRef::from(udp),
            BoundSocket::Tcp(tcp) => SockRef::from(tcp),
        };
        let octet = match ip {
            IpAddr::V4(_) => socket.tos_v4(),
            IpAddr::V6(_) => socket.tclass_v6(),
        };
        Some(octet.expect("an option"))
    }

    #[tokio::test]
    async fn what_a_listener_sends_is_marked() {
        for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
            let four = octet(transport, Ipv4Addr::LOCALHOST.into()).await;
            assert_eq!(four, Some(0x60), "{transport}");
            // Where there is IPv6 at all.
            let six = octet(transport, Ipv6Addr::LOCALHOST.into()).await;
            assert!(
                six.is_none_or(|octet| octet == 0x60),
                "{transport}: {six:?}"
            );
        }
    }
}
