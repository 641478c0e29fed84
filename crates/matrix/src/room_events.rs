//! From the homeserver's events to what signaling needs to know.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mxtrunk_store::{Room, StoreError};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::Value;

use crate::appservice::{Inner, in_time};
use crate::call_events::{CallEventIn, CallEventKind, Invite};
use crate::homeserver::HomeserverError;

/// One event of a call room, in the order of the homeserver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomEvent {
    /// A call event of a local user.
    Call(IncomingCallEvent),
    /// The room is encrypted: the user's call events cannot be read.
    Encrypted {
        /// The room.
        room: OwnedRoomId,
        /// Who sent the unreadable event, or switched encryption on.
        sender: OwnedUserId,
        /// The virtual user in the room.
        virtual_user: OwnedUserId,
        /// Its number.
        number: String,
        /// Something that cannot be read was sent, which may have been a hang-up; else encryption was only switched on.
        unreadable: bool,
    },
    /// A member is out of the room: the line's user, or our virtual user.
    Left {
        /// The room.
        room: OwnedRoomId,
        /// Who.
        user: OwnedUserId,
        /// The virtual user of the room.
        virtual_user: OwnedUserId,
    },
    /// A local user invites the service account.
    ServiceInvited {
        /// The room.
        room: OwnedRoomId,
        /// Who.
        sender: OwnedUserId,
        /// They mean a direct chat.
        direct: bool,
    },
    /// A person wrote to the service account in their direct chat.
    Command {
        /// The room.
        room: OwnedRoomId,
        /// Who; not necessarily one with a line.
        sender: OwnedUserId,
        /// The text.
        body: String,
    },
    /// A person wrote to the service account in their direct chat, and it is encrypted.
    Unreadable {
        /// The room.
        room: OwnedRoomId,
        /// Who.
        sender: OwnedUserId,
    },
    /// A local user came into the room.
    Joined {
        /// The room.
        room: OwnedRoomId,
        /// Who.
        user: OwnedUserId,
        /// The virtual user of the room.
        virtual_user: OwnedUserId,
    },
}

/// A call event of a local user, and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingCallEvent {
    /// The room.
    pub room: OwnedRoomId,
    /// The user; local, but not necessarily one with a line.
    pub sender: OwnedUserId,
    /// The event.
    pub event_id: OwnedEventId,
    /// How old it was when it arrived.
    pub age: Duration,
    /// The virtual user of the room.
    pub virtual_user: OwnedUserId,
    /// The number that the virtual user stands for.
    pub number: String,
    /// What it says.
    pub event: CallEventIn,
}

/// The fields of an event that we look at.
struct Event<'a> {
    event_type: &'a str,
    room: OwnedRoomId,
    sender: OwnedUserId,
    event_id: OwnedEventId,
    state_key: Option<&'a str>,
    content: &'a Value,
    raw: &'a Value,
}

impl<'a> Event<'a> {
    fn read(raw: &'a Value) -> Option<Self> {
        let text = |field: &str| raw.get(field).and_then(Value::as_str);
        Some(Event {
            event_type: text("type")?,
            room: RoomId::parse(text("room_id")?).ok()?,
            sender: UserId::parse(text("sender")?).ok()?,
            event_id: EventId::parse(text("event_id")?).ok()?,
            state_key: raw.get("state_key").and_then(Value::as_str),
            content: raw.get("content").unwrap_or(&Value::Null),
            raw,
        })
    }

    /// The homeserver's own word where it gives one, else by our clock, which may differ from its.
    fn age(&self) -> Duration {
        let unsigned = self
            .raw
            .get("unsigned")
            .and_then(|unsigned| unsigned.get("age"));
        let told = unsigned
            .or_else(|| self.raw.get("age"))
            .and_then(Value::as_i64);
        if let Some(told) = told {
            return Duration::from_millis(u64::try_from(told).unwrap_or(0));
        }
        let sent = self
            .raw
            .get("origin_server_ts")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        now.saturating_sub(Duration::from_millis(sent))
    }

    fn membership(&self) -> Option<&str> {
        self.content.get("membership").and_then(Value::as_str)
    }

    fn membership_before(&self) -> Option<&str> {
        let unsigned = self.raw.get("unsigned")?;
        unsigned.get("prev_content")?.get("membership")?.as_str()
    }
}

impl Inner {
    /// What an event means for signaling, if anything. Does at once what the event asks of the
    /// application service itself.
    pub(crate) async fn take_in(
        self: &Arc<Self>,
        raw: &Value,
    ) -> Result<Option<RoomEvent>, StoreError> {
        let Some(event) = Event::read(raw) else {
            self.counters.malformed_events.add_one();
            return Ok(None);
        };
        // The homeserver sends us what our own users did, too.
        if self.namespace.owns(&event.sender) {
            return Ok(None);
        }
        if !self.namespace.is_local(&event.sender) {
            self.counters.foreign_senders.add_one();
            return Ok(None);
        }
        match event.event_type {
            "m.room.member" => self.take_in_membership(event).await,
            "m.room.message" => self.take_in_message(event).await,
            "m.room.encrypted" | "m.room.encryption" => self.take_in_encryption(event).await,
            "m.room.tombstone" if event.state_key == Some("") => {
                self.take_in_replacement(event).await?;
                Ok(None)
            }
            other => match CallEventKind::from_event_type(other) {
                Some(kind) => self.take_in_call_event(kind, event).await,
                None => Ok(None),
            },
        }
    }

    async fn take_in_call_event(
        &self,
        kind: CallEventKind,
        event: Event<'_>,
    ) -> Result<Option<RoomEvent>, StoreError> {
        let parsed = match CallEventIn::parse(kind, event.content) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.counters.malformed_events.add_one();
                tracing::debug!(room = %event.room, sender = %event.sender, %kind, %error, "call event not understood");
                return Ok(None);
            }
        };
        let Some((pair, virtual_user, number)) = self.pair_in(&event.room).await? else {
            return Ok(None);
        };
        if pair.user != event.sender.as_str() && !self.is_heard_in(&event.room, &event.sender).await
        {
            self.counters.strange_rooms.add_one();
            return Ok(None);
        }
        let for_another = matches!(
            &parsed,
            CallEventIn::Invite(Invite { invitee: Some(invitee), .. }) if *invitee != virtual_user
        );
        if for_another {
            return Ok(None);
        }
        self.homes.hear_of_call();
        Ok(Some(RoomEvent::Call(IncomingCallEvent {
            age: event.age(),
            room: event.room,
            sender: event.sender,
            event_id: event.event_id,
            virtual_user,
            number,
            event: parsed,
        })))
    }

    async fn take_in_message(&self, event: Event<'_>) -> Result<Option<RoomEvent>, StoreError> {
        let text = |field: &str| event.content.get(field).and_then(serde_json::Value::as_str);
        let (Some("m.text"), Some(body)) = (text("msgtype"), text("body")) else {
            return Ok(None);
        };
        // What somebody corrects was carried out already.
        if event.content.get("m.new_content").is_some() {
            return Ok(None);
        }
        let is_command = self.is_command_room(&event.room, &event.sender).await?;
        Ok(is_command.then(|| RoomEvent::Command {
            body: body.to_owned(),
            room: event.room,
            sender: event.sender,
        }))
    }

    async fn take_in_encryption(&self, event: Event<'_>) -> Result<Option<RoomEvent>, StoreError> {
        let writes = self.store.command_room(event.room.as_str()).await?;
        if let Some(user) = writes {
            let (room, sender) = (event.room, event.sender);
            let is_theirs = user == sender.as_str();
            return Ok(is_theirs.then_some(RoomEvent::Unreadable { room, sender }));
        }
        let found = self.virtual_user_in(&event.room).await?;
        Ok(found.map(|(virtual_user, number)| RoomEvent::Encrypted {
            room: event.room,
            sender: event.sender,
            virtual_user,
            number,
            unreadable: event.event_type == "m.room.encrypted",
        }))
    }

    async fn take_in_membership(
        self: &Arc<Self>,
        event: Event<'_>,
    ) -> Result<Option<RoomEvent>, StoreError> {
        let Some(member) = event.state_key.and_then(|key| UserId::parse(key).ok()) else {
            self.counters.malformed_events.add_one();
            return Ok(None);
        };
        let is_virtual = self.namespace.number_of(&member).is_some();
        if member == self.namespace.service_account() && event.membership() == Some("invite") {
            let direct = event.content.get("is_direct");
            return Ok(Some(RoomEvent::ServiceInvited {
                room: event.room,
                sender: event.sender,
                direct: direct.and_then(Value::as_bool).unwrap_or(false),
            }));
        }
        if !is_virtual && let Some(home) = self.store.home_with(event.room.as_str()).await? {
            let has_left = event.membership() == Some("leave") && event.sender == member;
            // Who turns an invite down has said what they want; who is shown out by another was not asked.
            if has_left && home.user == member && event.membership_before() != Some("invite") {
                self.left_home(&member).await?;
            }
            return Ok(None);
        }
        match event.membership() {
            Some("leave" | "ban") if self.leave_commands(&event.room).await? => Ok(None),
            Some("invite") if is_virtual => {
                self.homes.hear_of_call();
                self.accept_invite(event.room, event.sender, member).await;
                Ok(None)
            }
            Some("join") if event.membership_before() != Some("join") => {
                // Nobody waits for it: that is no error.
                let _ = self.joins.send((event.room.clone(), member.clone()));
                let found = self.virtual_user_in(&event.room).await?;
                Ok(found.map(|(virtual_user, _)| RoomEvent::Joined {
                    room: event.room,
                    user: member,
                    virtual_user,
                }))
            }
            Some("leave" | "ban") => self.take_in_leave(event.room, member, is_virtual).await,
            _ => Ok(None),
        }
    }

    /// A room was upgraded: calls that are on go on in the old one, and none begins there any more. Our virtual user comes
    /// along where it may; else Element's invite brings it, or a new room is made.
    async fn take_in_replacement(self: &Arc<Self>, event: Event<'_>) -> Result<(), StoreError> {
        let Some(known) = self.store.room(event.room.as_str()).await? else {
            return Ok(());
        };
        let replaced = self.store.mark_replaced(event.room.as_str());
        in_time("a call room was not marked as replaced", replaced).await;
        let next = event.content.get("replacement_room");
        let next = next.and_then(|room| RoomId::parse(room.as_str()?).ok());
        let virtual_user = UserId::parse(&known.virtual_user);
        if let (Some(next), Ok(virtual_user)) = (next, virtual_user)
            && event.sender.as_str() == known.user
        {
            self.accept_invite(next, event.sender, virtual_user).await;
        }
        Ok(())
    }

    async fn take_in_leave(
        &self,
        room: OwnedRoomId,
        user: OwnedUserId,
        is_virtual: bool,
    ) -> Result<Option<RoomEvent>, StoreError> {
        let known = self.store.room(room.as_str()).await?;
        let virtual_user = known.and_then(|known| UserId::parse(known.virtual_user).ok());
        let Some(virtual_user) = virtual_user else {
            return Ok(None);
        };
        if is_virtual {
            let forgotten = self.store.forget_room(room.as_str());
            in_time("a call room was not forgotten", forgotten).await;
        }
        Ok(Some(RoomEvent::Left {
            room,
            user,
            virtual_user,
        }))
    }

    /// Whether somebody is in a call room whom we do not know there. A homeserver that does not tell is believed: it has
    /// let them speak.
    async fn is_heard_in(&self, room: &RoomId, person: &UserId) -> bool {
        match self.homeserver.joined_members(room, None).await {
            Ok(members) => members.contains(person),
            Err(HomeserverError::Refused { .. }) => false,
            Err(_) => true,
        }
    }

    /// The virtual user of a call room, and its number.
    async fn virtual_user_in(
        &self,
        room: &RoomId,
    ) -> Result<Option<(OwnedUserId, String)>, StoreError> {
        let found = self.pair_in(room).await?;
        Ok(found.map(|(_, virtual_user, number)| (virtual_user, number)))
    }

    /// Who meets in a call room: as it is kept, the virtual user, and its number.
    async fn pair_in(
        &self,
        room: &RoomId,
    ) -> Result<Option<(Room, OwnedUserId, String)>, StoreError> {
        let pair = self.pair_of(room).await?;
        let found = pair.and_then(|pair| {
            let virtual_user = UserId::parse(&pair.virtual_user).ok()?;
            let number = self.namespace.number_of(&virtual_user)?;
            Some((pair, virtual_user, number))
        });
        if found.is_none() {
            self.counters.strange_rooms.add_one();
        }
        Ok(found)
    }
}
