//! What can go wrong between us and the homeserver.

use std::time::{Duration, SystemTime};

use ruma::api::client::uiaa::UiaaResponse;
use ruma::api::error::{
    Error as MatrixError, ErrorBody, ErrorKind, FromHttpResponseError, RetryAfter,
};

/// The longest part of a refusal's text that is kept, in characters.
const MAX_MESSAGE_CHARS: usize = 200;

/// Why the homeserver did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HomeserverError {
    /// No connection.
    #[error("the homeserver cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time; the request may have been carried out.
    #[error("the homeserver did not answer in time")]
    Timeout,
    /// 429: too many requests. Our registration asks for no limit, so this points at its `rate_limited`.
    #[error("the homeserver asks to slow down (is rate_limited: false in the registration?)")]
    RateLimited {
        /// How long it wants us to wait.
        retry_after: Option<Duration>,
    },
    /// 4xx: it will not do it, however often it is asked.
    ///
    /// Its explanation is not part of the text, because Synapse names users in it.
    #[error("the homeserver refused with {errcode} ({status})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The Matrix error code, `M_…`.
        errcode: String,
        /// Its explanation.
        message: String,
    },
    /// 5xx: it is in trouble itself.
    #[error("the homeserver failed with status {status}")]
    Faulty {
        /// The HTTP status.
        status: u16,
    },
    /// Its answer, or our question, makes no sense.
    #[error("the homeserver and we do not understand each other: {0}")]
    Malformed(String),
}

impl HomeserverError {
    /// Whether it may well work the next time.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            HomeserverError::Unreachable(_)
            | HomeserverError::Timeout
            | HomeserverError::RateLimited { .. }
            | HomeserverError::Faulty { .. } => true,
            HomeserverError::Refused { .. } | HomeserverError::Malformed(_) => false,
        }
    }

    /// Whether the homeserver itself is away, so that nothing else would fare any better.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, HomeserverError::Unreachable(_))
    }

    /// Whether nothing has happened at the homeserver for sure, and it may well work the next time.
    pub(super) fn is_certainly_undone(&self) -> bool {
        matches!(
            self,
            HomeserverError::Unreachable(_) | HomeserverError::RateLimited { .. }
        )
    }

    /// Whether the homeserver refused with this code.
    pub(crate) fn is_refusal(&self, code: &str) -> bool {
        matches!(self, HomeserverError::Refused { errcode, .. } if errcode == code)
    }

    /// How long it wants us to wait, where it said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            HomeserverError::RateLimited { retry_after } => *retry_after,
            _ => None,
        }
    }

    fn from_matrix(error: &MatrixError) -> Self {
        let status = error.status_code.as_u16();
        if status >= 500 {
            return HomeserverError::Faulty { status };
        }
        if let Some(ErrorKind::LimitExceeded(limit)) = error.error_kind() {
            let retry_after = limit.retry_after.as_ref().map(delay);
            return HomeserverError::RateLimited { retry_after };
        }
        if status == 429 {
            return HomeserverError::RateLimited { retry_after: None };
        }
        let (errcode, message) = match &error.body {
            ErrorBody::Standard(body) => (body.kind.errcode().to_string(), body.message.as_str()),
            ErrorBody::Json(_) | ErrorBody::NotJson { .. } => ("M_UNKNOWN".to_owned(), ""),
        };
        HomeserverError::Refused {
            status,
            errcode,
            message: message.chars().take(MAX_MESSAGE_CHARS).collect(),
        }
    }

    pub(super) fn from_http(error: reqwest::Error) -> Self {
        // The address would put room and user ids into every log.
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            return HomeserverError::Timeout;
        }
        if !error.is_connect() && !error.is_request() {
            return HomeserverError::Malformed(error.to_string());
        }
        if !error.is_connect() {
            // The connection broke with the request on its way: it may have been carried out.
            return HomeserverError::Timeout;
        }
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        HomeserverError::Unreachable(cause.to_string())
    }
}

/// An error of ruma's client whose endpoint errors are `E`.
pub(crate) struct Answer<E>(pub(super) ruma_client::Error<reqwest::Error, E>);

impl From<Answer<MatrixError>> for HomeserverError {
    fn from(Answer(error): Answer<MatrixError>) -> Self {
        read(error, |error| HomeserverError::from_matrix(&error))
    }
}

impl From<Answer<UiaaResponse>> for HomeserverError {
    fn from(Answer(error): Answer<UiaaResponse>) -> Self {
        read(error, |error| match error {
            UiaaResponse::MatrixError(error) => HomeserverError::from_matrix(&error),
            UiaaResponse::AuthResponse(_) => HomeserverError::Refused {
                status: 401,
                errcode: "M_UNAUTHORIZED".to_owned(),
                message: "interactive authentication is asked for".to_owned(),
            },
        })
    }
}

fn read<E>(
    error: ruma_client::Error<reqwest::Error, E>,
    of_endpoint: impl FnOnce(E) -> HomeserverError,
) -> HomeserverError {
    match error {
        ruma_client::Error::Response(error) => HomeserverError::from_http(error),
        ruma_client::Error::FromHttpResponse(FromHttpResponseError::Server(error)) => {
            of_endpoint(error)
        }
        ruma_client::Error::FromHttpResponse(FromHttpResponseError::Deserialization(error)) => {
            HomeserverError::Malformed(error.to_string())
        }
        ruma_client::Error::IntoHttp(error) => HomeserverError::Malformed(error.to_string()),
        ruma_client::Error::Url(error) => HomeserverError::Malformed(error.to_string()),
        _ => HomeserverError::Malformed("the request could not be made".to_owned()),
    }
}

fn delay(retry_after: &RetryAfter) -> Duration {
    match retry_after {
        RetryAfter::Delay(delay) => *delay,
        RetryAfter::DateTime(at) => at.duration_since(SystemTime::now()).unwrap_or_default(),
    }
}
