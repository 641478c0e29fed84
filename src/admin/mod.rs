//! The admin interface: one set of routes, reached over a Unix socket by the gateway's own commands and over TCP by an
//! operator's tools and browser. `docs/openapi.json` describes it.
//!
//! Where to look: [`access`], who may ask, and [`guesses`], how often; [`health`], `/health/…`; [`metrics`], `/metrics`; [`api`], `/api/…`;
//! [`page`], the status page; [`socket`], the Unix socket and the commands' way to it.

mod access;
mod api;
mod guesses;
mod health;
mod line;
mod metrics;
mod page;
mod serve;
mod socket;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::MethodRouter;
use mxtrunk_signaling::{Admission, Heartbeat, Peers};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::config::Secret;
use crate::drain::Drain;
use crate::reload::Asks;
use crate::workers::Vigil;

pub(crate) use api::{Detail, LinesAnswer, LiveCalls, Traces};
pub(crate) use health::{Homeserver, ask as health};
pub(crate) use metrics::{Queues, depth};
pub(crate) use socket::{ask, delete, escaped, path_of, post, post_within, reached};

/// The largest request with a body, in bytes: a login, or how long to drain.
const BODY: usize = 4_096;

/// Everything that can be asked about.
pub(crate) struct House {
    pub(crate) peers: Peers,
    pub(crate) admission: Arc<Admission>,
    pub(crate) drain: Drain,
    pub(crate) reload: Asks,
    pub(crate) queues: Queues,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) workers: Vigil,
    pub(crate) homeserver: Homeserver,
    pub(crate) access: access::Access,
    /// Whether people with a line have a call history.
    pub(crate) keeps_histories: bool,
    /// How long a drain takes that does not say, seconds.
    pub(crate) drain_seconds: u64,
}

/// Where it is reached, and by whom.
pub(crate) struct Doors {
    pub(crate) socket: PathBuf,
    pub(crate) listen: Option<SocketAddr>,
}

/// The open interface; dropping it takes the socket away.
pub(crate) struct Admin {
    _socket: Option<socket::Socket>,
}

impl Admin {
    /// Answers from now on. Calls do not depend on it: what cannot be opened is said in a warning.
    pub(crate) async fn open(doors: Doors, house: House) -> Self {
        let house = Arc::new(house);
        let all = open_routes().merge(own_routes());
        let all = all.with_state(house.clone());
        let socket = socket::Socket::open(doors.socket, all);
        if let Some(address) = doors.listen {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let has_token = house.access.has_token();
                    info!(%address, has_token, "the admin interface is open");
                    tokio::spawn(serve::tcp(listener, network_app(house)));
                }
                Err(error) => warn!(
                    %address,
                    %error,
                    "the admin interface is not reached over the network: set [admin] listen to another address"
                ),
            }
        }
        Admin { _socket: socket }
    }
}

/// What anybody may ask.
fn open_routes() -> Router<Arc<House>> {
    routes(health::ROUTES.iter().map(|route| route()))
        .merge(routes(page::OPEN.iter().map(|route| route())))
}

/// What only who has the token may ask; over the Unix socket, the gateway's user.
fn own_routes() -> Router<Arc<House>> {
    routes(api::ROUTES.iter().map(|route| route()))
        .merge(routes(page::OWN.iter().map(|route| route())))
}

fn network_app(house: Arc<House>) -> Router {
    let guard = middleware::from_fn_with_state(house.clone(), access::guard);
    // The guard stands before what is not there, too: who has no token learns nothing.
    let own = own_routes()
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::wrong_method)
        .layer(guard);
    open_routes()
        .merge(own)
        .layer(middleware::from_fn(access::headers))
        .layer(DefaultBodyLimit::max(BODY))
        .layer(middleware::from_fn(serve::in_time))
        .with_state(house)
}

/// One path and what is answered there; its methods as they stand in the OpenAPI document.
pub(crate) struct Route {
    path: &'static str,
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the document is checked against it")
    )]
    methods: &'static [&'static str],
    answer: MethodRouter<Arc<House>>,
}

fn routes(all: impl Iterator<Item = Route>) -> Router<Arc<House>> {
    all.fold(Router::new(), |router, route| {
        router.route(route.path, route.answer)
    })
}

/// The token of `[admin]`, and whose word is taken for who shows it.
pub(crate) fn access(token: Option<Secret>, proxies: Vec<IpAddr>) -> access::Access {
    access::Access::new(token, proxies)
}

#[cfg(test)]
mod tests;
