//! baresip's control connection: JSON in netstrings (`5:hello,`), commands in, events out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Happened;

/// No message of baresip's comes near this; more means that the framing is lost.
const LONGEST: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Control {
    stream: TcpStream,
    received: Vec<u8>,
    /// Events that came while the reply to a command was awaited.
    events: VecDeque<Happened>,
}

impl Control {
    pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self {
            stream: TcpStream::connect(address).await?,
            received: Vec::new(),
            events: VecDeque::new(),
        })
    }

    /// Sends a command and waits for its reply.
    pub(super) async fn command(
        &mut self,
        name: &str,
        parameters: &str,
        within: Duration,
    ) -> anyhow::Result<()> {
        let command = json!({"command": name, "params": parameters, "token": name});
        let command = command.to_string();
        let framed = format!("{}:{command},", command.len());
        self.stream.write_all(framed.as_bytes()).await?;
        timeout(within, self.reply())
            .await
            .with_context(|| format!("baresip did not reply to {name}"))?
            .with_context(|| format!("{name} {parameters}"))
    }

    /// The first event, past or to come, that `wanted` recognises; those before it are dropped.
    pub(super) async fn until<T>(
        &mut self,
        within: Duration,
        wanted: impl Fn(&Happened) -> Option<T>,
    ) -> anyhow::Result<T> {
        let find = async {
            loop {
                while let Some(event) = self.events.pop_front() {
                    if let Some(value) = wanted(&event) {
                        return Ok(value);
                    }
                }
                let message = self.message().await?;
                self.events.extend(event_of(&message));
            }
        };
        timeout(within, find)
            .await
            .with_context(|| format!("{within:?} went by"))?
    }

    async fn reply(&mut self) -> anyhow::Result<()> {
        loop {
            let message = self.message().await?;
            if message["response"] != Value::Bool(true) {
                self.events.extend(event_of(&message));
                continue;
            }
            ensure!(
                message["ok"] == Value::Bool(true),
                "baresip refused: {message}"
            );
            return Ok(());
        }
    }

    async fn message(&mut self) -> anyhow::Result<Value> {
        loop {
            if let Some(message) = take_message(&mut self.received)? {
                return Ok(message);
            }
            ensure!(self.received.len() < LONGEST, "an endless netstring");
            if self.stream.read_buf(&mut self.received).await? == 0 {
                bail!("baresip closed its control connection");
            }
        }
    }
}

/// Takes one whole netstring off the front of `received`, if there is one.
fn take_message(received: &mut Vec<u8>) -> anyhow::Result<Option<Value>> {
    let Some(colon) = received.iter().position(|byte| *byte == b':') else {
        return Ok(None);
    };
    let length: usize = std::str::from_utf8(&received[..colon])?.parse()?;
    ensure!(length < LONGEST, "a netstring of {length} bytes");
    let end = colon + 1 + length;
    // The comma is part of the message: without it more is to come.
    if received.len() <= end {
        return Ok(None);
    }
    let message = serde_json::from_slice(&received[colon + 1..end])?;
    received.drain(..=end);
    Ok(Some(message))
}

fn event_of(message: &Value) -> Option<Happened> {
    let kind = message["type"].as_str()?;
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    Some(match kind {
        "CALL_INCOMING" => Happened::Incoming(text("peeruri")),
        "CALL_RINGING" => Happened::Ringing,
        "CALL_ESTABLISHED" => Happened::Established,
        "CALL_CLOSED" => Happened::Closed(text("param")),
        other => Happened::Other(other.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_netstring_is_taken_only_when_it_is_whole() {
        let mut received = br#"14:{"type":"A_B"}"#.to_vec();
        assert_eq!(take_message(&mut received).unwrap(), None);
        received.extend_from_slice(b",2:{}");
        let message = take_message(&mut received).unwrap().unwrap();
        assert_eq!(event_of(&message), Some(Happened::Other("A_B".to_owned())));
        assert_eq!(received, b"2:{}");
    }

    #[test]
    fn a_closed_call_tells_why() {
        let message = json!({"type": "CALL_CLOSED", "param": "486 Busy Here"});
        let expected = Happened::Closed("486 Busy Here".to_owned());
        assert_eq!(event_of(&message), Some(expected));
    }
}
