use super::*;

const SERVICE: &str = "@mxtrunk:localtest";
const EVE: &str = "@eve:localtest";
const CHAT: &str = "!chat";

fn said(room: &str, sender: &str, content: Value) -> Value {
    json!({
        "type": "m.room.message", "room_id": room, "sender": sender, "content": content,
        "event_id": "$said", "origin_server_ts": 1, "unsigned": {"age": 0},
    })
}

fn text(room: &str, sender: &str, body: &str) -> Value {
    said(room, sender, json!({"msgtype": "m.text", "body": body}))
}

async fn heard(scene: &mut Scene) -> (String, String) {
    match scene.next_event().await {
        RoomEvent::Command { sender, body, .. } => (sender.to_string(), body),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_invite_of_the_service_account_and_what_is_written_then_reach_signaling() {
    let mut scene = Scene::start().await;
    let homeserver = scene.homeserver.clone();
    until("the account is there", || homeserver.known().pings > 0).await;
    scene.homeserver.put_room(CHAT, &[ALICE]);
    let mut invite = text(CHAT, ALICE, "");
    invite["type"] = "m.room.member".into();
    invite["state_key"] = SERVICE.into();
    invite["content"] = json!({"membership": "invite", "is_direct": true});
    scene.push("1", json!([invite])).await;
    let RoomEvent::ServiceInvited {
        room,
        sender,
        direct,
    } = scene.next_event().await
    else {
        panic!("an invite");
    };
    assert_eq!((sender.as_str(), direct), (ALICE, true));
    assert!(scene.service.join_commands(&room, &sender).await.unwrap());
    scene.push("2", json!([text(CHAT, ALICE, "dnd on")])).await;
    assert_eq!(heard(&mut scene).await, (ALICE.into(), "dnd on".into()));
}

#[tokio::test]
async fn a_chat_that_the_store_has_lost_is_known_by_its_members() {
    let mut scene = Scene::start().await;
    scene.homeserver.put_room(CHAT, &[ALICE, SERVICE]);
    scene.push("1", json!([text(CHAT, ALICE, "status")])).await;
    assert_eq!(heard(&mut scene).await, (ALICE.into(), "status".into()));
}

#[tokio::test]
async fn nothing_is_a_command_that_is_written_elsewhere_or_by_others_or_as_a_correction() {
    let mut scene = Scene::start().await.with_room().await;
    scene.homeserver.put_room(CHAT, &[ALICE, SERVICE]);
    scene.homeserver.put_room("!group", &[ALICE, EVE, SERVICE]);
    scene.store().put_command_room(CHAT, ALICE).await.unwrap();
    let correction = json!({"msgtype": "m.text", "body": "* dnd on", "m.new_content": {}});
    scene
        .push(
            "1",
            json!([
                text(ROOM, ALICE, "dnd on"),
                text("!group", ALICE, "dnd on"),
                text(CHAT, EVE, "dnd on"),
                said(CHAT, ALICE, correction),
                said(
                    CHAT,
                    ALICE,
                    json!({"msgtype": "m.notice", "body": "dnd on"})
                ),
                said(CHAT, ALICE, json!({"msgtype": "m.text"})),
            ]),
        )
        .await;
    scene.expect_no_event();
}

#[tokio::test]
async fn what_is_encrypted_is_told_apart_and_a_chat_that_is_left_is_left_by_us() {
    let mut scene = Scene::start().await;
    scene.homeserver.put_room(CHAT, &[ALICE, SERVICE]);
    scene.store().put_command_room(CHAT, ALICE).await.unwrap();
    let mut secret = text(CHAT, ALICE, "");
    secret["type"] = "m.room.encrypted".into();
    scene.push("1", json!([secret])).await;
    assert!(matches!(
        scene.next_event().await,
        RoomEvent::Unreadable { .. }
    ));
    let mut leave = text(CHAT, ALICE, "");
    leave["type"] = "m.room.member".into();
    leave["state_key"] = ALICE.into();
    leave["content"] = json!({"membership": "leave"});
    scene.push("2", json!([leave])).await;
    assert_eq!(scene.store().command_room(CHAT).await.unwrap(), None);
    let known = scene.homeserver.known();
    let asked = &known.requests;
    assert!(
        asked.iter().any(|request| request.ends_with("/leave")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn of_a_line_that_is_gone_every_room_is_left_also_where_we_are_out_of_one() {
    let scene = Scene::start().await.with_room().await;
    scene.homeserver.put_room(CHAT, &[ALICE, SERVICE]);
    scene.store().put_command_room(CHAT, ALICE).await.unwrap();
    scene.store().put_room("!gone", ALICE, TEL).await.unwrap();
    let alice = ruma::UserId::parse(ALICE).unwrap();
    scene.service.leave_rooms_of(&alice).await.unwrap();
    let known = scene.homeserver.known();
    let left = known
        .requests
        .iter()
        .filter(|request| request.ends_with("/leave"));
    assert_eq!(left.count(), 3);
}
