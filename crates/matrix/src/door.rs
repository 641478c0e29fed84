//! Connections of HTTP listeners that strangers may reach (the homeserver's, the widget's): so many at once, and each has so
//! long for its next request. A reverse proxy does that too, but nobody has to believe that there is one.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// So many at once; one more waits.
    pub most: usize,
    /// How long one may take from its beginning to what is written to it first: a whole request, and its answer.
    pub first: Duration,
    /// How long from what was written last.
    pub next: Duration,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        Peer(*stream.remote_addr())
    }
}

/// A listener whose connections are held to such terms.
#[derive(Debug)]
pub struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    terms: Terms,
}

impl Door {
    /// A door in front of `listener`.
    #[must_use]
    pub fn new(listener: TcpListener, terms: Terms) -> Self {
        Door {
            listener,
            places: Arc::new(Semaphore::new(terms.most)),
            terms,
        }
    }
}

impl Listener for Door {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let places = self.places.clone();
        let place = places.acquire_owned().await.expect("it is never closed");
        // axum's own listener waits where descriptors have run out.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let connection = Connection {
            stream,
            patience: self.terms.next,
            until: Box::pin(sleep(self.terms.first)),
            _place: place,
        };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its place and its time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    patience: Duration,
    until: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // First, so that a byte now and then does not hold the connection for ever.
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buffer);
        match written {
            Poll::Ready(Ok(_)) => {
                let until = Instant::now() + self.patience;
                self.until.as_mut().reset(until);
                written
            }
            // Who never reads holds nothing either.
            Poll::Pending if self.until.as_mut().poll(context).is_ready() => {
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_sends_a_byte_now_and_then_loses_its_place_to_the_next_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let terms = Terms {
            most: 1,
            first: Duration::from_millis(200),
            next: Duration::from_millis(200),
        };
        let mut door = Door::new(listener, terms);
        let address = door.local_addr().expect("its address");
        let mut slow = TcpStream::connect(address).await.expect("connected");
        let _next = TcpStream::connect(address).await.expect("connected");
        let (mut connection, _) = door.accept().await;
        let dripping = tokio::spawn(async move {
            while slow.write_all(b"x").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        let begun = Instant::now();
        let mut read = Vec::new();
        let ended = connection.read_to_end(&mut read).await;
        assert_eq!(
            ended.map_err(|error| error.kind()),
            Err(io::ErrorKind::TimedOut)
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(door.places.available_permits(), 0);
        drop(connection);
        door.accept().await;
        dripping.abort();
    }
}
