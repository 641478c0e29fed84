//! The picture of a telephone: uploaded once, shown on the dial pad's protocol, on virtual users, on the telephony space
//! and the call history.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mxtrunk_store::Home;
use ruma::api::client::media::create_content;
use ruma::api::client::profile::set_profile_field;
use ruma::profile::ProfileFieldValue;
use ruma::{OwnedMxcUri, RoomId, UserId};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::appservice::{AccountError, Inner};
use crate::homeserver::{Homeserver, HomeserverError, Repeat};

/// A white handset on blue, 128 by 128. No SVG: homeservers make no small ones of those, and clients show none.
const TELEPHONE: &[u8] = include_bytes!("../assets/telephone.png");

/// After trouble; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// After a refusal, which may be of a homeserver that does not know us yet.
const REFUSED: Duration = Duration::from_secs(600);

/// How many users are asked for at once, and the pause between two: each tells all rooms that the user is in.
const BATCH: u32 = 20;
const PACE: Duration = Duration::from_millis(100);

/// Where the picture stands, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Pictures {
    telephone: OnceLock<OwnedMxcUri>,
    /// A virtual user was made.
    wanted: Notify,
}

impl Pictures {
    /// Where the picture stands, once it is uploaded.
    pub(crate) fn telephone(&self) -> Option<&OwnedMxcUri> {
        self.telephone.get()
    }

    /// Somebody bears none.
    pub(crate) fn are_wanted(&self) {
        self.wanted.notify_one();
    }
}

/// Uploads the picture and gives it to everybody, until the gateway stops.
pub(crate) async fn keep(inner: Arc<Inner>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = tokio::select! {
            outcome = inner.give_pictures() => outcome,
            () = inner.stop.cancelled() => return,
        };
        if let Err(error) = &outcome {
            if matches!(
                error,
                AccountError::Homeserver(HomeserverError::Refused { .. })
            ) {
                warn!(%error, retry_s = REFUSED.as_secs(), "the homeserver takes no picture: telephones are shown without one");
                pause = REFUSED;
            }
            debug!(%error, retry_s = pause.as_secs(), "telephones have no picture yet");
        }
        tokio::select! {
            () = inner.pictures.wanted.notified(), if outcome.is_ok() => {}
            () = sleep(pause), if outcome.is_err() => {}
            () = inner.stop.cancelled() => return,
        }
        pause = match outcome {
            Ok(()) => FIRST_PAUSE,
            Err(_) => (pause * 2).min(LONGEST_PAUSE),
        };
    }
}

impl Inner {
    async fn give_pictures(&self) -> Result<(), AccountError> {
        let picture = self.uploaded().await?;
        loop {
            let users = self.store.users_without_picture(picture.as_str(), BATCH);
            let users = users.await?;
            if users.is_empty() {
                return Ok(());
            }
            for user in users {
                self.homes.let_calls_by().await;
                self.give_picture(&user, &picture).await?;
                sleep(PACE).await;
            }
        }
    }

    /// Where the picture stands; uploads it where it stands nowhere.
    async fn uploaded(&self) -> Result<OwnedMxcUri, AccountError> {
        if let Some(known) = self.pictures.telephone() {
            return Ok(known.clone());
        }
        let digest: String = Sha256::digest(TELEPHONE)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let picture = match self.store.upload(&digest).await? {
            Some(known) => OwnedMxcUri::from(known),
            None => {
                let account = self.namespace.service_account();
                // Whoever is to have made it must be there first.
                self.homeserver.register(account.localpart()).await?;
                let uploaded = self.homeserver.upload("telephone.png", TELEPHONE).await?;
                self.store.put_upload(&digest, uploaded.as_str()).await?;
                let shown = self.homeserver.set_picture(&account, &uploaded).await;
                forgiven(shown)?;
                uploaded
            }
        };
        let picture = self.pictures.telephone.get_or_init(|| picture).clone();
        // The rooms of homes want it, too.
        self.homes.unsettled.notify_one();
        Ok(picture)
    }

    /// A user who may have none (Synapse: `enable_set_avatar_url: false`) stays without.
    async fn give_picture(&self, user: &str, picture: &OwnedMxcUri) -> Result<(), AccountError> {
        if let Ok(parsed) = UserId::parse(user) {
            forgiven(self.homeserver.set_picture(&parsed, picture).await)?;
        }
        self.store.mark_picture(user, picture.as_str()).await?;
        Ok(())
    }

    /// A user that was just made bears the picture before anybody sees them, which saves each of their rooms an event
    /// that says so. What goes wrong here is made good in the background.
    pub(crate) async fn give_first_picture(&self, user: &UserId) {
        if let Some(picture) = self.pictures.telephone() {
            let given = self.give_picture(user.as_str(), picture).await;
            if let Err(error) = given {
                debug!(%error, "a new virtual user has no picture yet");
            }
        }
        self.pictures.are_wanted();
    }

    /// Whether the rooms of a home bear the picture, as far as there is one.
    pub(crate) fn is_pictured(&self, home: &Home) -> bool {
        let picture = self.pictures.telephone();
        picture.is_none_or(|picture| home.picture.as_deref() == Some(picture.as_str()))
    }

    /// Puts the picture on the rooms of a home that have it not.
    pub(crate) async fn settle_picture(
        &self,
        space: &RoomId,
        history: &RoomId,
        home: &mut Home,
    ) -> Result<(), HomeserverError> {
        let picture = self.pictures.telephone();
        let Some(picture) = picture.filter(|_| !self.is_pictured(home)) else {
            return Ok(());
        };
        let content = json!({ "url": picture });
        for room in [space, history] {
            let homeserver = &self.homeserver;
            homeserver
                .set_state(room, None, "m.room.avatar", "", &content)
                .await?;
        }
        home.picture = Some(picture.to_string());
        Ok(())
    }
}

fn forgiven(outcome: Result<(), HomeserverError>) -> Result<(), HomeserverError> {
    match outcome {
        Err(HomeserverError::Refused { .. }) => Ok(()),
        other => other,
    }
}

impl Homeserver {
    /// Uploads a PNG as the service account. Not repeated where it may have been carried out: that would be a second one.
    async fn upload(&self, name: &str, png: &[u8]) -> Result<OwnedMxcUri, HomeserverError> {
        let mut request = create_content::v3::Request::new(png.to_vec());
        request.filename = Some(name.to_owned());
        request.content_type = Some("image/png".to_owned());
        let answer = self.request(Repeat::Never, None, request).await?;
        Ok(answer.content_uri)
    }

    async fn set_picture(
        &self,
        user: &UserId,
        picture: &OwnedMxcUri,
    ) -> Result<(), HomeserverError> {
        let value = ProfileFieldValue::AvatarUrl(picture.clone());
        let request = set_profile_field::v3::Request::new(user.to_owned(), value);
        self.request(Repeat::Safe, Some(user), request).await?;
        Ok(())
    }
}
