//! A homeserver on a bad day: it fails, answers late, or is away.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::sleep;

use super::client_api::refusal;
use super::{Homeserver, Known, Shared};

/// What the largest request of the gateway is smaller than, in bytes.
const LARGEST: usize = 1 << 20;

/// What is late about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// The answer alone: the request is carried out at once.
    Answer,
    /// All of it: the request is carried out late, whether anybody still waits for the answer or not.
    Everything,
}

/// What becomes of the next requests, beside what is well.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Troubles {
    /// Those with this in their path are answered with this status, so many of them.
    refused: Option<(String, u16, u32)>,
    /// Those with this in their path are late, so many of them.
    late: Vec<(String, Late, Duration, u32)>,
    /// Nothing is answered, and nothing pushed.
    pub(super) is_down: bool,
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Well,
    Refused(StatusCode),
    Late(Late, Duration),
}

impl Homeserver {
    /// The next `times` requests whose paths hold this are answered with a status of trouble.
    pub fn trouble(&self, path: &str, status: u16, times: u32) {
        self.shared.known().troubles.refused = Some((path.to_owned(), status, times));
    }

    /// The next `times` requests whose paths hold this are late by so much.
    pub fn late(&self, path: &str, late: Late, by: Duration, times: u32) {
        let mut known = self.shared.known();
        known.troubles.late.push((path.to_owned(), late, by, times));
    }

    /// From now on nothing is late that has not begun to be.
    pub fn is_punctual(&self) {
        self.shared.known().troubles.late.clear();
    }

    /// From now on it is away: what clients say is kept, and pushed once it is back.
    pub fn goes_down(&self) {
        self.shared.known().troubles.is_down = true;
    }

    /// It is back.
    pub fn comes_back(&self) {
        self.shared.known().troubles.is_down = false;
    }
}

/// What becomes of a request with this path.
pub(super) fn fate(known: &mut Known, path: &str) -> Fate {
    let troubles = &mut known.troubles;
    if troubles.is_down {
        return Fate::Refused(StatusCode::SERVICE_UNAVAILABLE);
    }
    if let Some((part, status, left)) = &mut troubles.refused
        && *left > 0
        && path.contains(part.as_str())
    {
        *left -= 1;
        let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
        return Fate::Refused(status);
    }
    let mut late = troubles.late.iter_mut();
    let Some((_, late, by, left)) = late.find(|(part, ..)| path.contains(part.as_str())) else {
        return Fate::Well;
    };
    let fate = Fate::Late(*late, *by);
    *left -= 1;
    troubles.late.retain(|(.., left)| *left > 0);
    fate
}

/// Has a request meet its fate.
pub(super) async fn meet(fate: Fate, request: Request, next: Next) -> Response {
    match fate {
        Fate::Well => next.run(request).await,
        Fate::Refused(status) => refusal(status, "M_UNKNOWN"),
        Fate::Late(Late::Answer, by) => {
            let answer = next.run(request).await;
            sleep(by).await;
            answer
        }
        Fate::Late(Late::Everything, by) => {
            // All of it has to be here before whoever asks hangs up.
            let (head, body) = request.into_parts();
            let Ok(body) = to_bytes(body, LARGEST).await else {
                return refusal(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE");
            };
            let request = Request::from_parts(head, Body::from(body));
            let carried_out = tokio::spawn(async move {
                sleep(by).await;
                next.run(request).await
            });
            let failed = || refusal(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN");
            carried_out.await.unwrap_or_else(|_| failed())
        }
    }
}

/// Waits until the homeserver is there.
pub(super) async fn is_there(shared: &Shared, look: Duration) {
    while shared.known().troubles.is_down {
        sleep(look).await;
    }
}
