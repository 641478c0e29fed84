//! Connections: so many at once, each for so long, and none that dawdles.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONNECTION;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use super::access::Peer;
use super::api;
use crate::reload;

/// Connections at once; further ones wait.
const PLACES: usize = 32;

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);

/// How long the rest of a request may take, and its answer may be thought about.
const REST: Duration = Duration::from_secs(10);

/// How long a connection may stay: who asks again connects again.
const STAY: Duration = Duration::from_secs(60);

pub(super) async fn tcp(listener: TcpListener, app: Router) {
    let places = Arc::new(Semaphore::new(PLACES));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let app = app.clone().layer(Extension(Peer(peer.ip())));
                drop(tokio::spawn(answer(stream, app, place)));
            }
            Err(error) => rest(&error).await,
        }
    }
}

/// The same over a Unix socket, for the users whom `may` names.
pub(super) async fn unix(listener: UnixListener, app: Router, may: fn(u32) -> bool) {
    let places = Arc::new(Semaphore::new(PLACES));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => match stream.peer_cred() {
                // Between `bind` and the change of its mode the socket was open to whom the umask lets.
                Ok(peer) if may(peer.uid()) => {
                    drop(tokio::spawn(answer(stream, app.clone(), place)));
                }
                _ => debug!("another user is not answered at the admin socket"),
            },
            Err(error) => rest(&error).await,
        }
    }
}

/// Who lets a request drip keeps a place from others, the supervisor that asks whether we live among them.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    let rest = match request.uri().path() {
        api::RELOAD => reload::PATIENCE,
        _ => REST,
    };
    match tokio::time::timeout(rest, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => (StatusCode::REQUEST_TIMEOUT, [(CONNECTION, "close")]).into_response(),
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    app: Router,
    place: OwnedSemaphorePermit,
) {
    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(16 * 1024);
    let served = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    match tokio::time::timeout(STAY, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the admin interface came to nothing"),
        Err(_) => debug!("a connection to the admin interface was open for long enough"),
    }
    drop(place);
}

/// Out of descriptors, mostly: calls need what comes free, too.
async fn rest(error: &std::io::Error) {
    debug!(%error, "a connection to the admin interface was not taken");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
