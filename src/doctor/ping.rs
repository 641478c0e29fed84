//! Takes the homeserver's ping in the gateway's place. All else is turned away, so that the homeserver keeps what it has for
//! the gateway: it sends that as soon as a ping has worked.

use std::net::SocketAddr;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest head of a request, in bytes, and how long one connection may take.
const LONGEST: usize = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

/// Stands until it is dropped.
pub(super) struct Stand(JoinHandle<()>);

impl Stand {
    pub(super) async fn open(listen: SocketAddr, token: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let token = token.to_owned();
        Ok(Stand(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let token = token.clone();
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(PATIENCE, serve(stream, &token)).await;
                });
            }
        })))
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(mut stream: TcpStream, token: &str) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < LONGEST {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => head.extend_from_slice(&buffer[..length]),
        }
    }
    let status = answer(&String::from_utf8_lossy(&head), token);
    let body = "{}";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await
}

fn answer(head: &str, token: &str) -> &'static str {
    let mut lines = head.lines();
    let path = lines.next().and_then(|line| line.split(' ').nth(1));
    let path = path.unwrap_or_default();
    let shown = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization")
            .then(|| value.trim().strip_prefix("Bearer "))?
    });
    let is_token = shown.is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(token.as_bytes())));
    match (is_token, path.ends_with("/app/v1/ping")) {
        (false, _) => "403 Forbidden",
        (true, true) => "200 OK",
        (true, false) => "503 Service Unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn a_ping_is_taken_with_the_token_and_events_are_left_to_the_gateway() {
        let head = |path: &str, token: &str| {
            format!(
                "POST /_matrix/app/v1/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n"
            )
        };
        assert_eq!(answer(&head("ping", "hs"), "hs"), "200 OK");
        assert_eq!(answer(&head("ping", "other"), "hs"), "403 Forbidden");
        let events = answer(&head("transactions/1", "hs"), "hs");
        assert_eq!(events, "503 Service Unavailable");
        assert_eq!(answer("", "hs"), "403 Forbidden");
    }
}
