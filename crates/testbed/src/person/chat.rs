//! A person's direct chat with the gateway's service account.

use anyhow::Context as _;
use serde_json::json;

use super::People;
use crate::synapse;

/// The chat of one person.
#[derive(Debug)]
pub struct Chat {
    people: People,
    user: String,
    room: String,
}

impl People {
    /// A person invites the service account into a direct chat; it need not come.
    #[must_use]
    pub fn chat(&self, user: &str) -> Chat {
        let server = synapse::SERVER_NAME;
        let chat = Chat {
            people: self.clone(),
            user: format!("@{user}:{server}"),
            room: format!("!chat-of-{user}:{server}"),
        };
        let service = format!("@mxtrunk:{server}");
        self.homeserver.put_room(&chat.room, &[&chat.user]);
        self.homeserver
            .push_invite(&chat.room, &chat.user, &service);
        chat
    }
}

impl Chat {
    /// What the service account has said next.
    ///
    /// # Errors
    /// When it says nothing in time.
    pub async fn reads(&self) -> anyhow::Result<String> {
        let read = self.people.read("an answer in the chat", |sent| {
            sent.event_type == "m.room.message" && sent.room == self.room
        });
        let text = read.await?.content["body"].as_str().map(str::to_owned);
        text.context("an answer without text")
    }

    /// The person writes.
    pub fn writes(&self, text: &str) {
        let content = json!({"msgtype": "m.text", "body": text});
        let homeserver = &self.people.homeserver;
        homeserver.push(&self.room, &self.user, "m.room.message", content);
    }

    /// The person writes, and reads the answer.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn asks(&self, text: &str) -> anyhow::Result<String> {
        self.writes(text);
        self.reads().await
    }

    /// Who is in the chat.
    #[must_use]
    pub fn members(&self) -> Vec<String> {
        self.people.homeserver.members(&self.room)
    }
}
