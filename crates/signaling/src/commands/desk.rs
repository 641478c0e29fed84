//! Takes commands one after the other, carries them out and answers.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use mxtrunk_matrix::RoomEvent;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::answers::{Answer, text};
use super::parse::parse;
use super::{Command, Language};
use crate::Peers;
use crate::directory::Line;
use crate::line_settings::setting::{Setting, set};

/// So many commands of one person are heard in [`WINDOW`].
const COMMANDS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// What may wait, all people together; a homeserver that is slow to take answers delays commands, not calls.
const QUEUE: usize = 64;

/// Its near end.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    queue: mpsc::Sender<RoomEvent>,
}

impl Desk {
    /// Works until its last near end is dropped.
    pub(crate) fn start(peers: Peers) -> Self {
        let (queue, mut events) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            let mut clerk = Clerk {
                peers,
                rates: Rates::default(),
                told_unreadable: HashSet::new(),
            };
            while let Some(event) = events.recv().await {
                clerk.take(event).await;
            }
        });
        Desk { queue }
    }

    /// Something that was said to the service account.
    pub(crate) fn hear(&self, event: RoomEvent) {
        if self.queue.try_send(event).is_err() {
            warn!("too many commands wait to be carried out: one was dropped");
        }
    }
}

struct Clerk {
    peers: Peers,
    rates: Rates,
    told_unreadable: HashSet<OwnedRoomId>,
}

impl Clerk {
    async fn take(&mut self, event: RoomEvent) {
        match event {
            RoomEvent::ServiceInvited {
                room,
                sender,
                direct,
            } => {
                self.on_invite(&room, &sender, direct).await;
            }
            RoomEvent::Command { room, sender, body } => {
                self.on_command(&room, &sender, &body).await
            }
            RoomEvent::Unreadable { room, sender }
                if self.told_unreadable.len() < 1_000
                    && self.told_unreadable.insert(room.clone()) =>
            {
                let language = self.language_of(&sender);
                self.answer(&room, &Answer::Unreadable, language).await;
            }
            _ => {}
        }
    }

    fn line_of(&self, user: &UserId) -> Option<Line> {
        self.peers.directory.now().line_of(user).cloned()
    }

    fn language_of(&self, user: &UserId) -> Language {
        self.peers.app.language_of(user)
    }

    /// Only people with a line have something to set, and only a direct chat is theirs alone.
    async fn on_invite(&mut self, room: &RoomId, sender: &UserId, direct: bool) {
        if !direct || self.line_of(sender).is_none() || !self.rates.admits(sender, Instant::now()).0
        {
            debug!(%room, %sender, "an invite of the service account is turned down");
            if let Err(error) = self.peers.app.decline_invite(room).await {
                debug!(%error, "an invite could not be turned down");
            }
            return;
        }
        match self.peers.app.join_commands(room, sender).await {
            Ok(true) => {
                let known = self.peers.line_settings.of(sender).language.is_some();
                let language = self.language_of(sender);
                self.answer(room, &Answer::Greeting, language).await;
                // Who has chosen no language may read another one better.
                let others = Language::ALL.into_iter();
                for other in others.filter(|other| !known && *other != language) {
                    self.answer(room, &Answer::Greeting, other).await;
                }
            }
            Ok(false) => {
                let language = self.language_of(sender);
                self.answer(room, &Answer::Unreadable, language).await;
            }
            Err(error) => {
                warn!(%error, "the service account could not join a chat that it was invited to")
            }
        }
    }

    async fn on_command(&mut self, room: &RoomId, sender: &UserId, body: &str) {
        let language = self.language_of(sender);
        let Some(line) = self.line_of(sender) else {
            debug!(%sender, "a command of somebody without a line: ignored");
            return;
        };
        match self.rates.admits(sender, Instant::now()) {
            (true, _) => {}
            (false, true) => return self.answer(room, &Answer::TooMany, language).await,
            (false, false) => return,
        }
        let command = match parse(body) {
            Ok(command) => command,
            Err(why) => {
                return self
                    .answer(room, &Answer::Misunderstood(why), language)
                    .await;
            }
        };
        debug!(%sender, ?command, "a command");
        self.carry_out(room, &line, command, language).await;
    }

    async fn carry_out(
        &mut self,
        room: &RoomId,
        line: &Line,
        command: Command,
        language: Language,
    ) {
        let wanted = match command {
            Command::Help => return self.answer(room, &Answer::Help, language).await,
            Command::Status => {
                let now = self.peers.line_settings.of(&line.user);
                return self.answer(room, &Answer::Status(&now), language).await;
            }
            Command::Set(wanted) => wanted,
        };
        match set(&self.peers, line, &wanted).await {
            Ok(now) => {
                // It may be another one by now.
                let language = self.language_of(&line.user);
                self.answer(room, &Answer::Done(&now), language).await;
            }
            Err(why) => {
                let raw = match &wanted {
                    Setting::Forward { to: Some(raw), .. } => raw,
                    _ => "",
                };
                let answer = Answer::NotSet(why, raw);
                self.answer(room, &answer, language).await;
            }
        }
    }

    async fn answer(&self, room: &RoomId, answer: &Answer<'_>, language: Language) {
        let text = text(answer, language);
        if let Err(error) = self.peers.app.answer_command(room, &text).await {
            debug!(%error, "an answer did not reach the chat");
        }
    }
}

/// How much each person has said lately.
#[derive(Debug, Default)]
struct Rates(HashMap<OwnedUserId, (Instant, u32)>);

impl Rates {
    /// Whether one more is heard; and if not, whether that is to be told.
    fn admits(&mut self, user: &UserId, now: Instant) -> (bool, bool) {
        self.0
            .retain(|_, (began, _)| now.duration_since(*began) < WINDOW);
        let (_, count) = self.0.entry(user.to_owned()).or_insert((now, 0));
        *count += 1;
        (*count <= COMMANDS, *count == COMMANDS + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_says_too_much_is_told_once_and_heard_again_a_minute_later() {
        let mut rates = Rates::default();
        let now = Instant::now();
        let user = |id: &str| UserId::parse(id).expect("a test user");
        let (alice, bob) = (user("@alice:x"), user("@bob:x"));
        for _ in 0..COMMANDS {
            assert!(rates.admits(&alice, now).0);
        }
        assert_eq!(rates.admits(&alice, now), (false, true));
        assert_eq!(rates.admits(&alice, now), (false, false));
        assert!(rates.admits(&bob, now).0);
        assert!(rates.admits(&alice, now + WINDOW).0);
    }
}
