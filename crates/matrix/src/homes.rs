//! The rooms of ours that each person with a line has: the telephony space, and the read-only call history in it. They
//! are made one after the other, found again by their alias where the store has lost them, and looked after: who leaves
//! is invited back.

mod passes;
mod shared;
mod standing;
mod widget;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use mxtrunk_store::{Home, StoreError};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::json;
use sha2::Sha256;
use tokio::time::Instant;
use tracing::debug;

use crate::appservice::{AppService, Inner};
use crate::catalogue::Language;
use crate::furnish::{self, ORDER_OF_HISTORY};
use crate::homeserver::{HomeserverError, OwnRoom};
use crate::rooms::RoomError;

pub(crate) use passes::keep;
pub(crate) use shared::Homes;

/// How long an alias may lead to a room that we are not in before it is taken to be a ruin: Synapse enters the alias
/// first, and a slow one may still be making the room for an attempt that we gave up.
const MAKING: Duration = Duration::from_secs(120);

/// Marks the rooms, for whoever looks into them.
const MARK: &str = "org.mxtrunk.telephony";

/// A person whose rooms are looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// The line's user.
    pub user: OwnedUserId,
    /// What they are written to in, and their rooms are named in, where they have not chosen another language.
    pub language: Language,
}

/// The two rooms of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Space,
    History,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Part::Space => "space",
            Part::History => "history",
        }
    }

    fn of(self, home: &Home) -> Option<&str> {
        match self {
            Part::Space => home.space.as_deref(),
            Part::History => home.history.as_deref(),
        }
    }

    fn set(self, home: &mut Home, room: &RoomId) {
        let place = match self {
            Part::Space => &mut home.space,
            Part::History => &mut home.history,
        };
        *place = Some(room.to_string());
    }
}

impl AppService {
    /// Looks after the rooms of these people from now on, and of no others; in the background, for as long as it takes.
    pub fn keep_homes(&self, people: Vec<Resident>) {
        self.inner.homes.residents.send_replace(Arc::new(people));
    }

    /// A person has chosen what they are written to in: it holds from now on, for their rooms' names too.
    pub fn choose_language(&self, user: &UserId, language: Language) {
        if self.inner.homes.choose(user, language) {
            self.inner.homes.unsettled.notify_one();
        }
    }

    /// A person's line is gone: they are shown out of space and history, our users leave their call rooms and chats, and
    /// the rooms are forgotten. They must not be among those whose homes are kept any more.
    ///
    /// # Errors
    /// [`RoomError`]; what was done until then stays done, and may be asked for again.
    pub async fn give_up_home(&self, user: &UserId) -> Result<(), RoomError> {
        let inner = &self.inner;
        self.leave_rooms_of(user).await?;
        if let Some(home) = inner.store.home(user.as_str()).await? {
            // What the rooms were named in: the line, which knew its language, is gone.
            let language = home.language.as_deref().and_then(Language::from_word);
            let why = language.unwrap_or_default().phrases().line_is_gone;
            for part in [Part::History, Part::Space] {
                inner
                    .homeserver
                    .delete_alias(&inner.alias(part, user))
                    .await?;
                if let Some(room) = part.of(&home).and_then(|room| RoomId::parse(room).ok()) {
                    inner.homeserver.show_out(&room, user, why).await?;
                    inner.homeserver.leave(&room, None).await?;
                }
            }
        }
        inner.store.forget_home(user.as_str()).await?;
        inner.homes.forget_choice(user);
        Ok(())
    }
}

impl Inner {
    /// The person, with the language that counts.
    fn wanted(&self, person: &Resident) -> Resident {
        let language = self.homes.chosen_by(&person.user);
        Resident {
            user: person.user.clone(),
            language: language.unwrap_or(person.language),
        }
    }

    /// Makes, finds or mends one person's home.
    async fn settle(&self, person: &Resident) -> Result<(), RoomError> {
        let user = &person.user;
        let known = self.store.home(user.as_str()).await?;
        let mut home = known.unwrap_or_else(|| Home::nowhere(user.as_str()));
        let space = self.settle_part(Part::Space, person, &mut home).await?;
        let history = self.settle_part(Part::History, person, &mut home).await?;
        self.homes.let_calls_by().await;
        let child = furnish::child(&self.namespace, ORDER_OF_HISTORY);
        self.homeserver
            .set_state(&space, None, "m.space.child", history.as_str(), &child)
            .await?;
        let parent = furnish::parent(&self.namespace);
        self.homeserver
            .set_state(&history, None, "m.space.parent", space.as_str(), &parent)
            .await?;
        if home.language.as_deref() != Some(person.language.word()) {
            self.name(&space, &history, person.language).await?;
        }
        self.settle_widget(&history, person.language, &mut home)
            .await?;
        self.settle_picture(&space, &history, &mut home).await?;
        home.language = Some(person.language.word().to_owned());
        home.settled = true;
        self.store.put_home(&home).await?;
        self.homes.unfurnished.notify_one();
        Ok(())
    }

    /// One of the rooms, with the person in it or invited.
    async fn settle_part(
        &self,
        part: Part,
        person: &Resident,
        home: &mut Home,
    ) -> Result<OwnedRoomId, RoomError> {
        self.homes.let_calls_by().await;
        let known = part.of(home).and_then(|room| RoomId::parse(room).ok());
        let room = match known {
            Some(room) if self.is_in(&room).await? => Some(room),
            _ => self.find(part, &person.user).await?,
        };
        let Some(room) = room else {
            let room = self.make(part, person, home).await?;
            part.set(home, &room);
            if part == Part::Space {
                home.language = Some(person.language.word().to_owned());
            }
            // Not to be made again should the next step fail.
            self.store.put_home(home).await?;
            debug!(%room, user = %person.user, part = part.word(), "made a telephony room");
            return Ok(room);
        };
        if part.of(home) != Some(room.as_str()) {
            part.set(home, &room);
            self.store.put_home(home).await?;
            match part {
                Part::Space => self.adopt_children(&room, &person.user).await?,
                Part::History => self.adopt_widget(&room, home).await?,
            }
        }
        self.let_in(&room, &person.user).await?;
        Ok(room)
    }

    /// Whether the service account is in a room of its own.
    async fn is_in(&self, room: &RoomId) -> Result<bool, HomeserverError> {
        let service = self.namespace.service_account();
        match self.homeserver.membership(room, &service, &service).await {
            Ok(membership) => Ok(membership == Some(MembershipState::Join)),
            Err(HomeserverError::Refused { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The room that the part's alias leads to. An alias that leads nowhere is taken away.
    async fn find(&self, part: Part, user: &UserId) -> Result<Option<OwnedRoomId>, RoomError> {
        let alias = self.alias(part, user);
        let Some(room) = self.homeserver.room_of_alias(&alias).await? else {
            return Ok(None);
        };
        if self.is_in(&room).await? {
            self.making().remove(alias.as_str());
            return Ok(Some(room));
        }
        let since = *self
            .making()
            .entry(alias.to_string())
            .or_insert_with(Instant::now);
        if since.elapsed() < MAKING {
            return Err(HomeserverError::Timeout.into());
        }
        self.homeserver.delete_alias(&alias).await?;
        self.making().remove(alias.as_str());
        Ok(None)
    }

    fn making(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        let making = self.homes.in_the_making.lock();
        making.unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(
        &self,
        part: Part,
        person: &Resident,
        home: &Home,
    ) -> Result<OwnedRoomId, RoomError> {
        let alias = self.alias(part, &person.user);
        let phrases = person.language.phrases();
        let mark = json!({ "user": person.user, "part": part.word() });
        let mut state = vec![(MARK, String::new(), mark)];
        let (name, topic, power_levels) = match part {
            Part::Space => (phrases.space, phrases.space_topic, levels(100)),
            Part::History => (phrases.history, phrases.history_topic, levels(50)),
        };
        if let (Part::History, Some(space)) = (part, &home.space) {
            state.push((
                "m.space.parent",
                space.clone(),
                furnish::parent(&self.namespace),
            ));
        }
        let room = OwnRoom {
            alias: alias.alias(),
            name,
            topic,
            is_space: part == Part::Space,
            power_levels,
            state,
            invite: person.user.clone(),
        };
        match self.homeserver.create_own_room(room).await {
            Ok(room) => Ok(room),
            // An attempt whose answer was lost has made it.
            Err(error) if error.is_refusal("M_ROOM_IN_USE") => {
                let found = self.find(part, &person.user).await?;
                found.ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Invites the person, unless they are in, or invited, or banned.
    async fn let_in(&self, room: &RoomId, user: &UserId) -> Result<(), HomeserverError> {
        let service = self.namespace.service_account();
        match self.homeserver.membership(room, &service, user).await? {
            Some(MembershipState::Join | MembershipState::Invite | MembershipState::Ban) => Ok(()),
            _ => self.homeserver.invite(room, &service, user).await,
        }
    }

    async fn name(
        &self,
        space: &RoomId,
        history: &RoomId,
        language: Language,
    ) -> Result<(), HomeserverError> {
        let phrases = language.phrases();
        for (room, name, topic) in [
            (space, phrases.space, phrases.space_topic),
            (history, phrases.history, phrases.history_topic),
        ] {
            let (name, topic) = (json!({ "name": name }), json!({ "topic": topic }));
            let homeserver = &self.homeserver;
            homeserver
                .set_state(room, None, "m.room.name", "", &name)
                .await?;
            homeserver
                .set_state(room, None, "m.room.topic", "", &topic)
                .await?;
        }
        Ok(())
    }

    /// The call rooms that a space has, for a store that knows nothing of them.
    async fn adopt_children(&self, space: &RoomId, user: &UserId) -> Result<(), RoomError> {
        for (event_type, room, content) in self.homeserver.all_state(space).await? {
            let virtual_user = content
                .get(furnish::VIRTUAL_USER)
                .and_then(|user| user.as_str());
            if let (true, Some(virtual_user)) = (event_type == "m.space.child", virtual_user) {
                self.store
                    .put_room(&room, user.as_str(), virtual_user)
                    .await?;
                self.store.mark_in_space(&room).await?;
            }
        }
        Ok(())
    }

    /// The call rooms of a person whose home has not been looked at yet. With an empty database homes are found again one
    /// after the other, and a call that comes before would be given a second room.
    pub(crate) async fn adopt_call_rooms(&self, user: &UserId) -> Result<(), RoomError> {
        let home = self.store.home(user.as_str()).await?;
        let is_known = home.is_some_and(|home| home.space.is_some());
        if !self.keeps_homes || is_known {
            return Ok(());
        }
        let alias = self.alias(Part::Space, user);
        if let Some(space) = self.homeserver.room_of_alias(&alias).await?
            && self.is_in(&space).await?
        {
            self.adopt_children(&space, user).await?;
        }
        Ok(())
    }

    /// The person has left a room of their home, of their own accord: they are invited back.
    pub(crate) async fn left_home(&self, user: &UserId) -> Result<(), StoreError> {
        if self.store.unsettle_home(user.as_str()).await? {
            self.homes.unsettled.notify_one();
        }
        Ok(())
    }

    /// An alias that says nothing of the person: anybody may ask a homeserver where it leads, and who has a line is
    /// nobody's business.
    fn alias(&self, part: Part, user: &UserId) -> ruma::OwnedRoomAliasId {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.alias_key.expose().as_bytes())
            .expect("HMAC takes a key of any length");
        mac.update(part.word().as_bytes());
        mac.update(b"\0");
        mac.update(user.as_str().as_bytes());
        let code = mac.finalize().into_bytes();
        let code: String = code[..12]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.namespace.alias(&code)
    }
}

/// Only the service account writes (`events_default`), changes anything or lets anybody in.
fn levels(events_default: u8) -> serde_json::Value {
    json!({
        "users_default": 0, "events_default": events_default, "state_default": 100,
        "invite": 100, "kick": 100, "ban": 100, "redact": 100,
        "events": {
            "m.room.name": 100, "m.room.topic": 100, "m.room.avatar": 100, "m.room.power_levels": 100,
            "m.room.encryption": 100, "m.room.tombstone": 100, "m.room.canonical_alias": 100,
            "m.room.history_visibility": 100, "m.room.server_acl": 100,
        },
    })
}
