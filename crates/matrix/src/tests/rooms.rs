use ruma::{RoomId, room_id, user_id};

use super::*;
use crate::RoomError;

const WAIT: Duration = Duration::from_secs(5);

impl Scene {
    async fn call_room(&self) -> String {
        self.try_call_room(WAIT).await.unwrap()
    }

    async fn try_call_room(&self, wait: Duration) -> Result<String, RoomError> {
        let alice = user_id!("@alice:localtest");
        let room = self
            .service
            .ensure_call_room(alice, "600", "Echo", wait)
            .await?;
        Ok(room.id().to_string())
    }

    fn rooms_made(&self) -> usize {
        let known = self.homeserver.known();
        known
            .requests
            .iter()
            .filter(|request| request.ends_with("/createRoom"))
            .count()
    }
}

#[tokio::test]
async fn the_first_call_makes_a_direct_chat_in_which_the_voice_button_works() {
    let scene = Scene::start().await;
    let room = scene.call_room().await;
    let known = scene.homeserver.known();
    let made = &known.rooms[&room];
    assert_eq!(made.memberships[TEL], "join");
    assert_eq!(made.memberships[ALICE], "join");
    assert_eq!(
        made.created_with,
        json!({
            "preset": "private_chat", "is_direct": true, "invite": [ALICE],
            "topic": "Telephone calls with 600. Join this room, and it rings here.",
            "power_level_content_override": { "events": { "org.matrix.msc3401.call.member": 0 } },
            "initial_state": [{
                "type": "uk.half-shot.bridge", "state_key": "org.mxtrunk://tel/600",
                "content": {
                    "bridgebot": "@mxtrunk:localtest", "creator": TEL,
                    "protocol": { "id": "tel", "displayname": "Telephone" },
                    "channel": { "id": "600", "displayname": "600" },
                    "com.beeper.room_type": "dm",
                },
            }],
        })
    );
}

#[tokio::test]
async fn the_next_call_uses_the_same_room() {
    let scene = Scene::start().await;
    let first = scene.call_room().await;
    assert_eq!(scene.call_room().await, first);
    assert_eq!(scene.rooms_made(), 1);
}

#[tokio::test]
async fn a_room_that_element_made_is_adopted() {
    let scene = Scene::start().await.with_room().await;
    scene.homeserver.known().users.insert(TEL.to_owned());
    assert_eq!(scene.call_room().await, ROOM);
}

#[tokio::test]
async fn two_calls_at_once_from_one_number_have_a_room_each_and_the_next_two_the_same() {
    let scene = Scene::start().await;
    let alice = user_id!("@alice:localtest");
    let call = || scene.service.ensure_call_room(alice, "600", "Echo", WAIT);
    for _ in 0..2 {
        let (a, b) = tokio::join!(call(), call());
        assert_ne!(a.unwrap().id(), b.unwrap().id());
        assert_eq!(scene.rooms_made(), 2);
    }
}

#[tokio::test]
async fn a_second_call_beside_one_that_is_on_leaves_that_ones_room_the_first() {
    let scene = Scene::start().await.with_room().await;
    scene.homeserver.known().users.insert(TEL.to_owned());
    let on = scene.service.occupy(room_id!("!room")).unwrap();
    for _ in 0..2 {
        assert_ne!(scene.call_room().await, ROOM);
    }
    assert_eq!(scene.rooms_made(), 1, "the second one is used again");
    assert!(scene.service.occupy(on.id()).is_none());
    drop(on);
    assert_eq!(scene.call_room().await, ROOM);
}

#[tokio::test]
async fn a_room_that_the_virtual_user_is_out_of_is_forgotten() {
    let scene = Scene::start().await;
    scene.homeserver.put_room(ROOM, &[ALICE]);
    scene.store().put_room(ROOM, ALICE, TEL).await.unwrap();
    assert_ne!(scene.call_room().await, ROOM);
    assert_eq!(scene.store().room(ROOM).await.unwrap(), None);
}

#[tokio::test]
async fn a_room_with_a_third_member_or_encryption_is_not_called_in() {
    let scene = Scene::start().await;
    scene
        .homeserver
        .put_room("!crowd", &[ALICE, TEL, "@bob:localtest"]);
    scene.homeserver.put_room("!secret", &[ALICE, TEL]);
    scene
        .homeserver
        .known()
        .rooms
        .get_mut("!secret")
        .unwrap()
        .encrypted = true;
    for room in ["!crowd", "!secret"] {
        scene.store().put_room(room, ALICE, TEL).await.unwrap();
    }
    let room = scene.call_room().await;
    assert!(room != "!crowd" && room != "!secret", "{room}");
}

#[tokio::test]
async fn a_user_who_left_the_room_is_invited_back() {
    let scene = Scene::start().await.with_room().await;
    let leave = || {
        let mut known = scene.homeserver.known();
        let room = known.rooms.get_mut(ROOM).unwrap();
        room.memberships
            .insert(ALICE.to_owned(), "leave".to_owned());
    };
    leave();
    assert_eq!(scene.call_room().await, ROOM);
}

#[tokio::test]
async fn a_user_who_does_not_join_is_told_of_and_the_room_is_kept_for_the_next_call() {
    let scene = Scene::start().await;
    scene.homeserver.known().auto_accept = false;
    for _ in 0..2 {
        let error = scene
            .try_call_room(Duration::from_millis(50))
            .await
            .unwrap_err();
        assert!(matches!(error, RoomError::NotJoined { .. }), "{error}");
    }
    assert_eq!(scene.rooms_made(), 1);
}

#[tokio::test]
async fn the_news_of_a_join_ends_the_wait() {
    let scene = Scene::start().await;
    scene.homeserver.known().auto_accept = false;
    let news = async {
        until("the room is made", || scene.rooms_made() == 1).await;
        let mut join = member(ALICE, ALICE, "join");
        join["room_id"] = json!("!made0");
        // The fake never lets her in: only the news of it can end the wait.
        scene.push("1", json!([join])).await;
    };
    let (room, ()) = tokio::join!(scene.try_call_room(WAIT), news);
    assert_eq!(room.unwrap(), "!made0");
}

#[tokio::test]
async fn who_is_joined_and_what_is_encrypted_can_be_asked() {
    let scene = Scene::start().await.with_room().await;
    let room: &RoomId = room_id!("!room");
    assert!(
        scene
            .service
            .is_joined(room, user_id!("@alice:localtest"))
            .await
            .unwrap()
    );
    assert!(
        !scene
            .service
            .is_joined(room, user_id!("@bob:localtest"))
            .await
            .unwrap()
    );
    assert!(!scene.service.is_encrypted(room).await.unwrap());
    scene
        .homeserver
        .known()
        .rooms
        .get_mut(ROOM)
        .unwrap()
        .encrypted = true;
    assert!(scene.service.is_encrypted(room).await.unwrap());
}

#[tokio::test]
async fn a_call_finds_or_makes_its_room_while_the_database_is_locked() {
    let scene = Scene::start().await;
    let known = scene.call_room().await;
    let mut other = scene.other().await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    assert_eq!(scene.call_room().await, known);
    let alice = user_id!("@alice:localtest");
    let made = scene.service.ensure_call_room(alice, "601", "Clip", WAIT);
    assert!(made.await.is_ok());
}

/// What was more than 100 messages back was not found, and written once more.
#[tokio::test]
async fn a_message_is_looked_for_far_back_and_not_for_ever() {
    let scene = Scene::start().await;
    scene.homeserver.put_room(ROOM, &["@mxtrunk:localtest"]);
    let room: &RoomId = room_id!("!room");
    for n in 0..620 {
        let content = json!({ "msgtype": "m.notice", "body": n });
        let txn_id = n.to_string();
        let written = scene
            .service
            .write_as_service(room, &txn_id, &content, None);
        written.await.unwrap();
    }
    let looks_for = async |wanted: u64| {
        let mut seen = 0;
        let looked = scene.service.look_back(room, |_, content| {
            seen += 1;
            content["body"] == wanted
        });
        looked.await.unwrap();
        seen
    };
    assert_eq!(looks_for(619).await, 1);
    assert_eq!(looks_for(300).await, 320);
    assert_eq!(looks_for(0).await, 500);
}
