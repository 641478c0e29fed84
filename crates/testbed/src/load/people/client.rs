//! What a person's client asks of the homeserver.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};

use crate::synapse::{self, User};

/// How long a sync may wait for news, and an answer may take beyond that.
const WAITS: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to send an event.
const PAUSE: Duration = Duration::from_millis(500);

/// Signed in as one user.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    token: String,
    filter: String,
}

impl Client {
    /// # Errors
    /// When the HTTP client cannot be built.
    pub(super) fn new(user: &User) -> anyhow::Result<Self> {
        let none = json!({"types": []});
        let timeline = json!({"types": ["m.call.*"], "limit": 100});
        let room = json!({
            "timeline": timeline, "state": none, "ephemeral": none, "account_data": none,
        });
        let filter = json!({"room": room, "presence": none, "account_data": none});
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            token: user.access_token.clone(),
            filter: filter.to_string(),
        })
    }

    /// What has been said in the rooms since then, each event with its room, and from when to go on.
    ///
    /// # Errors
    /// When the homeserver does not answer.
    pub(super) async fn sync(
        &self,
        since: Option<&str>,
    ) -> anyhow::Result<(String, Vec<(String, Value)>)> {
        let waits = since.map_or(Duration::ZERO, |_| WAITS);
        let mut url = reqwest::Url::parse(&url("sync"))?;
        url.query_pairs_mut()
            .append_pair("filter", &self.filter)
            .append_pair("timeout", &waits.as_millis().to_string())
            .extend_pairs(since.map(|since| ("since", since)));
        let request = self.http.get(url).timeout(waits + PATIENCE);
        let page = self.answer(request).await?;
        let next = page["next_batch"].as_str().context("no next_batch")?;
        let rooms = page["rooms"]["join"].as_object().into_iter().flatten();
        let events = rooms.flat_map(|(room, news)| {
            let events = news["timeline"]["events"].as_array().into_iter().flatten();
            events.map(|event| (room.clone(), event.clone()))
        });
        Ok((next.to_owned(), events.collect()))
    }

    /// A direct chat with this user.
    ///
    /// # Errors
    /// When the homeserver makes none.
    pub(super) async fn create_room(&self, with: &str) -> anyhow::Result<String> {
        let wanted = json!({"preset": "trusted_private_chat", "is_direct": true, "invite": [with]});
        let request = self.http.post(url("createRoom")).json(&wanted);
        // It waits for the gateway, which is asked whether there is such a user.
        let made = self.answer(request.timeout(PATIENCE * 4)).await?;
        Ok(made["room_id"].as_str().context("no room_id")?.to_owned())
    }

    /// Whether this user is in the room.
    pub(super) async fn has_joined(&self, room: &str, user: &str) -> bool {
        let request = self.http.get(url(&format!("rooms/{room}/joined_members")));
        let members = self.answer(request.timeout(PATIENCE)).await;
        members.is_ok_and(|members| members["joined"].get(user).is_some())
    }

    /// Sends an event, again and again until the homeserver has taken it.
    ///
    /// # Errors
    /// When it has not within this time, or refuses it.
    pub(super) async fn send(
        &self,
        room: &str,
        event_type: &str,
        transaction: &str,
        content: &Value,
        within: Duration,
    ) -> anyhow::Result<()> {
        let url = url(&format!("rooms/{room}/send/{event_type}/{transaction}"));
        let deadline = Instant::now() + within;
        loop {
            let request = self.http.put(&url).json(content).timeout(PATIENCE);
            match self.answer(request).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let answer = request.bearer_auth(&self.token).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        if !status.is_success() {
            bail!("{status}: {body}");
        }
        Ok(serde_json::from_str(&body)?)
    }
}

fn url(path: &str) -> String {
    format!("{}/_matrix/client/v3/{path}", synapse::URL)
}
