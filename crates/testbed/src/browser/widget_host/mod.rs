//! A page that frames a widget as Element does, from an origin of its own.

use std::net::SocketAddr;

use anyhow::Context as _;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Browser;

/// How a person answers when they are asked whether the widget may know who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// They have said yes before, and for good.
    Given,
    /// They are asked, and have not answered yet.
    Asked,
    /// They have said no.
    Refused,
}

/// Who looks at the widget.
#[derive(Clone, Debug)]
pub enum Looker {
    /// Somebody with this OpenID token.
    WithToken(String),
    /// Somebody whose client asks a homeserver for one.
    SignedIn {
        /// Its address.
        homeserver: String,
        /// The Mxid.
        user: String,
        /// The client's own token.
        access_token: String,
    },
}

/// What the page is opened with.
#[derive(Clone, Debug)]
pub struct Framing<'a> {
    /// The content of the widget's state event.
    pub widget: &'a Value,
    /// Who looks at it.
    pub looker: Looker,
    /// The client's theme: `light` or `dark`.
    pub theme: &'a str,
    /// The client's language.
    pub language: &'a str,
    /// Whether the page may know who they are.
    pub consent: Consent,
}

/// The page's server, on loopback. Dropping it ends it.
#[derive(Debug)]
pub struct WidgetHost {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl WidgetHost {
    /// Serves the page on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let part = |kind: &'static str, text: &'static str| {
            get(move || async move { ([(CONTENT_TYPE, kind)], text) })
        };
        let router = Router::new()
            .route("/", part("text/html", include_str!("host.html")))
            .route("/host.css", part("text/css", include_str!("host.css")))
            .route("/host.js", part("text/javascript", include_str!("host.js")));
        let serving = tokio::spawn(async move {
            // It serves until it is dropped.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, serving })
    }

    /// Its origin, which the widget has to let frame it.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens the page in a browser, with the widget in it.
    ///
    /// # Errors
    /// When the page does not load, or the state event is none of a widget.
    pub async fn open(&self, browser: &Browser, framing: &Framing<'_>) -> anyhow::Result<()> {
        let text = |key: &str| {
            let text = framing.widget[key].as_str();
            text.with_context(|| format!("no {key} in {}", framing.widget))
        };
        let openid = match &framing.looker {
            Looker::WithToken(token) => json!({ "credentials": {
                "access_token": token, "token_type": "Bearer", "expires_in": 3600,
                "matrix_server_name": crate::synapse::SERVER_NAME,
            } }),
            Looker::SignedIn {
                homeserver,
                user,
                access_token,
            } => json!({ "homeserver": homeserver, "user": user, "token": access_token }),
        };
        let args = json!({
            "url": text("url")?, "widget": text("id")?, "openid": openid,
            "theme": framing.theme, "lang": framing.language,
            "consent": match framing.consent {
                Consent::Given => "allow",
                Consent::Asked => "ask",
                Consent::Refused => "block",
            },
        });
        browser.open(&format!("{}/", self.origin())).await?;
        browser.run("await host.start(args);", args).await?;
        Ok(())
    }
}

impl Drop for WidgetHost {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
