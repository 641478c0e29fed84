use axum::http::StatusCode;
use ruma::{OwnedEventId, RoomId, room_id, user_id};

use super::*;
use crate::HomeserverError;
use crate::appservice::stay_in_touch;
use crate::call_events::{CallEventOut, CallRef, Version};

fn our_hangup() -> CallEventOut {
    CallEventOut::Hangup {
        call: CallRef {
            call_id: "c".to_owned(),
            party_id: "GW".to_owned(),
            version: Version::V1,
        },
        reason: "user_hangup",
    }
}

impl Scene {
    async fn send_hangup(&self, room: &RoomId) -> Result<OwnedEventId, HomeserverError> {
        let event = our_hangup();
        let user = user_id!("@tel_600:localtest");
        self.service.send_call_event(room, user, "t1", &event).await
    }
}

#[tokio::test]
async fn at_start_the_service_account_is_made_and_the_homeserver_is_asked_to_ping() {
    let scene = Scene::start().await;
    until("the homeserver was asked", || {
        scene.homeserver.known().pings == 1
    })
    .await;
    assert!(
        scene
            .homeserver
            .known()
            .users
            .contains("@mxtrunk:localtest")
    );
}

#[tokio::test]
async fn a_homeserver_that_comes_late_is_found() {
    let homeserver = FakeHomeserver::start().await;
    // Longer than one round of attempts: the pause between rounds is seen, too.
    homeserver.known().trouble = Some((1, StatusCode::FORBIDDEN));
    let directory = tempfile::tempdir().unwrap();
    let (_service, _events) = serve(&homeserver, &directory.path().join("db"), 1, None).await;
    until("the homeserver was asked", || homeserver.known().pings == 1).await;
}

#[tokio::test]
async fn a_homeserver_that_does_not_reach_us_for_a_while_is_asked_until_it_does() {
    let scene = Scene::start().await;
    let pings = || scene.homeserver.known().pings;
    until("the start is over", || pings() == 1).await;
    scene.homeserver.known().trouble = Some((3, StatusCode::BAD_GATEWAY));
    let soon = Duration::from_millis(5);
    let watch = stay_in_touch(scene.service.inner.clone(), [soon; 2]);
    let watch = tokio::spawn(watch);
    until("it reaches us again", || pings() > 3).await;
    assert!(!watch.is_finished());
}

#[tokio::test]
async fn a_virtual_user_is_made_once_and_renamed_when_its_name_changes() {
    let scene = Scene::start().await;
    until("the start is over", || scene.homeserver.known().pings == 1).await;
    scene.homeserver.known().requests.clear();
    for name in ["Echo", "Echo", "Echo test"] {
        let user = scene
            .service
            .ensure_virtual_user("600", name)
            .await
            .unwrap();
        assert_eq!(user, TEL);
    }
    let known = scene.homeserver.known();
    assert_eq!(known.display_names[TEL], "Echo test");
    let registered = known
        .requests
        .iter()
        .filter(|request| request.ends_with("/register"));
    assert_eq!((registered.count(), known.requests.len()), (1, 3));
}

#[tokio::test]
async fn a_user_that_exists_at_the_homeserver_already_is_taken_over() {
    let scene = Scene::start().await;
    scene.homeserver.known().users.insert(TEL.to_owned());
    scene
        .service
        .ensure_virtual_user("600", "Echo")
        .await
        .unwrap();
    assert_eq!(scene.homeserver.known().display_names[TEL], "Echo");
}

#[tokio::test]
async fn a_call_event_goes_out_once_through_passing_trouble() {
    let scene = Scene::start().await.with_room().await;
    until("the start is over", || scene.homeserver.known().pings == 1).await;
    for trouble in [StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS] {
        scene.homeserver.known().trouble = Some((2, trouble));
        let room = room_id!("!room");
        let sent = scene.send_hangup(room);
        assert_eq!(sent.await.unwrap(), "$t1");
    }
    let known = scene.homeserver.known();
    let [(_, event_type, content, sender)] = &known.rooms[ROOM].events[..] else {
        panic!("one event: {:?}", known.rooms[ROOM].events);
    };
    assert_eq!(
        (event_type.as_str(), sender.as_str()),
        ("m.call.hangup", TEL)
    );
    assert_eq!(*content, our_hangup().content());
}

#[tokio::test]
async fn a_refusal_is_not_tried_again() {
    let scene = Scene::start().await;
    until("the start is over", || scene.homeserver.known().pings == 1).await;
    scene.homeserver.known().requests.clear();
    let room = room_id!("!nowhere");
    let sent = scene.send_hangup(room);
    let error = sent.await.unwrap_err();
    assert!(
        matches!(&error, HomeserverError::Refused { status: 403, errcode, .. } if errcode == "M_FORBIDDEN"),
        "{error:?}"
    );
    assert_eq!(scene.homeserver.known().requests.len(), 1);
    // The homeserver's own words may name people, and this text goes into the log.
    assert_eq!(
        error.to_string(),
        "the homeserver refused with M_FORBIDDEN (403)"
    );
}

#[tokio::test]
async fn a_dead_homeserver_is_given_up_within_ten_seconds() {
    let scene = Scene::start().await.with_room().await;
    until("the start is over", || scene.homeserver.known().pings == 1).await;
    scene.homeserver.known().trouble = Some((u32::MAX, StatusCode::SERVICE_UNAVAILABLE));
    let room = room_id!("!room");
    let sent = scene.send_hangup(room);
    let error = timeout(PATIENCE, sent).await.unwrap().unwrap_err();
    assert_eq!(error, HomeserverError::Faulty { status: 503 });
}

#[tokio::test]
async fn texts_and_notices_are_messages() {
    let scene = Scene::start().await.with_room().await;
    let (room, user) = (room_id!("!room"), user_id!("@tel_600:localtest"));
    scene
        .service
        .send_text(room, user, "missed call")
        .await
        .unwrap();
    scene
        .service
        .send_notice(room, user, "call ended")
        .await
        .unwrap();
    let known = scene.homeserver.known();
    let sent: Vec<_> = known.rooms[ROOM]
        .events
        .iter()
        .map(|(_, _, content, _)| content)
        .collect();
    assert_eq!(
        *sent[0],
        json!({ "msgtype": "m.text", "body": "missed call" })
    );
    assert_eq!(
        *sent[1],
        json!({ "msgtype": "m.notice", "body": "call ended" })
    );
}
