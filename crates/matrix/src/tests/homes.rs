use axum::http::StatusCode;
use mxtrunk_store::Home;
use ruma::{UserId, user_id};

use super::*;
use crate::Resident;
use crate::catalogue::Language;

const BOB: &str = "@bob:localtest";

fn resident(user: &str, language: Language) -> Resident {
    let user = UserId::parse(user).unwrap();
    Resident { user, language }
}

impl Scene {
    fn keep(&self, users: &[&str]) {
        let people = users.iter().map(|user| resident(user, Language::English));
        self.service.keep_homes(people.collect());
    }

    /// Space and history of a person, once they are settled.
    async fn home_of(&self, user: &str) -> (String, String) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let home = self.store().home(user).await.unwrap();
            if let Some(home) = home.filter(|home| home.settled) {
                return (home.space.unwrap(), home.history.unwrap());
            }
            assert!(tokio::time::Instant::now() < deadline, "{user} has no home");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn rooms_there(&self) -> usize {
        self.homeserver.known().rooms.len()
    }

    fn state_of(&self, room: &str, event_type: &str, key: &str) -> Value {
        let known = self.homeserver.known();
        let key = (event_type.to_owned(), key.to_owned());
        known.rooms[room]
            .state
            .get(&key)
            .cloned()
            .unwrap_or(Value::Null)
    }

    /// The person's membership changed, and the service hears of it.
    async fn membership(&self, txn: &str, room: &str, membership: &str, before: &str) {
        {
            let mut known = self.homeserver.known();
            let members = &mut known.rooms.get_mut(room).unwrap().memberships;
            members.insert(ALICE.to_owned(), membership.to_owned());
        }
        let mut event = member(ALICE, ALICE, membership);
        event["room_id"] = json!(room);
        event["unsigned"]["prev_content"] = json!({ "membership": before });
        assert_eq!(self.push(txn, json!([event])).await.0, 200);
    }

    fn membership_in(&self, room: &str) -> String {
        self.homeserver.known().rooms[room].memberships[ALICE].clone()
    }
}

#[tokio::test]
async fn a_person_with_a_line_gets_a_space_with_a_read_only_history_in_it() {
    let scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let (space, history) = scene.home_of(ALICE).await;
    assert_eq!(scene.rooms_there(), 2);
    assert_eq!(
        scene.state_of(&space, "m.space.child", &history),
        json!({ "via": ["localtest"], "order": "0" })
    );
    assert_eq!(
        scene.state_of(&history, "m.space.parent", &space),
        json!({ "via": ["localtest"], "canonical": true })
    );
    let known = scene.homeserver.known();
    let made = |room: &str| known.rooms[room].created_with.clone();
    assert_eq!(made(&space)["creation_content"]["type"], "m.space");
    assert_eq!(made(&space)["name"], "Telephone");
    let levels = &made(&history)["power_level_content_override"];
    assert_eq!(
        (&levels["events_default"], &levels["invite"]),
        (&json!(50), &json!(100))
    );
    for room in [&space, &history] {
        assert_eq!(known.rooms[room].memberships[ALICE], "join");
        // Who has a line is nobody's business, and anybody may ask where an alias leads.
        let alias = made(room)["room_alias_name"].to_string();
        assert!(!alias.contains("alice"), "{alias}");
    }
}

#[tokio::test]
async fn homes_that_are_there_are_left_alone_after_a_restart() {
    let mut scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let home = scene.home_of(ALICE).await;
    scene.restart().await;
    until("the start is over", || scene.homeserver.known().pings == 2).await;
    scene.homeserver.known().requests.clear();
    scene.keep(&[ALICE, BOB]);
    scene.home_of(BOB).await;
    assert_eq!(scene.home_of(ALICE).await, home);
    assert_eq!(scene.rooms_there(), 4);
    // Nothing was asked about the first one.
    let known = scene.homeserver.known();
    let about = |request: &&String| request.contains(&home.0) || request.contains(&home.1);
    assert_eq!(known.requests.iter().filter(about).count(), 0);
}

#[tokio::test]
async fn with_an_empty_database_homes_and_call_rooms_are_found_again_and_not_doubled() {
    let mut scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let home = scene.home_of(ALICE).await;
    let alice = user_id!("@alice:localtest");
    let wait = Duration::from_secs(5);
    let service = scene.service.clone();
    let call_room = || service.ensure_call_room(alice, "600", "Echo", wait);
    let room = call_room().await.unwrap().id().to_owned();
    until("the call room stands in the space", || {
        scene.state_of(&home.0, "m.space.child", room.as_str()) != Value::Null
    })
    .await;
    scene.database = scene._directory.path().join("another.db");
    scene.restart().await;
    scene.keep(&[ALICE]);
    assert_eq!(scene.home_of(ALICE).await, home);
    let again = scene
        .service
        .ensure_call_room(alice, "600", "Echo", wait)
        .await;
    assert_eq!(again.unwrap().id(), room);
    assert_eq!(scene.rooms_there(), 3);
}

#[tokio::test]
async fn with_an_empty_database_a_call_that_comes_before_its_persons_home_is_found_again_gets_no_second_room()
 {
    let mut scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let (space, _) = scene.home_of(ALICE).await;
    let alice = user_id!("@alice:localtest");
    let call = async |scene: &Scene| {
        let service = &scene.service;
        let room = service.ensure_call_room(alice, "600", "Echo", PATIENCE);
        room.await.unwrap().id().to_owned()
    };
    let room = call(&scene).await;
    until("the call room stands in the space", || {
        scene.state_of(&space, "m.space.child", room.as_str()) != Value::Null
    })
    .await;
    scene.database = scene._directory.path().join("another.db");
    scene.restart().await;
    assert_eq!(call(&scene).await, room);
    assert_eq!(scene.rooms_there(), 3);
}

#[tokio::test]
async fn a_room_that_was_made_though_its_answer_was_lost_is_not_made_twice() {
    let scene = Scene::start().await;
    scene.homeserver.known().answers_to_lose = 2;
    scene.keep(&[ALICE]);
    scene.home_of(ALICE).await;
    assert_eq!(scene.rooms_there(), 2);
}

#[tokio::test]
async fn a_homeserver_in_trouble_delays_homes_and_doubles_nothing() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
        let scene = Scene::start().await;
        until("the start is over", || scene.homeserver.known().pings == 1).await;
        scene.homeserver.known().trouble = Some((3, status));
        scene.keep(&[ALICE, BOB]);
        scene.home_of(ALICE).await;
        scene.home_of(BOB).await;
        assert_eq!(scene.rooms_there(), 4);
    }
}

#[tokio::test]
async fn a_person_who_leaves_space_or_history_is_invited_back() {
    let scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let (space, history) = scene.home_of(ALICE).await;
    for (n, room) in [space, history].into_iter().enumerate() {
        scene
            .membership(&n.to_string(), &room, "leave", "join")
            .await;
        until("she is back", || scene.membership_in(&room) == "join").await;
        scene.home_of(ALICE).await;
    }
}

#[tokio::test]
async fn a_person_who_turns_the_invite_down_is_left_in_peace() {
    let scene = Scene::start().await;
    scene.homeserver.known().auto_accept = false;
    scene.keep(&[ALICE]);
    let (space, _) = scene.home_of(ALICE).await;
    scene.membership("1", &space, "leave", "invite").await;
    assert!(scene.store().home(ALICE).await.unwrap().unwrap().settled);
    assert_eq!(scene.membership_in(&space), "leave");
}

#[tokio::test]
async fn another_language_gives_the_rooms_other_names() {
    let scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let (space, history) = scene.home_of(ALICE).await;
    let french = resident(ALICE, Language::French);
    scene.service.keep_homes(vec![french]);
    until("the rooms are renamed", || {
        let name = |room: &str| scene.state_of(room, "m.room.name", "")["name"].clone();
        name(&space) == "Téléphone" && name(&history) == "Historique des appels"
    })
    .await;
    assert_eq!(scene.rooms_there(), 2);
}

#[tokio::test]
async fn a_room_that_element_made_is_furnished_once_the_virtual_user_is_in_it() {
    let scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let (space, _) = scene.home_of(ALICE).await;
    scene.homeserver.put_room(ROOM, &[ALICE]);
    let invite = member(ALICE, TEL, "invite");
    assert_eq!(scene.push("1", json!([invite])).await.0, 200);
    let holds = |event_type: &str, key: &str| scene.state_of(ROOM, event_type, key) != Value::Null;
    until("it is furnished", || {
        holds("m.space.parent", &space) && holds("uk.half-shot.bridge", "org.mxtrunk://tel/600")
    })
    .await;
    let levels = scene.state_of(ROOM, "m.room.power_levels", "");
    assert_eq!(levels["events"]["org.matrix.msc3401.call.member"], 0);
    until("it stands in the space", || {
        let child = scene.state_of(&space, "m.space.child", ROOM);
        child["order"] == "1600" && child["org.mxtrunk.virtual_user"] == TEL
    })
    .await;
}

#[tokio::test]
async fn where_people_are_not_to_write_in_call_rooms_the_level_of_messages_says_so() {
    let homeserver = FakeHomeserver::start().await;
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("mxtrunk.db");
    let change = |config: &mut MatrixConfig| config.messages_in_call_rooms = false;
    let (service, events) = serve_with(&homeserver, &database, 16, change).await;
    let scene = Scene::of(homeserver, service, events, database, directory);
    let scene = scene.with_room().await;
    scene.keep(&[ALICE]);
    let level = |event_type: &str| {
        let levels = scene.state_of(ROOM, "m.room.power_levels", "");
        levels["events"][event_type].clone()
    };
    until("nobody may write there", || level("m.room.message") == 50).await;
    assert_eq!(level("m.sticker"), 50);
    assert_eq!(level("org.matrix.msc3401.call.member"), 0);
    // A level of calls is none of theirs.
    assert_eq!(level("m.call.invite"), Value::Null);
}

#[tokio::test]
async fn a_pass_over_the_rooms_leaves_out_one_that_the_virtual_user_is_on_its_way_into() {
    const OTHER: &str = "!other";
    let scene = Scene::start().await;
    let room = ruma::RoomId::parse(ROOM).unwrap();
    let homes = &scene.service.inner.homes;
    homes.joins(&room, true);
    for there in [ROOM, OTHER] {
        scene.homeserver.put_room(there, &[ALICE, TEL]);
        scene.store().put_room(there, ALICE, TEL).await.unwrap();
    }
    scene.keep(&[ALICE]);
    let (space, _) = scene.home_of(ALICE).await;
    let stands = |room: &str| scene.state_of(&space, "m.space.child", room) != Value::Null;
    until("the other is furnished", || stands(OTHER)).await;
    let outside = scene.store().rooms_outside(9).await.unwrap();
    assert!(outside.iter().any(|(left, _)| left.room_id == ROOM));
    assert!(!stands(ROOM));
    homes.joins(&room, false);
    homes.unfurnished.notify_one();
    until("this one too", || stands(ROOM)).await;
}

/// The newest room, which the homeserver did not answer for, came first in each pass, and no other had its turn.
#[tokio::test]
async fn a_room_that_is_sick_does_not_keep_the_others_out_of_their_space() {
    let scene = Scene::start().await;
    let others: Vec<_> = (0..30).map(|n| format!("!other{n}")).collect();
    for there in others.iter().map(String::as_str).chain(["!sick"]) {
        scene.homeserver.put_room(there, &[ALICE, TEL]);
        scene.store().put_room(there, ALICE, TEL).await.unwrap();
    }
    scene.homeserver.known().sick = Some("sick".to_owned());
    scene.keep(&[ALICE]);
    let (space, _) = scene.home_of(ALICE).await;
    let stands = |room: &str| scene.state_of(&space, "m.space.child", room) != Value::Null;
    let all_others = || others.iter().all(|room| stands(room));
    until("the others are furnished", all_others).await;
    assert!(!stands("!sick"));
    scene.homeserver.known().sick = None;
    until("it is well again", || stands("!sick")).await;
}

/// The first person's home, which the homeserver did not answer for, ended each pass.
#[tokio::test]
async fn a_home_that_is_sick_does_not_keep_the_others_waiting() {
    let scene = Scene::start().await;
    let mut home = Home::nowhere(ALICE);
    home.space = Some("!sick".to_owned());
    scene.store().put_home(&home).await.unwrap();
    scene.homeserver.put_room("!sick", &["@mxtrunk:localtest"]);
    scene.homeserver.known().sick = Some("sick".to_owned());
    scene.keep(&[ALICE, BOB]);
    scene.home_of(BOB).await;
    assert!(!scene.store().home(ALICE).await.unwrap().unwrap().settled);
    scene.homeserver.known().sick = None;
    assert_eq!(scene.home_of(ALICE).await.0, "!sick");
}

#[tokio::test]
async fn rooms_wait_while_a_call_is_set_up_but_not_for_ever() {
    let homes = crate::homes::Homes::default();
    let waited = async || {
        let begun = tokio::time::Instant::now();
        let waiting = homes.let_calls_by();
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "for ever");
        begun.elapsed().as_secs()
    };
    assert_eq!(waited().await, 0);
    homes.hear_of_call();
    assert!(waited().await >= 2);
    let calls = async {
        loop {
            homes.hear_of_call();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        // The first call is heard of before anybody waits.
        biased;
        () = calls => {}
        seconds = waited() => assert!(seconds >= 4),
    }
}

#[tokio::test]
async fn a_room_that_was_upgraded_is_not_called_in_any_more() {
    let scene = Scene::start().await.with_room().await;
    scene.homeserver.known().users.insert(TEL.to_owned());
    scene.homeserver.put_room("!next", &[ALICE]);
    let mut tombstone = event(
        "m.room.tombstone",
        ALICE,
        json!({ "replacement_room": "!next" }),
    );
    tombstone["state_key"] = json!("");
    assert_eq!(scene.push("1", json!([tombstone])).await.0, 200);
    until("the virtual user comes along", || {
        scene.homeserver.known().rooms["!next"]
            .memberships
            .contains_key(TEL)
    })
    .await;
    let alice = user_id!("@alice:localtest");
    let room = scene
        .service
        .ensure_call_room(alice, "600", "Echo", PATIENCE)
        .await;
    assert_eq!(room.unwrap().id(), "!next");
}

#[tokio::test]
async fn whose_line_is_gone_is_shown_out_and_forgotten() {
    let scene = Scene::start().await;
    scene.keep(&[ALICE]);
    let (space, history) = scene.home_of(ALICE).await;
    let alice = user_id!("@alice:localtest");
    let room = scene
        .service
        .ensure_call_room(alice, "600", "Echo", PATIENCE)
        .await
        .unwrap();
    scene.keep(&[]);
    scene.service.give_up_home(alice).await.unwrap();
    {
        let known = scene.homeserver.known();
        assert_eq!(known.rooms[&space].memberships[ALICE], "leave");
        assert_eq!(known.rooms[&history].memberships[ALICE], "leave");
        assert_eq!(known.rooms[room.id().as_str()].memberships[TEL], "leave");
        assert!(known.aliases.is_empty());
    }
    assert_eq!(scene.store().home(ALICE).await.unwrap(), None);
    assert!(scene.store().rooms_of_user(ALICE).await.unwrap().is_empty());
}
