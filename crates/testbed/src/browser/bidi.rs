//! WebDriver BiDi: commands to a browser over its own WebSocket, one after the other.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// A session with a browser. A command waits until the one before it is answered.
#[derive(Debug)]
pub(super) struct Bidi(Mutex<Connection>);

#[derive(Debug)]
struct Connection {
    socket: WebSocketStream<TcpStream>,
    last: u64,
}

impl Bidi {
    /// Begins a session with the browser that listens there.
    pub(super) async fn begin(address: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        let (socket, _) = client_async(format!("ws://{address}/session"), stream).await?;
        let bidi = Self(Mutex::new(Connection { socket, last: 0 }));
        let nothing_special = json!({ "capabilities": {} });
        bidi.command("session.new", nothing_special, patience)
            .await?;
        Ok(bidi)
    }

    /// Sends a command and returns its result.
    pub(super) async fn command(
        &self,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> anyhow::Result<Value> {
        let mut connection = self.0.lock().await;
        let answered = tokio::time::timeout(patience, connection.ask(method, params)).await;
        answered
            .with_context(|| format!("{method} was not answered within {patience:?}"))?
            .with_context(|| method.to_owned())
    }
}

impl Connection {
    async fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last += 1;
        let command = json!({ "id": self.last, "method": method, "params": params });
        self.socket.send(Message::text(command.to_string())).await?;
        loop {
            let message = self.socket.next().await.context("the browser is gone")??;
            let Message::Text(text) = message else {
                continue;
            };
            let mut said: Value = serde_json::from_str(&text)?;
            // Events, and answers to commands that somebody stopped waiting for.
            if said["id"] != self.last {
                continue;
            }
            if said["type"] == "success" {
                return Ok(said["result"].take());
            }
            bail!("{}: {}", said["error"], said["message"]);
        }
    }
}
