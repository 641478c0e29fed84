//! What the homeserver asks of us: the application-service API, v1.

mod lookups;
mod reply;
mod transactions;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

use crate::appservice::Inner;
use crate::rate::Rate;
use crate::{RoomEvent, Secret};
use reply::{Empty, Refusal};
use transactions::Intake;

/// The largest request taken in, in bytes. Synapse sends up to 100 events at a time, 64 KiB each.
const MAX_BODY_BYTES: usize = 10 * 1024 * 1024;

/// What the endpoints share.
pub(crate) struct Service {
    inner: Arc<Inner>,
    hs_token: Secret,
    intake: Intake,
    lookups: Rate,
}

pub(crate) fn router(
    inner: Arc<Inner>,
    hs_token: Secret,
    lookups_per_second: u32,
    events: mpsc::Sender<RoomEvent>,
) -> Router {
    let service = Arc::new(Service {
        intake: Intake::new(Arc::clone(&inner), events),
        inner,
        hs_token,
        lookups: Rate::new(lookups_per_second),
    });
    let v1 = Router::new()
        .route("/transactions/{txn_id}", put(transactions::put))
        .route("/ping", post(|| async { Empty }))
        .route("/users/{user_id}", get(lookups::user))
        .route(
            "/rooms/{alias}",
            get(|| async { Refusal::not_found("there are no aliases") }),
        )
        .route("/thirdparty/protocol/{protocol}", get(lookups::protocol))
        .route("/thirdparty/user", get(lookups::users_by_mxid))
        .route("/thirdparty/user/{protocol}", get(lookups::users_by_number))
        .route("/thirdparty/location", get(lookups::locations))
        .route("/thirdparty/location/{protocol}", get(lookups::locations));
    Router::new()
        .nest("/_matrix/app/v1", v1)
        .fallback(|| async { Refusal::unrecognized() })
        .method_not_allowed_fallback(|| async { Refusal::wrong_method() })
        // After the fallbacks, so that they too answer nobody but the homeserver.
        .layer(middleware::from_fn_with_state(
            Arc::clone(&service),
            only_the_homeserver,
        ))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(service)
}

/// Lets a request pass only with the homeserver's token.
async fn only_the_homeserver(
    State(service): State<Arc<Service>>,
    request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(AUTHORIZATION);
    let shown = header.and_then(|header| bearer(header.as_bytes()));
    let refusal = match shown {
        None => Refusal::missing_token(),
        // In constant time: how far a guess was right must not show in how long we take.
        Some(token) if !bool::from(token.ct_eq(service.hs_token.expose().as_bytes())) => {
            Refusal::wrong_token()
        }
        Some(_) => return next.run(request).await,
    };
    service.inner.counters.wrong_tokens.add_one();
    // Who is not the homeserver keeps no place for a next request.
    ([(CONNECTION, "close")], refusal).into_response()
}

/// The token in `Bearer <token>`; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}
