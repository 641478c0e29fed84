//! What is shown of a virtual user beside its name: whether its telephone is free, and in which words it is not.

use std::time::Duration;

use ruma::UserId;
use ruma::api::client::presence::{get_presence, set_presence};
use ruma::presence::PresenceState;

use crate::homeserver::{Homeserver, Repeat};
use crate::{AppService, HomeserverError};

/// How often it is looked whether a presence that was set is there, and how long between: with several workers, Synapse
/// knows it a moment later.
const LOOKS: u32 = 3;
const BETWEEN: Duration = Duration::from_millis(500);

/// What is shown of a virtual user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Presence {
    /// There.
    Online,
    /// There, and not to be had.
    Unavailable,
    /// Not there, or nobody knows.
    Offline,
}

/// Whether the homeserver shows presence at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// What was set is there.
    Presence,
    /// It takes what is set, and forgets it.
    Nothing,
}

impl AppService {
    /// Whether a virtual user has been made; nobody sees the presence of one that has not.
    pub async fn has_virtual_user(&self, number: &str) -> bool {
        let user = self.virtual_user_of(number);
        let known = self.inner.store.virtual_user(user.as_str()).await;
        known.is_ok_and(|known| known.is_some())
    }

    /// Shows the virtual user of a number so. The homeserver forgets it after a while (Synapse after 30 s), and shows
    /// it as offline then.
    ///
    /// # Errors
    /// [`HomeserverError`], after the attempts that fit into 8 s.
    pub async fn show_presence(
        &self,
        number: &str,
        presence: Presence,
        status: Option<&str>,
    ) -> Result<(), HomeserverError> {
        let user = self.virtual_user_of(number);
        let homeserver = &self.inner.homeserver;
        homeserver.set_presence(&user, presence, status).await
    }

    /// Whether the homeserver shows what [`AppService::show_presence`] has just set for this number, and was not
    /// offline. A homeserver with its presence off says that all went well.
    ///
    /// # Errors
    /// [`HomeserverError`].
    pub async fn shows_presence(&self, number: &str) -> Result<Shows, HomeserverError> {
        let user = self.virtual_user_of(number);
        for look in 0..LOOKS {
            if look > 0 {
                tokio::time::sleep(BETWEEN).await;
            }
            if self.inner.homeserver.presence(&user).await? != Presence::Offline {
                return Ok(Shows::Presence);
            }
        }
        Ok(Shows::Nothing)
    }
}

impl Homeserver {
    async fn set_presence(
        &self,
        user: &UserId,
        presence: Presence,
        status: Option<&str>,
    ) -> Result<(), HomeserverError> {
        let state = match presence {
            Presence::Online => PresenceState::Online,
            Presence::Unavailable => PresenceState::Unavailable,
            Presence::Offline => PresenceState::Offline,
        };
        let mut request = set_presence::v3::Request::new(user.to_owned(), state);
        request.status_msg = status.map(str::to_owned);
        self.request(Repeat::Safe, Some(user), request).await?;
        Ok(())
    }

    async fn presence(&self, user: &UserId) -> Result<Presence, HomeserverError> {
        let request = get_presence::v3::Request::new(user.to_owned());
        let answer = self.request(Repeat::Safe, Some(user), request).await?;
        Ok(match answer.presence {
            PresenceState::Online => Presence::Online,
            PresenceState::Offline => Presence::Offline,
            // Busy is one of those that a homeserver may have beside them (MSC3026).
            _ => Presence::Unavailable,
        })
    }
}
