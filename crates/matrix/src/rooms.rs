//! Call rooms: exactly one line's user and one virtual user.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use mxtrunk_store::{Room, StoreError};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, MutexGuard, broadcast};
use tokio::time::{Instant, timeout, timeout_at};

use crate::appservice::{AccountError, AppService, Inner, in_time};
use crate::catalogue::{Language, fill};
use crate::furnish;
use crate::homeserver::{BUDGET, HomeserverError};
use crate::occupied::CallRoom;

/// How many of a pair's rooms are looked at before a new one is made.
const MAX_ROOMS_TRIED: usize = 4;

/// How often the homeserver is asked whether the user joined, in case the news of it was lost.
const JOIN_CHECK: Duration = Duration::from_secs(1);

/// How long a call waits for what the person's space may know of rooms that the database does not.
const ADOPTION: Duration = Duration::from_secs(2);

/// Why there is no room to call in.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The user did not join in time. Nothing rings for a user who is only invited: the homeserver
    /// needs `auto_accept_invites`.
    #[error("the user has not joined the room (is auto_accept_invites on at the homeserver?)")]
    NotJoined {
        /// The room that they are invited to.
        room: OwnedRoomId,
    },
    /// A call was faster in the room that was just made.
    #[error("a call has begun in the room that was made for another one")]
    Taken,
    /// The homeserver did not do its part.
    #[error(transparent)]
    Homeserver(#[from] HomeserverError),
    /// The store did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AccountError> for RoomError {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Homeserver(error) => RoomError::Homeserver(error),
            AccountError::Store(error) => RoomError::Store(error),
        }
    }
}

/// Keeps two calls of the same pair from making two rooms. Pairs share a fixed number of locks.
#[derive(Debug, Default)]
pub(crate) struct PairLocks([Mutex<()>; 16]);

impl PairLocks {
    async fn lock(&self, user: &UserId, virtual_user: &UserId) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (user, virtual_user).hash(&mut hasher);
        let index = hasher.finish() % self.0.len() as u64;
        let index = usize::try_from(index).unwrap_or_default();
        self.0[index].lock().await
    }
}

/// What a known room is good for.
enum Fitness {
    /// Both are joined, and nobody else.
    Ready,
    /// The user has yet to join.
    Awaited,
    /// The pair cannot talk there, for now.
    Unfit,
    /// Our virtual user is out of it.
    Lost,
}

impl AppService {
    /// A room for one call, in which `user` is joined and alone with the virtual user of `number`: one that is
    /// known and has no call, or a new one. The homeserver's part in this may take 8 s at most; then the user is waited
    /// for, who may take `wait` to join it: one that makes rooms is there, and may only be slow.
    ///
    /// # Errors
    /// [`RoomError`].
    pub async fn ensure_call_room(
        &self,
        user: &UserId,
        number: &str,
        display: &str,
        wait: Duration,
    ) -> Result<CallRoom, RoomError> {
        // Before the invite goes out: the news of the join may be faster than its answer.
        let joins = self.inner.joins.subscribe();
        let found = timeout(BUDGET, self.find_room_and_user(user, number, display)).await;
        let (virtual_user, room, ready) = found.map_err(|_| HomeserverError::Timeout)??;
        if !ready {
            let deadline = Instant::now() + wait;
            self.inner
                .await_join(joins, room.id(), user, &virtual_user, deadline)
                .await?;
        }
        Ok(room)
    }

    /// The virtual user, its room with this person, and whether they are in it.
    async fn find_room_and_user(
        &self,
        user: &UserId,
        number: &str,
        display: &str,
    ) -> Result<(OwnedUserId, CallRoom, bool), RoomError> {
        let virtual_user = self.ensure_virtual_user(number, display).await?;
        let _pair = self.inner.pairs.lock(user, &virtual_user).await;
        let (room, ready) = self.inner.find_or_create(user, &virtual_user).await?;
        Ok((virtual_user, room, ready))
    }

    /// Whether `user` is joined to the room.
    ///
    /// # Errors
    /// [`RoomError::Homeserver`].
    pub async fn is_joined(&self, room: &RoomId, user: &UserId) -> Result<bool, RoomError> {
        let members = self.inner.homeserver.joined_members(room, None).await?;
        Ok(members.contains(user))
    }

    /// Whether the room is encrypted, which makes call events unreadable for us.
    ///
    /// # Errors
    /// [`RoomError::Homeserver`]; also when none of our virtual users is in the room.
    pub async fn is_encrypted(&self, room: &RoomId) -> Result<bool, RoomError> {
        let virtual_user = match self.inner.store.room(room.as_str()).await? {
            Some(known) => UserId::parse(known.virtual_user).ok(),
            None => None,
        };
        let service_account = || self.inner.namespace.service_account();
        let as_user = virtual_user.unwrap_or_else(service_account);
        Ok(self.inner.homeserver.is_encrypted(room, &as_user).await?)
    }
}

impl Inner {
    /// The pair of a room: from the store, or else from the room's members.
    pub(crate) async fn pair_of(&self, room: &RoomId) -> Result<Option<Room>, StoreError> {
        if let Some(known) = self.store.room(room.as_str()).await? {
            return Ok(Some(known));
        }
        let members = match self.homeserver.joined_members(room, None).await {
            Ok(members) => members,
            Err(error) => {
                tracing::debug!(%room, %error, "cannot tell who is in the room");
                return Ok(None);
            }
        };
        let Some((user, virtual_user)) = self.pair_among(&members) else {
            return Ok(None);
        };
        self.remember(room, user, virtual_user).await;
        Ok(Some(Room {
            room_id: room.to_string(),
            user: user.to_string(),
            virtual_user: virtual_user.to_string(),
        }))
    }

    /// Keeps the room as the one that the pair used last. A database that does not take it in time holds up no call:
    /// whose room it is shows by who is in it.
    pub(crate) async fn remember(&self, room: &RoomId, user: &UserId, virtual_user: &UserId) {
        let (room, user, virtual_user) = (room.as_str(), user.as_str(), virtual_user.as_str());
        let kept = self.store.put_room(room, user, virtual_user);
        in_time("a call room was not kept", kept).await;
    }

    /// What a person is written to in.
    pub(crate) fn language_of(&self, user: &UserId) -> Language {
        if let Some(chosen) = self.homes.chosen_by(user) {
            return chosen;
        }
        let residents = self.homes.residents.borrow();
        let resident = residents.iter().find(|resident| resident.user == user);
        resident.map_or_else(Language::default, |resident| resident.language)
    }

    fn pair_among<'a>(
        &self,
        members: &'a BTreeSet<OwnedUserId>,
    ) -> Option<(&'a OwnedUserId, &'a OwnedUserId)> {
        let mut ours = members
            .iter()
            .filter(|user| self.namespace.number_of(user).is_some());
        let mut others = members.iter().filter(|user| !self.namespace.owns(user));
        match (ours.next(), ours.next(), others.next(), others.next()) {
            (Some(virtual_user), None, Some(user), None) => Some((user, virtual_user)),
            _ => None,
        }
    }

    /// A room for a call of the pair, and whether the user is in it already. Where they have a call with each other (a
    /// switchboard shows one number for all, and all who withhold theirs are one), this is another room than that of the
    /// call, which stays the one that they use first.
    async fn find_or_create(
        &self,
        user: &UserId,
        virtual_user: &UserId,
    ) -> Result<(CallRoom, bool), RoomError> {
        let known = self.rooms_of(user, virtual_user).await?;
        let mut first = None;
        let mut tried = 0;
        for room in known {
            let Ok(id) = RoomId::parse(room.room_id) else {
                continue;
            };
            let Some(room) = self.occupied.occupy(&id) else {
                first.get_or_insert(id);
                continue;
            };
            tried += 1;
            if tried > MAX_ROOMS_TRIED {
                break;
            }
            match self.fitness(&id, user, virtual_user).await? {
                Fitness::Ready => {
                    self.remember(&id, user, virtual_user).await;
                    self.keep_first(first, user, virtual_user).await;
                    return Ok((room, true));
                }
                Fitness::Awaited => return Ok((room, false)),
                Fitness::Unfit => {}
                Fitness::Lost => {
                    let forgotten = self.store.forget_room(id.as_str());
                    in_time("a call room was not forgotten", forgotten).await;
                }
            }
        }
        let made = self.make_call_room(user, virtual_user).await?;
        self.keep_first(first, user, virtual_user).await;
        Ok((made, false))
    }

    /// The rooms of a pair: as they are kept, or else from the person's space.
    async fn rooms_of(
        &self,
        user: &UserId,
        virtual_user: &UserId,
    ) -> Result<Vec<Room>, StoreError> {
        let (person, number) = (user.as_str(), virtual_user.as_str());
        let known = self.store.rooms_of(person, number).await?;
        if !known.is_empty() {
            return Ok(known);
        }
        // A second room for the pair is better than no call.
        match timeout(ADOPTION, self.adopt_call_rooms(user)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a person's call rooms were not looked up"),
            Err(_) => tracing::debug!("a person's call rooms were not looked up in time"),
        }
        self.store.rooms_of(person, number).await
    }

    async fn make_call_room(
        &self,
        user: &UserId,
        virtual_user: &UserId,
    ) -> Result<CallRoom, RoomError> {
        let number = self.namespace.number_of(virtual_user).unwrap_or_default();
        let phrases = self.language_of(user).phrases();
        let topic = fill(phrases.call_room_topic, &[("who", &number)]);
        let info = self.bridge_info(virtual_user, &number);
        let bridge = (furnish::bridge_key(&number), info);
        let room = self
            .homeserver
            .create_call_room(virtual_user, user, &topic, bridge)
            .await?;
        // Nobody else knows of it yet.
        let taken = self.occupied.occupy(&room).ok_or(RoomError::Taken)?;
        self.remember(&room, user, virtual_user).await;
        tracing::debug!(%room, %user, %virtual_user, "made a call room");
        self.wants_furnishing();
        Ok(taken)
    }

    /// The room of the call that is on is the one used first the next time, too.
    async fn keep_first(&self, first: Option<OwnedRoomId>, user: &UserId, virtual_user: &UserId) {
        if let Some(first) = first {
            self.remember(&first, user, virtual_user).await;
        }
    }

    async fn fitness(
        &self,
        room: &RoomId,
        user: &UserId,
        virtual_user: &UserId,
    ) -> Result<Fitness, HomeserverError> {
        let members = match self
            .homeserver
            .joined_members(room, Some(virtual_user))
            .await
        {
            Ok(members) => members,
            Err(HomeserverError::Refused { .. }) => return Ok(Fitness::Lost),
            Err(error) => return Err(error),
        };
        if !members.contains(virtual_user) {
            return Ok(Fitness::Lost);
        }
        // A third member takes the voice button away, and has no business in the call.
        let strangers = members
            .iter()
            .any(|member| member != user && member != virtual_user);
        if strangers || self.homeserver.is_encrypted(room, virtual_user).await? {
            return Ok(Fitness::Unfit);
        }
        if members.contains(user) {
            return Ok(Fitness::Ready);
        }
        match self.homeserver.membership(room, virtual_user, user).await? {
            Some(MembershipState::Invite) => Ok(Fitness::Awaited),
            Some(MembershipState::Ban) => Ok(Fitness::Unfit),
            _ => match self.homeserver.invite(room, virtual_user, user).await {
                Ok(()) => Ok(Fitness::Awaited),
                Err(HomeserverError::Refused { .. }) => Ok(Fitness::Unfit),
                Err(error) => Err(error),
            },
        }
    }

    async fn await_join(
        &self,
        mut joins: broadcast::Receiver<(OwnedRoomId, OwnedUserId)>,
        room: &RoomId,
        user: &UserId,
        virtual_user: &UserId,
        deadline: Instant,
    ) -> Result<(), RoomError> {
        while Instant::now() < deadline {
            let check_at = deadline.min(Instant::now() + JOIN_CHECK);
            if timeout_at(check_at, is_told_of(&mut joins, room, user))
                .await
                .is_ok()
            {
                return Ok(());
            }
            let members = self.homeserver.joined_members(room, Some(virtual_user));
            // The last question is put at the deadline.
            let members = timeout_at(deadline + JOIN_CHECK, members);
            let members = tokio::select! {
                () = is_told_of(&mut joins, room, user) => return Ok(()),
                members = members => members,
            };
            match members {
                Ok(Ok(members)) if members.contains(user) => return Ok(()),
                Ok(Err(error)) if !error.is_transient() => return Err(error.into()),
                Ok(_) | Err(_) => {}
            }
        }
        Err(RoomError::NotJoined {
            room: room.to_owned(),
        })
    }
}

/// Waits for the news that `user` joined `room`.
async fn is_told_of(
    joins: &mut broadcast::Receiver<(OwnedRoomId, OwnedUserId)>,
    room: &RoomId,
    user: &UserId,
) {
    loop {
        match joins.recv().await {
            Ok((joined_room, joined)) if joined_room == room && joined == user => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return std::future::pending().await,
        }
    }
}
