//! A Matrix client as small as it gets, for what no well-behaved client does: Element looks a number up before
//! it calls it, and never sends an invite to one that may not be dialled.

use anyhow::Context as _;
use mxtrunk_testbed::process::until;
use mxtrunk_testbed::synapse;
use serde_json::{Value, json};

use super::site::PATIENCE;

pub(super) struct Client {
    http: reqwest::Client,
    token: String,
}

impl Client {
    pub(super) async fn sign_in(user: &str, password: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::new();
        let login = json!({
            "type": "m.login.password",
            "identifier": { "type": "m.id.user", "user": user },
            "password": password,
        });
        let answer = http
            .post(url("login"))
            .json(&login)
            .send()
            .await?
            .error_for_status()?;
        let answer: Value = answer.json().await?;
        let token = answer["access_token"]
            .as_str()
            .context("a token")?
            .to_owned();
        Ok(Client { http, token })
    }

    /// What the client shows to the homeserver.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// A room with one virtual user, once that has joined.
    pub(super) async fn room_with(&self, virtual_user: &str) -> anyhow::Result<String> {
        let room = json!({ "preset": "trusted_private_chat", "is_direct": true, "invite": [virtual_user] });
        let answer = self
            .http
            .post(url("createRoom"))
            .bearer_auth(&self.token)
            .json(&room);
        let answer: Value = answer.send().await?.error_for_status()?.json().await?;
        let room = answer["room_id"].as_str().context("a room id")?.to_owned();
        until("the virtual user to join", PATIENCE, async || {
            let members = self
                .fetch(&format!("rooms/{room}/joined_members"))
                .await
                .ok()?;
            members["joined"].get(virtual_user).map(drop)
        })
        .await?;
        Ok(room)
    }

    /// Sends the real invite of a real client into the room.
    pub(super) async fn invite(&self, room: &str) -> anyhow::Result<()> {
        let event: Value = serde_json::from_str(include_str!("../fixtures/m.call.invite.json"))?;
        let request = self
            .http
            .put(url(&format!("rooms/{room}/send/m.call.invite/1")));
        let request = request.bearer_auth(&self.token).json(&event["content"]);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// The direct chats that her clients know, by the other's Mxid (`m.direct`).
    pub(super) async fn direct_chats(&self) -> anyhow::Result<Value> {
        let me = self.fetch("account/whoami").await?;
        let me = me["user_id"].as_str().context("a user id")?;
        self.fetch(&format!("user/{me}/account_data/m.direct"))
            .await
    }

    /// How a user is shown: `displayname`, `avatar_url`.
    pub(super) async fn profile(&self, user: &str) -> anyhow::Result<Value> {
        self.fetch(&format!("profile/{user}")).await
    }

    /// The contents of the first event of this type from `sender`.
    pub(super) async fn event_of(
        &self,
        room: &str,
        sender: &str,
        kind: &str,
    ) -> anyhow::Result<Value> {
        until(&format!("{kind} from {sender}"), PATIENCE, async || {
            let page = self
                .fetch(&format!("rooms/{room}/messages?dir=b&limit=50"))
                .await
                .ok()?;
            let events = page["chunk"].as_array()?;
            let found = events
                .iter()
                .find(|event| event["sender"] == sender && event["type"] == kind)?;
            Some(found["content"].clone())
        })
        .await
    }

    /// The rooms that the person is in.
    pub(super) async fn rooms(&self) -> anyhow::Result<Vec<String>> {
        let rooms = self.fetch("joined_rooms").await?;
        let rooms = rooms["joined_rooms"].as_array().context("a list")?;
        let rooms = rooms
            .iter()
            .filter_map(|room| Some(room.as_str()?.to_owned()));
        Ok(rooms.collect())
    }

    /// The content of a state event, if there is one.
    pub(super) async fn state(&self, room: &str, event_type: &str, key: &str) -> Option<Value> {
        let path = format!("rooms/{room}/state/{event_type}/{key}");
        self.fetch(&path).await.ok()
    }

    /// The last messages of a room, newest first, each with its edits: the whole events.
    pub(super) async fn messages(&self, room: &str) -> anyhow::Result<Vec<Value>> {
        let page = self
            .fetch(&format!("rooms/{room}/messages?dir=b&limit=50"))
            .await?;
        let events = page["chunk"].as_array().context("a list")?.clone();
        let messages = events.into_iter();
        Ok(messages
            .filter(|event| event["type"] == "m.room.message")
            .collect())
    }

    /// Posts to a room: `leave`, or whatever else there is.
    pub(super) async fn post(&self, room: &str, what: &str, body: Value) -> anyhow::Result<Value> {
        let request = self.http.post(url(&format!("rooms/{room}/{what}")));
        let answer = request.bearer_auth(&self.token).json(&body).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Sends a message; the status that the homeserver answers with.
    pub(super) async fn say(&self, room: &str, text: &str) -> anyhow::Result<u16> {
        let request = self
            .http
            .put(url(&format!("rooms/{room}/send/m.room.message/1")));
        let content = json!({ "msgtype": "m.text", "body": text });
        let answer = request
            .bearer_auth(&self.token)
            .json(&content)
            .send()
            .await?;
        Ok(answer.status().as_u16())
    }

    async fn fetch(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self
            .http
            .get(url(path))
            .bearer_auth(&self.token)
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}

fn url(path: &str) -> String {
    format!("{}/_matrix/client/v3/{path}", synapse::URL)
}
