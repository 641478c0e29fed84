//! Who a person is, by the token that their client was given for that (client-server API, "OpenID"; server-server API,
//! "Retrieves information about the owner of the given token").

use reqwest::{StatusCode, Url};
use serde::Deserialize;

use super::{Homeserver, HomeserverError};

/// The longest answer that is read, bytes: it holds one user id.
const LONGEST: usize = 4_096;

#[derive(Deserialize)]
struct Owner {
    sub: String,
}

impl Homeserver {
    /// Whose token this is, as the homeserver writes it; `None`: it knows no such token. Asked once: a person waits.
    pub(crate) async fn owner_of_openid_token(
        &self,
        token: &str,
    ) -> Result<Option<String>, HomeserverError> {
        let malformed =
            |error: &dyn std::fmt::Display| HomeserverError::Malformed(error.to_string());
        let path = format!("{}/_matrix/federation/v1/openid/userinfo", self.base);
        let mut url = Url::parse(&path).map_err(|error| malformed(&error))?;
        url.query_pairs_mut().append_pair("access_token", token);
        let sent = self
            .http
            .get(url)
            .timeout(self.request_timeout)
            .send()
            .await;
        let mut answer = sent.map_err(HomeserverError::from_http)?;
        let status = answer.status();
        match status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                return Ok(None);
            }
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(HomeserverError::RateLimited { retry_after: None });
            }
            status if status.is_server_error() => {
                let status = status.as_u16();
                return Err(HomeserverError::Faulty { status });
            }
            // 404: its listener lacks the resource `openid`.
            status => {
                return Err(HomeserverError::Refused {
                    status: status.as_u16(),
                    errcode: "M_UNRECOGNIZED".to_owned(),
                    message: String::new(),
                });
            }
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(HomeserverError::from_http)? {
            if body.len() + part.len() > LONGEST {
                return Err(malformed(&"the owner of a token takes too long to name"));
            }
            body.extend_from_slice(&part);
        }
        let owner: Owner = serde_json::from_slice(&body).map_err(|error| malformed(&error))?;
        Ok(Some(owner.sub))
    }
}
