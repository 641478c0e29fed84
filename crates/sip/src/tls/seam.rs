//! The writing side of a TLS connection as the stack knows it.
//!
//! The stack takes a foreign TLS stream only from a connector that is
//! registered for the whole process, and only while it connects. Ours hands
//! out the stream of the task that asks, whose handshake is over.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::{Arc, Once};

use rsipstack::platform::tls::{self, TlsClientConfig, TlsConnector};
use rsipstack::sip::Transport;
use rsipstack::transport::{PlatformTlsConnection, SipAddr};
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

/// Makes a connection of the stack's that writes to `half`; `local` is what we
/// call ourselves.
pub(crate) async fn connection(
    half: WriteHalf<TlsStream<TcpStream>>,
    local: SocketAddr,
    peer: SocketAddr,
    token: CancellationToken,
) -> rsipstack::Result<PlatformTlsConnection> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| tls::set_client_connector(Arc::new(Shaken)));
    let writer = Writer {
        half: Mutex::new(half),
        local,
    };
    let peer = SipAddr::new(Transport::Tls, peer.into());
    let made = PlatformTlsConnection::connect(&peer, None, Some(token));
    OWN.scope(Cell::new(Some(writer)), made).await
}

tokio::task_local! {
    static OWN: Cell<Option<Writer>>;
}

struct Writer {
    half: Mutex<WriteHalf<TlsStream<TcpStream>>>,
    local: SocketAddr,
}

struct Shaken;

#[async_trait::async_trait]
impl TlsConnector for Shaken {
    async fn connect(
        &self,
        _config: &TlsClientConfig,
        address: SocketAddr,
    ) -> rsipstack::Result<Box<dyn tls::TlsStream>> {
        match OWN.try_with(Cell::take) {
            Ok(Some(writer)) => Ok(Box::new(writer)),
            // The stack would open one by itself, past all checks.
            _ => Err(rsipstack::Error::Error(format!(
                "no TLS connection to {address} is open"
            ))),
        }
    }
}

#[async_trait::async_trait]
impl tls::TlsStream for Writer {
    async fn recv(&self) -> rsipstack::Result<Vec<u8>> {
        Err(rsipstack::Error::Error("it is read elsewhere".to_owned()))
    }

    async fn send_all(&self, data: Vec<u8>) -> rsipstack::Result<()> {
        let mut half = self.half.lock().await;
        half.write_all(&data).await?;
        half.flush().await?;
        Ok(())
    }

    async fn shutdown(&self) -> rsipstack::Result<()> {
        self.half.lock().await.shutdown().await?;
        Ok(())
    }

    fn local_addr(&self) -> rsipstack::Result<SocketAddr> {
        Ok(self.local)
    }
}
