//! The forms of our answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// `{}`: done.
pub(super) struct Empty;

impl IntoResponse for Empty {
    fn into_response(self) -> Response {
        Json(json!({})).into_response()
    }
}

/// A standard error of Matrix.
pub(super) struct Refusal {
    status: StatusCode,
    errcode: &'static str,
    error: &'static str,
}

impl Refusal {
    const fn new(status: StatusCode, errcode: &'static str, error: &'static str) -> Self {
        Refusal {
            status,
            errcode,
            error,
        }
    }

    pub(super) const fn missing_token() -> Self {
        Refusal::new(
            StatusCode::UNAUTHORIZED,
            "M_MISSING_TOKEN",
            "the homeserver's token is missing",
        )
    }

    pub(super) const fn wrong_token() -> Self {
        Refusal::new(
            StatusCode::FORBIDDEN,
            "M_FORBIDDEN",
            "this is not the homeserver's token",
        )
    }

    pub(super) const fn not_found(error: &'static str) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", error)
    }

    pub(super) const fn unrecognized() -> Self {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "M_UNRECOGNIZED",
            "there is no such endpoint",
        )
    }

    pub(super) const fn wrong_method() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Refusal::new(
            status,
            "M_UNRECOGNIZED",
            "the endpoint does not take this method",
        )
    }

    pub(super) const fn not_json() -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", "the body is no JSON")
    }

    pub(super) const fn bad_json() -> Self {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "M_BAD_JSON",
            "the body has no list of events",
        )
    }

    pub(super) const fn too_large() -> Self {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "M_TOO_LARGE",
            "the body is too large",
        )
    }

    pub(super) const fn slow_down() -> Self {
        Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "M_LIMIT_EXCEEDED",
            "too many look-ups at once",
        )
    }

    /// The homeserver shall come again with the same.
    pub(super) const fn not_now(error: &'static str) -> Self {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "errcode": self.errcode, "error": self.error }));
        (self.status, body).into_response()
    }
}
