use super::*;
use crate::call_events::CallEventIn;

#[tokio::test]
async fn the_transaction_of_a_real_client_reaches_signaling() {
    let mut scene = Scene::start().await;
    let sample = include_str!("../../tests/fixtures/appservice-transaction-m.call.invite.json");
    let sample: Value = serde_json::from_str(sample).unwrap();
    let room = sample["body"]["events"][0]["room_id"].as_str().unwrap();
    scene.homeserver.put_room(room, &[ALICE, TEL]);

    let (status, body) = scene.push_body("3", sample["body"].to_string()).await;
    assert_eq!((status, body), (200, json!({})));
    let RoomEvent::Call(call) = scene.next_event().await else {
        panic!("a call event");
    };
    assert_eq!(call.room, room);
    assert_eq!(call.sender, ALICE);
    assert_eq!(
        (call.virtual_user.as_str(), call.number.as_str()),
        (TEL, "600")
    );
    assert_eq!(call.age, Duration::from_millis(39));
    assert!(matches!(call.event, CallEventIn::Invite(_)));
}

#[tokio::test]
async fn nobody_but_the_homeserver_gets_in() {
    let scene = Scene::start().await.with_room().await;
    let url = scene.url("/transactions/1");
    let body = json!({ "events": [hangup(ALICE)] }).to_string();
    let put = || scene.http.put(&url).body(body.clone());

    let (status, reply) = answer(put()).await;
    assert_eq!(
        (status, &reply["errcode"]),
        (401, &json!("M_MISSING_TOKEN"))
    );
    for wrong in ["hs-toke", "hs-token2", "as-token", "x"] {
        let (status, reply) = answer(put().bearer_auth(wrong)).await;
        assert_eq!(
            (status, &reply["errcode"]),
            (403, &json!("M_FORBIDDEN")),
            "{wrong}"
        );
    }
    let nowhere = scene.http.get(scene.url("/no/such/thing"));
    let refused = nowhere.send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let kept = refused.headers().get("connection");
    assert!(kept.is_some_and(|kept| kept == "close"), "{kept:?}");
    assert_eq!(scene.service.counts().wrong_tokens, 6);
    assert!(!scene.store().is_transaction_seen("1 $1").await.unwrap());
}

#[tokio::test]
async fn a_repeated_transaction_is_taken_in_once_also_after_a_restart() {
    let mut scene = Scene::start().await.with_room().await;
    for _ in 0..2 {
        assert_eq!(scene.push("7", json!([hangup(ALICE)])).await.0, 200);
    }
    assert!(matches!(scene.next_event().await, RoomEvent::Call(_)));
    scene.expect_no_event();

    scene.restart().await;
    assert_eq!(scene.push("7", json!([hangup(ALICE)])).await.0, 200);
    scene.expect_no_event();
    assert_eq!(scene.service.counts().repeated_transactions, 1);
    assert_eq!(scene.push("8", json!([hangup(ALICE)])).await.0, 200);
    assert!(matches!(scene.next_event().await, RoomEvent::Call(_)));
}

#[tokio::test]
async fn a_homeserver_that_counts_from_1_again_after_its_restart_is_heard() {
    let mut scene = Scene::start().await.with_room().await;
    for event_id in ["$before", "$after"] {
        let mut event = hangup(ALICE);
        event["event_id"] = json!(event_id);
        for _ in 0..2 {
            assert_eq!(scene.push("1", json!([event])).await.0, 200);
        }
        assert!(matches!(scene.next_event().await, RoomEvent::Call(_)));
        scene.expect_no_event();
    }
    assert_eq!(scene.service.counts().repeated_transactions, 2);
}

#[tokio::test]
async fn a_repeat_while_the_queue_is_full_does_not_double_anything() {
    let mut scene = Scene::start_with_queue(1).await.with_room().await;
    let events = json!([hangup(ALICE), hangup(ALICE), hangup(ALICE)]);
    // The homeserver loses patience with the first attempt...
    let impatient = scene
        .http
        .put(scene.url("/transactions/1"))
        .bearer_auth("hs-token")
        .body(json!({ "events": events }).to_string())
        .timeout(Duration::from_millis(200))
        .send()
        .await;
    assert!(impatient.unwrap_err().is_timeout());
    // ... and repeats it while signaling catches up.
    let repeat = scene
        .http
        .put(scene.url("/transactions/1"))
        .bearer_auth("hs-token")
        .body(json!({ "events": events }).to_string());
    let repeat = tokio::spawn(answer(repeat));
    for _ in 0..3 {
        scene.next_event().await;
    }
    assert_eq!(repeat.await.unwrap().0, 200);
    scene.expect_no_event();
}

#[tokio::test]
async fn a_transaction_is_not_seen_before_its_events_are_queued() {
    let scene = Scene::start_with_queue(1).await.with_room().await;
    let url = scene.url("/transactions/1");
    let body = json!({ "events": [hangup(ALICE), hangup(ALICE)] }).to_string();
    let push = tokio::spawn(answer(
        scene.http.put(url).bearer_auth("hs-token").body(body),
    ));
    until("one event is queued, the other waits", || {
        scene.events.len() == 1
    })
    .await;
    assert!(!scene.store().is_transaction_seen("1 $1").await.unwrap());
    scene.service.clone().shutdown().await;
    assert_eq!(push.await.unwrap().0, 503);
    assert!(!scene.store().is_transaction_seen("1 $1").await.unwrap());
}

#[tokio::test]
async fn echoes_of_our_own_users_and_foreign_users_are_filtered() {
    let mut scene = Scene::start().await.with_room().await;
    let senders = [TEL, "@mxtrunk:localtest", "@alice:elsewhere"];
    let events: Vec<_> = senders.into_iter().map(hangup).collect();
    assert_eq!(scene.push("1", json!(events)).await.0, 200);
    scene.expect_no_event();
    assert_eq!(scene.service.counts().foreign_senders, 1);
}

#[tokio::test]
async fn malformed_bodies_are_refused_with_the_right_words() {
    let scene = Scene::start().await;
    let expected = [
        ("{\"events\":", 400, "M_NOT_JSON"),
        ("\u{0}\u{1}", 400, "M_NOT_JSON"),
        ("{}", 400, "M_BAD_JSON"),
        ("[]", 400, "M_BAD_JSON"),
        ("{\"events\":{}}", 400, "M_BAD_JSON"),
    ];
    for (body, status, errcode) in expected {
        let (got, reply) = scene.push_body("1", body.to_owned()).await;
        assert_eq!(
            (got, &reply["errcode"]),
            (status, &json!(errcode)),
            "{body}"
        );
    }
    let (status, reply) = scene.push_body("1", " ".repeat(10 * 1024 * 1024 + 1)).await;
    assert_eq!((status, &reply["errcode"]), (413, &json!("M_TOO_LARGE")));
    assert!(!scene.store().is_transaction_seen("1").await.unwrap());
}

#[tokio::test]
async fn one_broken_event_does_not_spoil_its_transaction() {
    let mut scene = Scene::start().await.with_room().await;
    let mut no_room = hangup(ALICE);
    no_room["room_id"] = json!(7);
    let events = json!([
        null,
        7,
        [],
        {},
        "event",
        no_room,
        event(
            "m.call.invite",
            ALICE,
            json!({ "call_id": "c", "offer": 7 })
        ),
        event("m.call.hangup", ALICE, json!("bye")),
        hangup("alice"),
        hangup(ALICE),
    ]);
    assert_eq!(scene.push("1", events).await.0, 200);
    let RoomEvent::Call(call) = scene.next_event().await else {
        panic!("a call event");
    };
    assert!(matches!(call.event, CallEventIn::Hangup { .. }));
    scene.expect_no_event();
    assert_eq!(scene.service.counts().malformed_events, 9);
}

#[tokio::test]
async fn events_keep_their_order() {
    let mut scene = Scene::start_with_queue(200).await.with_room().await;
    let numbered = |n: u32| {
        let content = json!({ "call_id": n.to_string(), "version": "1" });
        event("m.call.hangup", ALICE, content)
    };
    let first: Vec<_> = (0..50).map(numbered).collect();
    let second: Vec<_> = (50..100).map(numbered).collect();
    scene.push("1", json!(first)).await;
    scene.push("2", json!(second)).await;
    for n in 0..100 {
        let RoomEvent::Call(call) = scene.next_event().await else {
            panic!("a call event");
        };
        assert_eq!(call.event.call_id(), n.to_string());
    }
}

/// After an outage the homeserver pushes all that it has kept, 100 events at a time. What we have not looked at yet waits
/// there, and not in our memory.
#[tokio::test]
async fn ten_thousand_events_at_once_are_taken_in_order_and_wait_where_they_come_from() {
    const QUEUE: usize = 16;
    const TRANSACTIONS: usize = 100;
    let mut scene = Scene::start_with_queue(QUEUE).await.with_room().await;
    let taken = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (http, url) = (scene.http.clone(), scene.url("/transactions"));
    let told = Arc::clone(&taken);
    let pushes = tokio::spawn(async move {
        for transaction in 0..TRANSACTIONS {
            let numbered = |n: usize| {
                let call_id = (100 * transaction + n).to_string();
                event(
                    "m.call.hangup",
                    ALICE,
                    json!({ "call_id": call_id, "version": "1" }),
                )
            };
            let events: Vec<_> = (0..100).map(numbered).collect();
            let request = http.put(format!("{url}/{transaction}"));
            let body = json!({ "events": events }).to_string();
            let (status, _) = answer(request.bearer_auth("hs-token").body(body)).await;
            assert_eq!(status, 200);
            told.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    for n in 0..100 * TRANSACTIONS {
        let RoomEvent::Call(call) = scene.next_event().await else {
            panic!("a call event");
        };
        assert_eq!(call.event.call_id(), n.to_string());
        assert!(scene.events.len() <= QUEUE);
        let taken = taken.load(std::sync::atomic::Ordering::SeqCst);
        assert!(
            100 * taken <= n + 1 + QUEUE,
            "{taken} transactions taken at event {n}"
        );
    }
    pushes.await.unwrap();
    scene.expect_no_event();
}

/// The homeserver lets nobody speak who is not in the room; a gateway must not trust a room's past all the same.
#[tokio::test]
async fn who_is_not_in_the_room_is_not_heard_there() {
    let mut scene = Scene::start().await.with_room().await;
    scene.push("1", json!([hangup("@bob:localtest")])).await;
    scene.expect_no_event();
    assert_eq!(scene.service.counts().strange_rooms, 1);
    // One who is, though the room was another's before, is.
    scene.homeserver.put_room(ROOM, &["@bob:localtest", TEL]);
    scene.push("2", json!([hangup("@bob:localtest")])).await;
    assert!(
        matches!(scene.next_event().await, RoomEvent::Call(call) if call.sender == "@bob:localtest")
    );
}

#[tokio::test]
async fn an_invite_for_another_member_is_not_ours() {
    let mut scene = Scene::start().await.with_room().await;
    let invite = |invitee: &str| {
        let offer = json!({ "type": "offer", "sdp": "v=0" });
        let content = json!({ "call_id": "c", "version": "1", "party_id": "P",
                              "lifetime": 60000, "offer": offer, "invitee": invitee });
        event("m.call.invite", ALICE, content)
    };
    scene.push("1", json!([invite("@bob:localtest")])).await;
    scene.expect_no_event();
    scene.push("2", json!([invite(TEL)])).await;
    assert!(matches!(scene.next_event().await, RoomEvent::Call(_)));
}

#[tokio::test]
async fn an_encrypted_room_is_told_of() {
    let mut scene = Scene::start().await.with_room().await;
    let mut switch = event(
        "m.room.encryption",
        ALICE,
        json!({ "algorithm": "m.megolm.v1.aes-sha2" }),
    );
    switch["state_key"] = json!("");
    let secret = event("m.room.encrypted", ALICE, json!({ "ciphertext": "AwgA" }));
    scene.push("1", json!([switch, secret])).await;
    for unreadable in [false, true] {
        let told = RoomEvent::Encrypted {
            room: ROOM.try_into().unwrap(),
            sender: ALICE.try_into().unwrap(),
            virtual_user: TEL.try_into().unwrap(),
            number: "600".to_owned(),
            unreadable,
        };
        assert_eq!(scene.next_event().await, told);
    }
}

#[tokio::test]
async fn joining_and_leaving_are_told_of() {
    let mut scene = Scene::start().await.with_room().await;
    let mut renamed = member(ALICE, ALICE, "join");
    renamed["unsigned"]["prev_content"] = json!({ "membership": "join" });
    let events = json!([
        member(ALICE, ALICE, "join"),
        renamed,
        member(ALICE, ALICE, "leave")
    ]);
    scene.push("1", events).await;
    assert!(matches!(scene.next_event().await, RoomEvent::Joined { user, .. } if user == ALICE));
    assert!(matches!(scene.next_event().await, RoomEvent::Left { user, .. } if user == ALICE));
    scene.expect_no_event();
}

#[tokio::test]
async fn a_virtual_user_that_is_thrown_out_forgets_the_room() {
    let mut scene = Scene::start().await.with_room().await;
    scene.push("1", json!([member(ALICE, TEL, "leave")])).await;
    assert!(matches!(scene.next_event().await, RoomEvent::Left { user, .. } if user == TEL));
    assert_eq!(scene.store().room(ROOM).await.unwrap(), None);
}

#[tokio::test]
async fn while_the_database_is_locked_what_people_do_comes_through_and_once() {
    let mut scene = Scene::start().await;
    scene.homeserver.put_room(ROOM, &[ALICE, TEL]);
    let mut other = scene.other().await;
    other.execute("BEGIN EXCLUSIVE").await.unwrap();
    for txn_id in ["1", "2", "3"] {
        // The answer to the first time gets lost on its way.
        for _ in 0..2 {
            assert_eq!(scene.push(txn_id, json!([hangup(ALICE)])).await.0, 200);
        }
        assert!(matches!(scene.next_event().await, RoomEvent::Call(_)));
        scene.expect_no_event();
    }
    other.execute("ROLLBACK").await.unwrap();
    assert_eq!(scene.push("4", json!([])).await.0, 200);
    assert!(scene.store().is_transaction_seen("4").await.unwrap());
}

#[tokio::test]
async fn an_event_that_the_database_refuses_does_not_keep_others_from_coming_through() {
    let mut scene = Scene::start().await.with_room().await;
    let mut home = mxtrunk_store::Home::nowhere(ALICE);
    home.space = Some("!space".to_owned());
    scene.store().put_home(&home).await.unwrap();
    let refuse =
        "CREATE TRIGGER refuse BEFORE UPDATE ON homes BEGIN SELECT RAISE(ABORT, 'full'); END";
    scene.other().await.execute(refuse).await.unwrap();
    let mut leaves = member(ALICE, ALICE, "leave");
    leaves["room_id"] = json!("!space");
    let events = json!([hangup(ALICE), leaves, hangup(ALICE)]);
    assert_eq!(scene.push("1", events.clone()).await.0, 503);
    assert!(matches!(scene.next_event().await, RoomEvent::Call(_)));
    scene.expect_no_event();
    assert_eq!(scene.push("1", events).await.0, 200);
    assert!(matches!(scene.next_event().await, RoomEvent::Call(_)));
    scene.expect_no_event();
}
