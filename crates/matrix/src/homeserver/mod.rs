//! The homeserver's client API, as the service account and as virtual users.

mod error;
mod homes;
mod openid;

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Client as HttpClient;
use ruma::api::auth_scheme::{AuthScheme, SendAccessToken};
use ruma::api::client::account::register;
use ruma::api::client::appservice::request_ping;
use ruma::api::client::membership::invite_user::v3::InviteUserId;
use ruma::api::client::membership::{invite_user, join_room_by_id, joined_members};
use ruma::api::client::message::send_message_event;
use ruma::api::client::profile::set_profile_field;
use ruma::api::client::room::create_room;
use ruma::api::client::state::get_state_event_for_key;
use ruma::api::{AppserviceUserIdentity, MatrixVersion, OutgoingRequest, SupportedVersions};
use ruma::events::StateEventType;
use ruma::events::room::member::MembershipState;
use ruma::profile::ProfileFieldValue;
use ruma::serde::Raw;
use ruma::{
    MilliSecondsSinceUnixEpoch, OwnedEventId, OwnedRoomId, OwnedTransactionId, OwnedUserId, RoomId,
    UserId,
};
use ruma_client::{Client, SupportedPathBuilder, TokenMode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout_at};

pub(crate) use error::Answer;
pub use error::HomeserverError;
pub(crate) use homes::OwnRoom;

use crate::{APPSERVICE_ID, MatrixConfig, StartError};

/// How long a request is tried, all attempts together: a caller at a telephone hears of a dead
/// homeserver within ten seconds.
pub(crate) const BUDGET: Duration = Duration::from_secs(8);

/// The pause after the first failed attempt; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A homeserver on loopback either takes a connection at once or is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Shorter than any homeserver's own: a request that must not be repeated shall not meet a connection
/// that the other end is just closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The homeserver, seen from an application service.
#[derive(Debug)]
pub(crate) struct Homeserver {
    client: Client<HttpClient>,
    /// For the one question that is no part of the client API.
    http: HttpClient,
    /// Without a slash at its end.
    base: String,
    request_timeout: Duration,
}

/// Whether a request may be repeated when it is unknown whether it was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    Safe,
    Never,
}

impl Homeserver {
    pub(crate) async fn new(config: &MatrixConfig) -> Result<Self, StartError> {
        let http = HttpClient::builder()
            .timeout(BUDGET)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            // The homeserver is next door: a proxy of the environment is for the internet.
            .no_proxy()
            .build()
            .map_err(|error| StartError::HttpClient(error.to_string()))?;
        let base = config.homeserver.trim_end_matches('/').to_owned();
        let client = Client::builder()
            .homeserver_url(base.clone())
            .access_token(Some(config.as_token.expose().to_owned()))
            .token_mode(TokenMode::AppService)
            // Given here, because asking the homeserver would make our start wait for its.
            .supported_matrix_versions(spoken_versions())
            .http_client(http.clone())
            .await
            .map_err(|error| StartError::HttpClient(error.to_string()))?;
        Ok(Homeserver {
            client,
            http,
            base,
            request_timeout: config.request_timeout,
        })
    }

    /// Asks the homeserver to reach us, and gives the time that took. A success also makes Synapse
    /// send at once what it holds back for us.
    pub(crate) async fn ping(&self) -> Result<Duration, HomeserverError> {
        let request = request_ping::v1::Request::new(APPSERVICE_ID.to_owned());
        let answer = self.attempt(None, request).await?;
        Ok(answer.duration)
    }

    /// Makes an account. One that is there already is success.
    pub(crate) async fn register(&self, localpart: &str) -> Result<(), HomeserverError> {
        let mut request = register::v3::Request::new();
        request.username = Some(localpart.to_owned());
        request.login_type = Some(register::LoginType::ApplicationService);
        request.inhibit_login = true;
        match self.request(Repeat::Safe, None, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_refusal("M_USER_IN_USE") => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn set_display_name(
        &self,
        user: &UserId,
        name: &str,
    ) -> Result<(), HomeserverError> {
        let value = ProfileFieldValue::DisplayName(name.to_owned());
        let request = set_profile_field::v3::Request::new(user.to_owned(), value);
        self.request(Repeat::Safe, Some(user), request).await?;
        Ok(())
    }

    pub(crate) async fn join(&self, room: &RoomId, user: &UserId) -> Result<(), HomeserverError> {
        let request = join_room_by_id::v3::Request::new(room.to_owned());
        self.request(Repeat::Safe, Some(user), request).await?;
        Ok(())
    }

    pub(crate) async fn invite(
        &self,
        room: &RoomId,
        as_user: &UserId,
        user: &UserId,
    ) -> Result<(), HomeserverError> {
        let recipient = InviteUserId::new(user.to_owned()).into();
        let request = invite_user::v3::Request::new(room.to_owned(), recipient);
        self.request(Repeat::Safe, Some(as_user), request).await?;
        Ok(())
    }

    /// Makes a direct chat of `creator` with `invitee`, who may call there and has nothing to set. The topic explains an
    /// invite that is not accepted by itself; `bridge` is a state event's key and content.
    pub(crate) async fn create_call_room(
        &self,
        creator: &UserId,
        invitee: &UserId,
        topic: &str,
        bridge: (String, Value),
    ) -> Result<OwnedRoomId, HomeserverError> {
        let mut request = create_room::v3::Request::new();
        request.preset = Some(create_room::v3::RoomPreset::PrivateChat);
        request.is_direct = true;
        request.topic = Some(topic.to_owned());
        let (key, info) = bridge;
        let bridge = json!({ "type": "uk.half-shot.bridge", "state_key": key, "content": info });
        request.initial_state.push(raw(&bridge)?.cast_unchecked());
        request.invite = vec![invitee.to_owned()];
        // Element disables its voice button for a user who may not send this state event.
        let levels = json!({ "events": { "org.matrix.msc3401.call.member": 0 } });
        request.power_level_content_override = Some(raw(&levels)?.cast_unchecked());
        let answer = self.request(Repeat::Never, Some(creator), request).await?;
        Ok(answer.room_id)
    }

    /// Who is joined. The service account may ask about every room with a virtual user in it.
    pub(crate) async fn joined_members(
        &self,
        room: &RoomId,
        as_user: Option<&UserId>,
    ) -> Result<BTreeSet<OwnedUserId>, HomeserverError> {
        let request = joined_members::v3::Request::new(room.to_owned());
        let answer = self.request(Repeat::Safe, as_user, request).await?;
        Ok(answer.joined.into_keys().collect())
    }

    /// How `user` stands to the room; `None` when they never had to do with it.
    pub(crate) async fn membership(
        &self,
        room: &RoomId,
        as_user: &UserId,
        user: &UserId,
    ) -> Result<Option<MembershipState>, HomeserverError> {
        let content = self
            .state(room, as_user, StateEventType::RoomMember, user.as_str())
            .await?;
        let membership = content.and_then(|content| {
            let word = content.get("membership")?.as_str()?;
            Some(MembershipState::from(word))
        });
        Ok(membership)
    }

    pub(crate) async fn is_encrypted(
        &self,
        room: &RoomId,
        as_user: &UserId,
    ) -> Result<bool, HomeserverError> {
        let content = self
            .state(room, as_user, StateEventType::RoomEncryption, "")
            .await?;
        Ok(content.is_some())
    }

    /// Sends an event. The same `txn_id` again does not send it twice.
    pub(crate) async fn send(
        &self,
        room: &RoomId,
        as_user: &UserId,
        event_type: &str,
        txn_id: &str,
        content: &Value,
    ) -> Result<OwnedEventId, HomeserverError> {
        self.send_at(room, as_user, event_type, txn_id, content, None)
            .await
    }

    /// As [`Homeserver::send`], for an event that is shown as sent at a time of ours.
    pub(crate) async fn send_at(
        &self,
        room: &RoomId,
        as_user: &UserId,
        event_type: &str,
        txn_id: &str,
        content: &Value,
        at: Option<MilliSecondsSinceUnixEpoch>,
    ) -> Result<OwnedEventId, HomeserverError> {
        let mut request = send_message_event::v3::Request::new_raw(
            room.to_owned(),
            OwnedTransactionId::from(txn_id),
            event_type.into(),
            raw(content)?.cast_unchecked(),
        );
        request.timestamp = at;
        let answer = self.request(Repeat::Safe, Some(as_user), request).await?;
        Ok(answer.event_id)
    }

    pub(crate) async fn power_levels(
        &self,
        room: &RoomId,
        as_user: &UserId,
    ) -> Result<Option<Value>, HomeserverError> {
        self.state(room, as_user, StateEventType::RoomPowerLevels, "")
            .await
    }

    /// The content of a state event, if there is one.
    async fn state(
        &self,
        room: &RoomId,
        as_user: &UserId,
        event_type: StateEventType,
        state_key: &str,
    ) -> Result<Option<Value>, HomeserverError> {
        let request = get_state_event_for_key::v3::Request::new(
            room.to_owned(),
            event_type,
            state_key.to_owned(),
        );
        match self.request(Repeat::Safe, Some(as_user), request).await {
            Ok(answer) => serde_json::from_str(answer.event_or_content.get())
                .map(Some)
                .map_err(|error| HomeserverError::Malformed(error.to_string())),
            Err(error) if error.is_refusal("M_NOT_FOUND") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request until it is answered, for as long as [`BUDGET`] lasts.
    pub(crate) async fn request<R>(
        &self,
        repeat: Repeat,
        as_user: Option<&UserId>,
        request: R,
    ) -> Result<R::IncomingResponse, HomeserverError>
    where
        R: OutgoingRequest + Clone,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        R::PathBuilder: SupportedPathBuilder,
        HomeserverError: From<Answer<R::EndpointError>>,
    {
        let deadline = Instant::now() + BUDGET;
        let each = match repeat {
            Repeat::Safe => self.request_timeout,
            // It has the time of the second try that it does not get: a room in which to ring may take so long.
            Repeat::Never => self.request_timeout * 3 / 2,
        };
        let mut pause = FIRST_PAUSE;
        loop {
            let until = deadline.min(Instant::now() + each);
            let attempt = timeout_at(until, self.attempt(as_user, request.clone())).await;
            let error = match attempt.unwrap_or(Err(HomeserverError::Timeout)) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tracing::debug!(
                request = std::any::type_name::<R>(),
                ?error,
                "the homeserver did not do it"
            );
            let worth_repeating = match repeat {
                Repeat::Safe => error.is_transient(),
                Repeat::Never => error.is_certainly_undone(),
            };
            let wait = error.retry_after().unwrap_or(pause);
            if !worth_repeating || Instant::now() + wait >= deadline {
                return Err(error);
            }
            sleep(wait).await;
            pause *= 2;
        }
    }

    async fn attempt<R>(
        &self,
        as_user: Option<&UserId>,
        request: R,
    ) -> Result<R::IncomingResponse, HomeserverError>
    where
        R: OutgoingRequest,
        for<'a> R::Authentication: AuthScheme<Input<'a> = SendAccessToken<'a>>,
        R::PathBuilder: SupportedPathBuilder,
        HomeserverError: From<Answer<R::EndpointError>>,
    {
        let answer = match as_user {
            Some(user) => {
                let identity = AppserviceUserIdentity::new(user);
                self.client.send_request_as(identity, request).await
            }
            None => self.client.send_request(request).await,
        };
        answer.map_err(|error| Answer(error).into())
    }
}

/// What every homeserver of the last years speaks; it decides the paths of requests only.
fn spoken_versions() -> SupportedVersions {
    SupportedVersions {
        versions: [
            MatrixVersion::V1_1,
            MatrixVersion::V1_7,
            MatrixVersion::V1_11,
        ]
        .into(),
        features: BTreeSet::new(),
    }
}

fn raw(content: &Value) -> Result<Raw<Value>, HomeserverError> {
    Raw::new(content).map_err(|error| HomeserverError::Malformed(error.to_string()))
}
