//! A homeserver on a bad day.

use std::time::Duration;

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::{FakeHomeserver, Known, refusal};

/// What becomes of the next requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// They are not carried out, and answered with this status.
    Refused(StatusCode),
    /// They are carried out, and answered after so long.
    Late(Duration),
}

impl FakeHomeserver {
    /// The next `times` requests meet this.
    pub(crate) fn strike(&self, trouble: Trouble, times: u32) {
        let mut known = self.known();
        (known.trouble, known.late) = match trouble {
            Trouble::Refused(status) => (Some((times, status)), None),
            Trouble::Late(delay) => (None, Some((times, delay))),
        };
    }
}

/// What this request meets, if anything.
pub(super) fn met(known: &mut Known) -> Option<Trouble> {
    if let Some((left, status)) = &mut known.trouble
        && *left > 0
    {
        *left -= 1;
        return Some(Trouble::Refused(*status));
    }
    let (left, delay) = known.late.as_mut().filter(|(left, _)| *left > 0)?;
    *left -= 1;
    Some(Trouble::Late(*delay))
}

/// It may well work in a minute: whoever has less time gives up at once.
pub(super) fn patience() -> Response {
    let body = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "no", "retry_after_ms": 60_000 });
    (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response()
}

/// Carries a request out, or not.
pub(super) async fn meet(trouble: Option<Trouble>, request: Request, next: Next) -> Response {
    match trouble {
        None => next.run(request).await,
        Some(Trouble::Refused(status)) => refusal(status, "M_UNKNOWN"),
        Some(Trouble::Late(delay)) => {
            let answer = next.run(request).await;
            tokio::time::sleep(delay).await;
            answer
        }
    }
}
