//! Takes the homeserver's ping in the gateway's place. All else is turned away, so that the homeserver keeps what it has for
//! the gateway: it sends that as soon as a ping has worked.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Stands until it is dropped.
pub(super) struct Stand(JoinHandle<()>);

impl Stand {
    pub(super) async fn open(listen: SocketAddr, token: &str) -> std::io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let stand = Router::new().fallback(serve).with_state(token.into());
        Ok(Stand(tokio::spawn(async move {
            let _ = axum::serve(listener, stand).await;
        })))
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body is read to its end: a connection that is closed before is reset, and the homeserver never sees the answer. And
/// it is closed: the homeserver would keep it for its next ping, when we are gone.
async fn serve(
    State(token): State<Arc<str>>,
    uri: Uri,
    headers: HeaderMap,
    _read: Bytes,
) -> impl IntoResponse {
    let shown = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok());
    let status = answer(uri.path(), shown, &token);
    let fields = [(CONNECTION, "close"), (CONTENT_TYPE, "application/json")];
    (status, fields, "{}")
}

fn answer(path: &str, authorization: Option<&str>, token: &str) -> StatusCode {
    let shown = authorization.and_then(|shown| shown.strip_prefix("Bearer "));
    let is_token = shown.is_some_and(|shown| bool::from(shown.as_bytes().ct_eq(token.as_bytes())));
    match (is_token, path.ends_with("/app/v1/ping")) {
        (false, _) => StatusCode::FORBIDDEN,
        (true, true) => StatusCode::OK,
        (true, false) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn a_ping_is_taken_with_the_token_and_events_are_left_to_the_gateway() {
        let ping = "/_matrix/app/v1/ping";
        assert_eq!(answer(ping, Some("Bearer hs"), "hs"), StatusCode::OK);
        assert_eq!(
            answer(ping, Some("Bearer other"), "hs"),
            StatusCode::FORBIDDEN
        );
        assert_eq!(answer(ping, None, "hs"), StatusCode::FORBIDDEN);
        let events = answer("/_matrix/app/v1/transactions/1", Some("Bearer hs"), "hs");
        assert_eq!(events, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_ping_whose_body_comes_after_its_head_is_answered_and_the_connection_closed() {
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let address = free
            .and_then(|free| free.local_addr())
            .expect("a free port");
        let _stand = Stand::open(address, "hs").await.expect("the stand opens");
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = "POST /_matrix/app/v1/ping HTTP/1.1\r\nhost: x\r\nauthorization: Bearer hs\r\ncontent-length: 2\r\n\r\n";
        stream
            .write_all(head.as_bytes())
            .await
            .expect("the head goes");
        let mut said = Vec::new();
        let early = tokio::time::timeout(Duration::from_millis(100), stream.read_to_end(&mut said));
        assert!(early.await.is_err(), "answered before the body had come");
        stream.write_all(b"{}").await.expect("the body goes");
        stream
            .read_to_end(&mut said)
            .await
            .expect("closed, and not reset");
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
    }
}
