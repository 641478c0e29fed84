//! Who somebody is that shows an OpenID token.

use ruma::{OwnedUserId, UserId};

use crate::appservice::AppService;
use crate::homeserver::HomeserverError;

/// The longest token that is asked about, bytes.
const LONGEST_TOKEN: usize = 1_024;

impl AppService {
    /// The name of our homeserver, what stands behind the colon of its users.
    #[must_use]
    pub fn server_name(&self) -> &str {
        self.inner.namespace.server_name()
    }

    /// The person to whom our homeserver has given this token; `None` where it has not, or they are of another
    /// homeserver or one of our own users. Takes as long as one request may.
    ///
    /// # Errors
    /// [`HomeserverError`].
    pub async fn person_of_openid_token(
        &self,
        token: &str,
    ) -> Result<Option<OwnedUserId>, HomeserverError> {
        // What cannot be a token (RFC 6750, section 2.1) is not asked about: a stranger must not have the homeserver fail.
        let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(may_be) {
            return Ok(None);
        }
        let owner = self.inner.homeserver.owner_of_openid_token(token).await?;
        let user = owner.and_then(|owner| UserId::parse(owner).ok());
        let namespace = &self.inner.namespace;
        Ok(user.filter(|user| namespace.is_local(user) && !namespace.owns(user)))
    }
}
