//! Serves the softphone page and what it must know about the site.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::response::Json;
use axum::routing::get;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;

use crate::layout;

/// What the page reads from `site.json`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Site {
    /// The homeserver's address as the browser reaches it.
    pub homeserver: String,
    /// The users a person may sign in as with one click.
    pub users: Vec<SiteUser>,
    /// Numbers worth trying.
    pub numbers: Vec<SiteNumber>,
}

/// A ready-made user.
#[derive(Clone, Debug, Serialize)]
pub struct SiteUser {
    /// The local part of the Mxid.
    pub user: String,
    /// The password: no secret, it is made for this run.
    pub password: String,
    /// What the person is called.
    pub name: String,
    /// The line's extension.
    pub line: String,
}

/// A number and what is there.
#[derive(Clone, Debug, Serialize)]
pub struct SiteNumber {
    /// What to dial.
    pub number: String,
    /// What happens then.
    pub says: String,
}

/// A web server for the page, on loopback. Dropping it ends it.
#[derive(Debug)]
pub struct PageServer {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl PageServer {
    /// Serves the page on `127.0.0.1`; port 0 takes any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, site: Site) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .with_context(|| format!("the page's port {port}"))?;
        let address = listener.local_addr()?;
        let router = Router::new()
            .route("/site.json", get(async move || Json(site)))
            .fallback_service(ServeDir::new(layout::softphone()));
        let serving = tokio::spawn(async move {
            // It serves until it is dropped; an accept error is retried within.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, serving })
    }

    /// Where the page is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for PageServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
