//! The widget in the history room: a page that shows a person their line and lets them set it, served by the gateway
//! itself and framed by Element.
//!
//! Where to look:
//! - [`service`]: the listener's answers; its connections are bounded in number and time ([`mxtrunk_matrix::door`]);
//! - [`lines`]: what the page asks of the gateway, the same that commands in a chat ask;
//! - [`session`] (pure): who may ask, after their homeserver has said who they are; [`rates`] (pure): and how often;
//!   [`visitor`] (pure): from where; [`policy`] (pure): what a browser may do with the page;
//! - `page/`: the page itself, as it is: HTML, CSS and two ES modules, built by nobody.

mod lines;
mod policy;
mod rates;
mod service;
mod session;
#[cfg(test)]
mod tests;
pub mod visitor;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mxtrunk_matrix::door::{Door, Peer, Terms};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use lines::{CannotSay, GatewayLines, Lines, NotMade};

/// How long a browser's connection, or its reverse proxy's, may take to its next request.
const PATIENCE: Duration = Duration::from_secs(20);
const TERMS: Terms = Terms {
    most: 512,
    first: PATIENCE,
    next: PATIENCE,
};

/// What the widget can be told.
#[derive(Debug, Clone)]
pub struct WidgetConfig {
    /// Where its reverse proxy reaches it.
    pub listen: SocketAddr,
    /// The homeserver whose people may use it.
    pub server_name: String,
    /// The origins of the Elements that may frame it, `https://element.example.org`.
    pub elements: Vec<String>,
    /// Who is believed about the address of a visitor (`X-Forwarded-For`).
    pub proxies: Vec<IpAddr>,
    /// How many requests a second are answered for one address, ten seconds' worth at once.
    pub requests_per_second: u32,
}

/// The widget cannot listen where it should.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct StartError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The running widget.
#[derive(Debug)]
pub struct Widget {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Widget {
    /// Serves until `stop`.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(
        config: WidgetConfig,
        lines: Arc<dyn Lines>,
        stop: CancellationToken,
    ) -> Result<Widget, StartError> {
        let cannot = |source| StartError {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let router = service::router(&config, lines);
        let router = router.into_make_service_with_connect_info::<Peer>();
        let serving = tokio::spawn(async move {
            let served = axum::serve(Door::new(listener, TERMS), router)
                .with_graceful_shutdown(stop.cancelled_owned())
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "the widget is not served any more");
            }
        });
        tracing::info!(%address, "the widget is served");
        Ok(Widget { address, serving })
    }

    /// Where it is served.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Widget {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
